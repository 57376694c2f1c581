"""REDI's histogram rules, of its published demo and of its training code.

Source: Lamba & Mitra, CVPR 2021, section 3.3, and the authors' published code. Its demo holds the
gain for m = 1 to 1...300 and then multiplies it by m; its training code multiplies first.
"""

import math

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import UsageError
from darkroom.gain.types import MAX_GAIN, MIN_GAIN, Gain, GainRule, held, percent, times
from darkroom.raw.image import RawImage

MIN_M, MAX_M = 1.0, 9.0
"""Source: the training code's first lines: m "ranges from 1 to 9"."""

DEFAULT_M = {GainRule.REDI: 1.0, GainRule.REDI_TRAIN: 5.0}
"""Of each of the two rules. Source: the default of `get_na` in the demo and the training code."""

REDI_BINS = 127
REDI_STOPS = 8
REDI_DECADES = 5
REDI_CROP = 32


def find_m(rule: GainRule, m: float | None) -> float | None:
    """Return the brightness m that a rule runs with: the one given, or the rule's own.

    None for rules that have none. Raises UsageError for an m out of range, and where there is none.
    """
    if m is None:
        return DEFAULT_M.get(rule)
    if rule not in DEFAULT_M:
        rules = " and ".join(known.value for known in DEFAULT_M)
        raise UsageError(f"m = {m:g}: only the rules {rules} have a brightness; leave m out")
    if not MIN_M <= m <= MAX_M:
        raise UsageError(
            f"m = {m:g}: REDI's brightness is a number from {MIN_M:g} to {MAX_M:g}, as in redi:2.5"
        )
    return m


def redi_gain(raw: RawImage, rule: GainRule, m: float) -> Gain:
    """Bring the weighted mean of the pixels, dark ones counting most, to m % of white.

    `rule`: REDI for the demo's, REDI_TRAIN for the training code's.
    """
    mean = _weighted_mean(raw)
    before, after = (1.0, m) if rule is GainRule.REDI else (m, 1.0)
    wanted = 0.01 * before / mean if mean > 0 else math.inf
    limited = min(max(wanted, MIN_GAIN), MAX_GAIN)
    value, limit = held(limited * after)
    reason = f"the photo's mean, dark pixels counting most, is {percent(mean)} of white"
    if limited == wanted:
        reason += f"; {times(limited * after)} brings it to {m:g} %"
    else:
        reason += f"; {times(limited)} is REDI's {'most' if wanted > limited else 'least'}"
        if after != 1:
            reason += f", times {m:g} is {times(limited * after)}"
    return Gain(value, rule, reason + limit, {"m": float(m), "weighted_mean": mean})


def _weighted_mean(raw: RawImage) -> float:
    """Mean light weighted by REDI's histogram weights; inf where every pixel is saturated."""
    edges = (2.0 ** np.linspace(0, REDI_STOPS, REDI_BINS + 1) - 1).astype(np.float32)
    edges /= np.float32(2**REDI_STOPS - 1)
    decades = np.linspace(0, REDI_DECADES, REDI_BINS)
    weights = np.append(10.0**-decades, 0).astype(np.float32)  # the last: saturated pixels
    height, width = (size // REDI_CROP * REDI_CROP or size for size in raw.mosaic.shape)
    down, right = raw.black.shape
    weight_sum = light_sum = 0.0
    for row, column in np.ndindex(raw.black.shape):
        sites = raw.mosaic[row:height:down, column:width:right]
        if raw.missing is not None:
            sites = sites[~raw.missing[row:height:down, column:width:right]]
        values, counts = _histogram(sites)
        black, white = raw.black[row, column], raw.white[row, column]
        light = np.maximum(values.astype(np.float32) - black, 0) / (white - black)
        weight = weights[np.searchsorted(edges, light, side="right") - 1]
        weight_sum += float(np.sum(weight * counts, dtype=np.float64))
        light_sum += float(np.sum((weight * light).astype(np.float64) * counts))
    return light_sum / weight_sum if weight_sum > 0 else math.inf


def _histogram(
    sites: NDArray[np.uint16] | NDArray[np.float32],
) -> tuple[NDArray[np.uint16] | NDArray[np.float32] | NDArray[np.intp], NDArray[np.float64]]:
    """Values and how often each occurs; counting whole numbers is exact and much faster."""
    if sites.dtype == np.uint16:
        counts = np.bincount(sites.ravel())
        return np.arange(len(counts)), counts.astype(np.float64)
    return sites.ravel(), np.ones(sites.size)
