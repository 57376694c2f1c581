"""Small blocks spread over a photo: their light, and what no smooth surface explains."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.raw.image import CFA, RawImage, Sensor

BLOCK = {Sensor.BAYER: (8, 8), Sensor.XTRANS: (6, 12)}
"""Rows and columns of a block in photosites: the rarest colour has 16 in it."""
MAX_PAIRS = (80, 48)
"""Pairs of blocks down and across the photo, at most (nearly)."""
SURFACE = 5
"""Terms of a quadratic surface besides its mean."""
SATURATED = 0.95
"""Light from which a site may be clipped at white, or bent on its way there."""
CLIPPED_SHARE = 1e-3
"""A sensor's least value is a floor, below which noise is lost, where it is so frequent."""

Values = NDArray[np.float64]


class Blocks(NamedTuple):
    """What each channel of each block says; all (blocks, channels), in units of white.

    `mean`; `beside`: the mean of the block next to it, to sort by, since its noise is another;
    `variance` around a quadratic surface, of `freedom` (channels,) degrees; `slope`: the variance
    of that surface. `floor`: (channels,) the value below which noise was cut off, or -inf.
    """

    mean: Values
    beside: Values
    variance: Values
    freedom: Values
    slope: Values
    floor: Values


def measure_blocks(raw: RawImage) -> Blocks:
    """Measure blocks that are spread evenly over the photo and not saturated, in pairs."""
    sites = _read_blocks(raw)  # (pairs, 2, sites)
    top = min(SATURATED, float(sites.max(initial=0)))
    sites = sites[sites.max(axis=(1, 2), initial=0) < top]
    channels, basis, sizes = _basis(raw.cfa)
    parts = np.square(sites.reshape(-1, sites.shape[2]) @ basis)
    freedom = np.array(sizes) - SURFACE
    # One row for each column of the basis: 1 where it belongs to a channel's surface, or its rest.
    surface = np.repeat(np.eye(len(sizes)), sizes, axis=0)
    is_rest = np.concatenate([np.arange(size) >= SURFACE for size in sizes])[:, None]
    average = np.hstack([surface * ~is_rest / SURFACE, surface * is_rest / freedom])
    energy = (parts @ average.astype(np.float32)).astype(np.float64)
    member = (channels[:, None] == np.arange(len(sizes))).astype(np.float32)
    mean = np.asarray(sites @ (member / member.sum(axis=0)), dtype=np.float64)  # (pairs, 2, ...)
    return Blocks(
        mean=mean.reshape(-1, len(sizes)),
        beside=mean[:, ::-1].reshape(-1, len(sizes)),
        variance=energy[:, len(sizes) :],
        freedom=freedom.astype(np.float64),
        slope=energy[:, : len(sizes)],
        floor=_floors(sites, channels, len(sizes)),
    )


def _read_blocks(raw: RawImage) -> NDArray[np.float32]:
    """(pairs, 2, sites) light of pairs of blocks side by side, black 0, white 1.

    Each begins with a period of the colour filter array, each pair with one of the levels.
    """
    down, across = BLOCK[raw.cfa.sensor]
    right = 2 * across
    if raw.mosaic.shape[0] < down or raw.mosaic.shape[1] < right:
        return np.empty((0, 2, down * across), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(raw.mosaic, (down, right))
    steps = [
        max(size // most, side) // level * level or level
        for size, most, side, level in zip(
            windows.shape[:2], MAX_PAIRS, (down, right), raw.black.shape, strict=True
        )
    ]
    # The levels repeat over a pair, from its first site on.
    sites = np.ix_(np.arange(down) % raw.black.shape[0], np.arange(right) % raw.black.shape[1])
    black, white = raw.black[sites], raw.white[sites]
    pairs = windows[:: steps[0], :: steps[1]].astype(np.float32)
    pairs -= black
    pairs /= white - black
    if raw.missing is not None:
        lost = np.lib.stride_tricks.sliding_window_view(raw.missing, (down, right))
        pairs = pairs[~lost[:: steps[0], :: steps[1]].any(axis=(2, 3))]
    halves = pairs.reshape(-1, down, 2, across).swapaxes(1, 2)
    return np.ascontiguousarray(halves).reshape(-1, 2, down * across)


@cache
def _basis(cfa: CFA) -> tuple[NDArray[np.intp], NDArray[np.float32], tuple[int, ...]]:
    """(sites, columns): for each channel SURFACE columns of a quadratic surface, then the rest.

    Orthonormal, and without the mean. Before it the channel of each of a block's sites, after it
    the number of columns of each channel.
    """
    numbers = np.tile(cfa.kinds, [side // cfa.period for side in BLOCK[cfa.sensor]])
    columns, sizes = [], []
    for channel in range(int(numbers.max()) + 1):
        rows, cols = np.nonzero(numbers == channel)
        y, x = rows - rows.mean(), cols - cols.mean()
        terms = np.stack([np.ones(len(x)), x, y, x * y, x**2, y**2], axis=1)
        basis, _ = np.linalg.qr(terms, mode="complete")
        embedded = np.zeros((numbers.size, len(x) - 1), dtype=np.float32)
        embedded[(numbers == channel).ravel()] = basis[:, 1:]
        columns.append(embedded)
        sizes.append(len(x) - 1)
    return numbers.ravel(), np.concatenate(columns, axis=1), tuple(sizes)


def _floors(sites: NDArray[np.float32], channels: NDArray[np.intp], count: int) -> Values:
    """(count,) the least value of each channel where so many sites have it that it is a floor."""
    floors = np.full(count, -np.inf)
    if not sites.size:
        return floors
    least = sites.min(axis=(0, 1))
    for channel in range(count):
        floor = least[channels == channel].min()
        mine = sites[::3, :, channels == channel]
        if np.count_nonzero(mine == floor) > CLIPPED_SHARE * mine.size:
            floors[channel] = floor
    return floors


def rounding_step(raw: RawImage) -> float:
    """Return the step between neighbouring values, in units of white; 0 where they are no ints."""
    if raw.mosaic.dtype != np.uint16:
        return 0.0
    rows, columns = (max(1, size // 256) for size in raw.mosaic.shape)
    values = np.flatnonzero(np.bincount(raw.mosaic[::rows, ::columns].ravel()))
    whole = int(np.gcd.reduce(values - values[0])) or 1
    return float(whole / np.mean(raw.white - raw.black))
