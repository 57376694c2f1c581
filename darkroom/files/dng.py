"""DNG: sensor values out, as other programs open them, and the black levels of those that come in.

Source of all tag numbers and rules: Adobe, Digital Negative Specification 1.4.0.0, chapters 3-4;
TIFF 6.0; EXIF 2.32.
"""

import math
import struct
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import OutputError
from darkroom.files.exif import (
    EXIF_DIRECTORY,
    EXPOSURE_TIME,
    F_NUMBER,
    ISO,
    MAKE,
    MODEL,
    UNIQUE_CAMERA_MODEL,
    Directory,
)
from darkroom.files.sensor import RawImage

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, DOUBLE = 1, 2, 3, 4, 5, 7, 10, 12
LITTLE_ENDIAN = b"II*\0"
STRIP_OFFSETS = 273
DENOMINATOR = 1_000_000
"""Largest denominator of a rational, smaller for numbers above 2000: both parts fit 32 bits."""

PHOTOMETRIC_CFA = 32803
"""Source: DNG 1.4, "PhotometricInterpretation"."""
D65 = 21
"""Source: DNG 1.4, "CalibrationIlluminant1", the EXIF LightSource code of D65."""

DNG_VERSION, ACTIVE_AREA = 50706, 50829
BLACK_REPEAT, BLACK, BLACK_DELTA_COLUMNS, BLACK_DELTA_ROWS = 50713, 50714, 50715, 50716
SAMPLE_FORMAT, IEEE_FLOAT = 339, 3
PHOTOMETRIC = 262
NOISE_PROFILE = 51041
MAX_PATTERN = 64
"""A longer side of the black levels' pattern is damage; LibRaw has the same limit."""

Tag = tuple[int, int, Sequence[float] | str | bytes]
"""Code, type and values."""


def write_dng(
    target: Path | BinaryIO, raw: RawImage, *, frame: NDArray[np.uint16] | None = None
) -> None:
    """Write a RAW photo as a DNG that `read_raw` reads back the same.

    `target`: a path, written in place (whole-or-not-at-all is the caller's part), or a binary
    stream. `frame`: the sensor's full frame, masked borders included, in which `raw.mosaic` begins
    at `raw.margins`; without it only the visible area is written. Float mosaics are rounded to
    whole numbers and clipped to 16 bits. DNG knows one white level per colour plane, so the
    smallest of `raw.white` is written. Raises OutputError where a path cannot be written.
    """
    pixels = raw.mosaic if frame is None else frame
    if pixels.dtype != np.uint16:
        pixels = np.clip(np.rint(pixels), 0, np.iinfo(np.uint16).max)
    tags = [*_sensor_tags(raw), *_color_tags(raw), *_photo_tags(raw)]
    if frame is not None:
        (top, left), (height, width) = raw.margins, raw.mosaic.shape
        tags.append((ACTIVE_AREA, LONG, [top, left, top + height, left + width]))
    header = _header(tags, _exif_tags(raw), pixels.shape)
    samples = np.ascontiguousarray(pixels, dtype="<u2")
    try:
        with nullcontext(target) if not isinstance(target, Path) else target.open("wb") as stream:
            stream.write(header)
            stream.write(samples.data)
    except OSError as error:
        if not isinstance(target, Path):
            raise  # the stream's owner knows what it is
        reason = error.strerror or str(error)
        message = f"{target}: cannot be written ({reason}); choose another place"
        raise OutputError(message) from error


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


def read_noise_profile(directories: tuple[Directory, ...]) -> tuple[float, float] | None:
    """Read a DNG's noise model, all colour planes averaged: shot and s of RawImage.noise_profile.

    None where it states none, or nonsense. Source: DNG 1.4, "NoiseProfile".
    """
    for directory in directories:
        values = directory.numbers(NOISE_PROFILE)
        if values.size >= 2 and values.size % 2 == 0 and np.all(np.isfinite(values)):
            shot, constant = values.reshape(-1, 2).mean(axis=0)
            return (float(shot), float(constant)) if 0 < shot < 1 and 0 <= constant < 1 else None
    return None


def _header(tags: list[Tag], exif: list[Tag], shape: tuple[int, ...]) -> bytes:
    """Everything before the samples: TIFF header, IFD 0 and the EXIF directory."""
    height, width = shape
    layout: list[Tag] = [
        (254, LONG, [0]),  # NewSubfileType: the main picture
        (256, LONG, [width]),
        (257, LONG, [height]),
        (258, SHORT, [16]),  # BitsPerSample
        (259, SHORT, [1]),  # Compression: none
        (PHOTOMETRIC, SHORT, [PHOTOMETRIC_CFA]),
        (277, SHORT, [1]),  # SamplesPerPixel
        (278, LONG, [height]),  # RowsPerStrip
        (279, LONG, [height * width * 2]),  # StripByteCounts
        (284, SHORT, [1]),  # PlanarConfiguration
        (305, ASCII, "darkroom"),  # Software
        (EXIF_DIRECTORY, LONG, [0]),
        (STRIP_OFFSETS, LONG, [0]),
    ]
    start = len(LITTLE_ENDIAN) + 4
    place = start + len(_directory([*tags, *layout], start))
    block = _directory(exif, place)
    pointers = [(EXIF_DIRECTORY, LONG, [place]), (STRIP_OFFSETS, LONG, [place + len(block)])]
    first = _directory([*tags, *layout[:-2], *pointers], start)
    return LITTLE_ENDIAN + start.to_bytes(4, "little") + first + block


def _directory(tags: list[Tag], start: int) -> bytes:
    """One directory as it stands at `start`: its sorted entries, then their longer values."""
    table, values = struct.pack("<H", len(tags)), b""
    for code, kind, value in sorted(tags, key=lambda tag: tag[0]):
        count, packed = _packed(kind, value)
        if len(packed) > 4:
            place = start + 2 + 12 * len(tags) + 4 + len(values)
            values += packed + bytes(len(packed) % 2)
            packed = struct.pack("<I", place)
        table += struct.pack("<HHI", code, kind, count) + packed.ljust(4, b"\0")
    return table + bytes(4) + values


def _packed(kind: int, value: Sequence[float] | str | bytes) -> tuple[int, bytes]:
    """How many values there are, and their bytes."""
    if isinstance(value, str):
        value = value.encode("ascii", "replace") + b"\0"
    if isinstance(value, bytes):
        return len(value), value
    if kind == DOUBLE:
        return len(value), np.array(value, dtype="<f8").tobytes()
    if kind not in (RATIONAL, SRATIONAL):
        return len(value), np.array(value, dtype="<u2" if kind == SHORT else "<u4").tobytes()
    parts = [
        Fraction(number).limit_denominator(
            min(DENOMINATOR, max(1, int(2**31 / max(1, abs(number)))))
        )
        for number in value
    ]
    pairs = [whole for part in parts for whole in (part.numerator, part.denominator)]
    return len(value), np.array(pairs, dtype="<u4" if kind == RATIONAL else "<i4").tobytes()


def _sensor_tags(raw: RawImage) -> list[Tag]:
    """Colour filter array and levels."""
    period = raw.cfa.period
    levels = np.asarray(raw.black, dtype=np.float64)
    whole = bool(np.all(levels == np.rint(levels)))
    black = [round(n) for n in levels.flat] if whole else levels.ravel().tolist()
    return [
        (33421, SHORT, [period, period]),  # CFARepeatPatternDim
        (33422, BYTE, bytes(raw.cfa.channels.ravel().tolist())),  # CFAPattern
        (DNG_VERSION, BYTE, bytes([1, 4, 0, 0])),
        (50707, BYTE, bytes([1, 1, 0, 0])),  # DNGBackwardVersion
        (50710, BYTE, bytes([0, 1, 2])),  # CFAPlaneColor
        (50711, SHORT, [1]),  # CFALayout: rectangular
        (BLACK_REPEAT, SHORT, list(levels.shape)),
        (BLACK, LONG if whole else RATIONAL, black),
        (50717, LONG, [round(float(np.min(raw.white)))]),  # WhiteLevel
        (50718, RATIONAL, [raw.pixel_aspect, 1.0]),  # DefaultScale: horizontal, vertical
        *([] if raw.noise_profile is None else [(NOISE_PROFILE, DOUBLE, list(raw.noise_profile))]),
    ]


def _color_tags(raw: RawImage) -> list[Tag]:
    """Colour matrix for D65 and, where the white balance is known, the neutral of the shot."""
    tags: list[Tag] = [
        (50721, SRATIONAL, raw.color.xyz_to_camera.ravel().tolist()),  # ColorMatrix1
        (50778, SHORT, [D65]),  # CalibrationIlluminant1
    ]
    if raw.color.white_balance is not None:
        neutral = 1.0 / np.asarray(raw.color.white_balance)
        tags.append((50728, RATIONAL, neutral.tolist()))  # AsShotNeutral
    return tags


def _photo_tags(raw: RawImage) -> list[Tag]:
    """Orientation and camera."""
    make, _, model = raw.camera.partition(" ")
    tags: list[Tag] = [
        (274, SHORT, [raw.orientation]),
        (UNIQUE_CAMERA_MODEL, ASCII, raw.camera or "unknown"),
    ]
    return [*tags, (MAKE, ASCII, make), (MODEL, ASCII, model or make)] if make else tags


def _exif_tags(raw: RawImage) -> list[Tag]:
    """Exposure, time and lens, as far as they are known."""
    exposure, time = raw.exposure, raw.time
    tags: list[Tag] = [(36864, UNDEFINED, b"0232")]  # ExifVersion
    if exposure.seconds is not None:
        tags.append((EXPOSURE_TIME, RATIONAL, [exposure.seconds]))
    if exposure.aperture is not None:
        tags.append((F_NUMBER, RATIONAL, [exposure.aperture]))
    if exposure.iso is not None:
        tags.append((ISO, SHORT, [min(round(exposure.iso), 65535)]))
    if time is not None:
        tags.append((36867, ASCII, time.strftime("%Y:%m:%d %H:%M:%S")))  # DateTimeOriginal
    if raw.lens:
        tags.append((42036, ASCII, raw.lens))  # LensModel
    return tags
