"""Registry entries of small files, for a server of our own."""

import hashlib
from typing import Any

from darkroom.gain import GainRule
from darkroom.raw.image import Sensor
from darkroom.weights.download import RetryPolicy
from darkroom.weights.registry import FileEntry, Licence, Output, WeightsEntry

PAYLOAD = bytes(range(256)) * 200  # 51,200 bytes: several reads, sent in a moment
SHA256 = hashlib.sha256(PAYLOAD).hexdigest()
HASTY = RetryPolicy(attempts=3, backoff=0.01, max_wait=0.05, connect=5.0, stall=5.0)


def an_entry(*files: FileEntry, name: str = "tiny") -> WeightsEntry:
    return WeightsEntry(
        name=name,
        architecture="redi",
        sensor=Sensor.BAYER,
        output=Output.SRGB,
        gain_rule=GainRule.REDI,
        trained_on=(),
        files=files,
        licence=Licence("MIT", open=True, url="https://example.org"),
        source="https://example.org",
        description="for tests",
    )


def entry_at(url: str, **facts: Any) -> WeightsEntry:
    """An entry of one file, "weights"."""
    return an_entry(FileEntry("weights", (url,), **facts))
