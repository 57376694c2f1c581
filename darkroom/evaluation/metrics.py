"""How close a picture is to its reference: PSNR and SSIM as the field's papers compute them.

Our own, for a plain install needs them (`demo`, `train --validate`, `evaluate --simulate`) and the
training loss needs the gradient: scikit-image's are equal to 1e-9 and take 0.6 to 0.7 times as long
over 12 MP, but 1.7 GB instead of 0.8, and 175 MB of installation with SciPy.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from darkroom.output.orientation import Pixels

Curve = Callable[[Tensor], Tensor]

WINDOW = 7
C1, C2 = 0.01**2, 0.03**2
"""Source: Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity",
2004, section III.B; the uniform 7x7 window and sample covariance are scikit-image's default."""
GAUSSIAN_WINDOW, GAUSSIAN_SIGMA = 11, 1.5
"""Source: the same paper, section III.B, "an 11x11 circular-symmetric Gaussian weighting function,
with standard deviation of 1.5 samples"."""
BAND_ROWS = 64
"""Rows of windows worked on at once, so that memory stays small."""

MAX_STOPS = 1.0
GRID_STEP = 0.25
COARSE = 4
"""The search takes every fourth row and column; a parabola through the errors of the whole picture
at three places, `SPREAD` stops apart, then gives the minimum to better than 0.001 dB."""
SPREAD = 0.05
TOLERANCE = 1e-3


class AlignedPicture(NamedTuple):
    """A picture at its best brightness: the linear `gain`, `psnr` in dB and the `picture`."""

    gain: float
    psnr: float
    picture: Tensor


def to_planes(pixels: Pixels) -> Tensor:
    """Turn (H, W, 3) codes of 8 or 16 bits into (3, H, W) float32 in [0, 1]."""
    whole = 255 if pixels.dtype == np.uint8 else 65535
    return torch.from_numpy(pixels.astype(np.float32) / whole).permute(2, 0, 1)


def psnr(picture: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio in dB for values in [0, 1]; infinite where both are equal."""
    error = (picture.double() - reference.double()).square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)


def truncate_to_8_bits(picture: Tensor) -> Tensor:
    """Cut values in [0, 1] down to the 256 levels of a uint8 picture, as `astype(uint8)` does.

    In float32, as the published scripts do it: there the 256 levels themselves stay what they are.
    """
    return (picture.float() * 255).floor_().clamp_(0, 255).div_(255)


def ssim(picture: Tensor, reference: Tensor) -> float:
    """Structural similarity: the mean over all channels and all whole 7x7 windows.

    Both are (C, H, W) in [0, 1], at least 7x7. Equals scikit-image's `structural_similarity` with
    `data_range=1` and its channel axis.
    """
    return _mean_of_windows(ssim_map, WINDOW, picture, reference)


def gaussian_ssim(picture: Tensor, reference: Tensor) -> float:
    """Structural similarity over 11x11 windows weighted by a Gaussian, as first published.

    Both are (C, H, W) in [0, 1], at least 11x11. Equals scikit-image's `structural_similarity` with
    `gaussian_weights=True, use_sample_covariance=False, data_range=1` and its channel axis.
    """
    return _mean_of_windows(gaussian_ssim_map, GAUSSIAN_WINDOW, picture, reference)


def _mean_of_windows(
    similarity: Callable[[Tensor, Tensor], Tensor], side: int, picture: Tensor, reference: Tensor
) -> float:
    """Average a map over all channels and all whole windows, some rows of windows at a time."""
    channels, height, width = picture.shape
    total = 0.0
    for top in range(0, height - side + 1, BAND_ROWS):
        rows = slice(top, top + BAND_ROWS + side - 1)
        total += similarity(picture[:, rows].double(), reference[:, rows].double()).sum().item()
    return total / (channels * (height - side + 1) * (width - side + 1))


def align_brightness(
    picture: Tensor,
    reference: Tensor,
    decode: Curve,
    encode: Curve,
    max_stops: float = MAX_STOPS,
) -> AlignedPicture:
    """Find the brightness, within so many stops either way, that gives a picture its best PSNR.

    One scalar gain in linear light, clipped at white. `picture`, `reference`: (3, H, W) in [0, 1].
    `decode`: from the picture's curve to linear light; `encode`: back.
    """
    linear = decode(picture)

    def brighten(stops: float, step: int = 1) -> Tensor:
        return encode((linear[:, ::step, ::step] * 2.0**stops).clamp(0, 1))

    def error(stops: float, step: int = 1) -> float:
        difference = brighten(stops, step) - reference[:, ::step, ::step]
        return difference.double().square().mean().item()

    coarse_error = cache(partial(error, step=COARSE))
    places, step = np.arange(-max_stops, max_stops + GRID_STEP, GRID_STEP).tolist(), GRID_STEP
    near = min(places, key=coarse_error)
    while step > TOLERANCE:
        step /= 2
        near = min((near - step, near, near + step), key=coarse_error)
    near = min(max(near, SPREAD - max_stops), max_stops - SPREAD)
    low, middle, high = (error(near + shift) for shift in (-SPREAD, 0, SPREAD))
    bend = low - 2 * middle + high
    shift = SPREAD * (low - high) / (2 * bend) if bend > 0 else math.copysign(SPREAD, low - high)
    stops = near + min(max(shift, -SPREAD), SPREAD)
    stops = min((0.0, stops), key=error)  # the search looks at every so many pixels only
    aligned = brighten(stops) if stops else picture
    return AlignedPicture(2.0**stops, psnr(aligned, reference), aligned)


def ssim_map(x: Tensor, y: Tensor, stride: int = 1) -> Tensor:
    """SSIM of every whole window of (..., C, H, W) pictures in [0, 1]; has gradients.

    `stride`: of the windows; with 3 they still overlap, and it takes a sixth of the time.
    """

    def mean(planes: Tensor) -> Tensor:
        if stride > 1:
            return avg_pool2d(planes, WINDOW, stride)
        # Down, then across, which is faster where windows overlap so much.
        return avg_pool2d(avg_pool2d(planes, (WINDOW, 1), stride=1), (1, WINDOW), stride=1)

    return _similarity(mean, WINDOW**2 / (WINDOW**2 - 1), x, y)


def gaussian_ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of every whole 11x11 window of (C, H, W) pictures in [0, 1], weighted by a Gaussian.

    Variances are those of the population, as the paper has them.
    """
    places = torch.arange(GAUSSIAN_WINDOW, dtype=x.dtype, device=x.device) - GAUSSIAN_WINDOW // 2
    weights = torch.exp(-0.5 * (places / GAUSSIAN_SIGMA).square())
    weights /= weights.sum()

    def mean(planes: Tensor) -> Tensor:
        across = conv2d(planes[:, None], weights[None, None, None])
        return conv2d(across, weights[None, None, :, None])[:, 0]

    return _similarity(mean, 1.0, x, y)


def _similarity(mean: Callable[[Tensor], Tensor], sample: float, x: Tensor, y: Tensor) -> Tensor:
    """Compute SSIM from means over windows; `sample` turns variances into what they are to be."""
    mean_x, mean_y = mean(x), mean(y)
    product = mean_x * mean_y
    squares = mean_x.square() + mean_y.square()
    covariance = sample * (mean(x * y) - product)
    variances = sample * (mean(x.square() + y.square()) - squares)
    return (2 * product + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))
