"""Light as whole numbers of 16 bits: levels, and codes that stand for them."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WHITE = 65535
"""The brightest light's level."""
MAX_BLACK = 8192
"""Black level of a mosaic at most: noise goes below it, without which shadows would be tinted."""
FINE = 66
"""So many levels have a code each, where codes stand for levels by a table. Above, codes are as far
apart as the root of the level, as shot noise is: 4094 in all; RawTherapee reads 4096."""
LINEAR_FROM = 4.0
"""Scale from which codes are the levels themselves, and dithered: as the picture has fewer levels
then. Below, the table leaves each code of 8-bit sRGB at least 5 of these codes."""


class LightLevels(NamedTuple):
    """How light becomes codes: level black + light * step, which a code stands for.

    `scale`: light of the brightest level, at least 1.
    """

    black: int
    scale: float

    @classmethod
    def of(cls, light: NDArray[np.float32], *, pedestal: bool) -> "LightLevels":
        """Return what holds all of a picture's light; with a `pedestal` what is below black."""
        scale = max(1.0, float(light.max()))
        least = max(0.0, -float(light.min())) if pedestal else 0.0
        return cls(min(math.ceil(least / (scale + least) * WHITE), MAX_BLACK), scale)

    @property
    def step(self) -> float:
        """LightLevels for light of 1."""
        return (WHITE - self.black) / self.scale

    @property
    def has_table(self) -> bool:
        """Whether codes stand for levels by `level_table`."""
        return self.scale < LINEAR_FROM

    def encode(self, light: NDArray[np.float32], seed: tuple[int, int]) -> NDArray[np.uint16]:
        """Return codes of light; where they are dithered, by random numbers of a `seed`."""
        levels = light * np.float32(self.step)
        levels += np.float32(self.black)
        if not self.has_table:
            levels += np.random.default_rng(seed).random(levels.shape, np.float32)
            return np.asarray(np.clip(levels, 0, WHITE, out=levels), np.uint16)
        codes = np.clip(levels, 0, FINE)
        roots = np.clip(levels, FINE, WHITE, out=levels)
        roots *= np.float32(4 * FINE)
        codes += np.sqrt(roots, out=roots)
        codes -= np.float32(2 * FINE - 0.5)
        return np.asarray(codes, np.uint16)

    def noise(self) -> tuple[float, float]:
        """Return what rounding adds to the variance: per light, and at black; white is 1."""
        room = WHITE - self.black
        return (
            (1 / 12 / FINE / room, 1 / 12 / room**2) if self.has_table else (0.0, 1 / 6 / room**2)
        )


def level_table() -> NDArray[np.uint16]:
    """Return the level of each code, as DNG's LinearizationTable."""
    codes = np.arange(round(2 * math.sqrt(FINE * WHITE)) - FINE + 1)
    levels = np.where(codes < FINE, codes, (codes + FINE) ** 2 / (4 * FINE))
    return np.minimum(np.rint(levels), WHITE).astype(np.uint16)
