"""Transfer curves between linear light and codes: sRGB and BT.709, both ways."""

import torch
from torch import Tensor

from darkroom.color.color_space import (
    BT709_ALPHA,
    BT709_BETA,
    BT709_POWER,
    BT709_SLOPE,
    SRGB_KNEE,
    SRGB_OFFSET,
    SRGB_POWER,
    SRGB_SLOPE,
)


def srgb_encode(linear: Tensor) -> Tensor:
    """Apply the sRGB curve: linear light to sRGB, 0 to 0 and 1 to 1; negatives go on linearly."""
    power = linear.clamp(min=SRGB_KNEE) ** (1 / SRGB_POWER)
    bent = (1 + SRGB_OFFSET) * power - SRGB_OFFSET
    return torch.where(linear <= SRGB_KNEE, SRGB_SLOPE * linear, bent)


def srgb_decode(encoded: Tensor) -> Tensor:
    """Undo the sRGB curve: sRGB to linear light, 0 to 0 and 1 to 1."""
    knee = SRGB_SLOPE * SRGB_KNEE
    bent = ((encoded.clamp(min=knee) + SRGB_OFFSET) / (1 + SRGB_OFFSET)) ** SRGB_POWER
    return torch.where(encoded <= knee, encoded / SRGB_SLOPE, bent)


def bt709_encode(linear: Tensor) -> Tensor:
    """Apply the curve of ITU-R BT.709, which LibRaw uses by default: 0 to 0 and 1 to 1."""
    bent = BT709_ALPHA * linear.clamp(min=BT709_BETA) ** BT709_POWER - (BT709_ALPHA - 1)
    return torch.where(linear < BT709_BETA, BT709_SLOPE * linear, bent)


def bt709_decode(encoded: Tensor) -> Tensor:
    """Undo the curve of ITU-R BT.709."""
    knee = BT709_SLOPE * BT709_BETA
    bent = ((encoded.clamp(min=knee) + (BT709_ALPHA - 1)) / BT709_ALPHA) ** (1 / BT709_POWER)
    return torch.where(encoded < knee, encoded / BT709_SLOPE, bent)
