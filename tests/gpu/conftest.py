"""Checks of networks on an accelerator: `python tests/gpu/checks.py` runs them all and more.

They run on CUDA; DARKROOM_CHECK_DEVICE=cpu puts the processor in its place, which shows that the
checks themselves work. DARKROOM_CHECK_FIGURES names a file for what they measure.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from darkroom.errors import UsageError
from darkroom.models.device import find_device

NAME = os.environ.get("DARKROOM_CHECK_DEVICE", "cuda")
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The accelerator, or what stands for it; tests skip where it is not there."""
    try:
        return find_device(NAME)
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def figures() -> Iterator[dict[str, Any]]:
    """What was measured, by check and network, written down at the end."""
    found: dict[str, Any] = {}
    yield found
    if path := os.environ.get("DARKROOM_CHECK_FIGURES"):
        Path(path).write_text(json.dumps(found), encoding="utf-8")
