"""What a sensor's covered sites tell: masked borders, and optical-black lines left in the picture.

All limits here were chosen on the frames of eleven cameras and on simulated ones.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from darkroom.files.sensor import CFA, RawImage

Mosaic = NDArray[np.uint16] | NDArray[np.float32]

GUARD = 4
"""Masked lines next to the picture, in sites, that light leaks into."""
MIN_SAMPLES = 200
"""Fewer masked sites than this per site of the CFA's period measure nothing."""
FAR_OFF = 0.01
"""A stated black level is wrong if it is this part of the white level away from the masked one."""
OUTLYING = 4.0
"""Neighbours that differ by more stds than this are damage or light, not noise."""
MAX_ROWS = 512
"""Rows of a border that its noise is measured on, spread evenly."""
TIGHT = 0.25
"""... and the masked sites' spread is at most this part of the difference."""

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


def with_checked_black(raw: RawImage, frame: NDArray[np.uint16]) -> RawImage:
    """Add what the masked borders in the full `frame` say of black.

    The stated level stays unless they and the picture refute it; then theirs is used, with a
    warning.
    """
    masked = masked_black(frame, raw.margins, raw.mosaic.shape, raw.cfa)
    if masked is None:
        return _with_matching_patterns(raw)
    stated, white = float(np.median(raw.black)), float(raw.white.min())
    if stated_black_is_wrong(raw.mosaic, masked, stated, white):
        warning = (
            f"black level {stated:g}, as the file states it, is wrong; "
            f"using {np.median(masked):g} from the masked borders"
        )
        raw = replace(raw, black=masked, warnings=(*raw.warnings, warning))
    noise = masked_noise(frame, raw.margins, raw.mosaic.shape, raw.cfa.period)
    return _with_matching_patterns(replace(raw, masked_black=masked, masked_noise=noise))


def without_optical_black(raw: RawImage) -> RawImage:
    """Cut off optical-black lines that the file counts as visible, with a warning."""
    top, bottom, left, right = optical_black(raw.mosaic, raw.black, raw.cfa.period)
    if not (top or bottom or left or right):
        return raw
    height, width = raw.mosaic.shape
    masked = raw.masked_black
    warning = (
        "optical-black lines inside the picture were cut off: "
        f"{top} at the top, {bottom} at the bottom, {left} left, {right} right"
    )
    mosaic: Mosaic = raw.mosaic[top : height - bottom, left : width - right].copy()
    return replace(
        raw,
        mosaic=mosaic,
        cfa=raw.cfa.shifted(top, left),
        black=np.roll(raw.black, (-top, -left), axis=(0, 1)),
        white=np.roll(raw.white, (-top, -left), axis=(0, 1)),
        masked_black=None if masked is None else np.roll(masked, (-top, -left), axis=(0, 1)),
        margins=(raw.margins[0] + top, raw.margins[1] + left),
        warnings=(*raw.warnings, warning),
    )


def _with_matching_patterns(raw: RawImage) -> RawImage:
    """White repeated to the shape of black."""
    rows, columns = np.array(raw.black.shape) // raw.white.shape
    return replace(raw, white=np.tile(raw.white, (rows, columns)))


def masked_black(
    frame: NDArray[np.uint16], margins: tuple[int, int], shape: tuple[int, int], cfa: CFA
) -> NDArray[np.float32] | None:
    """(period, period) medians of the masked borders, phase as at the visible area's first site.

    `frame`: the full frame; `margins`, `shape`: where the visible area begins and its size. None
    where there are no borders, too few sites, or nothing was written there.
    """
    (top, left), period = margins, cfa.period
    strips = _masked_strips(frame, margins, shape)
    if not any(np.any(strip) for _, strip in strips):
        return None
    levels = np.zeros((period, period), dtype=np.float32)
    for row in range(period):
        for column in range(period):
            sites = np.concatenate(
                [
                    strip[
                        (row + top - y) % period :: period, (column + left - x) % period :: period
                    ].ravel()
                    for (y, x), strip in strips
                ]
            )
            if sites.size < MIN_SAMPLES:
                return None
            levels[row, column] = np.median(sites)
    return levels


def masked_noise(
    frame: NDArray[np.uint16], margins: tuple[int, int], shape: tuple[int, int], period: int
) -> float | None:
    """Return the standard deviation of the masked borders; None where it cannot be told.

    Measured on differences of neighbours of one site of the period in a row, so that shading and
    row offsets do not count.
    """
    found = []
    for _, strip in _masked_strips(frame, margins, shape):
        rows = strip[:: -(-len(strip) // MAX_ROWS)].astype(np.int32)
        found.append((rows[:, period:] - rows[:, :-period]).ravel())
    differences = np.abs(np.concatenate(found)) if found else np.empty(0)
    if differences.size < MIN_SAMPLES or not differences.any():
        return None
    # The median of a normal distribution, less than its std by that; rounding makes it coarse.
    spread = max(float(np.median(differences)) / 0.6745, 1)
    kept = differences[differences <= OUTLYING * spread].astype(np.float64)
    return float(np.sqrt(np.mean(kept**2) / 2)) or None


def _masked_strips(
    frame: NDArray[np.uint16], margins: tuple[int, int], shape: tuple[int, int]
) -> list[tuple[tuple[int, int], NDArray[np.uint16]]]:
    """List the borders above, below, left and right of the picture: first site and values."""
    (top, left), (height, width) = margins, shape
    bottom, right = top + height, left + width
    around = (
        ((0, 0), frame[: max(top - GUARD, 0)]),
        ((bottom + GUARD, 0), frame[bottom + GUARD :]),
        ((top, 0), frame[top:bottom, : max(left - GUARD, 0)]),
        ((top, right + GUARD), frame[top:bottom, right + GUARD :]),
    )
    return [(origin, strip) for origin, strip in around if strip.size]


def stated_black_is_wrong(
    mosaic: Mosaic, masked: NDArray[np.float32], stated: float, white: float
) -> bool:
    """Whether masked borders and picture together refute the black level that the file states."""
    measured = float(np.median(masked))
    difference = abs(measured - stated)
    if difference < FAR_OFF * white or np.ptp(masked) > TIGHT * difference:
        return False
    darkest = float(np.percentile(mosaic[::7, ::7], 2))
    if measured > stated:
        return darkest > stated + difference / 2
    return darkest < stated - difference / 2


def optical_black(
    mosaic: Mosaic, black: NDArray[np.float32], period: int
) -> tuple[int, int, int, int]:
    """Optical-black lines at the top, bottom, left and right of the visible area, mostly 0.

    `black`: the pattern that repeats over `mosaic`. Recognised are lines at (or below) the black
    level across the whole side, behind which the picture begins at once; a dark photo whose
    picture cannot be told from black is left as it is.
    """
    height, width = mosaic.shape
    tile = np.broadcast_to(black, black.shape)
    bottom_black = np.roll(tile, -(height % black.shape[0]), axis=0)[::-1]
    right_black = np.roll(tile, -(width % black.shape[1]), axis=1)[:, ::-1]
    return (
        _dark_lines(mosaic, tile, period),
        _dark_lines(mosaic[::-1], bottom_black, period),
        _dark_lines(mosaic.T, tile.T, period),
        _dark_lines(mosaic[:, ::-1].T, right_black.T, period),
    )


def _dark_lines(mosaic: Mosaic, black: NDArray[np.float32], period: int) -> int:
    """Optical-black rows at the top of `mosaic`."""
    limit = min(MAX_LINES, mosaic.shape[0] // 8)
    depth = 2 * limit
    if limit < 2 * period or mosaic.shape[1] < BLOCKS * period:
        return 0
    # One look at the first row spares nearly every photo the rest.
    picture = np.median(_levels(mosaic[limit : limit + 2 * period], black))
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
