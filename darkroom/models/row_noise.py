"""What each row of a photo is off by, found in what the network took for noise.

A row's amplifier adds one offset to all its photosites. The network smooths most of it away and
leaves a streak. What it took away holds no scene, so the means of its rows are the offsets, and
those of separate strips of columns agree as far as they are.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from darkroom.models.photo_window import Packed
from darkroom.models.tiling import TiledModel, run_tiled
from darkroom.mosaic.demosaic import sample_mosaic, unpack_mosaic
from darkroom.mosaic.noise import Noise
from darkroom.mosaic.packing import BAYER, XTRANS
from darkroom.raw.image import CFA

STRIPS, WIDTH = 3, 64
"""Strips of so many packed pixels that the network sees twice: a tenth of a photo of 12 MP."""
MIN_READ = 0.0015
"""Amplified read noise, white 1, from which on offsets of a tenth of it show: half a code of 255
in the dark, where sRGB has 12.92 * 255 to a unit of light."""
LIMIT = 3.0
"""Stds of the noise beyond which a site tells of detail that was lost, and of all rows beyond which
a row tells of an edge; they count as that much."""
WINDOW = 31
"""Photosite rows whose mean is the scene's or black's; what a row differs from it by is its own."""
NORMAL_MEDIAN = 1.4826
"""Times the median of a normal distribution's absolute values is its standard deviation."""
DISAGREEING = 3.0
"""Times the expected variance of their mean by which strips differ that do not see one offset: of
three strips with nothing but noise, one row in twenty. Source: chi-square, two degrees of freedom.
"""
SURE = 3.0
"""Times its standard error by which what strips have in common must exceed chance."""

EDGE_ERROR = 0.35
"""Share of a row's slope from its neighbours by which the mean of one strip is in doubt. Source:
measured, safelight on edges right across a chart at gain 99: 0.1 to 0.2, in all three strips alike.
"""

Offsets = NDArray[np.float64]


def may_show(noise: Noise) -> bool:
    """Whether rows that are off by a little of an amplified photo's noise can be seen in it."""
    return noise.read >= MIN_READ


@torch.inference_mode()
def measure_row_offsets(
    network: TiledModel, packed: Packed, noise: Noise, multipliers: NDArray[np.float64]
) -> Offsets | None:
    """Measure what each row of a photo is off by: (H,), amplified light without white balance.

    `network`, `packed`: as they are to run, amplified and white-balanced by `multipliers`, (3,).
    `noise`: of the amplified photo. None in photos too narrow to tell them, and where strips do not
    agree on them.
    """
    if packed.shape[2] < STRIPS * network.grid.multiple:
        return None
    cfa = BAYER if packed.shape[0] == 4 else XTRANS
    offsets = estimate_offsets(*_measure_rows(network, packed, noise, multipliers, cfa), cfa.period)
    return offsets if offsets.any() else None


def _measure_rows(
    network: TiledModel,
    packed: Packed,
    noise: Noise,
    multipliers: NDArray[np.float64],
    cfa: CFA,
) -> tuple[Offsets, Offsets]:
    """Return the mean of what was taken for noise in each strip's rows, and its variance.

    (STRIPS, H) each, in amplified light without white balance.
    """
    multiple = network.grid.multiple
    width = max(min(WIDTH, packed.shape[2] // STRIPS) // multiple, 1) * multiple
    balance = torch.from_numpy(multipliers[cfa.channels]).float()
    means, variances = [], []
    for middle in (np.arange(STRIPS) + 0.5) / STRIPS * packed.shape[2]:
        left = round((middle - width / 2) / multiple) * multiple
        strip = torch.as_tensor(packed[:, :, left : left + width])
        clean = sample_mosaic(run_tiled(network, strip)[None], cfa)[0]
        mosaic = unpack_mosaic(strip.cpu()[None])[0, 0]
        factors = balance.repeat(*(size // cfa.period for size in mosaic.shape))
        variance = noise.read**2 + noise.shot * (clean / factors).clamp_(min=0)
        limit = LIMIT * variance.sqrt()
        removed = torch.clamp((mosaic - clean) / factors, -limit, limit)
        weight = (1 / variance).double()
        total = weight.sum(1)
        means.append(((weight * removed).sum(1) / total).numpy())
        edges = _slope((clean / factors).mean(1).double().numpy(), cfa.period)
        variances.append((1 / total).numpy() + (EDGE_ERROR * edges) ** 2)
    return np.array(means), np.array(variances)


def estimate_offsets(means: Offsets, variances: Offsets, period: int) -> Offsets:
    """Estimate rows' offsets, (H,), from their means in separate strips and these variances.

    (N, H) both. What strips have in common is the rows' own; the rest is doubt, by which the
    estimate is shrunk: everywhere to nothing where chance may have made it, and rows on which
    strips disagree more than noise does, as at edges of the scene, by how much they do. Rows of the
    same phase in a filter array of that `period` are compared, since the network errs by colour.
    """
    own = means - _smooth(means, period)
    count, height = own.shape
    weights = 1 / variances
    expected = 1 / weights.sum(0)
    mean = (weights * own).sum(0) * expected
    limit = LIMIT * NORMAL_MEDIAN * float(np.median(np.abs(own)))
    usual = own.clip(-limit, limit)  # a few edges of the scene are no measure of all rows
    first, second = np.triu_indices(count, 1)
    common = float((usual[first] * usual[second]).mean())
    chance = float((usual**2).mean()) / np.sqrt(height * len(first))
    if common <= SURE * chance:
        return np.zeros(height)
    seen = own.var(axis=0, ddof=1) / count
    doubt = np.where(seen > DISAGREEING * expected, seen, expected)
    bound = LIMIT * math.sqrt(common)
    return np.asarray((mean * common / (common + doubt)).clip(-bound, bound))


def _slope(rows: Offsets, period: int) -> Offsets:
    """Return how steeply rows, (H,), change from one to the next of the same phase."""
    line = np.pad(rows, period, mode="edge")
    return np.asarray((line[2 * period :] - line[: -2 * period]) / 2)


def _smooth(rows: Offsets, period: int) -> Offsets:
    """Return running means over WINDOW of each phase's rows, (N, H), which go on as they end."""
    smooth = np.empty_like(rows)
    reach = max(WINDOW // period // 2, 2)
    for phase in range(period):
        line = np.pad(rows[:, phase::period], ((0, 0), (reach + 1, reach)), mode="edge")
        sums = line.cumsum(1)
        smooth[:, phase::period] = (sums[:, 2 * reach + 1 :] - sums[:, : -2 * reach - 1]) / (
            2 * reach + 1
        )
    return smooth
