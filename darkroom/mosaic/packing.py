"""From a camera's mosaic to the packed form that every network takes.

The packed form is float32, linear, black 0 and sensor white 1 before amplification; values below
black are kept, since negative noise is signal too. Bayer: (4, H/2, W/2), each 2x2 block in reading
order R G G B. X-Trans: (9, H/3, W/3), each 6x6 block as 2x2 packed pixels in SID's arrangement.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import SensorError
from darkroom.mosaic.linear import Mosaic
from darkroom.mosaic.linear import linearise as linearise
from darkroom.raw.image import CFA, Sensor

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


def align(mosaic: Mosaic, cfa: CFA) -> Aligned:
    """Crop the fewest first rows and columns, so that the mosaic starts in the packed phase.

    Bayer: at most one row and one column. X-Trans: at most five of either and seven together, since
    it repeats diagonally every 3 rows and columns. The result is a view. Raises SensorError where
    no shift of this array gives the packed phase.
    """
    goal, top, left = find_phase(cfa)
    return Aligned(mosaic[top:, left:], goal, top, left)


def find_phase(cfa: CFA) -> tuple[CFA, int, int]:
    """Return the packed form's phase, and the rows and columns that `align` crops for it."""
    goal = BAYER if cfa.sensor is Sensor.BAYER else XTRANS
    for top, left in sorted(np.ndindex(cfa.period, cfa.period), key=sum):
        if cfa.shifted(top, left) == goal:
            return goal, top, left
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


def pack(mosaic: Mosaic, cfa: CFA, out: Packed | None = None) -> Packed:
    """Pack an aligned (H, W) mosaic: (4, H/2, W/2) for Bayer, (9, H/3, W/3) for X-Trans.

    Sizes that are no multiple of the array's period are continued at the bottom and right with the
    sites one period before, which have the same colours; the picture is cropped later. `out`: where
    it is put. Raises SensorError where the mosaic is smaller than one period or not in the packed
    phase.
    """
    if cfa not in (BAYER, XTRANS):
        raise SensorError(f"colour filter array {cfa.pattern} is not aligned; call align() first")
    check_size(mosaic.shape, cfa)
    sites, side = (BAYER_SITES, 1) if cfa == BAYER else (XTRANS_SITES, 2)
    period = cfa.period
    rows, cols = (-(-size // period) for size in mosaic.shape)
    shape = len(sites), rows * side, cols * side
    packed = np.empty(shape, dtype=np.float32) if out is None else out
    for channel, block in zip(packed, sites, strict=True):
        for place, (row, col) in enumerate(block):
            target = channel[place // side :: side, place % side :: side]
            _fill(target, mosaic[row::period, col::period])
    return packed


def check_size(shape: tuple[int, ...], cfa: CFA) -> None:
    """Raise SensorError for a mosaic, (H, W), that is smaller than one period of its filters."""
    if min(shape) < cfa.period:
        size = f"{shape[1]}x{shape[0]}"
        raise SensorError(f"a mosaic of {size} is smaller than its colour filter array")


def _fill(target: Packed, source: Mosaic) -> None:
    """Copy one site of every period, repeating the last ones where the mosaic ends early."""
    rows, cols = source.shape
    target[:rows, :cols] = source
    if cols < target.shape[1]:
        target[:rows, -1] = source[:, -1]
    if rows < target.shape[0]:
        target[-1] = target[-2]
