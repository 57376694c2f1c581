"""Sensor values out: an uncompressed DNG with a colour filter array, as other programs open it.

Source of all tag numbers and rules: Adobe, Digital Negative Specification 1.4.0.0, chapters 3-4;
exposure and time stand in IFD 0, as TIFF/EP (ISO 12234-2) has them.
"""

from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from darkroom.errors import OutputError
from darkroom.files.sensor import RawImage

BYTE, ASCII, SHORT, LONG, RATIONAL, SRATIONAL = 1, 2, 3, 4, 5, 10

PHOTOMETRIC_CFA = 32803
"""Source: DNG 1.4, "PhotometricInterpretation"."""
D65 = 21
"""Source: DNG 1.4, "CalibrationIlluminant1", the EXIF LightSource code of D65."""
DENOMINATOR = 1_000_000

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
