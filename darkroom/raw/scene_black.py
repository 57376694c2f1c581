"""The photo's own black where no masked pixels tell it: nothing in a picture is darker than black.

The mean of a dark part of the picture lies at black or above. Where it lies below the stated level,
that level is too high, and at x100 shows as tinted, crushed shadows.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.raw.black_level import NEAR, NEAR_UNITS, STEP, first_period
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
        origin = replace(origin, reason=reason)
        return _warn_of_high_black(replace(raw, black_origin=origin), origin, lowest)
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


def _warn_of_high_black(raw: RawImage, origin: BlackOrigin, lowest: float) -> RawImage:
    """Warn where most of the picture is far below black; `lowest` is how far its darkest parts."""
    black = float(np.median(raw.black))
    if float(np.median(raw.mosaic[::STEP, ::STEP])) > black + lowest / 2 or origin.warning:
        return raw
    warning = (
        f"black level {black:g}, as the file states it, lies above most of the picture, whose "
        f"darkest parts hold {black + lowest:.4g}; --black {black + lowest:.0f} takes that"
    )
    origin = replace(origin, warning=warning)
    return replace(raw, black_origin=origin, warnings=(*raw.warnings, warning))


def guess_black(raw: RawImage) -> RawImage | None:
    """Take what the picture's darkest parts hold for black, of all sites; None in small photos."""
    found = measure_darkest(replace(raw, black=np.zeros_like(raw.black)))
    if found is None:
        return None
    return replace(raw, black=np.full_like(raw.black, max(float(found.levels.min()), 0.0)))


def explain_guess(raw: RawImage, says: str) -> RawImage:
    """Say what black is used in the place of a BlackLevel that makes no sense, as it `says`.

    `raw`: a guess, or what masked pixels made of it; it counts as stated from now on.
    """
    origin = raw.black_origin
    assert origin is not None, "with_measured_black comes first"
    guessed = np.array_equal(raw.black, origin.stated)
    source = "the darkest parts of the picture" if guessed else "the masked pixels"
    warning = (
        f"BlackLevel in the file cannot be ({says}); {float(np.median(raw.black)):.4g} is taken "
        f"from {source}; --black N takes another"
    )
    reason = f"taken from {source}, as BlackLevel in the file cannot be"
    return replace(
        raw,
        black_origin=replace(origin, stated=raw.black, warning=warning, reason=reason),
        warnings=(*(line for line in raw.warnings if line != origin.warning), warning),
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
    if raw.missing is not None:
        lost = raw.missing[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE)
        light[lost.any(axis=(1, 3)).ravel()] = np.inf
        if np.isfinite(light[:, 0]).sum() < count:
            return None
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
