"""Decode RAW photos in processes of their own: what kills LibRaw costs one photo, not the batch.

A worker is a fresh interpreter (never a fork) without torch. It reads pickled paths from standard
input and answers with pickled photos; when its parent is gone, its input ends, and so does it.

Own code, not loky: its executor never returns once a worker is killed while it answers, its workers
outlive a killed parent, and a 12-MP photo takes 1.3 times our CPU time.
"""

import faulthandler
import hashlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

from darkroom.errors import RawError
from darkroom.raw.image import RawImage
from darkroom.raw.memory_bound import MEMORY_LIMIT, bounded_memory
from darkroom.raw.reader import read_raw

GRACE_SECONDS = 5.0
"""A worker ends itself so long after its time-out, should nobody be left to do so."""
DYING_SECONDS = 1.0
"""A worker that closed its pipe ends within this; its exit code says why."""
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}
"""Of a worker: one thread; and glibc keeps the memory of one photo for the next, up to 1 GiB.

Else a 24-MP photo costs 24,000 page faults and 0.32 s, not 0.24, and one of 60 MP 1.4 s, not 0.6.
"""
START = "from darkroom.batch import decoders; "
STOPPED = "decoding was stopped; run the same command again"
KILLED = -getattr(signal, "SIGKILL", 9)
"""The exit code of a process that SIGKILL ended."""
DAMAGED = "the file is damaged, copy it from the card again"


class Decoded(NamedTuple):
    """A photo and the SHA-256 of its file."""

    raw: RawImage
    sha256: str


class Decoders:
    """A few worker processes that decode photos, replaced as they die; safe from many threads."""

    def __init__(self, count: int, timeout: float) -> None:
        """Start no process yet: workers start at their first photo. `timeout` in seconds."""
        self._workers = [_Worker(timeout) for _ in range(count)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def worker(self) -> Iterator["_Worker"]:
        """Wait for a worker and have it alone: `with decoders.worker() as worker`."""
        worker = self._idle.get()
        try:
            yield worker
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End all workers at once; photos at hand fail."""
        for worker in self._workers:
            worker.close()


class _Worker:
    """One process; it starts when first needed, and again after its end."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._lock = threading.Lock()

    def decode(self, path: str) -> Decoded:
        """Decode one photo.

        Raises RawError as `read_raw` does, and where the process crashed or took too long.
        """
        process = self._running(path)
        deadline = time.monotonic() + self._timeout
        timer = threading.Timer(self._timeout, process.kill)
        timer.daemon = True
        timer.start()
        try:
            assert process.stdin is not None
            pickle.dump(path, process.stdin)
            process.stdin.flush()
            answer = _receive(process)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            late = time.monotonic() >= deadline
            code = _end(process, DYING_SECONDS)
            raise RawError(f"{path}: {self._reason(late, code)}") from error
        finally:
            timer.cancel()
        if isinstance(answer, RawError):
            raise answer
        return answer

    def close(self) -> None:
        """End the process, whatever it does; it does not start again."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None:
            _end(process)

    def _running(self, path: str) -> subprocess.Popen[bytes]:
        """Return the process once it is ready, so that its start does not count as decoding."""
        with self._lock:
            if self._closed:
                raise RawError(STOPPED)
            if self._process is not None:
                if self._process.poll() is None:
                    return self._process
                _end(self._process)
            process = self._process = _start(self._timeout)
        try:
            _receive(process)
        except (EOFError, OSError, ValueError) as error:
            if self._closed:
                raise RawError(STOPPED) from error
            if (code := _end(process, DYING_SECONDS)) == KILLED:
                raise RawError(f"{path}: {self._reason(late=False, code=code)}") from error
            message = f"{sys.executable} cannot run darkroom's decoder; install it anew"
            raise RuntimeError(message) from error
        return process

    def _reason(self, late: bool, code: int) -> str:
        if self._closed:
            return STOPPED
        if late:
            return f"decoding took more than {self._timeout:g} s; {DAMAGED}, or raise --timeout"
        if code == KILLED:
            return (
                "decoding was killed by signal 9, by the system for want of memory or by somebody; "
                "run it again, with fewer --jobs if memory is short"
            )
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"decoding crashed ({how}); {DAMAGED}"


def _start(timeout: float) -> subprocess.Popen[bytes]:
    """Start an interpreter that finds the modules that we find."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", f"{START}decoders.serve({timeout + GRACE_SECONDS!r})"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pipesize=1 << 20,  # on Linux; a mosaic takes fewer switches between processes
        # Ctrl-C is for us; a decoder ends when its pipe does.
        process_group=None if sys.platform == "win32" else 0,
        env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def _end(process: subprocess.Popen[bytes], patience: float = 0.0) -> int:
    """Kill a process that does not end by itself, and return its exit code."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    with suppress(OSError), process:  # closes its pipes; a path that was not read is flushed then
        process.kill()
    return process.returncode


def _receive(process: subprocess.Popen[bytes]) -> Decoded | RawError:
    """Read one answer. Raises EOFError or UnpicklingError where the process ends before."""
    assert process.stdout is not None
    answer: Decoded | RawError = pickle.load(process.stdout)
    return answer


# In the worker


def serve(timeout: float) -> None:
    """Say that we are ready, and answer paths until standard input ends; a worker's whole life.

    The process ends after `timeout` seconds with one photo, even inside a C library.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what C libraries print would spoil the answers

    def send(answer: Decoded | RawError | None) -> None:
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)  # writes mosaics without a copy
        answers.flush()

    _yield_to_parent()
    with bounded_memory(MEMORY_LIMIT):
        send(None)
        with suppress(EOFError):
            while True:
                path = pickle.load(sys.stdin.buffer)
                faulthandler.dump_traceback_later(timeout, exit=True)
                send(_decode(path))
                faulthandler.cancel_dump_traceback_later()


def _decode(path: str) -> Decoded | RawError:
    try:
        raw = read_raw(Path(path))
        with Path(path).open("rb") as file:
            return Decoded(raw, hashlib.file_digest(file, "sha256").hexdigest())
    except RawError as error:
        return error
    except OSError as error:  # vanished between the two readings
        return RawError(f"{path}: cannot be read ({error.strerror}); check the disk")
    except MemoryError:
        return RawError(f"{path}: needs more memory than there is; {DAMAGED}")


def _yield_to_parent() -> None:
    """Leave Ctrl-C to the parent, and be the first to go where memory ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        with suppress(OSError):  # not in every container
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
