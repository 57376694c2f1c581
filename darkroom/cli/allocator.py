"""How this process takes memory; only the command line, which owns the process, decides that."""

import ctypes
import os
import sys

from darkroom.errors import DarkroomError

if sys.platform != "win32":
    import resource

ARENA_MAX = -8
"""Source: glibc, malloc.h, M_ARENA_MAX."""
MIN_ADDRESS_SPACE = 1 << 30
"""Bytes with which a photo of 0.3 MP could just be enhanced; with less, NumPy's BLAS, torch and
the threads of OpenMP ended the process, or one another's imports."""
BLAS_THREADS = "OPENBLAS_NUM_THREADS"
"""Source: OpenBLAS, README, "Setting the number of threads using environment variables"."""


def share_one_arena() -> None:
    """Let all threads share one heap (glibc): each one's own would keep what its photos needed.

    Before threads start. 40 photos of 2 MP: peak 611 MB, with a heap per thread 875 MB.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(ARENA_MAX, 1)


def use_one_blas_thread() -> None:
    """Give NumPy's BLAS one thread, unless the user decided otherwise; before NumPy is imported.

    Its products here are of milliseconds, after each of which OpenBLAS's threads wait for the next
    one at full speed: a batch's photo of 12 MP cost 0.05 s of processor time more.
    """
    os.environ.setdefault(BLAS_THREADS, "1")


def check_address_space() -> None:
    """Refuse to start where the address space is too small (ulimit -v); raises DarkroomError.

    OpenBLAS, which comes with NumPy, ends the process where it finds none. Before NumPy is
    imported.
    """
    if sys.platform == "win32":
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    if limit < MIN_ADDRESS_SPACE:
        raise DarkroomError(
            f"memory is limited to {limit / 1e6:.0f} MB of addresses (ulimit -v), too little: "
            "raise the limit to 4 GB or more"
        )
