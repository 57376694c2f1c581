"""Where a sensor is saturated: at the stated white level, or below it where values pile up."""

import numpy as np
from numpy.typing import NDArray

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


def measure_saturation(raw: RawImage) -> NDArray[np.float64]:
    """Return the light at which red, green and blue sites saturate, (3,), white 1.

    Less than 1 where a colour's values end in a pile below the stated white.
    """
    period, found = raw.cfa.period, np.ones(3)
    for color in range(3):
        places = np.argwhere(raw.cfa.channels == color)
        levels = [_levels_at(raw, row, column) for row, column in places]
        black, white = (float(np.mean(level)) for level in zip(*levels, strict=True))
        sites = [raw.mosaic[row::period, column::period] for row, column in places]
        if raw.cfa.sensor is Sensor.XTRANS:  # its many sites of a colour are read out alike
            sites = [np.concatenate([site.ravel() for site in sites])]
        piles = [_find_pile(site, black) for site in sites]
        if any(piles):
            found[color] = min((max(piles) - black) / (white - black), 1.0)
    return found


def _levels_at(raw: RawImage, row: int, column: int) -> tuple[float, float]:
    """Return black and white of one site of the CFA's period."""
    black, white = (
        level[row % len(level), column % level.shape[1]] for level in (raw.black, raw.white)
    )
    return float(black), float(white)


def _find_pile(sites: NDArray[np.uint16] | NDArray[np.float32], black: float) -> float:
    """Return the middle of the pile in which values end, 0 where they thin out instead."""
    top = float(sites.max())
    width = BAND * (top - black)
    if width <= 0:
        return 0.0
    near = sites[sites > top - (BANDS_BELOW + 1.5) * width].astype(np.float64)
    pile = near[near > top - width]
    beyond = (top - 1.5 * width - near[near <= top - 1.5 * width]) // width
    scene = np.bincount(beyond.astype(int), minlength=1).max() if len(beyond) else 0
    if len(pile) < MIN_PILE or len(pile) < STEEP * scene:
        return 0.0
    return float(np.median(pile))
