"""The tags of EXIF that a finished picture keeps, of the types that the standard gives them.

Left out is what speaks of the file's own pixels (sizes, orientation, resolution, colour space,
places in the picture), thumbnails, maker's notes, and what the picture's writer says itself.
Source: CIPA DC-008 (Exif 3.0), tables 4 to 15; for XP*: Microsoft, "Photo metadata policies".
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np
from PIL.ExifTags import GPS, Base

from darkroom.raw.image import TagValue
from darkroom.raw.tiff_tags import KINDS, Directory

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL = 1, 2, 3, 4, 5, 7, 10
"""Types. Source: TIFF 6.0, section 2."""
UTF8 = 129
"""Texts of Exif 3.0; written as ASCII, which readers take for UTF-8 just so."""
TEXTS = (ASCII, UTF8, BYTE, UNDEFINED)
WHOLE = {BYTE: "<u1", SHORT: "<u2", LONG: "<u4"}
MAX_VALUE = 16384
"""Bytes of one tag; comments of cameras have under 300."""
MAX_DIRECTORY = 40000
"""Bytes of a directory's values; all of EXIF has to fit a JPEG's segment of 65,533."""

Standard = Mapping[int, tuple[int, int | None]]
"""Type and count by tag; None: any."""

IMAGE_TITLE, PHOTOGRAPHER, IMAGE_EDITOR, CAMERA_FIRMWARE = 42038, 42039, 42040, 42041
"""Of Exif 3.0; Pillow does not name them."""
LENS_INFO, CAMERA_SERIAL = 50736, 50735
"""DNG's own tags of what EXIF says as LensSpecification and BodySerialNumber."""
KNOWN_SINCE_3 = (IMAGE_TITLE, PHOTOGRAPHER, IMAGE_EDITOR, CAMERA_FIRMWARE)

MAIN: Standard = {
    **dict.fromkeys((Base.ImageDescription, Base.Make, Base.Model), (ASCII, None)),
    **dict.fromkeys((Base.DateTime, Base.Artist, Base.Copyright), (ASCII, None)),
    **dict.fromkeys((Base.XPTitle, Base.XPComment, Base.XPAuthor), (BYTE, None)),
    **dict.fromkeys((Base.XPKeywords, Base.XPSubject), (BYTE, None)),
}
EXIF: Standard = {
    **dict.fromkeys((Base.ExposureTime, Base.FNumber, Base.ApertureValue), (RATIONAL, 1)),
    **dict.fromkeys((Base.MaxApertureValue, Base.SubjectDistance), (RATIONAL, 1)),
    **dict.fromkeys((Base.FocalLength, Base.FlashEnergy, Base.ExposureIndex), (RATIONAL, 1)),
    **dict.fromkeys((Base.FocalPlaneXResolution, Base.FocalPlaneYResolution), (RATIONAL, 1)),
    **dict.fromkeys((Base.DigitalZoomRatio, Base.Humidity, Base.Pressure), (RATIONAL, 1)),
    Base.Acceleration: (RATIONAL, 1),
    Base.LensSpecification: (RATIONAL, 4),
    **dict.fromkeys((Base.ShutterSpeedValue, Base.BrightnessValue), (SRATIONAL, 1)),
    **dict.fromkeys((Base.ExposureBiasValue, Base.AmbientTemperature), (SRATIONAL, 1)),
    **dict.fromkeys((Base.WaterDepth, Base.CameraElevationAngle), (SRATIONAL, 1)),
    **dict.fromkeys((Base.ExposureProgram, Base.SensitivityType, Base.MeteringMode), (SHORT, 1)),
    **dict.fromkeys((Base.LightSource, Base.Flash, Base.FocalPlaneResolutionUnit), (SHORT, 1)),
    **dict.fromkeys((Base.SensingMethod, Base.CustomRendered, Base.ExposureMode), (SHORT, 1)),
    **dict.fromkeys((Base.WhiteBalance, Base.FocalLengthIn35mmFilm), (SHORT, 1)),
    **dict.fromkeys((Base.SceneCaptureType, Base.GainControl, Base.Contrast), (SHORT, 1)),
    **dict.fromkeys((Base.Saturation, Base.Sharpness, Base.SubjectDistanceRange), (SHORT, 1)),
    Base.CompositeImage: (SHORT, 1),
    Base.CompositeImageCount: (SHORT, 2),
    Base.ISOSpeedRatings: (SHORT, None),
    **dict.fromkeys((Base.StandardOutputSensitivity, Base.RecommendedExposureIndex), (LONG, 1)),
    **dict.fromkeys((Base.ISOSpeed, Base.ISOSpeedLatitudeyyy, Base.ISOSpeedLatitudezzz), (LONG, 1)),
    **dict.fromkeys((Base.DateTimeOriginal, Base.DateTimeDigitized), (ASCII, None)),
    **dict.fromkeys((Base.OffsetTime, Base.OffsetTimeOriginal), (ASCII, None)),
    **dict.fromkeys((Base.OffsetTimeDigitized, Base.SubsecTime), (ASCII, None)),
    **dict.fromkeys((Base.SubsecTimeOriginal, Base.SubsecTimeDigitized), (ASCII, None)),
    **dict.fromkeys((Base.SpectralSensitivity, Base.ImageUniqueID), (ASCII, None)),
    **dict.fromkeys((Base.CameraOwnerName, Base.BodySerialNumber), (ASCII, None)),
    **dict.fromkeys((Base.LensMake, Base.LensModel, Base.LensSerialNumber), (ASCII, None)),
    **dict.fromkeys(KNOWN_SINCE_3, (ASCII, None)),
    Base.UserComment: (UNDEFINED, None),
    **dict.fromkeys((Base.FileSource, Base.SceneType), (UNDEFINED, 1)),
}
GPS_TAGS: Standard = {
    GPS.GPSVersionID: (BYTE, 4),
    GPS.GPSAltitudeRef: (BYTE, 1),
    **dict.fromkeys((GPS.GPSLatitudeRef, GPS.GPSLongitudeRef, GPS.GPSStatus), (ASCII, 2)),
    **dict.fromkeys((GPS.GPSMeasureMode, GPS.GPSSpeedRef, GPS.GPSTrackRef), (ASCII, 2)),
    **dict.fromkeys((GPS.GPSImgDirectionRef, GPS.GPSDestLatitudeRef), (ASCII, 2)),
    **dict.fromkeys((GPS.GPSDestLongitudeRef, GPS.GPSDestBearingRef), (ASCII, 2)),
    GPS.GPSDestDistanceRef: (ASCII, 2),
    GPS.GPSDateStamp: (ASCII, 11),
    **dict.fromkeys((GPS.GPSSatellites, GPS.GPSMapDatum), (ASCII, None)),
    **dict.fromkeys((GPS.GPSLatitude, GPS.GPSLongitude, GPS.GPSTimeStamp), (RATIONAL, 3)),
    **dict.fromkeys((GPS.GPSDestLatitude, GPS.GPSDestLongitude), (RATIONAL, 3)),
    **dict.fromkeys((GPS.GPSAltitude, GPS.GPSDOP, GPS.GPSSpeed, GPS.GPSTrack), (RATIONAL, 1)),
    **dict.fromkeys((GPS.GPSImgDirection, GPS.GPSDestBearing), (RATIONAL, 1)),
    **dict.fromkeys((GPS.GPSDestDistance, GPS.GPSHPositioningError), (RATIONAL, 1)),
    GPS.GPSDifferential: (SHORT, 1),
    **dict.fromkeys((GPS.GPSProcessingMethod, GPS.GPSAreaInformation), (UNDEFINED, None)),
}
NOT_ZERO = (Base.ExposureTime, Base.FNumber, Base.ISOSpeedRatings)
"""Zero, which cannot be, stands for "not said"; so does a fraction of nothing."""
CHARACTER_CODE, WIDE = 8, b"UNICODE\0"
"""Bytes before a text of type UNDEFINED that name its characters; those of UTF-16."""
DATES = (Base.DateTime, Base.DateTimeOriginal, Base.DateTimeDigitized)
DATE = re.compile(rb"\d{4}:(0[1-9]|1[0-2]):(0[1-9]|[12]\d|3[01]) ([01]\d|2[0-3]):[0-5]\d:[0-5]\d\0")
"""A whole date. Cameras whose clock was never set write blanks or zeros."""


def read_tags(directories: Iterable[Directory], standard: Standard) -> dict[int, TagValue]:
    """Read the standard's tags from directories, the first one that has a tag being believed.

    Numbers become the standard's type where they fit it. What is damaged, empty or of another kind
    is left out, and of more than `MAX_DIRECTORY` bytes the longest.
    """
    found: dict[int, TagValue] = {}
    for directory in directories:
        for code in directory.entries.keys() & standard.keys() - found.keys():
            value = _read(directory, code, *standard[code])
            if value is not None:
                found[code] = value
    while sum(len(value.data) for value in found.values()) > MAX_DIRECTORY:
        del found[max(found, key=lambda code: len(found[code].data))]
    return dict(sorted(found.items()))


def encode_text(text: str) -> TagValue:
    """Return a text as a tag's value, in UTF-8."""
    data = text.encode("utf-8", "replace")[: MAX_VALUE - 1] + b"\0"
    return TagValue(ASCII, len(data), data)


def encode_numbers(kind: int, *values: int) -> TagValue:
    """Return whole numbers as a tag's value; those of rationals go in pairs."""
    data = np.array(values, KINDS[kind].base.newbyteorder("<")).tobytes()
    return TagValue(kind, len(data) // KINDS[kind].itemsize, data)


def decode_text(value: TagValue | None) -> str:
    """Return a tag's text up to its first zero byte; empty where there is none."""
    return "" if value is None else value.data.partition(b"\0")[0].decode("utf-8", "replace")


def _read(directory: Directory, code: int, kind: int, count: int | None) -> TagValue | None:
    """Read one tag as the standard has it; None where it is not fit to be kept."""
    entry, block = directory.entries[code], directory.block(code, MAX_VALUE)
    if kind == ASCII and entry.kind in TEXTS:
        data = block.rstrip(b"\0") + b"\0"
        blank = not data.strip(b" \0")
        if blank or (count or len(data)) != len(data) or (code in DATES and not DATE.match(data)):
            return None
        return TagValue(ASCII, len(data), data)
    if kind == UNDEFINED and not block[CHARACTER_CODE:].strip(b" \0") and count is None:
        return None
    if entry.kind not in KINDS or not block or (count is not None and entry.count < count):
        return None
    stated = KINDS[entry.kind].base
    values = np.frombuffer(block, stated.newbyteorder(directory.order))
    if kind in WHOLE and entry.kind in WHOLE and values.max() <= np.iinfo(WHOLE[kind]).max:
        data = values.astype(WHOLE[kind]).tobytes()
    elif {kind, entry.kind} == {RATIONAL, SRATIONAL} and 0 <= values.min() <= values.max() < 2**31:
        data = values.astype("<u4").tobytes()  # the same bytes, signed or not
    elif kind == entry.kind or {kind, entry.kind} == {BYTE, UNDEFINED}:
        data = values.astype(stated.newbyteorder("<")).tobytes()
        if kind == UNDEFINED and count is None and data.startswith(WIDE):
            data = WIDE + _to_little_endian(data[CHARACTER_CODE:], directory.order)
    else:
        return None
    if code in NOT_ZERO and not values[: 2 if kind == RATIONAL else 1].all():
        return None
    size = KINDS[kind].itemsize
    total = len(data) // size if count is None else count
    return TagValue(kind, total, data[: total * size])


def _to_little_endian(text: bytes, order: str) -> bytes:
    """Return a text in UTF-16 as our little-endian EXIF has to hold it.

    `order`: of the directory, which cameras do not always keep to: the order in which more
    characters are Latin goes before it.
    """
    units = np.frombuffer(text[: len(text) // 2 * 2], "<u2")
    swapped = units.byteswap()
    latin, otherwise = (np.count_nonzero(one < 0x100) for one in (units, swapped))
    is_big = order == ">" if latin == otherwise else otherwise > latin
    return (swapped if is_big else units).tobytes()
