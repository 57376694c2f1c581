"""Decode RAW photos in processes of their own: what kills LibRaw costs one photo, not the batch.

A worker is a fresh interpreter (never a fork) without torch. It reads requests, one JSON line each,
from standard input and answers with a JSON line and the mosaic's bytes; the pipe needs no cleaning
up after a kill, as shared memory would.
"""

import faulthandler
import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import numpy as np

from darkroom.batch.wire import from_header, header
from darkroom.errors import RawError
from darkroom.raw.image import RawImage
from darkroom.raw.reader import read_raw

MEMORY_LIMIT = 6 << 30
"""Bytes of address space that decoding may take; an uncompressed photo of 150 MP takes 0.8 GB."""
GRACE_SECONDS = 5.0
"""A worker ends itself so long after its time-out, should nobody be left to do so."""
DYING_SECONDS = 1.0
"""A worker that closed its pipe ends within this; its exit code says why."""
START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); import darkroom.batch.decoders as d; "
)
PIPE_BYTES = 1 << 20
"""Where the system lets us (Linux), so that a mosaic takes fewer switches between processes."""
READY = b"ready\n"
STOPPED = "decoding was stopped; run the same command again"
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        process = self._running()
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._timeout, give_up)
        timer.daemon = True
        timer.start()
        try:
            return _request(process, path)
        except (EOFError, OSError, ValueError) as error:
            code = _end(process, DYING_SECONDS)
            raise RawError(f"{path}: {self._reason(late.is_set(), code)}") from error
        finally:
            timer.cancel()

    def close(self) -> None:
        """End the process, whatever it does; it does not start again."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None:
            _end(process)

    def _running(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise RawError(STOPPED)
            fresh = self._process is None or self._process.poll() is not None
            if fresh:
                self._process = _start(self._timeout)
            process = self._process
        assert process is not None
        if fresh and process.stdout is not None and process.stdout.readline() != READY:
            if self._closed:
                raise RawError(STOPPED)
            raise RuntimeError(f"{sys.executable} cannot run darkroom's decoder; install it anew")
        return process

    def _reason(self, late: bool, code: int) -> str:
        if self._closed:
            return STOPPED
        if late:
            return f"decoding took more than {self._timeout:g} s; {DAMAGED}, or raise --timeout"
        if code == -getattr(signal, "SIGKILL", 0):
            return "decoding was killed, likely for want of memory; use fewer --jobs"
        if code < 0:
            name = signal.Signals(-code).name
            return f"decoding crashed ({name}); {DAMAGED}"
        return f"decoding crashed (exit code {code}); {DAMAGED}"


def _start(timeout: float) -> subprocess.Popen[bytes]:
    """Start an interpreter with our own module path; it says READY once it is."""
    command = [sys.executable, "-c", f"{START}d.serve({timeout + GRACE_SECONDS!r})"]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        pipesize=PIPE_BYTES,
    )


def _end(process: subprocess.Popen[bytes], patience: float = 0.0) -> int:
    """Kill a process that does not end by itself, and return its exit code."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    process.kill()
    code = process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):  # a request that was not read is flushed on closing
                pipe.close()
    return code


def _request(process: subprocess.Popen[bytes], path: str) -> Decoded:
    """Ask for one photo; EOFError where the process ends before its answer does."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(path).encode("ascii") + b"\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    answer = json.loads(line)
    if "error" in answer:
        raise RawError(answer["error"])
    mosaic = np.empty(answer["shape"], answer["dtype"])
    rest = mosaic.reshape(-1).view(np.uint8).data
    while rest:
        count = process.stdout.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        rest = rest[count:]
    return Decoded(from_header(answer["header"], mosaic), answer["sha256"])


# In the worker


def serve(timeout: float) -> None:
    """Answer requests until standard input ends; the whole life of a worker."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what C libraries print would spoil the answers
    _behave()
    answers.write(READY)
    answers.flush()
    for line in sys.stdin.buffer:
        faulthandler.dump_traceback_later(timeout, exit=True, file=nowhere)
        _answer(json.loads(line), answers)
        faulthandler.cancel_dump_traceback_later()


def _answer(path: str, answers: IO[bytes]) -> None:
    try:
        raw = read_raw(Path(path))
        with Path(path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except RawError as error:
        answer: dict[str, Any] = {"error": str(error)}
    except OSError as error:  # vanished between the two readings
        answer = {"error": f"{path}: cannot be read ({error.strerror}); check the disk"}
    except MemoryError:
        answer = {"error": f"{path}: needs more memory than there is; {DAMAGED}"}
    else:
        mosaic = np.ascontiguousarray(raw.mosaic)
        answer = {
            "shape": mosaic.shape,
            "dtype": mosaic.dtype.str,
            "header": header(raw),
            "sha256": digest,
        }
    answers.write(json.dumps(answer).encode("ascii") + b"\n")
    if "error" not in answer:
        answers.write(mosaic.data)
    answers.flush()


def _behave() -> None:
    """Leave Ctrl-C to the parent, bound memory, and be the first to go where memory ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = MEMORY_LIMIT if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT, hard)
        with suppress(ValueError, OSError):  # macOS takes no such limit
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    if sys.platform == "linux":
        with suppress(OSError):  # not in every container
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
