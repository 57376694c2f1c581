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

DELTAS = (Base.BlackLevelDeltaV, Base.BlackLevelDeltaH)
NUMBERS = (3, 4, 5, 9, 10, 11, 12)
"""TIFF's types that levels come in: the standard's, and signed or floating point ones."""
MAX_VALUE = 65535
"""LibRaw decodes integers to 16 bits."""
MAX_PATTERN = 64
"""A longer side of the black levels' pattern is damage; LibRaw has the same limit."""


@dataclass(frozen=True, slots=True)
class DngBlack:
    """A DNG's black levels, whose origin is the active area's first site.

    `levels`: (rows, columns), repeating. `delta_rows`, `delta_columns`: what is added for each row
    and column of the active area, empty where there are none. `origin`: row and column of the
    active area in the full frame. `damaged`: where BlackLevel makes no sense, what it says; the
    levels are 0 then. `warnings`: about the others.
    """

    levels: NDArray[np.float64]
    delta_rows: NDArray[np.float64]
    delta_columns: NDArray[np.float64]
    origin: tuple[int, int]
    damaged: str | None = None
    warnings: tuple[str, ...] = ()

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
        mosaic, warnings = raw.mosaic, self.warnings
        for axis, deltas in enumerate((self.delta_rows, self.delta_columns)):
            start = raw.margins[axis] - self.origin[axis]
            if not deltas.any():
                continue
            if start < 0 or start + mosaic.shape[axis] > deltas.size:
                warnings = (*warnings, _unusable(DELTAS[axis], f"{deltas.size} values"))
                continue
            line = deltas[start : start + mosaic.shape[axis]].astype(np.float32)
            mosaic = mosaic - (line[:, None] if axis == 0 else line)
        if mosaic is raw.mosaic and not warnings:
            return raw
        return replace(raw, mosaic=mosaic, warnings=(*raw.warnings, *warnings))


def read_black(directories: tuple[Directory, ...]) -> DngBlack | None:
    """Read the black levels of a DNG's mosaic; None where it states none, or LibRaw rescales."""
    directory = _find_integers(directories)
    if directory is None or Base.BlackLevel not in directory.entries:
        return None
    levels, repeat, area = map(
        directory.numbers, (Base.BlackLevel, Base.BlackLevelRepeatDim, Base.ActiveArea)
    )
    rows, columns = (int(n) for n in repeat) if repeat.size == 2 else (1, 1)
    damaged = None
    if levels.size == 1:
        levels = np.resize(levels, min(rows * columns, MAX_PATTERN**2))
    if not (1 <= rows <= MAX_PATTERN and 1 <= columns <= MAX_PATTERN):
        damaged = f"a pattern of {rows} x {columns}"
    elif directory.entries[Base.BlackLevel].kind not in NUMBERS or levels.size < rows * columns:
        damaged = "no numbers, or too few"
    elif not 0 <= levels.min() <= levels.max() <= MAX_VALUE:
        damaged = f"{levels.min():g} to {levels.max():g}"
    if damaged is not None:
        levels, rows, columns = np.zeros(1), 1, 1
    deltas, warnings = [], []
    for tag in DELTAS:
        found = directory.numbers(tag)
        if tag in directory.entries and not 0 <= np.abs(found).max(initial=-1) <= MAX_VALUE:
            found = np.empty(0)
            warnings.append(_unusable(tag, "no numbers that can be"))
        deltas.append(found)
    return DngBlack(
        levels=levels[: rows * columns].reshape(rows, columns),
        delta_rows=deltas[0],
        delta_columns=deltas[1],
        origin=(int(area[0]), int(area[1])) if area.size == 4 else (0, 0),
        damaged=damaged,
        warnings=tuple(warnings),
    )


def impossible_white(directories: tuple[Directory, ...]) -> str | None:
    """Say that a DNG's WhiteLevel cannot be, for LibRaw takes another in silence; None if it can.

    Every gain is a multiple of white, so nothing sensible can stand in for it.
    """
    directory = _find_integers(directories)
    if directory is None or Base.WhiteLevel not in directory.entries:
        return None
    levels = directory.numbers(Base.WhiteLevel)
    if levels.size and 0 < levels.min() <= levels.max() <= MAX_VALUE:
        return None
    says = f"{levels.max():g}" if levels.size else "no number"
    return f"states a white level that cannot be (WhiteLevel: {says})"


def _find_integers(directories: tuple[Directory, ...]) -> Directory | None:
    """Find the mosaic of a DNG; None in other files, and where LibRaw rescales floating point."""
    if not any(Base.DNGVersion in directory.entries for directory in directories):
        return None
    mosaics = [d for d in directories if d.is_mosaic]
    stating = [d for d in mosaics if Base.BlackLevel in d.entries] or mosaics
    return None if not stating or stating[0].is_float else stating[0]


def _unusable(tag: Base, says: str) -> str:
    return f"{tag.name} in the file has {says}; it is left out, so black may be off row by row"


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
