"""What a profile, or dark frames, do to a photo: its black, its noise and its hot pixels."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from darkroom.calibration.dark_reference import DarkReference
from darkroom.calibration.fixed_pattern import spread_cells
from darkroom.calibration.profile import CameraProfile, IsoProfile
from darkroom.errors import SensorError
from darkroom.mosaic.known_defects import repair_sites
from darkroom.mosaic.linear import LinearMosaic
from darkroom.mosaic.noise import Noise, measure_noise
from darkroom.raw.image import BlackOrigin, BlackSource, RawImage

MIN_SHADING = 0.02
"""Shading that differs by less than this part of the read noise stays: nobody could see it."""


@dataclass(frozen=True, slots=True)
class Correction:
    """A profile or dark frames or both, and what of them is used.

    `black`: whether black is theirs; `hot_pixels`: whether the hot pixels that they know are
    repaired. Where there are both, black is that of the dark frames.
    """

    profile: CameraProfile | None = None
    dark: DarkReference | None = None
    black: bool = True
    hot_pixels: bool = True

    def check(self, raw: RawImage) -> tuple[str, ...]:
        """Say what of it does not fit a photo, a line each.

        Raises SensorError where camera or size are others.
        """
        for reference in (self.profile, self.dark):
            reason = None if reference is None else reference.refuse(raw)
            if reason is not None:
                raise SensorError(f"{reason}; leave it out, or take one of this camera")
        notes = []
        if self.profile is not None and self.profile.at(raw.exposure.iso) is None:
            isos = [level.iso for level in self.profile.levels]
            iso = "no stated ISO" if raw.exposure.iso is None else f"ISO {raw.exposure.iso:g}"
            notes.append(
                f"{iso} is not within the profile's {isos[0]:g} to {isos[-1]:g}: black and noise "
                "are the photo's own"
            )
        if self.dark is not None and (doubt := self.dark.doubt(raw)):
            notes.append(f"{doubt}: hot pixels and level may not fit")
        return tuple(notes)

    def correct_black(self, raw: RawImage) -> RawImage:
        """Take black, and what is always on top of it, from the reference; may be repeated."""
        source = BlackSource.PROFILE if self.dark is None else BlackSource.DARK
        if not self.black or (raw.black_origin and raw.black_origin.source is source):
            return raw
        if self.dark is not None:
            frames = f"{self.dark.count} dark frame{'s' * (self.dark.count > 1)}"
            reason = f"measured on {frames} given with the photo"
            return _with_black(raw, self.dark.black, self.dark.fixed, (source, reason))
        level = self._level(raw)
        if level is None or self.profile is None:
            return raw
        top, left = self.profile.locate(raw)
        height, width = raw.mosaic.shape
        window = np.s_[top : top + height, left : left + width]
        black = np.roll(level.black, (-top, -left), axis=(0, 1))
        reason = f"measured on dark frames, as the profile of {self.profile.camera} says"
        fixed = _fixed_pattern(level, (self.profile.height, self.profile.width))
        corrected = _with_black(
            raw, black, None if fixed is None else fixed[window], (source, reason)
        )
        # A photo's own offsets of rows, where its borders tell them, include those that stay.
        rows = raw.row_black
        if rows is None and level.rows is not None:
            rows = level.rows[top : top + height].astype(np.float32)
        return replace(corrected, row_black=rows)

    def measure_noise(self, raw: RawImage) -> Noise:
        """Return a photo's noise as the profile says; what that does not say is measured."""
        level = self._level(raw)
        if level is None or self.profile is None:
            return measure_noise(raw)
        span = float(np.mean(raw.white - raw.black))
        read = level.read_noise.value / span
        reason = f"as the profile of {self.profile.camera} says for ISO {level.iso:g}"
        if level.shot_gain is None:
            return replace(measure_noise(raw), read=read, reason=f"read noise {reason}")
        clipped = float(np.mean(raw.mosaic <= 0)) > 0.01
        return Noise(level.shot_gain.value / span, read, reason, clipped, raw.black_known)

    def repair(self, mosaic: NDArray[np.float32] | LinearMosaic, raw: RawImage) -> int:
        """Repair the known hot pixels of a photo's linear mosaic in place, and count them."""
        if not self.hot_pixels:
            return 0
        sites = [np.empty((0, 2), np.intp)]
        if self.profile is not None:
            places = self._hot_pixels(raw)[:, :2].astype(np.intp)
            sites.append(places - np.array(self.profile.locate(raw)))
        if self.dark is not None:
            sites.append(self.dark.hot)
        return repair_sites(mosaic, raw.cfa, np.concatenate(sites))

    def _level(self, raw: RawImage) -> IsoProfile | None:
        return None if self.profile is None else self.profile.at(raw.exposure.iso)

    def _hot_pixels(self, raw: RawImage) -> NDArray[np.float64]:
        """Return those of the photo's ISO, else of the nearest: they stay where they are."""
        assert self.profile is not None, "it is asked for its map"
        level, iso = self._level(raw), raw.exposure.iso or self.profile.levels[-1].iso
        if level is None:
            level = min(self.profile.levels, key=lambda one: abs(math.log(one.iso / iso)))
        return level.hot_pixels


def _fixed_pattern(level: IsoProfile, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """(H, W) of columns and shading; None where nobody could see it."""
    fixed = np.zeros(shape, np.float32)
    if level.columns is not None:
        fixed += level.columns[None].astype(np.float32)
    if level.shading is not None:
        fixed += spread_cells(level.shading, shape)
    return fixed if np.ptp(fixed) > MIN_SHADING * level.read_noise.value else None


def _with_black(
    raw: RawImage,
    black: NDArray[np.float64],
    fixed: NDArray[np.float32] | None,
    says: tuple[BlackSource, str],
) -> RawImage:
    """Take another black level, and a pattern off the values; the mosaic is copied for that."""
    origin = raw.black_origin or BlackOrigin(raw.black, "")
    repeats = np.array(raw.white.shape) // black.shape
    mosaic = raw.mosaic if fixed is None else np.asarray(raw.mosaic - fixed, np.float32)
    return replace(
        raw,
        mosaic=mosaic,
        black=np.tile(black, repeats).astype(np.float32),
        row_black=None,
        black_origin=replace(
            origin,
            source=says[0],
            reason=says[1],
            row_noise_left=origin.row_noise,
            known=True,
            warning=None,
        ),
        warnings=tuple(line for line in raw.warnings if line != origin.warning),
    )
