"""The photo's own black level: what the masked borders say, and whether to believe them."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.raw.image import BlackOrigin, BlackSource, RawImage
from darkroom.raw.masked_pixels import (
    MIN_SAMPLES,
    Levels,
    Rows,
    Strip,
    combine,
    find_strips,
    measure_levels,
    measure_read_noise,
    measure_rows,
)

Mosaic = NDArray[np.uint16] | NDArray[np.float32]

FAR_OFF = 0.01
"""A stated black level is wrong if it is this part of the white level away from the masked one."""
TIGHT = 0.25
"""... and the masked sites' spread is at most this part of the difference."""
NEAR, NEAR_UNITS = 4.0, 2.0
"""A measured level is believed if it is within so many stds of the read noise of the stated one,
or so many sensor units; stated levels are rounded, and drift with temperature by less."""
AGREEING, AGREEING_ERRORS = 0.5, 4.0
"""Borders agree if they differ by no more than this part of the read noise's std, and so many
standard errors: sensors are shaded a little, light that leaks in is not little."""
CLIPPED_SHARE = 0.01
"""Masked sites of which more are 0 lost what is below: their mean is not the black level."""
REACHED = 8.0
"""... where 0 is within so many stds of the noise."""
DARKER, DARKER_SHARE = 4.0, 0.01
"""Where more of the picture is so many stds below the masked borders, these are lit."""
STEP = 7
"""The picture is looked at on every so many rows and columns; odd, so that all sites count."""

DIGITS = 4
"""Digits of an explanation after the point."""

NO_BORDERS = "the file has no masked pixels"


class Measured(NamedTuple):
    """What the masked borders say, phase as at the picture's first site.

    `noise`: std of one site, None where it cannot be told. `sides`: the borders left and right of
    the picture; `parts`: the levels of all borders, these two first.
    """

    levels: Levels
    noise: float | None
    sides: list[Strip]
    parts: list[Levels]
    clipped: float


def with_measured_black(
    raw: RawImage, frame: NDArray[np.uint16], by_line: bool = False
) -> RawImage:
    """Correct black by what the masked borders in the full `frame` say, where they can be believed.

    The result's `black_origin` says what was found and done. A stated level that is far off and
    refuted by the picture too is replaced with a warning. `by_line`: the file states black row by
    row or column by column itself, which is to be taken off later.
    """
    measured = measure(raw, frame)
    if isinstance(measured, str):
        origin = BlackOrigin(raw.black, f"as the file states it: {measured}")
        return with_matching_patterns(replace(raw, black_origin=origin))
    doubt = _doubt(raw, measured, by_line)
    corrected = _corrected(raw, measured) if doubt is None else _with_checked_black(raw, measured)
    origin = corrected.black_origin or BlackOrigin(raw.black, f"as the file states it: {doubt}")
    levels = measured.levels
    return with_matching_patterns(
        replace(
            corrected,
            masked_black=levels.means.astype(np.float32),
            masked_noise=measured.noise,
            black_origin=replace(origin, error=levels.errors.astype(np.float32)),
        )
    )


def _corrected(raw: RawImage, measured: Measured) -> RawImage:
    """Use the measured level, and the rows' offsets where there are any."""
    period, rows, noise = raw.cfa.period, Rows(None, 0.0, 0.0), measured.noise or 0.0
    reason = "measured on the masked pixels"
    if measured.sides:
        own = measured.parts[: len(measured.sides)]
        rows = measure_rows(measured.sides, own, raw.margins, period, noise)
    if rows.found > noise:
        reason += "; their rows differ by more than noise and stay as they are"
        rows = Rows(None, rows.found, rows.found)
    off = measured.levels.means - first_period(raw.black, period)
    repeats = np.array(raw.black.shape) // period
    return replace(
        raw,
        black=(raw.black + np.tile(off, repeats)).astype(np.float32),
        row_black=rows.offsets,
        black_origin=BlackOrigin(raw.black, reason, None, rows.found, rows.left, known=True),
    )


def _with_checked_black(raw: RawImage, measured: Measured) -> RawImage:
    """Replace a stated level that masked borders and picture refute, with a warning."""
    means = measured.levels.means.astype(np.float32)
    stated, white = float(np.median(raw.black)), float(raw.white.min())
    if not stated_black_is_wrong(raw.mosaic, means, stated, white):
        return raw
    warning = (
        f"black level {stated:g}, as the file states it, is wrong; "
        f"using {np.median(means):g} from the masked borders"
    )
    reason = "measured on the masked pixels; the picture too shows that the stated one is wrong"
    origin = BlackOrigin(raw.black, reason, known=True, warning=warning)
    return replace(raw, black=means, black_origin=origin, warnings=(*raw.warnings, warning))


def measure(raw: RawImage, frame: NDArray[np.uint16]) -> Measured | str:
    """Measure the masked borders in the full `frame`; the reason in words where that cannot be."""
    if frame.shape == raw.mosaic.shape:
        return NO_BORDERS
    first, period = raw.margins, raw.cfa.period
    sides, ends = find_strips(frame, first, raw.mosaic.shape, period)
    if not sides and not ends:
        return "its masked borders are too narrow"
    # A camera may leave one border unwritten; all of them, and there is nothing to measure.
    written = [strip for strip in (*sides, *ends) if not strip.is_constant] or [
        strip for strip in (*sides, *ends) if strip.values.any()
    ]
    if not written:
        return "nothing was written to its masked borders"
    if sum(strip.values.size for strip in written) < MIN_SAMPLES * period**2:
        return "it has too few masked pixels"
    noise = measure_read_noise(written, period)
    parts = [measure_levels(strip, first, period, noise or 0.0) for strip in written]
    beside = sum(strip.origin[0] == first[0] for strip in written)
    # The borders beside the picture were read out together with its rows: they count first.
    return Measured(
        levels=combine(parts[:beside] or parts),
        noise=noise,
        sides=written[:beside],
        parts=parts,
        clipped=float(np.mean([np.mean(strip.values == 0) for strip in written])),
    )


def _doubt(raw: RawImage, measured: Measured, by_line: bool) -> str | None:
    """Say why the masked borders are not to be believed; None if they are."""
    noise, means = measured.noise, measured.levels.means
    if by_line:
        return "it states black row by row or column by column"
    if noise is None:
        return "its masked pixels all hold one value"
    if measured.clipped > CLIPPED_SHARE and means.min() < REACHED * noise:  # else they are damage
        return "its masked pixels are cut off at 0"
    for index, part in enumerate(measured.parts):
        for other in measured.parts[:index]:
            allowed = AGREEING_ERRORS * np.hypot(part.errors, other.errors) + AGREEING * noise
            apart = np.abs(part.means - other.means)
            if (apart > allowed).any():
                return f"its masked borders differ by {apart.max():.3g}"
    off = means - first_period(raw.black, raw.cfa.period)
    if np.abs(off).max() > max(NEAR * noise, NEAR_UNITS):
        return f"the masked pixels are {off.flat[np.abs(off).argmax()]:+.3g} away, not plausible"
    floor = float(means.min()) - DARKER * noise
    darker = raw.mosaic[::STEP, ::STEP] < floor
    if raw.missing is not None:
        darker &= ~raw.missing[::STEP, ::STEP]
    if np.mean(darker) > DARKER_SHARE:
        return "the picture is darker than the masked pixels"
    return None


def first_period(black: NDArray[np.float32], period: int) -> NDArray[np.float64]:
    """(period, period) means of a pattern that may be a multiple of it."""
    rows, columns = (size // period for size in black.shape)
    blocks = black.astype(np.float64).reshape(rows, period, columns, period)
    return np.asarray(blocks.mean(axis=(0, 2)))


def with_matching_patterns(raw: RawImage) -> RawImage:
    """Repeat white to the shape of black, which is a multiple of its own."""
    rows, columns = np.array(raw.black.shape) // raw.white.shape
    return replace(raw, white=np.tile(raw.white, (rows, columns)))


def stated_black_is_wrong(
    mosaic: Mosaic, masked: NDArray[np.float32], stated: float, white: float
) -> bool:
    """Whether masked borders and picture together refute the black level that the file states."""
    off = float(np.median(masked)) - stated
    if abs(off) < FAR_OFF * white or np.ptp(masked) > TIGHT * abs(off):
        return False
    darkest = float(np.percentile(mosaic[::STEP, ::STEP], 2))
    return darkest > stated + off / 2 if off > 0 else darkest < stated + off / 2


def explain_black(raw: RawImage) -> dict[str, Any] | None:
    """Return where a photo's black comes from as JSON values; None where that is not known.

    `stated`, `measured`, `error` (the measured one's standard error) and `used` as in RawImage,
    `row_noise` and `row_noise_left` the std of rows before and after; all in sensor units.
    `source`: "stated", "measured", or the number that was asked for.
    """
    origin = raw.black_origin
    if origin is None:
        return None
    levels = {
        "stated": origin.stated,
        "measured": raw.masked_black,
        "error": origin.error,
        "used": raw.black,
    }
    return {
        **{name: _round(values) for name, values in levels.items()},
        "row_noise": round(origin.row_noise, DIGITS),
        "row_noise_left": round(origin.row_noise_left, DIGITS),
        "source": origin.source.value if isinstance(origin.source, BlackSource) else origin.source,
        "reason": origin.reason,
    }


def _round(levels: NDArray[np.float32] | None) -> list[list[float]] | None:
    if levels is None:
        return None
    return [[round(value, DIGITS) for value in row] for row in levels.tolist()]
