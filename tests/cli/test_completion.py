"""What a shell offers after the Tab key, asked as the shell asks."""

import os
import subprocess
import sys

import pytest
from batches import environment

from darkroom.cli.completion import list_models, list_rules
from darkroom.gain import GainRule
from darkroom.weights.registry import ENTRIES


def complete(line: str) -> list[str]:
    """What typer's script for bash gets; the last word is the one that is begun."""
    words = line.split(" ")
    asked = {"_DARKROOM_COMPLETE": "complete_bash", "COMP_WORDS": line}
    code = "import darkroom.cli as cli, sys; cli.app(prog_name='darkroom')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment() | asked | {"COMP_CWORD": str(len(words) - 1)},
        capture_output=True,
        check=False,
    )
    return done.stdout.decode().split()


@pytest.mark.skipif(os.name == "nt", reason="asks as bash does")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("darkroom enhance --model safelight-l", ["safelight-large", "safelight-large-xtrans"]),
        ("darkroom batch --hot-pixels ", ["repair", "keep"]),
        ("darkroom enhance --device c", ["cpu", "cuda"]),
        ("darkroom enhance --cfa G", ["GRBG", "GBRG"]),
        ("darkroom enhance --black m", ["measured"]),
        ("darkroom enhance --preset st", ["stars"]),
        ("darkroom enhance --format ", ["png", "tif", "jpg"]),
        ("darkroom enhance --tile ", ["auto", "off"]),
        ("darkroom enhance --gain-rule redi-", ["redi-train"]),
        ("darkroom comp", ["compare"]),
        ("darkroom enhance --color-space pro", ["prophoto"]),
        ("darkroom fetch-weights sid-", ["sid-fuji", "sid-sony"]),
        ("darkroom export safelight-l", ["safelight-large", "safelight-large-xtrans"]),
    ],
)
def test_words_are_offered(line: str, words: list[str]) -> None:
    found = complete(line)
    assert found[: len(words)] == words
    assert len(found) == len(words) or "--format" in line, "DNG and others may be added"


def test_names_are_those_of_the_registry() -> None:
    assert sorted(name for name, _ in list_models("")) == sorted(ENTRIES)
    assert list_models("safelight")[0][1] == "bundled"
    assert list_models("./mine") == []
    assert list_rules("") == [rule.value for rule in GainRule]
