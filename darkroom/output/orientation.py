"""Turn pictures upright and make their pixels square."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]


def square(pixels: Pixels, aspect: float) -> Pixels:
    """Stretch a picture so that its pixels are square, never shrinking an axis.

    `aspect`: width / height of a photosite.
    """
    if aspect == 1:
        return pixels
    import torch
    from torch.nn import functional

    height, width = pixels.shape[:2]
    size = (height, round(width * aspect)) if aspect > 1 else (round(height / aspect), width)
    planes = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
    stretched = functional.interpolate(planes, size=size, mode="bicubic", align_corners=False)
    if pixels.dtype == np.float32:
        light: NDArray[np.float32] = stretched[0].permute(1, 2, 0).numpy()
        return light
    whole = (
        stretched[0]
        .permute(1, 2, 0)
        .round()
        .clamp(0, 255 if pixels.dtype == np.uint8 else 65535)
        .numpy()
    )
    return whole.astype(np.uint8) if pixels.dtype == np.uint8 else whole.astype(np.uint16)


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn a picture by its EXIF orientation 1-8 (a view, nothing is copied).

    Source: CIPA DC-008 (Exif 2.32), section 4.6.4 A, Orientation.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
