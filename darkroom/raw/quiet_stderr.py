"""Keeps what C libraries print to their standard error off the user's terminal."""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STREAMS = {"linux": "stderr", "darwin": "__stderrp"}
"""The C variable that holds the stream; on other systems nothing is silenced."""


class _Silencer:
    """Swaps C's stderr stream, not file descriptor 2: Python's own stderr goes on as it was.

    The first of several threads swaps, the last one restores.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._stream: ctypes.c_void_p | None = None
        self._original: int | None = None
        self._nowhere: int | None = None

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1 and self._found() and self._stream is not None:
                self._original = self._stream.value
                self._stream.value = self._nowhere

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._stream is not None:
                self._stream.value = self._original

    def _found(self) -> bool:
        """Look the stream up once; False where this system has none by that name."""
        if self._stream is None and sys.platform in STREAMS:
            library = ctypes.CDLL(None)
            library.fopen.restype = ctypes.c_void_p
            self._nowhere = library.fopen(os.devnull.encode(), b"w")
            if self._nowhere is not None:
                self._stream = ctypes.c_void_p.in_dll(library, STREAMS[sys.platform])
        return self._stream is not None


_silencer = _Silencer()


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Let C libraries print nothing to stderr meanwhile; safe from several threads."""
    _silencer.enter()
    try:
        yield
    finally:
        _silencer.leave()
