"""Demosaicing alone: what `--denoise 0` shows, and what the network's result is blended with.

Bayer: the linear filters of Malvar, He and Cutler. X-Trans: the plane through the neighbours of
each colour. Both are one convolution over whole periods of the colour filter array, so they run on
packed tiles as networks do, and a tile with its margin gives what the whole photo gives.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from darkroom.mosaic.packing import BAYER, XTRANS, XTRANS_SITES
from darkroom.raw.image import CFA

REACH = 2
"""Photosites that the filters look at on each side; one packed pixel of either sensor has them."""

BAND_SITES = 1 << 19
"""Photosites that are interpolated at a time: of more, what lies between takes more than the
picture itself."""

# The filters, times 8. Source: Malvar, He, Cutler, "High-quality linear interpolation for
# demosaicing of Bayer-patterned color images", ICASSP 2004, figure 2.
GREEN_AT_COLOUR = (
    (0, 0, -1, 0, 0),
    (0, 0, 2, 0, 0),
    (-1, 2, 4, 2, -1),
    (0, 0, 2, 0, 0),
    (0, 0, -1, 0, 0),
)
COLOUR_AT_GREEN_IN_ITS_ROW = (
    (0, 0, 0.5, 0, 0),
    (0, -1, 0, -1, 0),
    (-1, 4, 5, 4, -1),
    (0, -1, 0, -1, 0),
    (0, 0, 0.5, 0, 0),
)
COLOUR_AT_OTHER_COLOUR = (
    (0, 0, -1.5, 0, 0),
    (0, 2, 0, 2, 0),
    (-1.5, 0, 6, 0, -1.5),
    (0, 2, 0, 2, 0),
    (0, 0, -1.5, 0, 0),
)

# How much less neighbours of an X-Trans site count with their distance: a Gaussian of this many
# photosites, narrow because every site has neighbours of each colour within 2.
SPREAD = 0.8

XTRANS_ORDER = torch.from_numpy((XTRANS_SITES @ (XTRANS.period, 1)).ravel())
"""Numbers of an X-Trans block's sites, in reading order, for each channel and packed pixel."""

Filter = NDArray[np.float64]


def demosaic(packed: Tensor) -> Tensor:
    """Interpolate the missing colours: (N, C, h, w) packed -> (N, 3, s*h, s*w) camera RGB, float32.

    C 4: Bayer, s 2; C 9: X-Trans, s 3, and h and w are even. Linear in the light, negatives kept;
    each photosite keeps its own value in its own colour. On the packed tensor's device.
    """
    cfa = BAYER if packed.shape[1] == 4 else XTRANS
    period, side = cfa.period, 1 if cfa == BAYER else 2  # of a block, in sites and packed pixels
    scale = period // side
    count, _, height, width = packed.shape
    picture = packed.new_empty(count, 3, height * scale, width * scale, dtype=torch.float32)
    rows, columns = (_continued(size * scale, period) for size in (height, width))
    filters, columns = _filters(cfa).to(packed.device), columns.to(packed.device)
    step = max(BAND_SITES // (width * scale * period), 1) * period
    for top in range(0, height * scale, step):
        needed = rows[top : top + step + 2 * REACH]
        first, last = int(needed.min()) // period * side, int(needed.max()) // period * side + side
        mosaic = unpack_mosaic(packed[:, :, first:last].float())
        mosaic = mosaic.index_select(2, (needed - first * scale).to(packed.device))
        sites = functional.conv2d(mosaic.index_select(3, columns), filters, stride=period)
        picture[:, :, top : top + step] = functional.pixel_shuffle(sites, period)
    return picture


def pack_mosaic(mosaic: Tensor, cfa: CFA) -> Tensor:
    """Pack aligned (N, 1, H, W) mosaics as `darkroom.mosaic.packing.pack` does one: (N, C, h, w).

    H and W are multiples of the array's period.
    """
    sites = functional.pixel_unshuffle(mosaic, cfa.period)
    return sites if cfa == BAYER else functional.pixel_shuffle(sites[:, XTRANS_ORDER], 2)


def unpack_mosaic(packed: Tensor) -> Tensor:
    """Undo `pack_mosaic` exactly: (N, C, h, w), h and w even for X-Trans, to (N, 1, H, W)."""
    if packed.shape[1] == len(BAYER.pattern):
        return functional.pixel_shuffle(packed, BAYER.period)
    sites = functional.pixel_unshuffle(packed, 2)[:, XTRANS_ORDER.argsort()]
    return functional.pixel_shuffle(sites, XTRANS.period)


def sample_mosaic(picture: Tensor, cfa: CFA) -> Tensor:
    """See (N, 3, H, W) through a filter array: (N, H, W), H and W multiples of its period."""
    height, width = picture.shape[2:]
    colors = torch.from_numpy(cfa.channels).long().to(picture.device)
    colors = colors.repeat(height // cfa.period, width // cfa.period)
    return picture.gather(1, colors.expand(len(picture), 1, height, width))[:, 0]


def _continued(size: int, period: int) -> Tensor:
    """Return the indices of a line with REACH sites more at both ends, of the right colours.

    Bayer is mirrored at the first and last site; where X-Trans would change its colours so, the
    sites a whole period further in stand for those outside.
    """
    inside = torch.arange(-REACH, size + REACH)
    if period == 2:
        return (size - 1 - (size - 1 - inside.abs()).abs()).abs()
    inside = torch.where(inside < 0, inside + period, inside)
    return torch.where(inside >= size, inside - period, inside)


@cache
def _filters(cfa: CFA) -> Tensor:
    """(3 * period**2, 1, period + 4, period + 4): from a period and its surroundings to its RGB."""
    period, side = cfa.period, 2 * REACH + 1
    filters = np.zeros((3, period, period, period + side - 1, period + side - 1))
    find = _malvar if cfa == BAYER else _plane
    for color, row, column in np.ndindex(3, period, period):
        taps = find(cfa.shifted(row - REACH, column - REACH), color)
        filters[color, row, column, row : row + side, column : column + side] = taps
    return torch.from_numpy(filters).float().flatten(0, 2)[:, None]


def _malvar(cfa: CFA, color: int) -> Filter:
    """Choose the 5x5 filter that gives a colour at the middle of a window, `cfa` as at its start.

    REACH is even, so the array begins with the middle's own phase.
    """
    own, beside, below = cfa.channels[0, 0], cfa.channels[0, 1], cfa.channels[1, 0]
    taps = np.zeros((2 * REACH + 1, 2 * REACH + 1))
    if color == own:
        taps[REACH, REACH] = 8
    elif color == 1:
        taps = np.array(GREEN_AT_COLOUR)
    elif color == beside:
        taps = np.array(COLOUR_AT_GREEN_IN_ITS_ROW)
    elif color == below:
        taps = np.array(COLOUR_AT_GREEN_IN_ITS_ROW).T
    else:
        taps = np.array(COLOUR_AT_OTHER_COLOUR)
    return taps / 8


def _plane(cfa: CFA, color: int) -> Filter:
    """Weigh the sites of a colour in a 5x5 window so that planes are continued exactly.

    A least-squares plane through them, near ones counting more, read at the middle; the middle's
    own value where it has that colour. `cfa` as at the window's start.
    """
    offsets = np.arange(-REACH, REACH + 1)
    down, right = np.meshgrid(offsets, offsets, indexing="ij")
    taps = np.zeros(down.shape)
    own = cfa.channels[: len(offsets), : len(offsets)]
    if own[REACH, REACH] == color:
        taps[REACH, REACH] = 1
        return taps
    chosen = own == color
    terms = np.stack([np.ones(chosen.sum()), down[chosen], right[chosen]], axis=1)
    nearness = np.exp(-(down[chosen] ** 2 + right[chosen] ** 2) / (4 * SPREAD**2))[:, None]
    taps[chosen] = (np.linalg.pinv(nearness * terms) * nearness.T)[0]
    return taps
