"""Transfer curves between linear light and codes: sRGB and BT.709, both ways."""

import torch
from torch import Tensor

# The sRGB curve. Source: IEC 61966-2-1:1999, section 5.2.
SRGB_KNEE = 0.0031308
SRGB_SLOPE = 12.92
SRGB_OFFSET = 0.055
SRGB_POWER = 2.4

# The BT.709 curve, LibRaw's default "gamma (2.222, 4.5)". Source: ITU-R BT.709-6, item 1.2; alpha
# and beta to seven digits so that its two parts meet, as LibRaw solves them.
BT709_ALPHA = 1.0992968
BT709_BETA = 0.0180540
BT709_SLOPE = 4.5
BT709_POWER = 0.45


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
