"""Colour spaces of finished pictures: their primaries, white and transfer curves."""

from enum import Enum
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

D65 = (0.3127, 0.3290)
"""Source: ITU-R BT.709-6, item 1.4."""
D50 = (0.3457, 0.3585)
"""Source: ISO 22028-2:2013, table 1."""
D50_XYZ = np.array([0.9642, 1.0, 0.8249])
"""Of ICC's profile connection space. Source: ICC.1:2022, 7.2.16."""
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
"""XYZ to the cones' answers in which whites are adapted. Source: ICC.1:2022, annex E.3."""
STEEP = 1e-14
"""Light below which a pure power, whose slope has no end, goes on as a line; no code tells."""


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


class TransferCurve(NamedTuple):
    """From linear light, 0 to 1, to samples, 0 to 1.

    Up to `knee` a line of `slope`, above it (1 + `offset`) * light ** (1 / `power`) - `offset`.
    """

    power: float
    offset: float = 0.0
    slope: float = 1.0
    knee: float = 0.0

    @classmethod
    def pure(cls, power: float) -> "TransferCurve":
        """Return a power without a straight part."""
        return cls(power, 0.0, STEEP ** (1 / power - 1), STEEP)


SRGB_CURVE = TransferCurve(SRGB_POWER, SRGB_OFFSET, SRGB_SLOPE, SRGB_KNEE)
LINEAR = TransferCurve(1.0)

Corner = tuple[float, float]
SRGB_PRIMARIES: tuple[Corner, ...] = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))


class ColorSpace(Enum):
    """What a picture's samples mean; the value is its name.

    Sources: IEC 61966-2-1 (sRGB), SMPTE EG 432-1 (Display P3, with sRGB's curve and white), Adobe
    RGB (1998) 4.3, ITU-R BT.2020-2, ISO 22028-2 (ROMM RGB, called ProPhoto). Linear is sRGB's
    primaries without a curve.
    """

    SRGB = "srgb"
    DISPLAY_P3 = "display-p3"
    ADOBE_RGB = "adobe-rgb"
    REC2020 = "rec2020"
    PROPHOTO = "prophoto"
    LINEAR = "linear"

    @property
    def curve(self) -> TransferCurve:
        """The transfer curve."""
        return SPACES[self][2]

    @property
    def white(self) -> Corner:
        """The white's chromaticity, x and y."""
        return SPACES[self][1]

    @property
    def luminance(self) -> tuple[float, float, float]:
        """Shares of linear R, G and B in the luminance."""
        red, green, blue = rgb_to_xyz(self)[1]
        return float(red), float(green), float(blue)


SPACES: dict[ColorSpace, tuple[tuple[Corner, ...], Corner, TransferCurve]] = {
    ColorSpace.SRGB: (SRGB_PRIMARIES, D65, SRGB_CURVE),
    ColorSpace.DISPLAY_P3: (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), D65, SRGB_CURVE),
    ColorSpace.ADOBE_RGB: (
        ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
        D65,
        TransferCurve.pure(563 / 256),
    ),
    ColorSpace.REC2020: (
        ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
        D65,
        TransferCurve(
            1 / BT709_POWER,
            BT709_ALPHA - 1,
            BT709_SLOPE,
            BT709_BETA,
        ),
    ),
    ColorSpace.PROPHOTO: (
        ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)),
        D50,
        TransferCurve(1.8, 0.0, 16.0, 16 ** (1.8 / (1 - 1.8))),
    ),
    ColorSpace.LINEAR: (SRGB_PRIMARIES, D65, LINEAR),
}
"""Primaries (R, G, B), white and curve of each."""


@cache
def rgb_to_xyz(space: ColorSpace) -> NDArray[np.float64]:
    """Return the matrix from linear RGB of a space to CIE XYZ under its own white, (3, 3)."""
    corners, white, _ = SPACES[space]
    primaries = np.stack([_to_xyz(corner) for corner in corners], axis=1)
    return np.asarray(primaries * np.linalg.solve(primaries, _to_xyz(white)))


def adapt_white(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix, (3, 3), for XYZ under one white to those under another, as Bradford's."""
    scale = (BRADFORD @ target) / (BRADFORD @ source)
    return np.asarray(np.linalg.solve(BRADFORD, scale[:, None] * BRADFORD))


def srgb_to_space(space: ColorSpace) -> NDArray[np.float64]:
    """Return the matrix, (3, 3), from linear sRGB to linear RGB of a space; white to white."""
    if SPACES[space][:2] == SPACES[ColorSpace.SRGB][:2]:
        return np.eye(3)  # to the bit
    there, here = rgb_to_xyz(space), rgb_to_xyz(ColorSpace.SRGB)
    adapted = adapt_white(_to_xyz(D65), _to_xyz(space.white)) @ here
    return np.asarray(np.linalg.solve(there, adapted))


def space_to_pcs(space: ColorSpace) -> NDArray[np.float64]:
    """Return the matrix, (3, 3), from linear RGB of a space to ICC's XYZ under D50."""
    return adapt_white(_to_xyz(space.white), D50_XYZ) @ rgb_to_xyz(space)


def white_to_pcs(space: ColorSpace) -> NDArray[np.float64]:
    """Return the matrix, (3, 3), that adapts XYZ under a space's white to ICC's D50."""
    return adapt_white(_to_xyz(space.white), D50_XYZ)


def _to_xyz(chromaticity: Corner) -> NDArray[np.float64]:
    """Return XYZ of luminance 1."""
    x, y = chromaticity
    return np.array([x / y, 1.0, (1 - x - y) / y])


def decode_samples(samples: NDArray[np.float64], curve: TransferCurve) -> NDArray[np.float64]:
    """Turn samples, 0 to 1, into linear light."""
    scale = 1 + curve.offset
    bent = ((np.maximum(samples, 0) + curve.offset) / scale) ** curve.power
    return np.asarray(np.where(samples <= curve.slope * curve.knee, samples / curve.slope, bent))


def encode_light(light: NDArray[np.float32], curve: TransferCurve) -> NDArray[np.float32]:
    """Turn linear light into samples; what is not in 0 to 1 is brought there."""
    light = np.clip(light, 0, 1)
    if curve == LINEAR:
        return light
    bent = (1 + curve.offset) * light ** (1 / curve.power) - curve.offset
    return np.asarray(np.where(light <= curve.knee, curve.slope * light, bent), np.float32)
