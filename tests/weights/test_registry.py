"""The registry's facts: safe to fetch, complete, and each with a card."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT

from darkroom.errors import WeightsError
from darkroom.raw.image import Sensor
from darkroom.weights import registry, store
from darkroom.weights.registry import ENTRIES, FileEntry, Output, WeightsEntry

CARDS = ROOT / "weights"
HEADINGS = ["Source", "Licence", "Training data", "What it is for", "Scores"]


def test_what_there_is() -> None:
    assert list(ENTRIES) == [
        "safelight",
        "safelight-large",
        "safelight-xtrans",
        "safelight-large-xtrans",
        "sid-sony",
        "sid-fuji",
        "llpacknet",
        "redi",
    ]
    assert all(name == entry.name for name, entry in ENTRIES.items())
    assert ENTRIES["safelight"].bundled
    with pytest.raises(TypeError):
        ENTRIES["other"] = ENTRIES["safelight"]  # type: ignore[index]


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_every_entry_is_complete(entry: WeightsEntry) -> None:
    for file in entry.files:
        assert bool(file.urls) != entry.bundled
        assert all(url.startswith("https://") for url in file.urls)
    assert entry.licence.url.startswith("https://")
    assert entry.licence.open or entry.licence.notice, "what is not open says why"
    assert entry.description
    assert (entry.output is Output.CAMERA) == (entry.trained_on == ()), "sRGB is of one camera"


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_every_entry_has_a_card(entry: WeightsEntry) -> None:
    text = (CARDS / f"{entry.name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {entry.name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert entry.licence.name in text
    assert entry.licence.url in text
    for file in entry.files:
        assert f"`{file.name}`" in text
        if file.sha256 is not None:
            assert file.sha256 in text
    if not entry.scores:
        assert "not measured here" in text
    for score in entry.scores:
        assert f"{score.psnr:.2f}" in text


def test_every_card_has_an_entry() -> None:
    others = {"README", "sheets", "amplifier"}  # the last: the bundled gain rule, no network
    assert {path.stem for path in CARDS.glob("*.md")} - others == set(ENTRIES)


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES.values() if entry.bundled])
def test_the_bundled_files_are_those_on_record(entry: WeightsEntry) -> None:
    assert store.verify(entry).stat().st_size == entry.size


def test_facts_that_came_from_elsewhere() -> None:
    """Identifiers as their authors published them; a slip here fetches something else."""
    urls = {file.name: file.urls[0] for file in ENTRIES["sid-sony"].files}
    assert urls["model.ckpt.data-00000-of-00001"].endswith("id=1wmx7AM6XWHjHIvpErmIouQgbQoMxAymG")
    assert "/checkpoint/Sony/" in urls["model.ckpt.index"]
    urls = {file.name: file.urls[0] for file in ENTRIES["sid-fuji"].files}
    assert urls["model.ckpt.data-00000-of-00001"].endswith("id=1PX5wA89d-JLmwQHqpBnyTYJxDVzC1gpt")
    assert "/checkpoint/Fuji/" in urls["model.ckpt.index"]
    (redi,) = ENTRIES["redi"].files
    assert redi.sha256 == "e7a4f76cf12b9f69ae35b2c2bab3356a36669660ab3128a0e65d6f4c82517163"
    assert ENTRIES["redi"].size == 3_153_787
    assert ENTRIES["sid-sony"].size is None, "unknown, so not invented"
    assert [entry.name for entry in ENTRIES.values() if entry.sensor is Sensor.XTRANS] == [
        "safelight-xtrans",
        "safelight-large-xtrans",
        "sid-fuji",
    ]
    assert {entry.name for entry in ENTRIES.values() if not entry.licence.open} == {
        "llpacknet",
        "redi",
    }


NASTY = [
    "",
    ".",
    "..",
    "../a",
    "a/b",
    "a\\b",
    "/a",
    "a:b",
    "a\0",
    "a\n",
    "-a",
    "a.",
    ".a",
    "a b",
    "é",
]


@pytest.mark.parametrize("name", NASTY)
def test_names_that_are_more_than_names(name: str) -> None:
    with pytest.raises(WeightsError):
        FileEntry(name, ())
    with pytest.raises(WeightsError, match="cannot name weights"):
        registry.check_name(name)


@given(st.text(alphabet="ab.-_/\\: A9\n", max_size=12))
@settings(max_examples=200, deadline=None)
def test_an_accepted_name_is_one_plain_path_component(name: str) -> None:
    try:
        accepted = registry.check_name(name)
    except WeightsError:
        return
    assert Path(accepted).name == name
    assert not name.startswith((".", "-"))
    assert name == name.lower()


@pytest.mark.parametrize("digits", ["", "abc", "E7" * 32, "g" * 64])
def test_hashes_are_64_lower_case_digits(digits: str) -> None:
    with pytest.raises(WeightsError, match="64 hex digits"):
        FileEntry("weights", (), sha256=digits)
