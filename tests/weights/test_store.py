"""What lies on the disk: found, checked before use, and doubted when it is odd."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from darkroom.errors import WeightsError
from darkroom.weights import registry, store
from darkroom.weights.registry import FileEntry, WeightsEntry
from darkroom.weights.store import InstalledFile, State, Trust

PAYLOAD = b"forty-two bytes that stand for a network.."
SHA256 = hashlib.sha256(PAYLOAD).hexdigest()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DARKROOM_WEIGHTS", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def entry() -> WeightsEntry:
    """REDI's entry with a small file of unknown hash."""
    file = FileEntry("weights", ("https://example.org/weights",))
    return replace(registry.ENTRIES["redi"], files=(file,))


def put(entry: WeightsEntry, content: bytes = PAYLOAD) -> Path:
    """Install by hand what `fetch` would."""
    place = store.folder(entry)
    place.mkdir(parents=True)
    (place / "weights").write_bytes(content)
    file = InstalledFile("weights", len(content), SHA256, "by hand", Trust.FIRST_USE)
    store.write_record(place, (file,))
    return place


def test_the_root_is_the_variable_or_the_data_folder(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert store.root() == place
    monkeypatch.setenv("DARKROOM_WEIGHTS", "~/w")
    assert store.root() == Path.home() / "w"
    for empty in (None, ""):
        monkeypatch.delenv("DARKROOM_WEIGHTS") if empty is None else monkeypatch.setenv(
            "DARKROOM_WEIGHTS", empty
        )
        assert store.root().parts[-2:] == ("darkroom", "weights")
        assert not store.root().is_relative_to(tmp_path)


@pytest.mark.parametrize(
    ("typed", "meant"), [("redy", "redi"), ("SID-Sony", "sid-sony"), ("lpacknet", "llpacknet")]
)
def test_find_names_the_closest(typed: str, meant: str) -> None:
    assert store.find(meant).name == meant
    with pytest.raises(WeightsError, match=f"did you mean {meant}.*known are llpacknet, redi"):
        store.find(typed)


def test_find_does_not_guess_wildly() -> None:
    with pytest.raises(WeightsError) as caught:
        store.find("zzz")
    assert "did you mean" not in str(caught.value)


def test_absent(entry: WeightsEntry) -> None:
    assert store.state(entry) is State.ABSENT
    assert store.record(entry) == {}
    assert store.imported() == {}
    assert not store.remove(entry)
    for ask in (store.locate, store.verify):
        with pytest.raises(WeightsError, match=r"not installed: darkroom fetch-weights redi"):
            ask(entry)


def test_installed(entry: WeightsEntry) -> None:
    place = put(entry)
    assert store.state(entry) is State.INSTALLED
    assert store.locate(entry) == store.verify(entry) == place / "weights"
    assert store.expected_hashes(entry) == {"weights": SHA256}
    assert store.imported() == {}, "a registry's entry is not one's own"
    assert store.remove(entry)
    assert not place.exists()


def test_the_hash_is_checked_before_use(entry: WeightsEntry) -> None:
    (put(entry) / "weights").write_bytes(PAYLOAD[::-1])
    assert store.state(entry) is State.INSTALLED, "state looks at sizes only"
    with pytest.raises(WeightsError, match=r"SHA-256 \w{12}…, expected \w{12}…"):
        store.verify(entry)


def test_the_registry_outranks_the_record(entry: WeightsEntry) -> None:
    """A record that was tampered with together with the file does not help."""
    put(entry)
    known = replace(entry, files=(replace(entry.files[0], sha256="0" * 64),))
    assert store.expected_hashes(known) == {"weights": "0" * 64}
    with pytest.raises(WeightsError, match="expected 000000000000"):
        store.verify(known)


def test_a_file_without_any_hash_is_not_used(entry: WeightsEntry) -> None:
    (put(entry) / store.RECORD).unlink()
    assert store.state(entry) is State.DAMAGED
    with pytest.raises(WeightsError, match="no hash of weights"):
        store.verify(entry)


def test_a_missing_file_is_damage(entry: WeightsEntry) -> None:
    (put(entry) / "weights").unlink()
    assert store.state(entry) is State.DAMAGED
    with pytest.raises(WeightsError, match="not installed"):
        store.locate(entry)


@pytest.mark.parametrize("what", ["file", "record", "folder"])
def test_links_are_refused(entry: WeightsEntry, tmp_path: Path, what: str) -> None:
    place = put(entry)
    victim = {"file": place / "weights", "record": place / store.RECORD, "folder": place}[what]
    victim.rename(tmp_path / "elsewhere")
    victim.symlink_to(tmp_path / "elsewhere")
    for ask in (store.verify, store.remove) if what == "folder" else (store.verify,):
        with pytest.raises(WeightsError, match="symbolic link: refused; delete it"):
            ask(entry)
    assert (tmp_path / "elsewhere").exists()


def test_a_root_that_is_a_link_is_the_users_choice(
    entry: WeightsEntry, place: Path, tmp_path: Path
) -> None:
    (tmp_path / "large disk").mkdir()
    place.symlink_to(tmp_path / "large disk")
    put(entry)
    assert store.verify(entry).read_bytes() == PAYLOAD


def records(**changes: Any) -> str:
    file = {"name": "weights", "size": 1, "sha256": SHA256, "origin": "", "trust": "x"} | changes
    return json.dumps({"schema": 1, "files": [file]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"schema": 2}',
        '{"schema": 1, "files": 7}',
        '{"schema": 1, "files": [7]}',
        '{"schema": 1, "files": [{}]}',
        records(),
        records(trust=Trust.REGISTRY.value, name="../../evil"),
        records(trust=Trust.REGISTRY.value, sha256="short"),
        records(trust=Trust.REGISTRY.value, sha256=None),
        records(trust=Trust.REGISTRY.value, size="many"),
        records(trust=Trust.REGISTRY.value, size=float("inf")),
        "\udcff",
        "[" * 100_000,
    ],
)
def test_a_damaged_record_is_one_line(entry: WeightsEntry, text: str) -> None:
    (put(entry) / store.RECORD).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(WeightsError) as caught:
        store.verify(entry)
    assert str(caught.value).isprintable()


def test_a_damaged_import_does_not_hide_published_weights(entry: WeightsEntry, place: Path) -> None:
    (place / "mine").mkdir(parents=True)
    (place / "mine" / store.RECORD).write_text('{"schema": 1, "imported": {"sensor": "eye"}}')
    assert store.find("redi") is registry.ENTRIES["redi"]
    with pytest.raises(WeightsError, match="mine"):
        store.find("mine")


def test_the_bundled_one_is_never_touched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundled = registry.ENTRIES["safelight"]
    monkeypatch.setattr(store, "bundled_folder", lambda: tmp_path)
    with pytest.raises(WeightsError, match="not installed: reinstall darkroom"):
        store.verify(bundled)
    (tmp_path / bundled.files[0].name).write_bytes(PAYLOAD)
    assert store.state(bundled) is State.BUNDLED
    with pytest.raises(WeightsError, match="cannot be removed"):
        store.remove(bundled)
    good = replace(bundled, files=(replace(bundled.files[0], sha256=SHA256),))
    assert store.verify(good) == tmp_path / bundled.files[0].name
    bad = replace(bundled, files=(replace(bundled.files[0], sha256="0" * 64),))
    with pytest.raises(WeightsError, match="reinstall darkroom"):
        store.verify(bad)


def test_the_bundled_folder_of_a_checkout_or_a_wheel() -> None:
    assert store.bundled_folder().is_dir()
    assert (store.bundled_folder() / "redi.md").is_file()
