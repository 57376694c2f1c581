"""The line of shot and read noise that lies best below what was measured."""

import math

import numpy as np

from darkroom.mosaic.noise_bins import Bins
from darkroom.mosaic.noise_blocks import Values

MASKED_ERROR = 0.1
"""Relative error of the masked borders' variance: they lack the photosites' own part."""
BELOW, ABOVE = 5.0, 2.0
"""How many stds a bin counts below the line and above it, at most."""
ELECTRONS, ELECTRONS_SPREAD = 3.0, 3.0
"""Typical read noise in electrons, and its geometric spread; decides only where the photo cannot.

Source: 2 to 7 were measured so on five cameras of three makers.
"""


def variance_at(shot: float, read: float, light: Values) -> Values:
    """Return the noise model at some levels of light."""
    return np.asarray(shot * light.clip(min=0) + read**2)


def fit_noise(bins: Bins, least: float, masked: float | None = None) -> tuple[float, float]:
    """Return shot and read noise of the line that lies best below the bins.

    By a search over a grid that shrinks, since bins above the line count only so much. `masked`:
    the read noise of the masked borders, one more bin.
    """
    if masked is not None:
        bins = Bins(
            np.append(bins.light, 0.0),
            np.append(bins.variance, masked**2),
            np.append(bins.error, MASKED_ERROR),
            np.append(bins.textured, False),
            bins.patches,
        )
    light = bins.light.clip(min=0)
    loudest = float(np.sqrt(bins.variance.max()))
    read = np.linspace(math.log(min(least, loudest / 2)), math.log(2 * loudest), 40)
    lit = light > np.sqrt(bins.variance) / 8
    ratios = bins.variance[lit] / light[lit] if lit.any() else np.array([loudest])
    shot = np.linspace(math.log(ratios.min() / 1000), math.log(2 * ratios.max()), 60)
    for _ in range(4):
        cost = _cost(bins, light, np.exp(shot)[:, None, None], np.exp(read)[None, :, None])
        row, column = np.unravel_index(int(cost.argmin()), cost.shape)
        shot = _refine(shot, int(row))
        read = _refine(read, int(column))
    return math.exp(shot[len(shot) // 2]), math.exp(read[len(read) // 2])


def _refine(grid: Values, best: int) -> Values:
    """Return a finer grid around the best place of a coarse one."""
    width = 1.5 * (grid[1] - grid[0])
    return np.linspace(grid[best] - width, grid[best] + width, 13)


def _cost(bins: Bins, light: Values, shot: Values, read: Values) -> Values:
    """Return how badly lines lie below the bins; (shots, reads)."""
    off = np.log(bins.variance / (shot * light + read**2)) / bins.error
    above = np.minimum(off / np.where(bins.textured, 2, 1), ABOVE)
    cost = np.square(np.where(off > 0, above, np.maximum(off, -BELOW))).sum(axis=-1)
    electrons = np.log(read / (ELECTRONS * shot)) / math.log(ELECTRONS_SPREAD)
    return np.asarray(cost + np.square(electrons)[..., 0])
