"""Structural similarity at five scales, as training makes it greater.

Our own, for training needs its gradient, and the package that REDI's authors took, pytorch-msssim,
gives a gradient that is no number where a scale has no likeness at all.
"""

import torch
from torch import Tensor
from torch.nn import functional

from darkroom.errors import UsageError
from darkroom.evaluation.metrics import C1, C2

WINDOW, SIGMA = 11, 1.5
"""Side and std of the Gaussian window. Source: Wang et al., "Image Quality Assessment: From Error
Visibility to Structural Similarity", 2004, section III.C."""

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, the finest first. Source: Wang, Simoncelli and Bovik, "Multiscale
Structural Similarity for Image Quality Assessment", 2003, section 3.2."""

MIN_SIDE = (WINDOW - 1) * 2 ** (len(WEIGHTS) - 1) + 1
"""Pixels per side of the smallest picture: the coarsest scale has to hold one window."""

MIN_LIKENESS = 1e-6
"""Means of a scale below this count as this, and have no gradient: powers of 0 have none."""


def ms_ssim(picture: Tensor, target: Tensor) -> Tensor:
    """Mean structural similarity at five scales, of (N, C, H, W) in [0, 1]: a scalar, at most 1.

    Each channel of each picture by itself, whole windows only, scales halved by averages of 2x2, a
    row of zeros around odd sides; as pytorch-msssim 0.2 and later. Raises UsageError for pictures
    that are too small.
    """
    if min(picture.shape[-2:]) < MIN_SIDE:
        size = f"{picture.shape[-1]}x{picture.shape[-2]}"
        raise UsageError(
            f"MS-SSIM compares five scales: crops of {size} pixels are too small for it, give at "
            f"least {MIN_SIDE} per side (--crop)"
        )
    parts = []
    for scale in range(len(WEIGHTS)):
        if scale:
            odd = [side % 2 for side in picture.shape[-2:]]
            picture, target = (functional.avg_pool2d(x, 2, padding=odd) for x in (picture, target))
        luminance, contrast = _compare(picture, target)
        last = scale == len(WEIGHTS) - 1
        likeness = (luminance * contrast if last else contrast).mean((2, 3))
        parts.append(likeness.clamp(min=MIN_LIKENESS))
    weights = picture.new_tensor(WEIGHTS)[:, None, None]
    return (torch.stack(parts) ** weights).prod(0).mean()


def _compare(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maps of luminance and of contrast and structure, of whole windows."""
    place = torch.arange(WINDOW, device=x.device, dtype=x.dtype) - WINDOW // 2
    taps = torch.exp(-place.square() / (2 * SIGMA**2))
    taps = (taps / taps.sum()).expand(5 * x.shape[1], 1, 1, WINDOW)
    planes = torch.cat([x, y, x * x, y * y, x * y], dim=1)
    planes = functional.conv2d(planes, taps, groups=len(taps))
    planes = functional.conv2d(planes, taps.transpose(2, 3), groups=len(taps))
    mean_x, mean_y, xx, yy, xy = planes.chunk(5, dim=1)
    product, squares = mean_x * mean_y, mean_x.square() + mean_y.square()
    luminance = (2 * product + C1) / (squares + C1)
    return luminance, (2 * (xy - product) + C2) / (xx + yy - squares + C2)
