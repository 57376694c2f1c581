"""White balance: neutral surfaces get R = G = B.

Camera RGB: what the sensor's red, green and blue filters see, linear. White-balanced: scaled so
that neutral surfaces have R = G = B and a saturated sensor is at least 1 in all three.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.mosaic.packing import COLORS_OF_CHANNELS
from darkroom.raw.image import Color

GRAY_WORLD_SAMPLES = 1 << 16
GRAY_WORLD_DARKEST = 0.1  # share of the pixels left out: noise more than colour
GRAY_WORLD_CLIPPED = 0.98
GRAY_WORLD_LIMIT = 8.0


def balance_white(light: Tensor, color: Color) -> Tensor:
    """Multiply each channel by its white-balance multiplier, scaled so that the smallest is 1.

    `light`: (..., C, h, w), a packed mosaic (C 4 or 9) or a camera RGB picture (C 3); where the
    white balance is unknown it is returned as it is. No multiplier is below 1, so that where the
    sensor was saturated all three channels reach white: clipped highlights stay neutral.
    """
    if color.white_balance is None:
        return light
    multipliers = (color.white_balance / color.white_balance.min()).tolist()
    chosen = [multipliers[index] for index in COLORS_OF_CHANNELS[light.shape[-3]]]
    scale = torch.tensor(chosen, dtype=light.dtype, device=light.device)
    return light * scale[:, None, None]


def gray_world(light: Tensor) -> NDArray[np.float64]:
    """Measure the white balance that makes a brightened picture gray on average.

    `light`: (C, h, w), packed (C 4 or 9) or camera RGB (C 3), amplified, not white-balanced.
    Returns (3,) float64 multipliers of R, G, B, green 1. Clipped and the darkest pixels are left
    out; each multiplier stays within a factor of GRAY_WORLD_LIMIT; all 1 where nothing is left.
    """
    flat = light.flatten(1)
    samples = flat[:, :: max(1, flat.shape[1] // GRAY_WORLD_SAMPLES)].double()
    floor = torch.quantile(samples.mean(0), GRAY_WORLD_DARKEST)
    usable = (samples.mean(0) > floor) & (samples.amax(0) < GRAY_WORLD_CLIPPED)
    channels = np.array(COLORS_OF_CHANNELS[len(light)])
    means = samples[:, usable].mean(1).cpu().numpy()
    rgb = np.array([means[channels == index].mean() for index in range(3)])
    if not np.all(rgb > 0):
        return np.ones(3)
    return np.asarray(np.clip(rgb[1] / rgb, 1 / GRAY_WORLD_LIMIT, GRAY_WORLD_LIMIT))


def with_white_balance(color: Color, packed: Tensor) -> Color:
    """Return a photo's colours with a white balance, measured on the picture where there is none.

    `packed`: as `gray_world` takes it.
    """
    if color.white_balance is not None:
        return color
    return replace(color, white_balance=gray_world(packed))
