"""The photo's own black where no masked pixels tell it: nothing in a picture is darker than black.

The mean of a dark part of the picture lies at black or above. Where it lies below the stated level,
that level is too high, and at x100 shows as tinted, crushed shadows.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.raw.black_level import NEAR, NEAR_UNITS, first_period
from darkroom.raw.image import BlackOrigin, RawImage

SIDE = 60
"""Rows and columns of a part in photosites: ten periods of X-Trans, thirty of Bayer."""
MIN_PARTS, DARKEST_SHARE = 8, 0.01
"""So many parts, or this share of them, are a channel's darkest."""
OUTLYING = 5.0
"""Values that differ by more stds than this are hot or dead sites, or lamps."""
SIGNIFICANCE = 3.0
"""A stated level is too high if the darkest parts lie below it by so many standard errors."""
APART = 0.25
"""All channels' levels are off alike up to so many stds of the noise.

Source: the SID data set's Sony A7S II, where they differ by 0.1 to 0.4.
"""


class Darkest(NamedTuple):
    """What the darkest parts hold less the stated black, in sensor units: (channels,) each."""

    levels: NDArray[np.float64]
    errors: NDArray[np.float64]
    noise: float


def with_darkest_black(raw: RawImage) -> RawImage:
    """Lower a black level that nothing but the file states to the darkest parts of the picture.

    Photos that cut off what is below black stay as they are, as do those whose black was measured.
    """
    origin = raw.black_origin
    if origin is None or raw.row_black is not None or not np.array_equal(raw.black, origin.stated):
        return raw
    found = measure_darkest(raw)
    if found is None:
        return raw
    significant = found.levels + SIGNIFICANCE * found.errors < 0
    if not significant.any():
        return raw
    lowest = float(found.levels[significant].min())
    if lowest < -max(NEAR * found.noise, NEAR_UNITS):
        reason = f"{origin.reason}; parts of the picture are {-lowest:.3g} darker, not plausible"
        return replace(raw, black_origin=replace(origin, reason=reason))
    # A channel without a part that is really dark tells little itself, but the others do.
    common = min(lowest + APART * found.noise, 0.0)
    off = np.minimum(np.where(significant, found.levels, 0.0), common)
    repeats = np.array(raw.black.shape) // raw.cfa.period
    pattern = np.tile(off[raw.cfa.kinds], repeats)
    reason = "lowered to the darkest parts of the picture, which no black can be above"
    return replace(
        raw,
        black=(raw.black + pattern).astype(np.float32),
        black_origin=BlackOrigin(origin.stated, reason),
    )


def measure_darkest(raw: RawImage) -> Darkest | None:
    """Measure a photo's darkest parts, each channel's own; None where the photo is too small.

    They are chosen on every other period of rows and measured on the rest, so that noise does not
    choose what is measured.
    """
    period = raw.cfa.period
    rows, columns = (size // SIDE for size in raw.mosaic.shape)
    count = max(MIN_PARTS, int(DARKEST_SHARE * rows * columns))
    if rows * columns < count:
        return None
    lines = raw.mosaic[: rows * SIDE, : columns * SIDE]
    lines = lines.reshape(rows, SIDE // period, period, columns * SIDE)
    # Along whole lines first, which is many times as fast as along short ones.
    sums = lines[:, ::2].sum(axis=1, dtype=np.float32)
    sums = sums.reshape(rows, period, columns, SIDE // period, period).sum(axis=3)
    light = sums.transpose(0, 2, 1, 3).reshape(rows * columns, period**2)
    parts = lines.reshape(rows, SIDE // period, period, columns, SIDE // period, period)
    channels = raw.cfa.kinds.ravel()
    black = first_period(raw.black, period).astype(np.float32).ravel()
    found = []
    for channel in range(channels.max() + 1):
        mine = np.flatnonzero(channels == channel)
        chosen = np.argpartition(light[:, mine].sum(axis=1), count - 1)[:count]
        values = parts[chosen // columns, 1::2, :, chosen % columns].astype(np.float32)
        values = values.transpose(0, 2, 4, 1, 3).reshape(count, period**2, -1)
        values = (values - black[:, None])[:, mine].reshape(count, -1)
        found.append(_measure(values))
    levels, errors, noises = np.array(found).T
    return Darkest(levels, errors, float(np.median(noises)))


def _measure(values: NDArray[np.float32]) -> tuple[float, float, float]:
    """Mean of (parts, sites) without outliers, its standard error, and the noise of a site."""
    middle = np.median(values, axis=1, keepdims=True)
    # Of a normal distribution, and of whole numbers that hardly differ.
    noise = max(1.4826 * float(np.median(np.abs(values - middle))), 0.5)
    kept = np.abs(values - middle) <= OUTLYING * noise
    means = np.where(kept, values, 0).sum(axis=1) / kept.sum(axis=1)
    error = max(float(means.std(ddof=1)), noise / np.sqrt(values.shape[1])) / np.sqrt(len(values))
    return float(means.mean()), error, noise
