"""One process at a time may install an entry; the system frees the lock when a process dies."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.errors import WeightsError

POLL_SECONDS = 0.1


@contextmanager
def held(path: Path, timeout: float, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock on the file `path`, made if missing; `waiting` is called once if it is taken.

    `timeout` in seconds. Raises WeightsError when it passes, or where the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        raise WeightsError(
            f"cannot write {path.parent}: {error.strerror}; set DARKROOM_WEIGHTS to another folder"
        ) from error
    try:
        _wait(descriptor, path, timeout, waiting)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: Path, timeout: float, waiting: Callable[[], None]) -> None:
    deadline = time.monotonic() + timeout
    told = False
    while not _taken(descriptor):
        if time.monotonic() > deadline:
            raise WeightsError(f"another darkroom holds {path} for {timeout:g} s: try again later")
        if not told:
            waiting()
            told = True
        time.sleep(POLL_SECONDS)


if sys.platform == "win32":
    import msvcrt

    def _taken(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _taken(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
