"""The black levels and the noise of DNGs that come in, which LibRaw does not pass on.

Source of all tag numbers and rules: Adobe, Digital Negative Specification 1.4.0.0, chapters 3-4.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base

from darkroom.raw.image import RawImage
from darkroom.raw.tiff_tags import Directory

MAX_PATTERN = 64
"""A longer side of the black levels' pattern is damage; LibRaw has the same limit."""


@dataclass(frozen=True, slots=True)
class DngBlack:
    """A DNG's black levels, whose origin is the active area's first site.

    `levels`: (rows, columns), repeating. `delta_rows`, `delta_columns`: what is added for each row
    and column of the active area, empty where there are none. `origin`: row and column of the
    active area in the full frame.
    """

    levels: NDArray[np.float64]
    delta_rows: NDArray[np.float64]
    delta_columns: NDArray[np.float64]
    origin: tuple[int, int]

    @property
    def has_deltas(self) -> bool:
        """Whether rows or columns have offsets of their own."""
        return bool(self.delta_rows.any() or self.delta_columns.any())

    def seen_from(self, margins: tuple[int, int], period: int) -> NDArray[np.float32]:
        """Repeat the levels from the visible area's first site on, a multiple of `period`."""
        shifts = (self.origin[0] - margins[0], self.origin[1] - margins[1])
        rolled = np.roll(self.levels, shifts, axis=(0, 1))
        repeats = [math.lcm(size, period) // size for size in rolled.shape]
        return np.tile(rolled, repeats).astype(np.float32)

    def without_deltas(self, raw: RawImage) -> RawImage:
        """Take each row's and column's own offset off the photo; unchanged without any."""
        mosaic = raw.mosaic
        for axis, deltas in enumerate((self.delta_rows, self.delta_columns)):
            start = raw.margins[axis] - self.origin[axis]
            if not deltas.any() or start < 0 or start + mosaic.shape[axis] > deltas.size:
                continue
            line = deltas[start : start + mosaic.shape[axis]].astype(np.float32)
            mosaic = mosaic - (line[:, None] if axis == 0 else line)
        return raw if mosaic is raw.mosaic else replace(raw, mosaic=mosaic)


def read_black(directories: tuple[Directory, ...]) -> DngBlack | None:
    """Read the black levels of a DNG's mosaic; None where it states none, or LibRaw rescales."""
    if not any(Base.DNGVersion in directory.entries for directory in directories):
        return None
    stating = [d for d in directories if d.is_mosaic and Base.BlackLevel in d.entries]
    if not stating or stating[0].is_float:  # LibRaw rescales these
        return None
    levels, repeat, area = map(
        stating[0].numbers, (Base.BlackLevel, Base.BlackLevelRepeatDim, Base.ActiveArea)
    )
    rows, columns = (int(n) for n in repeat) if repeat.size == 2 else (1, 1)
    in_range = 1 <= rows <= MAX_PATTERN and 1 <= columns <= MAX_PATTERN
    if not in_range or levels.size < rows * columns:
        return None
    return DngBlack(
        levels=levels[: rows * columns].reshape(rows, columns),
        delta_rows=stating[0].numbers(Base.BlackLevelDeltaV),
        delta_columns=stating[0].numbers(Base.BlackLevelDeltaH),
        origin=(int(area[0]), int(area[1])) if area.size == 4 else (0, 0),
    )


def read_noise_profile(directories: tuple[Directory, ...]) -> tuple[float, float] | None:
    """Read a DNG's noise model, all colour planes averaged: shot and s of RawImage.noise_profile.

    None where it states none, or nonsense. Source: DNG 1.4, "NoiseProfile".
    """
    for directory in directories:
        values = directory.numbers(Base.NoiseProfile)
        if values.size >= 2 and values.size % 2 == 0:
            shot, constant = values.reshape(-1, 2).mean(axis=0)
            return (float(shot), float(constant)) if 0 < shot < 1 and 0 <= constant < 1 else None
    return None
