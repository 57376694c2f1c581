"""What every dark frame has on top of black: offsets of rows and columns, shading, hot pixels.

All in sensor units. A mean of few frames holds their noise too. What two halves of the frames share
is fixed, the rest is noise: each part of the pattern is shrunk by how much of it is noise
(Wiener's filter), and left out where it is not significant.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Mosaic = NDArray[np.float32]
Values = NDArray[np.float64]

CELLS = 16
"""Shading is described by so many cells along the frame's shorter side, at most."""
MIN_CELL = 48
"""Photosites along a cell at least, so that noise averages out."""
OUTLYING = 5.0
"""What is further off, in stds, than this is a hot pixel or damage, and counts as so much."""
SIGNIFICANCE = 4.0
"""A part of the pattern is real if what the halves share is so many standard errors."""
NORMAL_MAD = 1.4826
"""Standard deviation of normal values by their median absolute deviation."""
MAX_SAMPLES = 1 << 20
"""So many sites tell a spread to a thousandth."""
HOT = 6.0
"""A hot pixel stands out of each half of the frames by so many stds of its noise..."""
HOT_READ = 2.0
"""... and by so many of the read noise: below, repairing it gains nothing."""
HOT_ALONE = 10.0
"""Where there is one frame only, by so many stds of the read noise."""
MAX_HOT_SHARE = 0.005
"""More are no defects: the strongest are kept."""


class Pattern(NamedTuple):
    """What dark frames always have, without black; None for what is not significant.

    `sites`: (H, W) what single sites are off besides, shrunk; `hot`: (n, 3) row, column, excess.
    """

    rows: Values | None
    columns: Values | None
    shading: Values | None
    sites: Mosaic | None
    hot: Values


def measure_spread(values: Mosaic) -> float:
    """Return a robust standard deviation; hot pixels and tails do not count."""
    flat = values.ravel()
    flat = flat[:: flat.size // MAX_SAMPLES | 1]
    return NORMAL_MAD * float(np.median(np.abs(flat - np.median(flat))))


def measure_pattern(halves: list[Mosaic], counts: list[int], noise: float) -> Pattern:
    """Measure the fixed pattern of one or two means of dark frames, which are changed.

    `halves`: (H, W) each, black taken off; `counts`: frames in each. `noise`: std of one site from
    frame to frame.
    """
    shares = [count / sum(counts) for count in counts]
    lines: list[Values | None] = []
    for axis in (1, 0):
        if len(halves) == 1:  # whose lines cannot be told from its noise, but slow changes can
            lines.append(None)
            continue
        found = [_average_lines(half, axis) for half in halves]
        lines.append(_shrink(found, shares))
        for half, line in zip(halves, found, strict=True):
            half -= np.expand_dims(line, axis).astype(np.float32)
    cells = [_average_cells(half) for half in halves]
    shading = _shrink_cells(cells, shares, noise / math.sqrt(sum(counts)), halves[0].size)
    for half, own in zip(halves, cells, strict=True):
        half -= spread_cells(own, half.shape)
    hot = _find_hot(halves, shares, noise)
    return Pattern(lines[0], lines[1], shading, _shrink_sites(halves, shares, hot), hot)


def tile(pattern: Values, shape: tuple[int, ...]) -> Mosaic:
    """Repeat a pattern over a frame of some shape."""
    repeats = [-(-size // side) for size, side in zip(shape, pattern.shape, strict=True)]
    return np.tile(pattern.astype(np.float32), repeats)[: shape[0], : shape[1]]


def spread_cells(cells: Values, shape: tuple[int, ...]) -> Mosaic:
    """Interpolate (m, n) cells over a frame of some shape, linearly, also beyond the outer ones."""
    down, right = (
        _interpolation(size, count) for size, count in zip(shape, cells.shape, strict=True)
    )
    return np.asarray(down @ cells.astype(np.float32) @ right.T, np.float32)


def _interpolation(size: int, count: int) -> Mosaic:
    """(size, count) weights of each cell at each site along one side."""
    if count == 1:
        return np.ones((size, 1), np.float32)
    place = (np.arange(size) + 0.5) * count / size - 0.5
    first = np.clip(np.floor(place).astype(np.intp), 0, count - 2)
    weights = np.zeros((size, count), np.float32)
    weights[np.arange(size), first] = 1 - (place - first)
    weights[np.arange(size), first + 1] = place - first
    return weights


def _average_lines(half: Mosaic, axis: int) -> Values:
    """Mean of each row (axis 1) or column (axis 0) about its median, outliers held down."""
    middle = np.median(half, axis=axis, keepdims=True)
    limit = OUTLYING * measure_spread(half - middle)
    inner = np.clip(half - middle, -limit, limit).mean(axis=axis, dtype=np.float64)
    return np.asarray(middle.squeeze(axis) + inner, np.float64)


def _average_cells(half: Mosaic) -> Values:
    """Mean of each cell about its median, outliers held down."""
    cell = max(MIN_CELL, -(-min(half.shape) // CELLS))
    rows, columns = (max(size // cell, 1) for size in half.shape)
    limit = OUTLYING * measure_spread(half)
    found = np.empty((rows, columns))
    for row, band in enumerate(np.array_split(half, rows, axis=0)):
        for column, part in enumerate(np.array_split(band, columns, axis=1)):
            middle = np.median(part)
            inner = np.clip(part - middle, -limit, limit).mean(dtype=np.float64)
            found[row, column] = middle + inner
    return found


def _shrink(halves: list[Values], shares: list[float]) -> Values | None:
    """Average what two halves found, shrunk to what they share; None where that is nothing."""
    one, other = (half - half.mean() for half in halves)
    shared = float((one * other).mean())
    error = math.sqrt(float((one**2).mean() * (other**2).mean()) / one.size)
    mean = shares[0] * halves[0] + shares[1] * halves[1]
    total = float(mean.var())
    if shared <= SIGNIFICANCE * error or not total > 0:
        return None
    return mean * min(shared / total, 1.0)


def _shrink_cells(
    cells: list[Values], shares: list[float], noise: float, sites: int
) -> Values | None:
    """Average the cells of the halves, shrunk by the noise they must have; `noise` of one site."""
    mean = np.asarray(sum(share * own for share, own in zip(shares, cells, strict=True)))
    expected = noise**2 * mean.size / sites
    total = float(mean.var())
    if mean.size < 2 or total <= expected * (1 + SIGNIFICANCE * math.sqrt(2 / mean.size)):
        return None
    return mean * (1 - expected / total)


def _find_hot(halves: list[Mosaic], shares: list[float], noise: float) -> Values:
    """(n, 3) row, column, excess of the sites that stand out of every half."""
    least = np.full(halves[0].shape, np.inf, np.float32)
    for half in halves:
        alone = HOT_ALONE * noise if len(halves) == 1 else HOT * measure_spread(half)
        np.minimum(least, half / max(alone, HOT_READ * noise), out=least)
    rows, columns = np.nonzero(least > 1)
    excess = sum(
        (share * half[rows, columns] for share, half in zip(shares, halves, strict=True)),
        np.zeros(len(rows)),
    )
    kept = np.argsort(-excess, kind="stable")[: int(MAX_HOT_SHARE * least.size)]
    kept = kept[np.lexsort((columns[kept], rows[kept]))]
    return np.stack([rows[kept], columns[kept], excess[kept]], axis=1).astype(np.float64)


def _shrink_sites(halves: list[Mosaic], shares: list[float], hot: Values) -> Mosaic | None:
    """(H, W) what single sites are off, shrunk to what the halves share; None for one frame."""
    if len(halves) == 1:
        return None
    places = hot[:, :2].astype(np.intp)
    for half in halves:
        half[places[:, 0], places[:, 1]] = 0
        limit = np.float32(OUTLYING * measure_spread(half))
        np.clip(half, -limit, limit, out=half)
    one, other = halves
    shared = float(np.mean(one * other, dtype=np.float64))
    powers = [float(np.mean(half * half, dtype=np.float64)) for half in halves]
    mean = shares[0] * one + shares[1] * other
    total = float(np.mean(mean * mean, dtype=np.float64))
    if shared <= SIGNIFICANCE * math.sqrt(powers[0] * powers[1] / one.size) or not total > 0:
        return None
    return np.asarray(mean * np.float32(min(shared / total, 1.0)), np.float32)
