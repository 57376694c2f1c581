"""REDI's histogram rule. Source: Lamba & Mitra, CVPR 2021, section 3.3, and the published demo."""

import math

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import UsageError
from darkroom.gain.types import MAX_GAIN, MIN_GAIN, Gain, GainRule, percent, times
from darkroom.raw.image import RawImage

REDI_BRIGHTNESS = (1, 5, 8)
REDI_BINS = 127
REDI_STOPS = 8
REDI_DECADES = 5
REDI_CROP = 32


def redi_gain(raw: RawImage, m: int) -> Gain:
    """Bring the weighted mean of the pixels, dark ones counting most, to m % of white."""
    if m not in REDI_BRIGHTNESS:
        choices = ", ".join(map(str, REDI_BRIGHTNESS))
        raise UsageError(f"m = {m}: REDI's brightness is one of {choices}")
    mean = _weighted_mean(raw)
    wanted = 0.01 * m / mean if mean > 0 else math.inf
    value = min(max(wanted, MIN_GAIN), MAX_GAIN)
    reason = f"the photo's mean, dark pixels counting most, is {percent(mean)} of white"
    if value == wanted:
        reason += f"; {times(value)} brings it to {m} %"
    else:
        reason += f"; {times(value)} is the {'most' if value == MAX_GAIN else 'least'} there is"
    return Gain(value, GainRule.REDI, reason, {"m": float(m), "weighted_mean": mean})


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
