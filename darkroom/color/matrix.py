"""From white-balanced camera RGB to linear sRGB."""

import numpy as np
import torch
from torch import Tensor

from darkroom.errors import RawError
from darkroom.raw import image
from darkroom.raw.image import Color

SRGB_TO_XYZ = torch.from_numpy(image.SRGB_TO_XYZ)

SINGULAR = 1e-7
"""Determinants below this, of matrices whose rows sum to 1, belong to damaged files."""


def camera_to_srgb(color: Color) -> Tensor:
    """Return the matrix from white-balanced camera RGB to linear sRGB, (3, 3) float64.

    Each row of its inverse sums to 1, so neutral stays neutral whatever the white balance.
    Raises RawError where the photo's matrix cannot be inverted.
    """
    srgb_to_camera = torch.from_numpy(color.xyz_to_camera.astype(np.float64)) @ SRGB_TO_XYZ
    sums = srgb_to_camera.sum(1, keepdim=True)
    srgb_to_camera = srgb_to_camera / sums
    if not bool(torch.isfinite(srgb_to_camera).all()) or abs(torch.det(srgb_to_camera)) < SINGULAR:
        raise RawError(
            "the photo's colour matrix cannot be inverted; convert the photo to DNG and try again"
        )
    return torch.inverse(srgb_to_camera)
