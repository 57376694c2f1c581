"""DNG: sensor values out, as other programs open them.

Source of all tag numbers and rules: Adobe, Digital Negative Specification 1.4.0.0, chapters 3-4;
TIFF 6.0; EXIF 2.32.
"""

import struct
from collections.abc import Sequence
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import OutputError
from darkroom.raw.dng_levels import (
    ACTIVE_AREA,
    BLACK,
    BLACK_REPEAT,
    DNG_VERSION,
    NOISE_PROFILE,
    PHOTOMETRIC,
    PHOTOMETRIC_CFA,
)
from darkroom.raw.image import RawImage
from darkroom.raw.tiff_tags import (
    EXIF_DIRECTORY,
    EXPOSURE_TIME,
    F_NUMBER,
    ISO,
    MAKE,
    MODEL,
    UNIQUE_CAMERA_MODEL,
)

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, DOUBLE = 1, 2, 3, 4, 5, 7, 10, 12
LITTLE_ENDIAN = b"II*\0"
STRIP_OFFSETS = 273
DENOMINATOR = 1_000_000
"""Largest denominator of a rational, smaller for numbers above 2000: both parts fit 32 bits."""
D65 = 21
"""Source: DNG 1.4, "CalibrationIlluminant1", the EXIF LightSource code of D65."""

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
