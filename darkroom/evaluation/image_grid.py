"""Before/after sheets: labelled pictures side by side."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

BACKGROUND, TEXT = (24, 24, 26), (235, 235, 235)
GAP, LABEL, SMALLEST_TEXT = 0.02, 0.045, 12
"""Gap and text size as shares of the height of a panel; the smallest text in pixels."""


def draw_picture_grid(
    panels: Sequence[tuple[str, NDArray[np.uint8]]],
    *,
    height: int | None = None,
    columns: int | None = None,
    captions: Sequence[str] = (),
) -> NDArray[np.uint8]:
    """Lay labelled pictures out in rows: (H, W, 3) uint8.

    `panels`: at least one label and (h, w, 3) picture. `height`: of every picture on the sheet, by
    default that of the tallest; pictures of another height are scaled. `columns`: pictures in a
    row, by default all. `captions`: lines beneath the last row, one for each of its pictures.
    """
    height = height or max(len(picture) for _, picture in panels)
    columns = columns or len(panels)
    size = max(SMALLEST_TEXT, round(LABEL * height))
    font = ImageFont.load_default(size)
    gap = max(4, round(GAP * height))
    band = 2 * size
    scaled = [(label, _scale(picture, height)) for label, picture in panels]
    rows = [scaled[first : first + columns] for first in range(0, len(scaled), columns)]
    widths = [gap + sum(image.width + gap for _, image in row) for row in rows]
    bottom = len(rows) * (band + height)
    whole = Image.new("RGB", (max(widths), bottom + (band if captions else gap)), BACKGROUND)
    pen = ImageDraw.Draw(whole)
    for number, row in enumerate(rows):
        left, top = gap, number * (band + height)
        for label, image in row:
            fitted = _shorten(label, image.width, partial(pen.textlength, font=font))
            pen.text((left, top + band / 2), fitted, fill=TEXT, font=font, anchor="lm")
            whole.paste(image, (left, top + band))
            left += image.width + gap
    left = gap
    for caption, (_, image) in zip(captions, rows[-1], strict=bool(captions)):
        pen.text((left, bottom + band / 2), caption, fill=TEXT, font=font, anchor="lm")
        left += image.width + gap
    return np.array(whole)


def _shorten(label: str, width: float, measure: Callable[[str], float]) -> str:
    """Cut so much out of a label's middle that it does not reach over the next picture's."""
    shorter = (f"{label[: n // 2]}…{label[n // 2 - n :]}" for n in range(len(label) - 1, 1, -1))
    return next((text for text in (label, *shorter) if measure(text) <= width), "")


def _scale(picture: NDArray[np.uint8], height: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(picture))
    width = max(1, round(image.width * height / image.height))
    return image.resize((width, height), Image.Resampling.LANCZOS)
