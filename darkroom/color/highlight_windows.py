"""Windows of a photo that its network is run over once more, chosen for least work."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from darkroom.models.tiling import Grid

Window = tuple[slice, slice]
"""Rows and columns."""

STRIP_SITES = 1 << 21
"""Packed pixels of which windows are run again at once, at most, where the margins allow it."""


def find_strip_windows(flags: Tensor, grid: Grid) -> Iterator[tuple[Window, Window]]:
    """Yield the windows of one strip of a photo after the other, from the top, none too large."""
    height, width = flags.shape
    whole = slice(0, height), slice(0, width)
    narrow = -(-2 * grid.margin // grid.multiple) * grid.multiple
    down = max(STRIP_SITES // width // grid.multiple * grid.multiple, narrow, grid.multiple)
    # Strips that margins keep from being lower are cut across.
    across = STRIP_SITES // (2 * down) // grid.multiple * grid.multiple
    across = width if down > narrow else max(across, down)
    for top in range(0, height, down):
        found = [
            _shifted(inner, top, left)
            for left in range(0, width, across)
            for inner, _ in find_windows(flags[top : top + down, left : left + across], grid)
        ]
        for window in sorted(found, key=lambda one: one[0].start):
            yield window, widen(window, grid.margin, whole)


def find_windows(flags: Tensor, grid: Grid) -> Iterator[tuple[Window, Window]]:
    """Yield windows that together hold all flags of (h, w), each with what it depends on around it.

    They start on the network's grid, so that it sees them as it sees the whole.
    """
    height, width = flags.shape
    if not bool(flags.any()):
        return
    whole = slice(0, height), slice(0, width)
    if grid.halo is None:
        yield whole, whole
        return
    step, margin = grid.multiple, grid.margin
    cells = functional.max_pool2d(flags[None].float(), step, ceil_mode=True)[0].cpu().numpy() > 0
    for rows, columns in _split(cells, (0, 0), margin // step):
        inner = (
            slice(rows.start * step, min(rows.stop * step, height)),
            slice(columns.start * step, min(columns.stop * step, width)),
        )
        yield inner, widen(inner, margin, whole)


def _shifted(window: Window, top: int, left: int) -> Window:
    rows, columns = window
    return (
        slice(rows.start + top, rows.stop + top),
        slice(columns.start + left, columns.stop + left),
    )


def widen(window: Window, margin: int, limits: Window) -> Window:
    """Return a window with a margin around it, as far as the limits go."""
    rows, columns = (
        slice(max(side.start - margin, limit.start), min(side.stop + margin, limit.stop))
        for side, limit in zip(window, limits, strict=True)
    )
    return rows, columns


def _split(cells: NDArray[np.bool_], origin: tuple[int, int], margin: int) -> list[Window]:
    """Return windows that hold all cells that are set, and with their margins are least work.

    Halves a window as long as both halves, each as small as its cells allow, are less.
    """
    places = np.argwhere(cells)
    if not len(places):
        return []
    (top, left), (bottom, right) = places.min(0), places.max(0) + 1
    cells, origin = cells[top:bottom, left:right], (origin[0] + int(top), origin[1] + int(left))
    height, width = cells.shape
    best = [(slice(origin[0], origin[0] + height), slice(origin[1], origin[1] + width))]
    if height >= width and height > 1:
        middle = height // 2
        halves = [(cells[:middle], origin), (cells[middle:], (origin[0] + middle, origin[1]))]
    elif width > 1:
        middle = width // 2
        halves = [(cells[:, :middle], origin), (cells[:, middle:], (origin[0], origin[1] + middle))]
    else:
        return best
    parts = [window for half, start in halves for window in _split(half, start, margin)]

    def work(windows: list[Window]) -> int:
        return sum(
            (rows.stop - rows.start + 2 * margin) * (columns.stop - columns.start + 2 * margin)
            for rows, columns in windows
        )

    return min(best, parts, key=work)


def scale_window(window: Window, origin: tuple[int, int], scale: int) -> Window:
    """Turn packed pixels, counted from `origin`, into picture pixels."""
    rows, columns = (
        slice((side.start - start) * scale, (side.stop - start) * scale)
        for side, start in zip(window, origin, strict=True)
    )
    return rows, columns
