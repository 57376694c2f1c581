"""Smaller pictures, made in linear light.

Own decoding and encoding around Pillow's resampling, whose floats are exact enough for 16 bits. Its
Hamming window is about as sharp as bicubic and, unlike that and Lanczos, nowhere negative: around
lamps and stars, which in linear light are hundreds of times their surroundings, there are no rings.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.color.color_space import TransferCurve, decode_samples, encode_light
from darkroom.color.dither import find_thresholds
from darkroom.output.orientation import Pixels


def fit_size(shape: tuple[int, ...], long_edge: int) -> tuple[int, int]:
    """Return rows and columns of a picture of this shape whose longer side is at most so long."""
    height, width = shape[:2]
    scale = min(1.0, long_edge / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def fit(
    pixels: Pixels, long_edge: int | None, curve: TransferCurve, bits: int
) -> tuple[Pixels, bool]:
    """Make a picture as small as was asked for, None for as it is; and say whether it was larger.

    `curve`, `bits`: as `resize` takes them.
    """
    if long_edge is None:
        return pixels, False
    size = fit_size(pixels.shape, long_edge)
    return resize(pixels, size, curve, bits), size != pixels.shape[:2]


def resize(pixels: Pixels, size: tuple[int, int], curve: TransferCurve, bits: int) -> Pixels:
    """Resample a picture, (H, W, 3), to rows and columns that are not more, in linear light.

    `curve`: what the samples of whole numbers are encoded by; floats are light already. `bits`: 8
    per sample of the result, which are dithered, 16, or 32 for floats.
    """
    table = None if pixels.dtype == np.float32 else _tabulate(pixels.dtype, curve)
    result = np.empty((*size, 3), {8: np.uint8, 16: np.uint16, 32: np.float32}[bits])
    for channel in range(3):
        plane = np.ascontiguousarray(pixels[..., channel])
        light = Image.fromarray(plane if table is None else table[plane])
        small = np.asarray(light.resize(size[::-1], Image.Resampling.HAMMING), np.float32)
        if bits == 32:
            result[..., channel] = small
        else:
            white = np.iinfo(result.dtype).max
            half = find_thresholds(*size, (0, 0)) if bits == 8 else np.float32(0.5)
            result[..., channel] = encode_light(small, curve) * white + half
    return result


def _tabulate(dtype: np.dtype[np.generic], curve: TransferCurve) -> NDArray[np.float32]:
    """Return the light of each code."""
    codes = np.arange(256 if dtype == np.uint8 else 65536)
    return decode_samples(codes / codes[-1], curve).astype(np.float32)
