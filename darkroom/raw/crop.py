"""A window of a photo as a photo of its own."""

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from darkroom.raw.image import RawImage

Pattern = TypeVar("Pattern", NDArray[np.float32], NDArray[np.float32] | None)


def crop_raw(raw: RawImage, top: int, left: int, height: int, width: int) -> RawImage:
    """Cut a window out of a photo, whose filters, levels and lost sites follow: views.

    Any offset may be cut at, the odd ones shift the filter array. Nothing outside the window is
    read, so `linearise` of a crop costs what the crop is large.
    """
    window = np.s_[top : top + height, left : left + width]
    origin = raw.black_origin
    if origin is not None:
        origin = replace(
            origin,
            stated=_rolled(origin.stated, top, left),
            error=_rolled(origin.error, top, left),
        )
    return replace(
        raw,
        mosaic=raw.mosaic[window],
        cfa=raw.cfa.shifted(top, left),
        black=_rolled(raw.black, top, left),
        white=_rolled(raw.white, top, left),
        row_black=None if raw.row_black is None else raw.row_black[top : top + height],
        masked_black=_rolled(raw.masked_black, top, left),
        black_origin=origin,
        missing=None if raw.missing is None else raw.missing[window],
        default_crop=None,
        margins=(raw.margins[0] + top, raw.margins[1] + left),
    )


def _rolled(pattern: Pattern, top: int, left: int) -> Pattern:
    """See a repeating pattern from `top` rows, `left` columns further."""
    return None if pattern is None else np.roll(pattern, (-top, -left), axis=(0, 1))
