"""The journal: whole records or none, whatever happens to the machine."""

import errno
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.batch import journal as journals
from darkroom.batch.journal import JOURNAL, Journal, list_pictures, read_outcomes
from darkroom.batch.record import SCHEMA, Outcome, Status
from darkroom.errors import OutputError

DONE = Outcome(
    "/card/IMG_1.ARW",
    "IMG_1.png",
    Status.DONE,
    input_size=25_000_000,
    input_mtime_ns=1_700_000_000_123_456_789,
    gain=100.0,
    options={"ev": 0.5, "bits": 8},
    seconds={"decode": 0.25},
    warnings=("a warning",),
)


def write(folder: Path, *outcomes: Outcome) -> None:
    with Journal(folder) as journal:
        for outcome in outcomes:
            journal.append(outcome)


def test_a_record_is_read_back_as_it_was(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        stamped = journal.append(DONE)
        assert journal.latest("IMG_1.png") == stamped
    with Journal(tmp_path) as journal:
        assert journal.latest("IMG_1.png") == stamped
        assert journal.latest("other.png") is None
    assert list(read_outcomes(tmp_path / JOURNAL)) == [stamped]


def test_lines_are_plain_json_with_a_schema(tmp_path: Path) -> None:
    write(tmp_path, DONE)
    (line,) = (tmp_path / JOURNAL).read_text(encoding="ascii").splitlines()
    record = json.loads(line)
    assert record["schema"] == SCHEMA
    assert record["status"] == "done"
    assert record["seconds"] == {"decode": 0.25}


@settings(max_examples=20, deadline=None)
@given(name=st.text(st.characters(codec=None), min_size=1, max_size=20))
def test_any_name_survives(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Also undecodable bytes of file names, which Python keeps as lone surrogates."""
    folder = tmp_path_factory.mktemp("journal")
    write(folder, Outcome(f"/{name}", name, Status.DONE))
    (outcome,) = read_outcomes(folder / JOURNAL)
    assert (outcome.input, outcome.output) == (f"/{name}", name)


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(1, 400), junk=st.sampled_from([b"", b"\0" * 512, b"\0\n", b"{\n", b"7\n"]))
def test_a_torn_end_costs_one_record(
    cut: int, junk: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    write(folder, DONE, Outcome("/b", "b.png", Status.DONE))
    path = folder / JOURNAL
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][: -min(cut, len(lines[1]))] + junk)
    with Journal(folder) as journal:
        assert journal.latest("IMG_1.png") is not None
        assert journal.latest("b.png") is None
        journal.append(Outcome("/c", "c.png", Status.DONE))
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [record["output"] for record in records] == ["IMG_1.png", "c.png"]


def test_a_failure_says_nothing_about_whose_the_picture_is(tmp_path: Path) -> None:
    failed = Outcome("/card/IMG_1.ARW", "IMG_1.png", Status.FAILED, error="no", exit_code=4)
    write(tmp_path, DONE, failed)
    with Journal(tmp_path) as journal:
        latest = journal.latest("IMG_1.png")
    assert latest is not None
    assert latest.status is Status.DONE
    assert [outcome.status for outcome in read_outcomes(tmp_path / JOURNAL)] == [Status.FAILED]


def test_pictures_being_written_are_ours_but_no_outcomes(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.mark_writing("/a", "a.png")
        latest = journal.latest("a.png")
    assert latest is not None
    assert latest.status is Status.WRITING
    assert list(read_outcomes(tmp_path / JOURNAL)) == []


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path), pytest.raises(OutputError, match="another darkroom batch"):
        Journal(tmp_path)
    Journal(tmp_path).__exit__(None, None, None)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    record = DONE.record() | {"schema": SCHEMA + 1}
    (tmp_path / JOURNAL).write_text(json.dumps(record) + "\n", encoding="ascii")
    with pytest.raises(OutputError, match="newer darkroom"):
        Journal(tmp_path)


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Journal(tmp_path) as journal:
        journal.append(DONE)
        before = (tmp_path / JOURNAL).read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OutputError, match="disk is full"):
                journal.append(Outcome("/b", "b.png", Status.DONE))
        assert (tmp_path / JOURNAL).read_bytes() == before
        journal.append(Outcome("/c", "c.png", Status.DONE))
        assert journal.latest("b.png") is None
        assert journal.latest("c.png") is not None


def test_a_line_that_cannot_be_taken_back_fails_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Journal(tmp_path) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            patch.setattr(journal, "_stream", Mock(wraps=journal._stream, truncate=full))
            with pytest.raises(OutputError, match="cannot be written"):
                journal.append(DONE)
        journal.append(Outcome("/c", "c.png", Status.DONE))  # whose thread still runs
    outcomes = list(read_outcomes(tmp_path / JOURNAL))
    assert outcomes[-1].output == "c.png"


@pytest.mark.parametrize("code", [0, errno.EIO])
def test_what_threads_add_while_one_syncs_is_synced_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Of ten at once the first is synced alone, the others by one call; which may fail for all."""
    calls, begun, others_wrote, sync = [0], threading.Event(), threading.Event(), os.fsync

    def slow(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] == 1:
            begun.set()
            assert others_wrote.wait(10)
        elif code:
            raise OSError(code, os.strerror(code))
        sync(descriptor)

    failed: list[str] = []

    def append(journal: Journal, name: str) -> None:
        try:
            journal.append(Outcome("/a", name, Status.DONE))
        except OutputError:
            failed.append(name)

    with Journal(tmp_path) as journal:
        monkeypatch.setattr(os, "fsync", slow)
        names = [f"{number}.png" for number in range(10)]
        threads = [threading.Thread(target=append, args=(journal, name)) for name in names]
        for number, thread in enumerate(threads, 1):
            thread.start()
            assert begun.wait(10)  # else the first sync may hold the second's line too
            while len((tmp_path / JOURNAL).read_bytes().splitlines()) < number:
                time.sleep(0.001)
        others_wrote.set()
        for thread in threads:
            thread.join()
        assert calls == [2]
        known = [name for name in names if journal.latest(name) is not None]
        monkeypatch.undo()
        journal.append(DONE)
    assert sorted(failed) == (names[1:] if code else [])
    assert known == (names[:1] if code else names)
    found = {outcome.output for outcome in read_outcomes(tmp_path / JOURNAL)}
    assert found == {*known, "IMG_1.png"}


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:

        def append(name: str) -> None:
            for number in range(20):
                journal.append(Outcome("/a", f"{name}{number}.png", Status.DONE))

        threads = [threading.Thread(target=append, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(list(read_outcomes(tmp_path / JOURNAL))) == 80


def test_a_missing_journal_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="choose another folder"):
        list(read_outcomes(tmp_path / JOURNAL))


def damaged(**values: object) -> bytes:
    return json.dumps(DONE.record() | values).encode() + b"\n"


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000 + b"\n",
        b'{"a":' * 100_000 + b"\n",
        b"1" * 5_000 + b"\n",
        b"x" * (3 << 20) + b"\n",
        b"{}\n",
        b"null\n",
        damaged(output=["IMG_1.png"]),
        damaged(output=None),
        damaged(input=7),
        damaged(status=["done"]),
        damaged(status="lost"),
        damaged(schema="1"),
        damaged(input_size="25"),
        damaged(output_mtime_ns=True),
        damaged(output_mtime_ns=2**80),
        damaged(gain=float("nan")),
        damaged(exposure_seconds=float("inf")),
        damaged(options=[]),
        damaged(seconds={"decode": "long"}),
        damaged(seconds={"decode": -1}),
        damaged(warnings="a warning"),
        damaged(warnings=[["a warning"]]),
        damaged(time="yesterday"),
        damaged(time="0001-01-01T00:00:00"),
        damaged(exit_code=None),
    ],
    ids=lambda line: str(line[-60:]),
)
def test_a_damaged_line_is_dropped_once(tmp_path: Path, line: bytes) -> None:
    write(tmp_path, DONE, Outcome("/b", "b.png", Status.DONE))
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    first, second = whole.splitlines(keepends=True)
    path.write_bytes(first + line + second)
    assert [outcome.output for outcome in read_outcomes(path)] == ["IMG_1.png", "b.png"]
    assert list_pictures(path) == {"IMG_1.png", "b.png"}
    with Journal(tmp_path) as journal:
        assert journal.dropped == 1
        found = journal.latest("IMG_1.png")
        assert found is not None
        assert found.gain == DONE.gain
        assert journal.latest("b.png") is not None
    assert path.read_bytes() == whole
    with Journal(tmp_path) as journal:
        assert journal.dropped == 0


def test_numbers_that_json_lacks_are_not_known(tmp_path: Path) -> None:
    """Else our own records would be damaged lines."""
    write(tmp_path, Outcome("/a", "a.png", Status.DONE, iso=float("inf"), gain=float("nan")))
    assert b"NaN" not in (tmp_path / JOURNAL).read_bytes()
    (found,) = read_outcomes(tmp_path / JOURNAL)
    assert (found.iso, found.gain) == (None, None)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
@pytest.mark.parametrize(
    "make",
    [
        lambda path: os.mkfifo(path),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("nothing"),
        lambda path: path.mkdir(),
        make_socket,
    ],
    ids=["pipe", "endless device", "link to nothing", "folder", "socket"],
)
def test_what_is_no_file_is_no_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object]
) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    make(Path(JOURNAL))
    for attempt in (Journal, lambda folder: list(read_outcomes(folder / JOURNAL))):
        with pytest.raises(OutputError, match=r"no regular file; remove it, or choose"):
            attempt(Path())


def test_a_photo_under_the_journals_name_is_kept(tmp_path: Path) -> None:
    photo = b"II*\0" + bytes(range(256)) * 20
    (tmp_path / JOURNAL).write_bytes(photo)
    with pytest.raises(OutputError, match="is no journal of a batch; move it"):
        Journal(tmp_path)
    assert (tmp_path / JOURNAL).read_bytes() == photo


@pytest.mark.parametrize("name", ["MAX_BYTES", "MAX_PICTURES", "MAX_DAMAGED"])
def test_journals_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write(tmp_path, DONE, Outcome("/b", "b.png", Status.DONE))
    with (tmp_path / JOURNAL).open("ab") as stream:
        stream.write(b"[\n[\n")
    monkeypatch.setattr(journals, name, 1)
    with pytest.raises(OutputError, match=r"larger than|more than 1 pictures|damaged all over"):
        Journal(tmp_path)
