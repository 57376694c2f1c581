"""URLs: what is listed, fetched and published there, on file systems in memory and here."""

import hashlib
import re
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from datetime import UTC, datetime
from pathlib import Path

import pytest

from darkroom.batch import storage
from darkroom.batch.cluster import journal_mirror
from darkroom.batch.cluster.journal_mirror import JournalMirror
from darkroom.batch.jobs import FileState, OutputNaming, Search
from darkroom.batch.journal import JOURNAL, Journal
from darkroom.batch.record import Outcome, Status
from darkroom.errors import OutputError, RawError, UsageError
from darkroom.output.atomic import TEMPORARY_PATTERN

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed (darkroom[cluster])")


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield
    fs.store.clear()


def put(url: str, data: bytes = b"x") -> None:
    with fsspec.open(url, "wb") as file:
        file.write(data)


@pytest.fixture(params=["memory://out", "local"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An object store, and a file system that renames."""
    return request.param if "://" in request.param else f"local://{tmp_path}/out"


def test_urls_are_told_from_paths() -> None:
    assert storage.is_url("s3://a/b")
    assert storage.is_url("HTTPS://a/b")
    assert not any(map(storage.is_url, ("a/b", "C:/a", "C://a", "s3:/a", "-")))
    assert storage.without_file("file:///a%20b/c") == "/a b/c"
    assert storage.without_file("s3://a%20b") == "s3://a%20b"


def test_what_is_published_can_be_fetched(place: str, tmp_path: Path) -> None:
    source, copy = tmp_path / "a.png", tmp_path / "copy.png"
    source.write_bytes(b"one")
    url = storage.join(place, "sub/a.png")
    assert storage.state(url) is None
    written = storage.publish(source, url, replace=False)
    assert written == storage.state(url)
    assert written.size == 3
    assert abs(written.mtime_ns / 1e9 - datetime.now(UTC).timestamp()) < 60
    assert storage.states(place) == {"sub/a.png": written}
    storage.fetch(url, copy)
    assert copy.read_bytes() == b"one"
    source.write_bytes(b"three")
    with pytest.raises(OutputError, match="exists already"):
        storage.publish(source, url, replace=False)
    assert storage.publish(source, url, replace=True).size == 5
    assert list(storage.states(place)) == ["sub/a.png"]


def test_nothing_half_written_gets_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    def torn(self: object, source: str, target: str, **options: object) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:2])
        raise ConnectionResetError("by peer")

    monkeypatch.setattr(LocalFileSystem, "put_file", torn)
    source = tmp_path / "a.png"
    source.write_bytes(b"whole")
    with pytest.raises(OutputError, match=r"a\.png: ConnectionResetError: by peer"):
        storage.publish(source, f"local://{tmp_path}/out/a.png", replace=True)
    assert list((tmp_path / "out").iterdir()) == []


def test_strays_are_removed(place: str, tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(b"x")
    for name in ("a.png", f"sub/{TEMPORARY_PATTERN.replace('*', 'abc')}"):
        storage.publish(source, storage.join(place, name), replace=False)
    storage.remove_strays(place, storage.states(place))
    assert list(storage.states(place)) == ["a.png"]


def test_folders_globs_and_photos() -> None:
    for name in ("a.ARW", "b.dng", "b.nef", "notes.txt", ".hidden.dng", "sub/c.dng"):
        put(f"memory://in/{name}", name.encode())
    top = {"memory://in/a.ARW": "a.jpg", "memory://in/b.dng": "b.dng.jpg"}
    top |= {"memory://in/b.nef": "b.nef.jpg"}
    naming, deep = OutputNaming(".jpg"), Search(recursive=True)
    for source, search, expected in (
        ("memory://in", Search(), top),
        ("memory://in", deep, top | {"memory://in/sub/c.dng": "sub/c.jpg"}),
        ("memory://in/*.dng", Search(), {"memory://in/b.dng": "b.jpg"}),
        ("memory://in/sub/c.dng", Search(), {"memory://in/sub/c.dng": "c.jpg"}),
    ):
        jobs, known = storage.find_url_jobs([source], naming, search)
        assert {job.source: job.target for job in jobs} == expected
        assert all(known[url] == storage.state(url) for url in known)
        assert len(known) == len(jobs) or source.endswith("c.dng")
    for source, more in (
        ("memory://nothing", "add -r"),
        ("memory://in/*.raf", "check the address"),
    ):
        with pytest.raises(RawError, match=more):
            storage.find_url_jobs([source])


def test_lists_need_no_listing() -> None:
    """Queries are no part of names; several servers are refused."""
    jobs, known = storage.find_url_jobs(["https://h/a/x.dng?key=1%2F2", "https://h/b/y.dng"])
    assert [job.target for job in jobs] == ["a/x.png", "b/y.png"]
    assert jobs[0].source.endswith("?key=1%2F2")
    assert known == {}
    with pytest.raises(UsageError, match="https and s3"):
        storage.find_url_jobs(["https://h/a.dng", "s3://h/a.dng"])


@pytest.mark.parametrize("url", ["nonsense://a/b.dng"])
def test_what_fsspec_does_not_know(url: str) -> None:
    with pytest.raises(UsageError, match=re.escape(url)):
        storage.state(url)


def test_a_missing_photo(tmp_path: Path) -> None:
    with pytest.raises(RawError, match=r"memory://in/a\.dng: nothing is there"):
        storage.fetch("memory://in/a.dng", tmp_path / "a.dng")


def test_a_photo_is_told_by_its_content() -> None:
    put("memory://in/a.dng", b"one")
    assert storage.sha256("memory://in/a.dng") == hashlib.sha256(b"one").hexdigest()
    assert storage.sha256("memory://in/b.dng") is None


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"mtime": 1.5}, 1_500_000_000),
        ({"LastModified": datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)}, 2_000_000_000),
        ({"updated": "1970-01-01T00:00:03Z"}, 3_000_000_000),
        ({"created": datetime(1970, 1, 1, 0, 0, 4)}, 4_000_000_000),
        ({}, 0),
    ],
)
def test_times_as_file_systems_tell_them(told: dict[str, object], expected: int) -> None:
    assert storage._state({"size": 7, **told}) == FileState(7, expected)


def test_a_slow_copy_of_the_journal_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """One copy at a time; where it fails, a later call says so."""
    monkeypatch.setattr(journal_mirror, "PUSH_SECONDS", 0.0)
    free, copies = threading.Event(), []

    def publish(source: Path, url: str, replace: bool) -> None:
        copies.append(url)
        assert free.wait(10)
        raise OutputError(f"{url}: no room")

    mirror, whole = JournalMirror("memory://out"), storage.publish
    with Journal(mirror.folder) as journal:
        journal.append(Outcome("memory://in/a.dng", "a.png", Status.DONE))
    monkeypatch.setattr(storage, "publish", publish)
    for _ in range(3):
        mirror.push()
    assert len(copies) <= 1
    free.set()
    assert mirror._pushing is not None
    wait([mirror._pushing])
    with pytest.raises(OutputError, match="no room"):
        mirror.push()
    assert copies == [f"memory://out/{JOURNAL}"]
    mirror.push()  # another copy, which fails too; but the last one counts
    monkeypatch.setattr(storage, "publish", whole)
    mirror.push(now=True)
    assert storage.state(f"memory://out/{JOURNAL}") is not None


def test_a_journal_moves_on_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = JournalMirror("memory://out")
    with Journal(mirror.folder) as journal:
        journal.append(Outcome("memory://in/a.dng", "a.png", Status.DONE))
        mirror.push()
        assert storage.state(f"memory://out/{JOURNAL}") is None  # it is not time to
        mirror.push(now=True)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    there = JournalMirror("memory://out/")
    assert there.folder != mirror.folder
    with Journal(there.folder) as journal:
        assert journal.latest("a.png") is not None
