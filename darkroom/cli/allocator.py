"""How this process takes memory; only the command line, which owns the process, decides that."""

import ctypes
import os
import sys

from darkroom.errors import DarkroomError

if sys.platform != "win32":
    import resource

ARENA_MAX = -8
TRIM_THRESHOLD = -1
MMAP_MAX = -4
"""Source: glibc, malloc.h, M_ARENA_MAX, M_TRIM_THRESHOLD and M_MMAP_MAX."""
KEPT_BYTES = (1 << 31) - 1
"""Unused memory that is kept at most: the largest number that mallopt takes."""
MIN_USABLE = 4 << 30
"""With so many bytes to use a batch keeps what it has: more than 12-MP photos come to by 1.5 GB, so
that tiles stay as large as they may be."""
LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Source: PyTorch 2.2, "Enable THP for buffer sizes >=2MB" (#115990)."""
MIN_ADDRESS_SPACE = 1 << 30
"""Bytes with which a photo of 0.3 MP could just be enhanced; with less, NumPy's BLAS, torch and
the threads of OpenMP ended the process, or one another's imports."""
BLAS_THREADS = "OPENBLAS_NUM_THREADS"
"""Source: OpenBLAS, README, "Setting the number of threads using environment variables"."""


def share_one_arena() -> None:
    """Let all threads share one heap (glibc): each one's own would keep what its photos needed.

    Before threads start. 40 photos of 2 MP: peak 611 MB, with a heap per thread 875 MB.
    """
    _set_option(ARENA_MAX, 1)


def _set_option(option: int, value: int) -> None:
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(option, value)


def keep_memory(usable: int) -> None:
    """Have one photo's memory used again for the next (glibc), where there are `usable` bytes.

    Else each large array is fresh from the system and given back: 20,000 page faults per 12-MP
    photo. In bfloat16 on two cores ten photos took 1.28 s each, not 1.84, and 2.8 GB, not 1.5, for
    what is kept has gaps. One photo by itself is slower so: it takes more memory afresh.
    """
    if usable >= MIN_USABLE:
        _set_option(TRIM_THRESHOLD, KEPT_BYTES)
        _set_option(MMAP_MAX, 0)


def use_large_pages() -> None:
    """Let torch ask Linux for pages of 2 MB, as NumPy does, unless the user decided otherwise.

    Before torch is imported. A network on 12 MP takes 2.2 GB afresh, 0.53 million pages of 4 kB:
    3.45 instead of 4.0 processor seconds.
    """
    os.environ.setdefault(LARGE_PAGES, "1")


def check_address_space() -> None:
    """Refuse to start where the address space is too small (ulimit -v); raises DarkroomError.

    OpenBLAS, which comes with NumPy, ends the process where it finds none, and takes the more the
    more processors there are; with a limit it is given one thread. Before NumPy is imported.
    """
    if sys.platform == "win32":
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    os.environ.setdefault(BLAS_THREADS, "1")
    if limit < MIN_ADDRESS_SPACE:
        raise DarkroomError(
            f"memory is limited to {limit / 1e6:.0f} MB of addresses (ulimit -v), too little: "
            "raise the limit to 4 GB or more"
        )
