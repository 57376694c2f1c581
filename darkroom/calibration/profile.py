"""A camera's profile: what was measured of it at each ISO, as values and as JSON.

All in sensor units (DN) and for the visible area as `read_raw` gives it. The README of this folder
explains every key of the file.
"""

import hashlib
import json
import math
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import UsageError
from darkroom.raw.image import CFA, RawImage
from darkroom.raw.optical_black import MAX_LINES

SCHEMA = 1
"""Version of the file; it grows when a key changes its meaning."""
KIND = "darkroom camera profile"
DIGITS = 5
"""Significant digits of measured numbers; none is known better."""

Values = NDArray[np.float64]


class Estimate(NamedTuple):
    """A measured number and its standard error."""

    value: float
    error: float


@dataclass(frozen=True, slots=True, eq=False)
class IsoProfile:
    """What was measured at one ISO, in sensor units.

    `darks`, `flats`: frames that it was measured on; `seconds`: the darks' exposure. `black`,
    `black_error`: (period, period) levels of the sites and their standard errors. `rows`: (H,),
    `columns`: (W,), `shading`: (m, n) of cells all over the frame: what dark frames always have on
    top of black; None where nothing was found. `read_noise`: std of one site from frame to frame,
    rounding included; `excess_kurtosis`, `tukey_lambda`: its shape (Gaussian: 0 and 0.14).
    `row_noise`, `column_noise`: std of the offsets that rows and columns have anew in each frame.
    `hot_pixels`: (n, 3) row, column, and how far above black. `shot_gain`: variance of shot noise
    per unit of signal, None without flat frames. `white`: the level where flats were seen to stop.
    """

    iso: float
    darks: int
    flats: int
    seconds: float | None
    black: Values
    black_error: Values
    rows: Values | None
    columns: Values | None
    shading: Values | None
    read_noise: Estimate
    excess_kurtosis: Estimate
    tukey_lambda: Estimate
    row_noise: Estimate
    column_noise: Estimate
    hot_pixels: Values
    shot_gain: Estimate | None = None
    white: float | None = None

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


@dataclass(frozen=True, slots=True, eq=False)
class CameraProfile:
    """What was measured of a camera.

    `height`, `width`, `margins`: of the visible area, the latter in the full frame. `white`: the
    level that the files state. `levels`: by rising ISO, at least one.
    """

    camera: str
    height: int
    width: int
    margins: tuple[int, int]
    cfa: str
    white: float
    levels: tuple[IsoProfile, ...]

    @property
    def sha256(self) -> str:
        """What tells profiles apart: the SHA-256 of all that they say."""
        return hashlib.sha256(json.dumps(self.record()).encode()).hexdigest()

    @property
    def identity(self) -> dict[str, str]:
        """What records of pictures say of it."""
        return {"camera": self.camera, "sha256": self.sha256}

    def record(self) -> dict[str, Any]:
        """Return it as JSON values, as the file holds it."""
        own = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "levels"
        }
        own["margins"] = list(self.margins)
        levels = [level.record() for level in self.levels]
        return {"kind": KIND, "schema": SCHEMA, **own, "levels": levels}

    def locate(self, raw: RawImage) -> tuple[int, int]:
        """Return the row and column of this frame where a photo's visible area begins."""
        return raw.margins[0] - self.margins[0], raw.margins[1] - self.margins[1]

    def refuse(self, raw: RawImage) -> str | None:
        """Say in one line why this is no profile for a photo; None if it is."""
        if raw.camera != self.camera:
            of = raw.camera or "a camera that the file does not name"
            return f"the profile is of {self.camera}, the photo of {of}"
        top, left = self.locate(raw)
        height, width = raw.mosaic.shape
        if not covers((self.height, self.width), (top, left), raw.mosaic.shape):
            size = f"{self.width} x {self.height}"
            return f"the profile is of {size} photosites, the photo has {width} x {height}"
        if raw.cfa != CFA(self.cfa).shifted(top, left):
            return f"the profile's colour filters are {self.cfa}, the photo's {raw.cfa.pattern}"
        return None

    def at(self, iso: float | None) -> IsoProfile | None:
        """Interpolate between the ISOs that were measured; None outside them.

        Noise is interpolated in the logarithms of both, levels linearly in that of ISO. Hot pixels
        are those of both neighbours.
        """
        if iso is None:
            return None
        above = next((level for level in self.levels if level.iso >= iso * (1 - 1e-3)), None)
        if above is None:
            return None
        if abs(above.iso / iso - 1) <= 1e-3:
            return above
        below = [level for level in self.levels if level.iso < iso]
        return _between(below[-1], above, iso) if below else None


def covers(whole: tuple[int, ...], place: tuple[int, ...], part: tuple[int, ...]) -> bool:
    """Whether a frame is another, or what `read_raw` leaves of it without optical-black lines.

    `whole`, `part`: rows and columns of both; `place`: where the part begins in the whole. More
    lines are missing where a camera crops, and then `place` is not to be trusted.
    """
    return all(
        0 <= start <= MAX_LINES and 0 <= size - start - own <= MAX_LINES
        for size, start, own in zip(whole, place, part, strict=True)
    )


def _between(low: IsoProfile, high: IsoProfile, iso: float) -> IsoProfile:
    """Interpolate two levels."""
    share = math.log(iso / low.iso) / math.log(high.iso / low.iso)

    def noise(one: Estimate, other: Estimate) -> Estimate:
        least = 1e-9
        value = max(one.value, least) ** (1 - share) * max(other.value, least) ** share
        return Estimate(value if value > least else 0.0, max(one.error, other.error))

    def linear(one: Estimate, other: Estimate) -> Estimate:
        value = (1 - share) * one.value + share * other.value
        return Estimate(value, max(one.error, other.error))

    def mixed(one: Values | None, other: Values | None) -> Values | None:
        if one is None and other is None:
            return None
        parts = [0.0 if part is None else part for part in (one, other)]
        return np.asarray((1 - share) * parts[0] + share * parts[1], np.float64)

    black, error = mixed(low.black, high.black), np.maximum(low.black_error, high.black_error)
    assert black is not None, "both have a black level"
    sites = np.concatenate([high.hot_pixels, low.hot_pixels])
    _, first = np.unique(sites[:, :2], axis=0, return_index=True)
    gains = low.shot_gain, high.shot_gain
    return replace(
        low,
        iso=iso,
        black=black,
        black_error=error,
        rows=mixed(low.rows, high.rows),
        columns=mixed(low.columns, high.columns),
        shading=mixed(low.shading, high.shading),
        read_noise=noise(low.read_noise, high.read_noise),
        excess_kurtosis=linear(low.excess_kurtosis, high.excess_kurtosis),
        tukey_lambda=linear(low.tukey_lambda, high.tukey_lambda),
        row_noise=noise(low.row_noise, high.row_noise),
        column_noise=noise(low.column_noise, high.column_noise),
        hot_pixels=sites[first],
        shot_gain=None if gains[0] is None or gains[1] is None else noise(gains[0], gains[1]),
    )


@dataclass(frozen=True, slots=True)
class SensorNoise:
    """A camera's noise at one ISO in units of its white level, for simulating it.

    Variance = shot * x + read ** 2 at x between black 0 and white 1. `shape`: Tukey's lambda.
    `row`, `column`: std of what varies from frame to frame, in stds of the read noise. `step`: of
    rounding to whole numbers.
    """

    iso: float
    shot: float
    read: float
    shape: float
    row: float
    column: float
    step: float


def list_noise(profile: CameraProfile) -> tuple[SensorNoise, ...]:
    """Return the noise at every ISO that has a shot gain, by rising ISO.

    Raises UsageError where none has.
    """
    found = []
    for level in profile.levels:
        if level.shot_gain is None:
            continue
        span = profile.white - float(level.black.mean())
        read = level.read_noise.value
        found.append(
            SensorNoise(
                level.iso,
                level.shot_gain.value / span,
                math.sqrt(max(read**2 - 1 / 12, 0.01 * read**2)) / span,  # rounding comes by itself
                level.tukey_lambda.value,
                level.row_noise.value / read,
                level.column_noise.value / read,
                1 / span,
            )
        )
    if not found:
        raise UsageError(
            f"the profile of {profile.camera} has no shot gain, for it was made of dark frames "
            "alone; calibrate with flat frames too"
        )
    return tuple(found)


def _plain(value: Any) -> Any:
    """Return a number, array or estimate as JSON values, of no more digits than mean something."""
    if isinstance(value, Estimate):
        return {"value": _rounded(value.value), "error": _rounded(value.error)}
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value.tolist()]
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return _rounded(value) if isinstance(value, float) else value


def _rounded(value: float) -> float | int:
    """Round to DIGITS significant digits, and at least to thousandths; whole numbers as such."""
    short = round(value, 3) if abs(value) >= 100 else float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() else short
