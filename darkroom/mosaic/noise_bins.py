"""The noise at each level of light, from the flattest of the blocks that are so bright."""

import math
from functools import cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.mosaic.noise_blocks import SURFACE, Blocks, Values

BINS_PER_OCTAVE = 3
MIN_BLOCKS, FLATTEST_SHARE = 24, 0.25
"""Of a bin's values those of this share of the blocks count that are flattest, but so many."""
TRIM = 0.95
"""Values above this quantile of what noise alone gives are left out of means."""
TEXTURED = 0.25
"""A bin with more than this share of them left out holds texture."""
MODEL_ERROR = 0.05
"""Relative error of a bin's variance beside chance: vignetting, column noise, odd pixels."""
MIN_HEIGHT = -1.0
"""Light further below such a floor than this, in stds, is not inferred from what remains."""


class Bins(NamedTuple):
    """The noise at several levels of light: (bins,) each; `error` of the variance is relative."""

    light: Values
    variance: Values
    error: Values
    textured: NDArray[np.bool_]
    patches: int


def gather(blocks: Blocks) -> Bins:
    """Gather the flattest blocks of each level of light and average their variances."""
    level = _levels(blocks).ravel()
    order = np.argsort(level, kind="stable")
    ends = np.flatnonzero(np.diff(level[order], append=level[order][-1:] + 1)) + 1
    flatness = _flatness(blocks, order, ends).ravel()
    mean, variance = blocks.mean.ravel(), blocks.variance.ravel()
    channel = np.tile(np.arange(len(blocks.freedom)), len(blocks.mean))
    found = []
    for start, end in zip(np.append(0, ends), ends, strict=False):
        chosen = order[start:end]
        wanted = max(MIN_BLOCKS, int(FLATTEST_SHARE * len(chosen)))
        if len(chosen) < MIN_BLOCKS:
            continue
        chosen = chosen[np.argpartition(flatness[chosen], wanted - 1)[:wanted]]
        found.append(
            _bin(
                mean[chosen],
                variance[chosen],
                blocks.freedom[channel[chosen]],
                float(blocks.floor[channel[chosen]].max()),
            )
        )
    light, spread, error, textured, count = (
        np.array([one for one in found if one is not None], dtype=np.float64).reshape(-1, 5).T
    )
    return Bins(light, spread, error, textured > 0, int(count.sum()))


def _levels(blocks: Blocks) -> NDArray[np.int16]:
    """(blocks, channels) the bin of each: linear within the noise of the dark, octaves above."""
    if not blocks.mean.size:
        return np.empty(blocks.mean.shape, np.int16)
    dark = blocks.beside <= np.percentile(blocks.beside, 20)
    noise = max(math.sqrt(float(np.percentile(blocks.variance[dark], 30))), 1e-7)
    octaves = np.arcsinh(blocks.beside / noise) / math.log(2)
    return np.rint(BINS_PER_OCTAVE * octaves).astype(np.int16)  # the fastest to sort


def _flatness(blocks: Blocks, order: NDArray[np.intp], ends: NDArray[np.intp]) -> Values:
    """(blocks, channels) less for flatter blocks, judged by what is independent of their noise.

    That is the other channels' variance and all channels' slopes, each compared with what is usual
    at its level. `order`: all sorted by level; `ends`: where each level ends in it.
    """
    variance = blocks.variance.ravel()[order]
    usual = np.empty(variance.shape)
    for start, end in zip(np.append(0, ends), ends, strict=False):
        quarter = (end - start) // 4
        usual[order[start:end]] = np.partition(variance[start:end], quarter)[quarter]
    usual = usual.reshape(blocks.mean.shape).clip(min=1e-16)
    own = blocks.freedom * blocks.variance / usual
    total = (own + SURFACE * blocks.slope / usual).sum(axis=1, keepdims=True)
    return np.asarray(total - own)


def _bin(
    mean: Values, variance: Values, freedom: Values, floor: float
) -> tuple[float, float, float, bool, int] | None:
    """Light, variance, its relative error, whether textured, and how many blocks of a bin count.

    None where too little is left above the `floor`, or nothing varies.
    """
    typical, kept = _trimmed_mean(variance, freedom)
    if not typical > 0:
        return None
    light, left = float(mean[kept].mean()), UNCLIPPED
    if math.isfinite(floor):
        # What is left of noise at a floor has heavier tails, so fewer values may be trimmed.
        left = _left((float(mean.mean()) - floor) / math.sqrt(float(variance.mean())))
        sites = freedom + SURFACE + 1
        typical, kept = _trimmed_mean(variance, 2 / (2 / freedom + left.tails / sites))
        left = _left((float(mean[kept].mean()) - floor) / math.sqrt(typical))
        if left.height < MIN_HEIGHT:
            return None
        typical /= left.variance
        light = floor + left.height * math.sqrt(typical)
    error = math.hypot(
        math.sqrt(2 / float(freedom[kept].sum())) / left.variance, MODEL_ERROR / left.variance
    )
    return light, typical, error, float(np.mean(~kept)) > TEXTURED, int(kept.sum())


def _trimmed_mean(variance: Values, freedom: Values) -> tuple[float, NDArray[np.bool_]]:
    """Average variances without those that are too large for noise alone; and which were kept."""
    cut, below = _trim(max(round(float(freedom.min())), 1))
    typical = float(np.median(variance))
    for _ in range(3):
        kept = variance <= cut * typical
        weights = freedom[kept]
        typical = float(variance[kept] @ weights / weights.sum()) / below
    return typical, kept


@cache
def _trim(freedom: int) -> tuple[float, float]:
    """Return the TRIM quantile of chi-square by its mean, and the mean of what lies below.

    Source: Wilson & Hilferty, PNAS 17 (1931): its cube root is nearly normal.
    """
    normal, width = NormalDist(), 2 / (9 * freedom)
    shares = (np.arange(200) + 0.5) / 200 * TRIM
    below = [max(1 - width + normal.inv_cdf(p) * math.sqrt(width), 0) ** 3 for p in shares]
    cut = (1 - width + normal.inv_cdf(TRIM) * math.sqrt(width)) ** 3
    return cut, float(np.mean(below))


# What a floor leaves of noise


class _Left(NamedTuple):
    """max(x, 0) where x is normal around `height` with std 1: its variance, excess kurtosis."""

    height: float
    variance: float
    tails: float


UNCLIPPED = _Left(math.inf, 1.0, 0.0)


@cache
def _clipped() -> tuple[Values, Values, Values, Values]:
    """Table of heights, and of mean / std, variance and excess kurtosis of what is left of each."""
    heights = np.linspace(2 * MIN_HEIGHT, 6, 400)
    normal = NormalDist()
    zeroth = np.array([normal.cdf(h) for h in heights])
    # Moments about 0, each from the two before it by parts.
    first = heights * zeroth + np.array([normal.pdf(h) for h in heights])
    second = heights * first + zeroth
    third = heights * second + 2 * first
    fourth = heights * third + 3 * second
    variance = second - first**2
    central = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    return heights, first / np.sqrt(variance), variance, central / variance**2 - 3


def _left(ratio: float) -> _Left:
    """Find the normal distribution of whose part above 0 mean / std is `ratio`."""
    heights, ratios, *columns = _clipped()
    if ratio >= ratios[-1]:
        return _Left(ratio, 1.0, 0.0)
    return _Left(*(float(np.interp(ratio, ratios, column)) for column in (heights, *columns)))
