"""Work on a picture in bands of rows: several at once, results in order, little memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

BAND_BYTES = 1 << 18
"""Picture bytes in one band: filtering stays within the processor's second-level cache."""
LIGHT_BYTES = 1 << 20
"""Bytes of light, floats, in one band: one thread searches 12 megapixels in 32, 24, 22, 21, 20 and
22 ms by bands of 1/8 to 4 MiB. NumPy's steps in them are so short that two threads wait for each
other at the interpreter: 19 ms by bands of 1 MiB, for 31 ms of processor time."""
MAX_THREADS = 4


def rows_per_band(row_bytes: int, band_bytes: int = BAND_BYTES) -> int:
    """How many rows of a picture make one band, at least one."""
    return max(1, band_bytes // row_bytes)


def cut_bands(height: int, rows: int) -> Iterator[slice]:
    """Yield the bands of `rows` rows from top to bottom; the last one may be lower."""
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def in_bands(work: Callable[[slice], Result], height: int, rows: int) -> Iterator[Result]:
    """Call `work` with each band of `rows` rows and yield the results from top to bottom.

    Runs in threads, as `in_order` does.
    """
    if height <= rows:  # nothing to share
        yield work(slice(0, height))
        return
    yield from in_order(work, cut_bands(height, rows))


def in_order(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Call `work` with each item and yield the results in the items' order.

    Runs in threads, a few items ahead of whoever takes the results, who also makes the items: for
    work in long steps, in which others may run, as NumPy's and ISA-L's.
    """
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="bands") as pool:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
