r"""What became of each photo of a batch: append-only JSON Lines beside the pictures.

One line per photo and attempt, written and synced when its picture is whole; before the picture
gets its name, a line with status "writing" says that it is ours, so that a picture whose record was
lost to a kill is known to be. The last line about an output counts. It is locked
by our own code, for filelock (4.2) needs a second file beside the pictures, and fails on network
file systems without locks (ENOLCK). Readable with jq:
`jq -r 'select(.status == "failed") | .error' darkroom.jsonl`
"""

import errno
import json
import os
import sys
import threading
from collections.abc import Iterator, Sized
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Self

from darkroom.batch.record import SCHEMA, Outcome, Status
from darkroom.errors import DISK_FULL, OutputError
from darkroom.output.atomic import atomic_write

JOURNAL = "darkroom.jsonl"
"""Name of the journal in the folder of the pictures."""
MAX_LINE_BYTES = 1 << 20
"""A record takes 1 to 3 kB."""
MAX_BYTES = 16 << 30
"""Records of some five million photos; reading them takes minutes."""
MAX_PICTURES = 5_000_000
"""Told of in one journal; 250 bytes of memory each."""
MAX_DAMAGED = 1_000_000
"""Lines; a journal with more is refused, rather than dropped line by line."""
HEAD_BYTES = 4096
TEXT = frozenset(range(ord(" "), 127)) | {*b"\t\r\n"}
"""Of what journals consist, up to damage."""


class Journal:
    """The journal of one output folder, held by one process at a time.

    Only the place of each record is kept in memory, so a million photos fit.
    """

    def __init__(self, folder: Path) -> None:
        """Open or begin the journal in `folder`; damaged lines, torn by power loss, are dropped.

        `dropped` says how many. Raises OutputError where it cannot be written, is no journal, was
        written by a newer darkroom, or where another process holds it.
        """
        self.path = folder / JOURNAL
        self.dropped = 0
        self._lock = threading.Lock()
        self._wrote = threading.Condition(self._lock)
        self._unsynced: list[Future[None]] = []
        self._closed = False
        self._places: dict[str, int] = {}
        self._stream = self._open()
        try:
            whole, self.dropped = self._index()
            if self.dropped:
                self._check_kind(whole)
                self._rewrite()
        except OutputError:
            self._stream.close()
            raise
        self._end = self._synced = self._stream.seek(0, os.SEEK_END)
        self._reader = self.path.open("rb")
        self._syncing = threading.Thread(target=self._sync, name="journal", daemon=True)
        self._syncing.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._wrote:
            self._closed = True
            self._wrote.notify()
        self._syncing.join()
        self._reader.close()
        self._stream.close()

    def latest(self, output: str) -> Outcome | None:
        """Return the last record that says whose picture `output` is: done or writing."""
        with self._lock:
            place = self._places.get(output)
            if place is None:
                return None
            self._reader.seek(place)
            return _parse(self._reader.readline(MAX_LINE_BYTES), self.path)

    def mark_writing(self, source: str, output: str) -> None:
        """Note that `output` is about to be written, and is ours from now on."""
        self.append(Outcome(source, output, Status.WRITING))

    def append(self, outcome: Outcome) -> Outcome:
        """Add one record, on the disk when this returns; gives it back with its time.

        Safe from several threads; what they add while one syncs is synced together. Raises
        OutputError, with the journal left as it was.
        """
        stamped = replace(outcome, time=datetime.now(UTC).isoformat(timespec="milliseconds"))
        line = (json.dumps(stamped.record()) + "\n").encode("ascii")
        synced = Future[None]()
        try:
            begin = self._write(line, synced)
            synced.result()
        except OSError as error:
            raise _output_error(self.path, error) from error
        if stamped.status in (Status.DONE, Status.WRITING):
            with self._lock:
                self._places[stamped.output] = begin
        return stamped

    def _write(self, line: bytes, synced: Future[None]) -> int:
        """Write a line, which then waits to be synced; returns where it begins. Raises OSError."""
        with self._wrote:
            begin = self._end
            try:
                self._stream.seek(begin)
                rest = memoryview(line)
                while rest:  # a disk that is nearly full takes a part first
                    rest = rest[self._stream.write(rest) :]
            except OSError:
                self._stream.truncate(begin)
                raise
            self._end += len(line)
            self._unsynced.append(synced)
            self._wrote.notify()
            return begin

    def _sync(self) -> None:
        """Sync all lines that wait for it, or take them back, until the journal is closed.

        In a thread of its own, which no signal ends while others wait for it.
        """
        while True:
            with self._wrote:
                self._wrote.wait_for(lambda: self._unsynced or self._closed)
                if not self._unsynced:
                    return
                waiting, self._unsynced = self._unsynced, []
                end = self._end
            try:
                os.fsync(self._stream.fileno())
            except OSError as error:
                with self._lock:
                    waiting += self._unsynced
                    self._unsynced = []
                    self._end = self._synced
                    with suppress(OSError):  # a line that stays is overwritten, or dropped if torn
                        self._stream.truncate(self._end)
                for synced in waiting:
                    synced.set_exception(error)
            else:
                self._synced = end
                for synced in waiting:
                    synced.set_result(None)

    def _open(self) -> BinaryIO:
        """Open and lock the file, made if missing."""
        _refuse_no_file(self.path)
        try:
            stream = self.path.open("r+b" if self.path.exists() else "x+b", buffering=0)
        except OSError as error:
            raise _output_error(self.path, error) from error
        if not _take_lock(stream):
            stream.close()
            raise OutputError(
                f"{self.path.parent}: another darkroom batch is writing there; wait for it, or "
                "choose another folder"
            )
        return stream

    def _index(self) -> tuple[int, int]:
        """Note where each output's last record begins; returns how many lines are whole or not."""
        whole = damaged = 0
        with _opened(self.path) as stream:
            for place, _, outcome in _records(stream, self.path):
                whole += outcome is not None
                damaged += outcome is None
                if damaged > MAX_DAMAGED:
                    raise OutputError(f"{self.path}: is damaged all over; move it elsewhere")
                if outcome is not None and outcome.status in (Status.DONE, Status.WRITING):
                    self._places[outcome.output] = place
                    _refuse_too_many(self._places, self.path)
        return whole, damaged

    def _check_kind(self, whole: int) -> None:
        """Raise OutputError where no line is a record and the file is no text, as a photo is."""
        with self.path.open("rb") as stream:
            head = stream.read(HEAD_BYTES).strip(b"\0")  # what power loss leaves
        if not whole and not TEXT.issuperset(head):
            raise OutputError(f"{self.path}: is no journal of a batch; move it to another folder")

    def _rewrite(self) -> None:
        """Keep only whole lines, so that other programs can read the journal too."""
        with atomic_write(self.path, overwrite=True) as whole, _opened(self.path) as old:
            records = _records(old, self.path)
            whole.writelines(line for _, line, outcome in records if outcome is not None)
        self._stream.close()
        self._stream = self._open()
        self._places.clear()
        self._index()


def read_outcomes(journal: Path) -> Iterator[Outcome]:
    """Yield the last outcome of each output in a journal (done or failed), oldest first.

    Needs no lock, so it works while a batch is running. Raises OutputError where it is missing or
    of a newer darkroom.
    """
    last: dict[str, int] = {}
    try:
        with _opened(journal) as stream:
            for place, _, outcome in _records(stream, journal):
                if outcome is not None and outcome.status is not Status.WRITING:
                    last.pop(outcome.output, None)
                    last[outcome.output] = place
                    _refuse_too_many(last, journal)
            for place in last.values():
                stream.seek(place)
                outcome = _parse(stream.readline(MAX_LINE_BYTES), journal)
                if outcome is not None:  # else rewritten meanwhile
                    yield outcome
    except OSError as error:
        raise _output_error(journal, error) from error


def list_pictures(journal: Path) -> set[str]:
    """Return the outputs of a journal that are pictures, or may be; as in `Outcome`.

    Raises OutputError as `read_outcomes` does.
    """
    pictures: set[str] = set()
    try:
        with _opened(journal) as stream:
            for _, _, outcome in _records(stream, journal):
                if outcome is not None and outcome.status in (Status.DONE, Status.WRITING):
                    pictures.add(outcome.output)
                    _refuse_too_many(pictures, journal)
    except OSError as error:
        raise _output_error(journal, error) from error
    return pictures


def _opened(path: Path) -> BinaryIO:
    """Open a journal for reading. Raises OutputError for what is no file, or none's size."""
    _refuse_no_file(path)
    if path.stat().st_size > MAX_BYTES:
        raise OutputError(
            f"{path}: is larger than {MAX_BYTES >> 30} GiB; choose another folder for new pictures"
        )
    return path.open("rb")


def _refuse_no_file(path: Path) -> None:
    """Raise OutputError for a pipe, a device, a folder, a link to nothing.

    To read them may never end.
    """
    if os.path.lexists(path) and not path.is_file():
        raise OutputError(f"{path}: is no regular file; remove it, or choose another folder")


def _refuse_too_many(pictures: Sized, path: Path) -> None:
    if len(pictures) > MAX_PICTURES:
        raise OutputError(
            f"{path}: tells of more than {MAX_PICTURES:,} pictures; choose another folder"
        )


def _records(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes, Outcome | None]]:
    """Yield where each line of a journal begins, the line, and its record; None where damaged.

    Of a line that is too long for a record, only a part is kept in memory.
    """
    place = 0
    while line := stream.readline(MAX_LINE_BYTES):
        yield place, line, _parse(line, path)
        place += len(line)
        while not line.endswith(b"\n") and (line := stream.readline(MAX_LINE_BYTES)):
            place += len(line)


def _parse(line: bytes, path: Path) -> Outcome | None:
    """Read one line; None where it is damaged."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
        if isinstance(record, dict) and type(schema := record.get("schema", 0)) is int:
            if schema > SCHEMA:
                raise OutputError(f"{path}: written by a newer darkroom; update this one")
            return Outcome.from_record(record)
    except (ValueError, RecursionError):
        pass
    return None


def _output_error(path: Path, error: OSError) -> OutputError:
    if error.errno in DISK_FULL:
        return OutputError(f"{path}: the disk is full; free some and run the same command again")
    return OutputError(f"{path}: cannot be written ({error.strerror}); choose another folder")


if sys.platform == "win32":
    import msvcrt

    LOCK_OFFSET = 1 << 30
    """A byte far past the records: locks are mandatory on Windows, and others may read."""

    def _take_lock(stream: Any) -> bool:
        stream.seek(LOCK_OFFSET)
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _take_lock(stream: Any) -> bool:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:  # some network file systems have no locks
            return error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
        return True
