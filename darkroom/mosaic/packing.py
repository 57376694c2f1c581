"""From a camera's mosaic to the packed form that every network takes.

The packed form is float32, linear, black 0 and sensor white 1 before amplification; values below
black are kept, since negative noise is signal too. Bayer: (4, H/2, W/2), each 2x2 block in reading
order R G G B. X-Trans: (9, H/3, W/3), each 6x6 block as 2x2 packed pixels in SID's arrangement.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import SensorError
from darkroom.raw.image import CFA, RawImage, Sensor

Mosaic = NDArray[np.float32]
Packed = NDArray[np.float32]

BAYER = CFA("RGGB")
"""The phase of Bayer mosaics in the packed form."""

XTRANS = CFA("RBGBRGGGRGGBGGBGGRBRGRBGGGBGGRGGRGGB")
"""The phase of X-Trans mosaics in the packed form: red at the first site, SID's for Fuji's X-T2.

Source: the sites that SID's published `pack_raw` (train_Fuji.py) takes for red, green and blue.
"""

XTRANS_SITES: NDArray[np.intp] = np.array(
    [
        [(0, 0), (0, 4), (3, 1), (3, 3)],
        [(0, 2), (0, 5), (3, 2), (3, 5)],
        [(0, 1), (0, 3), (3, 0), (3, 4)],
        [(1, 2), (2, 5), (5, 2), (4, 5)],
        [(2, 2), (1, 5), (4, 2), (5, 5)],
        [(1, 0), (1, 3), (4, 0), (4, 3)],
        [(1, 1), (1, 4), (4, 1), (4, 4)],
        [(2, 0), (2, 3), (5, 0), (5, 3)],
        [(2, 1), (2, 4), (5, 1), (5, 4)],
    ],
    dtype=np.intp,
)
"""(9, 4, 2) row and column in the 6x6 block, for each channel and the 2x2 packed pixels in reading
order. Channels: R, G, B of the rows 0 and 3; R, B of the green rows; four of their greens.

Source: SID's published code, `pack_raw` of train_Fuji.py.
"""

BAYER_SITES: NDArray[np.intp] = np.array([[(0, 0)], [(0, 1)], [(1, 0)], [(1, 1)]], dtype=np.intp)
"""(4, 1, 2) row and column in the 2x2 block of each channel, as XTRANS_SITES."""


BAND = 16
"""Rows of a kind that are made linear at a time, few enough to stay in a processor's cache."""

COLORS_OF_CHANNELS = {
    3: (0, 1, 2),
    4: tuple(BAYER.channels.ravel().tolist()),
    9: tuple(int(XTRANS.channels[row, column]) for row, column in XTRANS_SITES[:, 0]),
}
"""Packed or full picture, by its number of channels: the colour of each, 0 red, 1 green, 2 blue."""


class Aligned(NamedTuple):
    """A mosaic in the packed form's phase, and the rows and columns cropped from its start."""

    mosaic: Mosaic
    cfa: CFA
    top: int
    left: int


def linearise(raw: RawImage) -> Mosaic:
    """Return (H, W) float32 sensor values with black at 0 and white at 1, unclipped either way.

    Black is that of the site and, where it is known, that of the row. Missing sites are black.
    """
    mosaic, period = raw.mosaic, raw.black.shape[0]
    height, width = mosaic.shape
    scale = (1.0 / (raw.white - raw.black)).astype(np.float32)
    # One row of levels, as wide as the photo, broadcasts over every row of its kind.
    blacks = [np.resize(line, width).astype(np.float32) for line in raw.black]
    scales = [np.resize(line, width) for line in scale]
    linear = np.empty(mosaic.shape, dtype=np.float32)
    step = period * BAND
    for start, row in product(range(0, height, step), range(period)):
        rows = np.s_[start + row : start + step : period]
        target = linear[rows]
        np.subtract(mosaic[rows], blacks[row], out=target, dtype=np.float32)
        if raw.row_black is not None:
            np.subtract(target, raw.row_black[rows, None], out=target)
        np.multiply(target, scales[row], out=target)
    if raw.missing is not None:
        linear[raw.missing] = 0
    return linear


def align(mosaic: Mosaic, cfa: CFA) -> Aligned:
    """Crop the fewest first rows and columns, so that the mosaic starts in the packed phase.

    Bayer: at most one row and one column. X-Trans: at most five of either and seven together, since
    it repeats diagonally every 3 rows and columns. The result is a view. Raises SensorError where
    no shift of this array gives the packed phase.
    """
    goal = BAYER if cfa.sensor is Sensor.BAYER else XTRANS
    for top, left in sorted(np.ndindex(cfa.period, cfa.period), key=sum):
        if cfa.shifted(top, left) == goal:
            return Aligned(mosaic[top:, left:], goal, top, left)
    raise SensorError(f"colour filter array {cfa.pattern} is no Bayer or X-Trans array of R, G, B")


def sample_mosaic(picture: NDArray[np.float32], cfa: CFA) -> Mosaic:
    """Return what a filter array, phase as at the first site, lets through of a picture: (H, W).

    `picture`: (H, W, 3), camera RGB.
    """
    mosaic = np.empty(picture.shape[:2], dtype=np.float32)
    for (row, column), channel in np.ndenumerate(cfa.channels):
        sites = np.s_[row :: cfa.period, column :: cfa.period]
        mosaic[sites] = picture[(*sites, channel)]
    return mosaic


def pack(mosaic: Mosaic, cfa: CFA) -> Packed:
    """Pack an aligned (H, W) mosaic: (4, H/2, W/2) for Bayer, (9, H/3, W/3) for X-Trans.

    Sizes that are no multiple of the array's period are continued at the bottom and right with the
    sites one period before, which have the same colours; the picture is cropped later. Raises
    SensorError where the mosaic is smaller than one period or not in the packed phase.
    """
    if cfa not in (BAYER, XTRANS):
        raise SensorError(f"colour filter array {cfa.pattern} is not aligned; call align() first")
    if min(mosaic.shape) < cfa.period:
        size = f"{mosaic.shape[1]}x{mosaic.shape[0]}"
        raise SensorError(f"a mosaic of {size} is smaller than its colour filter array")
    sites, side = (BAYER_SITES, 1) if cfa == BAYER else (XTRANS_SITES, 2)
    period = cfa.period
    rows, cols = (-(-size // period) for size in mosaic.shape)
    packed = np.empty((len(sites), rows * side, cols * side), dtype=np.float32)
    for channel, block in zip(packed, sites, strict=True):
        for place, (row, col) in enumerate(block):
            target = channel[place // side :: side, place % side :: side]
            _fill(target, mosaic[row::period, col::period])
    return packed


def _fill(target: Packed, source: Mosaic) -> None:
    """Copy one site of every period, repeating the last ones where the mosaic ends early."""
    rows, cols = source.shape
    target[:rows, :cols] = source
    if cols < target.shape[1]:
        target[:rows, -1] = source[:, -1]
    if rows < target.shape[0]:
        target[-1] = target[-2]
