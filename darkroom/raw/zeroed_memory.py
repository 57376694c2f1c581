"""Memory that C libraries take comes zeroed, not with what another photo left in it.

LibRaw decodes into memory as malloc gives it and stops without a word where a tile cannot be
decoded: what lay there, another photo of the same size at worst, passed for the rest of the
picture.
"""

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

M_PERTURB = -6
"""mallopt's option: memory is filled with the complement of this byte when it is taken, with the
byte itself when it is given back; 0 is off. Source: the GNU C library's mallopt(3)."""
ZEROES = 0xFF

_lock = threading.Lock()
_inside = 0


@contextmanager
def zero_memory() -> Iterator[None]:
    """Let malloc zero what it gives meanwhile; safe from several threads.

    Only the GNU C library can; others, which give large blocks fresh from the system, are left as
    they are.
    """
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(step: int) -> None:
    """Enter or leave: the first of several threads turns it on, the last one off."""
    global _inside
    with _lock:
        _inside += step
        _find_mallopt()(M_PERTURB, ZEROES if _inside else 0)


@cache
def _find_mallopt() -> Callable[[int, int], object]:
    """Return the C library's mallopt, or what does nothing where it has none."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version"):
        mallopt: Callable[[int, int], object] = library.mallopt
        return mallopt
    return lambda _option, _value: None
