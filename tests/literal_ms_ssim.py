"""MS-SSIM as Wang et al. write it, window by window of a two-dimensional Gaussian, in float64."""

import torch
from torch import Tensor
from torch.nn import functional

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def literal_ms_ssim(picture: Tensor, target: Tensor) -> Tensor:
    """(N, C, H, W) of even sides at all scales -> the mean over all N and C."""
    axis = torch.arange(11, dtype=torch.float64) - 5
    window = torch.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * 1.5**2))
    window = (window / window.sum())[None, None]

    def mean(x: Tensor) -> Tensor:
        return functional.conv2d(x, window)

    total = []
    for one, other in zip(picture.flatten(0, 1), target.flatten(0, 1), strict=True):
        x, y, product = one[None, None], other[None, None], torch.ones((), dtype=torch.float64)
        for scale, exponent in enumerate(EXPONENTS):
            variance_x = mean(x**2) - mean(x) ** 2
            variance_y = mean(y**2) - mean(y) ** 2
            covariance = mean(x * y) - mean(x) * mean(y)
            value = (2 * covariance + 0.03**2) / (variance_x + variance_y + 0.03**2)
            if scale == 4:
                value *= (2 * mean(x) * mean(y) + 0.01**2) / (mean(x) ** 2 + mean(y) ** 2 + 0.01**2)
            product = product * value.mean() ** exponent
            if scale == 4:
                break
            x, y = (
                (z[..., ::2, ::2] + z[..., 1::2, ::2] + z[..., ::2, 1::2] + z[..., 1::2, 1::2]) / 4
                for z in (x, y)
            )
        total.append(product)
    return torch.stack(total).mean()
