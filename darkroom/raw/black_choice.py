"""Which black level is taken off a photo: the file's own, the measured one, or a user's number."""

import math
from dataclasses import replace

import numpy as np

from darkroom.errors import UsageError
from darkroom.raw.black_level import with_matching_patterns
from darkroom.raw.image import Black, BlackOrigin, BlackSource, RawImage


def default_black(paints_srgb: bool) -> BlackSource:
    """Say which black a network gets: those that paint sRGB the file's own, as was published."""
    return BlackSource.STATED if paints_srgb else BlackSource.MEASURED


def with_black(raw: RawImage, black: Black) -> RawImage:
    """Take the black level that was chosen for a photo as `read_raw` gives it; may be repeated.

    `black`: MEASURED leaves the photo as it is; STATED undoes what was measured, rows' offsets
    too; a number, in sensor units, is that of all sites. What a DNG states for each row or column
    is part of its values, and stays off. The mosaic is shared, not copied. Raises UsageError for a
    number that is not below white.
    """
    origin = raw.black_origin
    if black is BlackSource.MEASURED or (origin is not None and origin.source == black):
        return raw
    if isinstance(black, BlackSource):
        return raw if origin is None else _with_stated(raw, origin)
    if not (math.isfinite(black) and 0 <= black < raw.white.min()):
        white = f"{raw.white.min():g}"
        raise UsageError(f"--black {black:g}: white is {white} here; give a number from 0 to that")
    used = np.full_like(raw.white, black)
    origin = origin or BlackOrigin(raw.black, "")
    return replace(
        raw,
        black=used,
        row_black=None,
        black_origin=_explained(origin, black, "the number that was asked for"),
        warnings=_without(raw, origin),
    )


def _with_stated(raw: RawImage, origin: BlackOrigin) -> RawImage:
    """Go back to what the file states, saying so where masked borders refute it."""
    changed = raw.row_black is not None or not np.array_equal(raw.black, origin.stated)
    warnings, warning = raw.warnings, origin.warning
    if warning is not None and not np.array_equal(raw.black, origin.stated):
        warning = None
        stated, better = float(np.median(origin.stated)), float(np.median(raw.black))
        warnings = (
            *_without(raw, origin),
            f"black level {stated:g} is used as the file states it, though masked borders refute "
            f"it; --black measured takes their {better:g}",
        )
    reason = "as the file states it, not as measured" if changed else origin.reason
    stated_raw = replace(
        raw,
        black=origin.stated,
        row_black=None,
        black_origin=replace(_explained(origin, BlackSource.STATED, reason), warning=warning),
        warnings=warnings,
    )
    return with_matching_patterns(stated_raw)


def _explained(origin: BlackOrigin, source: Black, reason: str) -> BlackOrigin:
    """Say what is used now; offsets of rows are left as they were found."""
    found = origin.row_noise
    return replace(
        origin, source=source, reason=reason, row_noise_left=found, known=False, warning=None
    )


def _without(raw: RawImage, origin: BlackOrigin) -> tuple[str, ...]:
    """Drop the warning about a level that is not used any more."""
    return tuple(line for line in raw.warnings if line != origin.warning)
