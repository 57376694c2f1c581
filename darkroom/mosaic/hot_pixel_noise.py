"""How much noise defects have to stand out of: an upper estimate, in a few milliseconds.

`darkroom.mosaic.noise` looks for the least that explains a photo, for networks. Here that would
make defects of noise: with it five of the tests in tests/mosaic/test_hot_pixels.py fail, those
without read noise, with values clipped at black, and of X-Trans texture; and it takes several times
as long.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darkroom.raw.image import CFA, Sensor

Mosaic = NDArray[np.float32]

# The least noise: half a step of 14 bits, in which photos without noise are still rounded.
MIN_NOISE = 0.5 / 2**14

BLOCK = {Sensor.BAYER: 8, Sensor.XTRANS: 6}
MAX_BLOCKS = 64
LEVELS = 8
FLATTEST_PERCENTILE = 20
# What that percentile of the blocks' standard deviations falls short of the true one.
FLATTEST_SHORT = {Sensor.BAYER: 0.725, Sensor.XTRANS: 0.66}


@dataclass(frozen=True, slots=True)
class NoiseBound:
    """At most the noise of one photosite: variance = read_variance + shot * light, white 1."""

    read_variance: float
    shot: float

    def deviation(self, light: Mosaic) -> Mosaic:
        """Return the standard deviation at some light, of its shape."""
        variance = self.read_variance + self.shot * np.maximum(light, 0)
        return np.asarray(np.sqrt(variance), dtype=np.float32)


def bound_noise(mosaic: Mosaic, cfa: CFA) -> NoiseBound:
    """Measure read and shot noise of a photo on the greens of small blocks spread over it.

    The flattest blocks of each brightness count, by the upper half of their values only, so that
    texture adds little and values clipped at black take nothing away.
    """
    level, deviation = _blocks(mosaic, cfa)
    order = np.argsort(level)
    bins = [chosen for chosen in np.array_split(order, LEVELS) if len(chosen)]
    light = np.maximum([np.median(level[chosen]) for chosen in bins], 0)
    short = FLATTEST_SHORT[cfa.sensor]
    noise = np.array(
        [np.percentile(deviation[chosen], FLATTEST_PERCENTILE) / short for chosen in bins]
    )
    variance = np.maximum(noise, MIN_NOISE) ** 2
    # Relative errors are alike at all levels, so each equation is divided by its variance.
    design = np.stack([np.ones_like(light), light], axis=1) / variance[:, None]
    read, shot = np.linalg.lstsq(design, np.ones_like(light), rcond=None)[0]
    least = MIN_NOISE**2
    if shot <= 0:
        return NoiseBound(float(variance.mean()), 0.0)
    if read < least:
        return NoiseBound(least, float(np.sum(light / variance) / np.sum((light / variance) ** 2)))
    return NoiseBound(float(read), float(shot))


def _blocks(mosaic: Mosaic, cfa: CFA) -> tuple[Mosaic, Mosaic]:
    """(n,) median of the greens of each block, and their standard deviation as far as above it."""
    side = BLOCK[cfa.sensor]
    rows, columns = (_starts(size, side) for size in mosaic.shape)
    places = [
        (row, column)
        for row, column in np.ndindex(side, side)
        if cfa.channels[row % cfa.period, column % cfa.period] == 1
    ]
    greens = np.stack(
        [
            mosaic[rows.start + row : rows.stop + row : rows.step][
                :, columns.start + column : columns.stop + column : columns.step
            ].ravel()
            for row, column in places
        ]
    )
    greens.sort(axis=0)
    count = len(greens)
    median = (greens[(count - 1) // 2] + greens[count // 2]) / 2
    return median, greens[round(0.841 * (count - 1))] - median  # one deviation above the median


def _starts(size: int, side: int) -> slice:
    """First rows (or columns) of up to MAX_BLOCKS blocks, evenly spaced, whole CFA periods."""
    room = size - side
    step = max(-(-room // ((MAX_BLOCKS - 1) * 6)) * 6, side)
    return slice(0, max(room, 0) + 1, step)
