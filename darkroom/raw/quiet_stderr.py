"""Keeps what C libraries print to their standard error off the user's terminal."""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

STREAMS = {"linux": "stderr", "darwin": "__stderrp"}
"""The C variable that holds the stream; on other systems nothing is silenced."""

_lock = threading.Lock()
_originals: list[int | None] = []
"""What C's stream was when each of the threads inside came, the first one's being the true one."""


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Let C libraries print nothing to stderr meanwhile; safe from several threads.

    Swaps C's stderr stream, not file descriptor 2: Python's own stderr goes on as it was. The first
    of several threads swaps, the last one restores.
    """
    with _lock:
        stream, nowhere = _find_stream()
        _originals.append(stream.value)
        stream.value = nowhere
    try:
        yield
    finally:
        with _lock:
            original = _originals.pop()
            if not _originals:
                stream.value = original


@cache
def _find_stream() -> tuple[ctypes.c_void_p, int | None]:
    """Return C's stderr and a stream to nowhere; a variable of our own where there is no such."""
    if sys.platform in STREAMS:
        library = ctypes.CDLL(None)
        library.fopen.restype = ctypes.c_void_p
        nowhere = library.fopen(os.devnull.encode(), b"w")
        if nowhere is not None:
            return ctypes.c_void_p.in_dll(library, STREAMS[sys.platform]), nowhere
    return ctypes.c_void_p(), None
