"""Measure the light of a photo on small blocks spread over it; every automatic rule looks at these.

Blocks average the noise out, and few are enough: a photo of 12 million photosites is measured in
milliseconds. White is the sensor's white level; light is what a photosite holds above black.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darkroom.raw.image import RawImage, Sensor

Floats = NDArray[np.float32]

BLOCK = {Sensor.BAYER: 8, Sensor.XTRANS: 6}
MAX_BLOCKS = 64
BORDER = 1 / 32
EMPTY_SIGMAS = 4.5
FLATTEST_PERCENTILE = 10
BRIGHTEST_PERCENTILE = 99.9


@dataclass(frozen=True, slots=True)
class Reading:
    """The light of a photo on its blocks, in units of white.

    `rgb`: (3, n) mean light of each block's red, green and blue sites after white balance, the
    smallest multiplier being 1; negative where noise outweighs light. `noise`: standard deviation
    of one green photosite in the flattest blocks. `block_noise`: that of the noisiest of the three
    means.
    """

    rgb: Floats
    noise: float
    block_noise: float

    @property
    def light(self) -> Floats:
        """(n,) each block's brightest channel, because that is the one that clips: 0 to 1."""
        return np.asarray(self.rgb.max(axis=0).clip(0, 1))

    @property
    def empty(self) -> bool:
        """Whether not even the brightest blocks stand out of the noise."""
        brightest = float(np.percentile(self.light, BRIGHTEST_PERCENTILE))
        return brightest <= EMPTY_SIGMAS * self.block_noise


def read_light(raw: RawImage) -> Reading:
    """Measure a photo on up to MAX_BLOCKS x MAX_BLOCKS blocks, evenly spread.

    The brightest and darkest photosite of each colour are left out of every block (hot and dead
    pixels), and so is a border (optical black).
    """
    sites = _read_blocks(raw)  # (sites, n)
    balance = raw.color.white_balance
    multipliers = np.ones(3) if balance is None else balance / balance.min()
    side = int(np.sqrt(len(sites)))
    periods = -(-side // raw.cfa.period)
    channels = np.tile(raw.cfa.channels, (periods, periods))[:side, :side].ravel()
    rgb = np.empty((3, sites.shape[1]), dtype=np.float32)
    for channel, multiplier in enumerate(multipliers):
        rgb[channel] = np.float32(multiplier) * _trimmed_mean(sites[channels == channel])
    noise = float(np.percentile(sites[channels == 1].std(axis=0), FLATTEST_PERCENTILE))
    block_noise = noise * float(np.max(multipliers / np.sqrt(np.bincount(channels))))
    return Reading(rgb, noise, block_noise)


def _read_blocks(raw: RawImage) -> Floats:
    """(sites, n) float32 light of each block's sites in reading order, black 0, white 1.

    Blocks that were lost in part are left out, unless all were.
    """
    period = raw.cfa.period
    side = max(min(BLOCK[raw.cfa.sensor], *raw.mosaic.shape) // period, 1) * period
    rows, columns = (_starts(size, side, period) for size in raw.mosaic.shape)
    light = np.empty((side, side, len(rows), len(columns)), dtype=np.float32)
    for row, column in np.ndindex(side, side):
        light[row, column] = raw.mosaic[_slice(rows + row), _slice(columns + column)]
    black, white = (_levels(level, rows, columns, side) for level in (raw.black, raw.white))
    light -= black
    light /= white - black
    light = light.reshape(side * side, -1)
    if raw.missing is None:
        return light
    lost = np.zeros((len(rows), len(columns)), np.bool_)
    for row, column in np.ndindex(side, side):
        lost |= raw.missing[_slice(rows + row), _slice(columns + column)]
    return light if lost.all() else light[:, ~lost.ravel()]


def _starts(size: int, side: int, period: int) -> NDArray[np.intp]:
    """First rows (or columns) of the blocks: whole CFA periods, one step apart, without borders."""
    border = int(size * BORDER)
    if size - 2 * border < side:
        border = 0
    room = size - 2 * border - side
    step = max(-(-room // ((MAX_BLOCKS - 1) * period)) * period, side)
    count = max(room // step, 0) + 1
    first = border + (room - (count - 1) * step) // 2  # what is left over goes to both ends
    return np.arange(count) * step + first // period * period


def _slice(places: NDArray[np.intp]) -> slice:
    """Evenly spaced places as a slice, which reads them without a copy."""
    step = int(places[1] - places[0]) if len(places) > 1 else 1
    return slice(int(places[0]), int(places[-1]) + 1, step)


def _levels(levels: Floats, rows: NDArray[np.intp], columns: NDArray[np.intp], side: int) -> Floats:
    """(side, side, rows, columns) levels of the blocks that start there, or (side, side, 1, 1).

    `levels`: (h, w) pattern that repeats over the mosaic, mostly from each block to the next.
    """
    height, width = levels.shape
    down, right = (starts + np.arange(side)[:, None] for starts in (rows, columns))
    if np.ptp(rows % height) == 0 and np.ptp(columns % width) == 0:
        down, right = down[:, :1], right[:, :1]
    chosen = levels[np.ix_(down.ravel() % height, right.ravel() % width)]
    return chosen.reshape(side, down.shape[1], side, right.shape[1]).transpose(0, 2, 1, 3)


def _trimmed_mean(sites: Floats) -> Floats:
    """(n,) mean over the sites without the largest and smallest, where there are at least four."""
    total, count = sites.sum(axis=0), len(sites)
    if count < 4:
        return np.asarray(total / count, dtype=np.float32)
    extremes = sites.max(axis=0) + sites.min(axis=0)
    return np.asarray((total - extremes) / (count - 2), dtype=np.float32)
