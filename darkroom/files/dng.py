"""DNG: sensor values out, as other programs open them, and the black levels of those that come in.

Source of all tag numbers and rules: Adobe, Digital Negative Specification 1.4.0.0, chapters 3-4;
exposure and time stand in IFD 0, as TIFF/EP (ISO 12234-2) has them.
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from darkroom.errors import OutputError
from darkroom.files.exif import Directory
from darkroom.files.sensor import RawImage

BYTE, ASCII, SHORT, LONG, RATIONAL, SRATIONAL = 1, 2, 3, 4, 5, 10

PHOTOMETRIC_CFA = 32803
"""Source: DNG 1.4, "PhotometricInterpretation"."""
D65 = 21
"""Source: DNG 1.4, "CalibrationIlluminant1", the EXIF LightSource code of D65."""
DENOMINATOR = 1_000_000

DNG_VERSION, ACTIVE_AREA = 50706, 50829
BLACK_REPEAT, BLACK, BLACK_DELTA_COLUMNS, BLACK_DELTA_ROWS = 50713, 50714, 50715, 50716
SAMPLE_FORMAT, IEEE_FLOAT = 339, 3
PHOTOMETRIC = 262
MAX_PATTERN = 64
"""A longer side of the black levels' pattern is damage; LibRaw has the same limit."""

Tag = tuple[int, int, int, object, bool]


def write_dng(
    target: Path | BinaryIO, raw: RawImage, *, frame: NDArray[np.uint16] | None = None
) -> None:
    """Write a RAW photo as a DNG that `read_raw` reads back the same.

    `target`: a path, written in place (whole-or-not-at-all is the caller's part), or a seekable
    binary file. `frame`: the sensor's full frame, masked borders included, in which `raw.mosaic`
    begins at `raw.margins`; without it only the visible area is written. Float mosaics are rounded
    to whole numbers and clipped to 16 bits. DNG knows one white level per colour plane, so the
    smallest of `raw.white` is written. Raises OutputError where the file cannot be written.
    """
    pixels = raw.mosaic if frame is None else frame
    if pixels.dtype != np.uint16:
        pixels = np.clip(np.rint(pixels), 0, np.iinfo(np.uint16).max).astype(np.uint16)
    tags = [*_sensor_tags(raw), *_color_tags(raw), *_photo_tags(raw)]
    if frame is not None:
        (top, left), (height, width) = raw.margins, raw.mosaic.shape
        tags.append(_tag(50829, LONG, [top, left, top + height, left + width]))  # ActiveArea
    try:
        with tifffile.TiffWriter(target, bigtiff=False) as file:
            file.write(
                pixels,
                photometric=PHOTOMETRIC_CFA,
                subfiletype=0,
                software="darkroom",
                metadata=None,
                extratags=tags,
            )
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{target}: cannot be written ({reason}); choose another place"
        ) from error


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
    if not any(DNG_VERSION in directory.entries for directory in directories):
        return None
    for directory in directories:
        if directory.number(PHOTOMETRIC) != PHOTOMETRIC_CFA or BLACK not in directory.entries:
            continue
        if directory.number(SAMPLE_FORMAT) == IEEE_FLOAT:  # LibRaw rescales these
            return None
        levels = directory.numbers(BLACK)
        repeat = directory.numbers(BLACK_REPEAT)
        rows, columns = (int(n) for n in repeat) if repeat.size == 2 else (1, 1)
        if not (1 <= rows <= MAX_PATTERN and 1 <= columns <= MAX_PATTERN):
            return None
        if levels.size < rows * columns or not np.all(np.isfinite(levels)):
            return None
        area = directory.numbers(ACTIVE_AREA)
        return DngBlack(
            levels=levels[: rows * columns].reshape(rows, columns),
            delta_rows=np.nan_to_num(directory.numbers(BLACK_DELTA_ROWS)),
            delta_columns=np.nan_to_num(directory.numbers(BLACK_DELTA_COLUMNS)),
            origin=(int(area[0]), int(area[1])) if area.size == 4 else (0, 0),
        )
    return None


def _sensor_tags(raw: RawImage) -> list[Tag]:
    """Colour filter array and levels."""
    period = raw.cfa.period
    levels = np.asarray(raw.black, dtype=np.float64)
    whole = bool(np.all(levels == np.rint(levels)))
    return [
        _tag(33421, SHORT, [period, period]),  # CFARepeatPatternDim
        _tag(33422, BYTE, raw.cfa.channels.ravel().tolist()),  # CFAPattern
        _tag(50706, BYTE, [1, 4, 0, 0]),  # DNGVersion
        _tag(50707, BYTE, [1, 1, 0, 0]),  # DNGBackwardVersion
        _tag(50710, BYTE, [0, 1, 2]),  # CFAPlaneColor
        _tag(50711, SHORT, [1]),  # CFALayout: rectangular
        _tag(50713, SHORT, list(levels.shape)),  # BlackLevelRepeatDim
        _tag(50714, LONG if whole else RATIONAL, levels.ravel().tolist()),  # BlackLevel
        _tag(50717, LONG, [float(np.min(raw.white))]),  # WhiteLevel
        _tag(50718, RATIONAL, [raw.pixel_aspect, 1.0]),  # DefaultScale: horizontal, vertical
    ]


def _color_tags(raw: RawImage) -> list[Tag]:
    """Colour matrix for D65 and, where the white balance is known, the neutral of the shot."""
    tags = [
        _tag(50721, SRATIONAL, raw.color.xyz_to_camera.ravel().tolist()),  # ColorMatrix1
        _tag(50778, SHORT, [D65]),  # CalibrationIlluminant1
    ]
    if raw.color.white_balance is not None:
        neutral = 1.0 / np.asarray(raw.color.white_balance)
        tags.append(_tag(50728, RATIONAL, neutral.tolist()))  # AsShotNeutral
    return tags


def _photo_tags(raw: RawImage) -> list[Tag]:
    """Camera, orientation, lens, time and exposure."""
    make, _, model = raw.camera.partition(" ")
    exposure = raw.exposure
    tags = [
        _tag(274, SHORT, [raw.orientation]),  # Orientation
        _tag(50708, ASCII, raw.camera or "unknown"),  # UniqueCameraModel
    ]
    if make:
        tags.append(_tag(271, ASCII, make))  # Make
        tags.append(_tag(272, ASCII, model or make))  # Model
    if exposure.seconds is not None:
        tags.append(_tag(33434, RATIONAL, [exposure.seconds]))  # ExposureTime
    if exposure.aperture is not None:
        tags.append(_tag(33437, RATIONAL, [exposure.aperture]))  # FNumber
    if exposure.iso is not None:
        tags.append(_tag(34855, SHORT, [min(round(exposure.iso), 65535)]))  # ISOSpeedRatings
    if raw.time is not None:
        tags.append(_tag(36867, ASCII, raw.time.strftime("%Y:%m:%d %H:%M:%S")))  # DateTimeOriginal
    if raw.lens:
        tags.append(_tag(42036, ASCII, raw.lens))  # LensModel
    return tags


def _tag(code: int, kind: int, values: list[float] | list[int] | str) -> Tag:
    """One entry as tifffile takes it; rationals become pairs of whole numbers."""
    if isinstance(values, str):
        return (code, kind, 0, values, True)
    if kind in (RATIONAL, SRATIONAL):
        parts = [Fraction(value).limit_denominator(DENOMINATOR) for value in values]
        pairs = tuple(n for part in parts for n in (part.numerator, part.denominator))
        return (code, kind, len(values), pairs, True)
    whole = [round(value) for value in values]
    return (code, kind, len(whole), whole[0] if len(whole) == 1 else tuple(whole), True)
