"""Where a sensor is saturated: at the stated white level, or below it where values pile up."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.mosaic.noise import measure_noise
from darkroom.parallel import LIGHT_BYTES, in_bands, rows_per_band
from darkroom.raw.image import RawImage, Sensor

BAND = 0.03
"""Width of the bands that are counted, as a share of the largest value: saturated sites spread by
their own noise and gain."""
MIN_PILE = 64
"""Sites of a colour that make a pile; less may be a lamp's flat core."""
STEEP = 4.0
"""A pile holds so many times what each band below it does: scenes thin out towards their lights.
Half a band between them is left out, that a pile's own spread is not taken for the scene."""
BANDS_BELOW = 2
CALM = 0.5
"""A pile is a sensor's end where it spreads less than so many times the photo's shot noise at its
light, which full sites do not have. Flat surfaces, the brightest of their scene, spread by it."""
ALIKE = 0.015
"""Piles of red or blue that end so near to green's, as a share of it, are the sensor's end however
they spread: of a surface the colours seldom end in the same place, white ones never."""
TINY = 1e-6
"""Noise in units of white below which a picture is computed, and its flat parts tell nothing."""

Values = NDArray[np.uint16] | NDArray[np.float32]


def measure_saturation(raw: RawImage) -> NDArray[np.float64]:
    """Return the light at which red, green and blue sites saturate, (3,), white 1.

    Less than 1 where a colour's values end in a pile below the stated white, unless that may be a
    flat surface, the brightest of its scene.
    """
    ends, spreads, maxima = np.ones(3), np.zeros(3), _measure_maxima(raw)
    for color in range(3):
        places = np.argwhere(raw.cfa.channels == color)
        levels = [_levels_at(raw, row, column) for row, column in places]
        black, white = (float(np.mean(level)) for level in zip(*levels, strict=True))
        # X-Trans has many sites of a colour, which are read out alike.
        groups = [places] if raw.cfa.sensor is Sensor.XTRANS else places[:, None]
        piles = [_find_pile(raw, group, black, maxima) for group in groups]
        if any(piles):
            level, spread = max(pile for pile in piles if pile)
            ends[color] = min((level - black) / (white - black), 1.0)
            spreads[color] = spread / (white - black)
    below = ends < 1 - BAND
    if below.any():
        alike = np.abs(ends / ends[1] - 1) < ALIKE
        alike[1] = alike[0] or alike[2]
        calm = spreads + TINY < CALM * _expect_shot_noise(raw, ends)
        ends[below & ~alike & ~calm] = 1.0
    return ends


def _expect_shot_noise(raw: RawImage, ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shot noise at some light, in units of white, as told by what is darker than it."""
    least = float(ends.min())
    below = replace(raw, white=raw.black + least * (raw.white - raw.black), noise_profile=None)
    return np.sqrt(measure_noise(below).shot * least * ends)


class _Maxima(NamedTuple):
    """The largest value of each row, (H,); of each column in the rows of a phase, (period, W)."""

    rows: Values
    columns: Values


def _measure_maxima(raw: RawImage) -> _Maxima:
    """Find the rows and columns in which a photo is bright, in one pass through it."""
    mosaic, period = raw.mosaic, raw.cfa.period

    def work(band: slice) -> tuple[Values, Values]:
        rows = mosaic[band]
        # All bands begin with the same phase; the last may lack some.
        columns = [rows[row::period].max(axis=0, initial=0) for row in range(period)]
        return rows.max(axis=1), np.stack(columns)

    step = -(-rows_per_band(mosaic[0].nbytes, LIGHT_BYTES) // period) * period
    parts = list(in_bands(work, len(mosaic), step))
    return _Maxima(
        np.concatenate([rows for rows, _ in parts]),
        np.max([columns for _, columns in parts], axis=0),
    )


def _levels_at(raw: RawImage, row: int, column: int) -> tuple[float, float]:
    """Return black and white of one site of the CFA's period."""
    black, white = (
        level[row % len(level), column % level.shape[1]] for level in (raw.black, raw.white)
    )
    return float(black), float(white)


def _find_pile(
    raw: RawImage, places: NDArray[np.intp], black: float, maxima: _Maxima
) -> tuple[float, float] | None:
    """Return middle and spread of the pile in which values end, None where they thin out instead.

    `places`: (n, 2) the sites of the CFA's period that are looked at.
    """
    period = raw.cfa.period
    columns = [maxima.columns[row, column::period] for row, column in places]
    top = float(max(values.max() for values in columns))
    width = BAND * (top - black)
    if width <= 0:
        return None
    least, found = top - (BANDS_BELOW + 1.5) * width, []
    for (row, column), values in zip(places, columns, strict=True):
        down = np.flatnonzero(maxima.rows[row::period] > least) * period + row
        right = np.flatnonzero(values > least) * period + column
        bright = raw.mosaic[np.ix_(down, right)]
        found.append(bright[bright > least])
    near = np.concatenate(found).astype(np.float64)
    pile = near[near > top - width]
    beyond = (top - 1.5 * width - near[near <= top - 1.5 * width]) // width
    scene = np.bincount(beyond.astype(int), minlength=1).max() if len(beyond) else 0
    if len(pile) < MIN_PILE or len(pile) < STEEP * scene:
        return None
    low, middle, high = np.percentile(pile, (16, 50, 84))
    return float(middle), float(high - low) / 2
