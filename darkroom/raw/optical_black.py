"""Optical-black lines that a file counts as part of the picture.

All limits here were chosen on the frames of eleven cameras and on simulated ones.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from darkroom.raw.crop import crop_raw
from darkroom.raw.image import RawImage

Mosaic = NDArray[np.uint16] | NDArray[np.float32]

MAX_LINES = 128
"""No camera leaves more optical-black lines than this in its visible area."""
BLOCKS = 16
DARK_SHARE = 0.25
"""A line is optical black where its level is at most this part of the picture's beside it."""
DARK_BLOCKS = 15 / 16
SHARP = 0.5
"""Light begins at once behind the last black line: at least this part of the level further in."""
SHARP_BLOCKS = 0.75
HALF_COVERED = 0.75
"""The first line with light is cut off too where it has less than this part of the next ones'."""
SIGNIFICANCE = 8.0
"""How many standard errors the picture must stand above black, to tell the two apart."""

COPY_IF_WRONG = "if the picture goes on there, copy the file from the card again"


def without_optical_black(raw: RawImage) -> RawImage:
    """Cut off optical-black lines that the file counts as visible, with a warning."""
    top, bottom, left, right = optical_black(raw.mosaic, raw.black, raw.cfa.period)
    height, width = raw.mosaic.shape
    if not (top or bottom or left or right):
        return raw
    visible = np.s_[top : height - bottom, left : width - right]
    places = f"{top} at the top, {bottom} at the bottom, {left} left, {right} right"
    warning = f"optical-black lines inside the picture were cut off: {places}"
    is_empty = raw.mosaic < raw.black.min() / 2
    if is_empty.sum() - is_empty[visible].sum() > (is_empty.size - is_empty[visible].size) / 2:
        warning = f"lines without a picture were cut off: {places}; {COPY_IF_WRONG}"
    picture = crop_raw(raw, top, left, height - top - bottom, width - left - right)
    return replace(picture, mosaic=picture.mosaic.copy(), warnings=(*raw.warnings, warning))


def optical_black(
    mosaic: Mosaic, black: NDArray[np.float32], period: int
) -> tuple[int, int, int, int]:
    """Optical-black lines at the top, bottom, left and right of the visible area, mostly 0.

    `black`: the pattern that repeats over `mosaic`. Recognised are lines at (or below) the black
    level across the whole side, behind which the picture begins at once; a dark photo whose
    picture cannot be told from black is left as it is.
    """
    height, width = mosaic.shape
    bottom_black = np.roll(black, -(height % black.shape[0]), axis=0)[::-1]
    right_black = np.roll(black, -(width % black.shape[1]), axis=1)[:, ::-1]
    return (
        _dark_lines(mosaic, black, period),
        _dark_lines(mosaic[::-1], bottom_black, period),
        _dark_lines(mosaic.T, black.T, period),
        _dark_lines(mosaic[:, ::-1].T, right_black.T, period),
    )


def _dark_lines(mosaic: Mosaic, black: NDArray[np.float32], period: int) -> int:
    """Optical-black rows at the top of `mosaic`."""
    limit = min(MAX_LINES, mosaic.shape[0] // 8)
    depth = 2 * limit
    if limit < 2 * period or mosaic.shape[1] < BLOCKS * period:
        return 0
    # One look at the first row spares nearly every photo the rest.
    further_black = np.roll(black, -limit, axis=0)
    picture = np.median(_levels(mosaic[limit : limit + 2 * period], further_black))
    if np.median(_levels(mosaic[:1], black)) > DARK_SHARE * picture:
        return 0
    levels = _levels(mosaic[:depth], black)  # (depth, BLOCKS)
    # Medians over the blocks: the outer ones may hold black columns as well.
    inside = np.median(levels[limit:])
    dark = np.median(levels[:limit], axis=1) <= DARK_SHARE * inside
    count = int(np.argmin(dark)) if not dark.all() else 0
    noise = np.std(levels[limit + period :] - levels[limit:-period]) / np.sqrt(2)
    if not count or inside < SIGNIFICANCE * noise / np.sqrt(BLOCKS * count):
        return 0
    behind = levels[count + 1 : count + 1 + period].mean(axis=0)  # one line may be half covered
    further = levels[count + 8 : count + 8 + 4 * period].mean(axis=0)
    covered = np.maximum(
        levels[:count].mean(axis=0), levels[max(count - period, 0) : count].mean(axis=0)
    )
    is_dark = (covered <= DARK_SHARE * behind).mean() >= DARK_BLOCKS
    is_sharp = (behind >= SHARP * further).mean() >= SHARP_BLOCKS
    if not (is_dark and is_sharp):
        return 0
    return count + int(np.median(levels[count]) < HALF_COVERED * np.median(behind))


def _levels(rows: Mosaic, black: NDArray[np.float32]) -> NDArray[np.float64]:
    """(rows, BLOCKS) mean levels above black, hot sites held down to their block's neighbours."""
    height, width = rows.shape
    width -= width % BLOCKS
    repeats = (-(-height // black.shape[0]), -(-width // black.shape[1]))
    signal = rows[:, :width] - np.tile(black, repeats)[:height, :width]
    blocks = signal.reshape(height, BLOCKS, -1)
    ceiling = 4 * np.median(blocks, axis=2, keepdims=True).clip(min=0) + np.std(signal)
    return np.asarray(np.minimum(blocks, ceiling).mean(axis=2), dtype=np.float64)
