r"""What became of each photo of a batch: append-only JSON Lines beside the pictures.

One line per photo and attempt, written and synced when its picture is whole; before the picture
gets its name, a line with status "writing" says that it is ours, so that a picture whose record was
lost to a kill is known to be. The last line about an output counts. It is locked
by our own code, for filelock (4.2) needs a second file beside the pictures, and fails on network
file systems without locks (ENOLCK). Readable with jq:
`jq -r 'select(.status == "failed") | "\(.input): \(.error)"' darkroom.jsonl`
"""

import errno
import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Self

from darkroom.batch.record import SCHEMA, Outcome, Status
from darkroom.errors import DISK_FULL, OutputError
from darkroom.output.atomic import atomic_write

JOURNAL = "darkroom.jsonl"
"""Name of the journal in the folder of the pictures."""


class Journal:
    """The journal of one output folder, held by one process at a time.

    Only the place of each record is kept in memory, so a million photos fit.
    """

    def __init__(self, folder: Path) -> None:
        """Open or begin the journal in `folder`; damaged lines, torn by power loss, are dropped.

        Raises OutputError where it cannot be written, was written by a newer darkroom, or where
        another process holds it.
        """
        self.path = folder / JOURNAL
        self._lock = threading.Lock()
        self._places: dict[str, int] = {}
        self._stream = self._open()
        try:
            if not self._index():
                self._rewrite()
        except OutputError:
            self._stream.close()
            raise
        self._end = self._stream.seek(0, os.SEEK_END)
        self._reader = self.path.open("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.close()
        self._stream.close()

    def latest(self, output: str) -> Outcome | None:
        """Return the last record that says whose picture `output` is: done or writing."""
        with self._lock:
            place = self._places.get(output)
            if place is None:
                return None
            self._reader.seek(place)
            return Outcome.from_record(json.loads(self._reader.readline()))

    def mark_writing(self, source: str, output: str) -> None:
        """Note that `output` is about to be written, and is ours from now on."""
        self.append(Outcome(source, output, Status.WRITING))

    def append(self, outcome: Outcome) -> Outcome:
        """Add one record, on the disk when this returns; gives it back with its time.

        Safe from several threads. Raises OutputError, with the journal left as it was.
        """
        stamped = replace(outcome, time=datetime.now(UTC).isoformat(timespec="milliseconds"))
        line = (json.dumps(stamped.record()) + "\n").encode("ascii")
        with self._lock:
            try:
                self._stream.seek(self._end)
                rest = memoryview(line)
                while rest:  # a disk that is nearly full takes a part first
                    rest = rest[self._stream.write(rest) :]
                os.fsync(self._stream.fileno())
            except OSError as error:
                self._stream.truncate(self._end)
                raise _output_error(self.path, error) from error
            if stamped.status in (Status.DONE, Status.WRITING):
                self._places[stamped.output] = self._end
            self._end += len(line)
        return stamped

    def _open(self) -> BinaryIO:
        """Open and lock the file, made if missing."""
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

    def _index(self) -> bool:
        """Note where each output's last record begins; returns whether all lines are whole."""
        whole = True
        with self.path.open("rb") as stream:
            for place, _, outcome in _records(stream, self.path):
                whole = whole and outcome is not None
                if outcome is not None and outcome.status in (Status.DONE, Status.WRITING):
                    self._places[outcome.output] = place
        return whole

    def _rewrite(self) -> None:
        """Keep only whole lines, so that other programs can read the journal too."""
        with atomic_write(self.path, overwrite=True) as whole, self.path.open("rb") as old:
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
        with journal.open("rb") as stream:
            for place, _, outcome in _records(stream, journal):
                if outcome is not None and outcome.status is not Status.WRITING:
                    last.pop(outcome.output, None)
                    last[outcome.output] = place
            for place in last.values():
                stream.seek(place)
                yield Outcome.from_record(json.loads(stream.readline()))
    except OSError as error:
        raise _output_error(journal, error) from error


def _records(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes, Outcome | None]]:
    """Yield where each line of a journal begins, the line, and its record; None where damaged."""
    place = 0
    for line in stream:
        yield place, line, _parse(line, path)
        place += len(line)


def _parse(line: bytes, path: Path) -> Outcome | None:
    """Read one line; None where it is damaged."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
        if isinstance(record, dict) and record.get("schema", 0) > SCHEMA:
            raise OutputError(f"{path}: written by a newer darkroom; update this one")
        return Outcome.from_record(record)
    except (ValueError, TypeError, AttributeError):
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
