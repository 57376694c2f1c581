"""A photo made smaller by averaging photosites of one colour, for a quick look."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from darkroom.raw.image import RawImage

PREVIEW_PIXELS = 2_000_000
"""Photosites of a preview, at most: as many as a screen of 1920 x 1080 shows."""


def shrink_photo(raw: RawImage, pixels: int = PREVIEW_PIXELS) -> RawImage:
    """Average sites of one colour, k x k of them, so that at most `pixels` are left; k is least.

    A photo of so many sites or fewer is returned as it is. Filters, levels and words stay; the
    noise is k times smaller, and so is what is stated of it. Rows and columns at the bottom and
    right that fill no block are left out.
    """
    height, width = raw.mosaic.shape
    factor = math.ceil(math.sqrt(height * width / pixels))
    if factor <= 1:
        return raw
    return replace(
        raw,
        mosaic=_average(raw.mosaic, raw.black.shape, factor),
        row_black=None
        if raw.row_black is None
        else _average(raw.row_black[:, None], (raw.black.shape[0], 1), (factor, 1))[:, 0],
        default_crop=None if raw.default_crop is None else _shrink_crop(raw.default_crop, factor),
        missing=None
        if raw.missing is None
        else _average(raw.missing.astype(np.uint8), raw.black.shape, factor) > 0,
        masked_noise=None if raw.masked_noise is None else raw.masked_noise / factor,
        noise_profile=None
        if raw.noise_profile is None
        else (raw.noise_profile[0] / factor**2, raw.noise_profile[1] / factor**2),
    )


def _shrink_crop(crop: tuple[int, int, int, int], factor: int) -> tuple[int, int, int, int]:
    """Give the same part of a photo `factor` times smaller, nothing outside it."""
    top, left, height, width = crop
    first = -(-top // factor), -(-left // factor)
    sizes = (top + height) // factor - first[0], (left + width) // factor - first[1]
    return (*first, max(sizes[0], 1), max(sizes[1], 1))


def _average(
    values: NDArray[np.generic], period: tuple[int, ...], factor: int | tuple[int, int]
) -> NDArray[np.float32]:
    """Average the sites of one place in a pattern over blocks of patterns: (H / k, W / k)."""
    down, right = (factor, factor) if isinstance(factor, int) else factor
    rows, columns = period
    steps = values.shape[0] // (rows * down), values.shape[1] // (columns * right)
    whole = values[: steps[0] * rows * down, : steps[1] * columns * right]
    blocks = whole.reshape(steps[0], down, rows, steps[1], right, columns)
    total = np.zeros((steps[0], rows, steps[1], columns), np.float32)
    for one in range(down):
        for other in range(right):
            total += blocks[:, one, :, :, other]
    total /= down * right
    return total.reshape(steps[0] * rows, steps[1] * columns)
