"""EXIF as a TIFF structure, and as the directories of a TIFF that tifffile writes.

Own code, as Pillow guesses types from values: it writes floats, which EXIF has not, and has no way
to hand on what a camera wrote, byte for byte.
Source: TIFF 6.0, section 2; CIPA DC-008 (Exif 2.32), 4.5 and 4.6.
"""

import struct
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from PIL.ExifTags import IFD, Base

from darkroom import __version__
from darkroom.raw.exif_tags import LONG, RATIONAL, SHORT, encode_numbers, encode_text
from darkroom.raw.image import RawImage, Tags, TagValue

EXIF_MARK = b"Exif\0\0"
"""What JPEG puts before EXIF, and other formats do not."""
SOFTWARE = f"darkroom {__version__}"
HEADER = struct.pack("<2sHI", b"II", 42, 8)
MAX_ISO = 65535
MAX_PART = 2**32 - 1
PRECISION = 1e-4
"""Relative error of rationals: cameras round more, and short fractions read well (1/30)."""

TiffTag = tuple[int | str, int, int, Any, bool]
"""A tag for tifffile: code or name, type, count (not of text), values, True."""


def shot_tags(raw: RawImage) -> Tags:
    """Return EXIF's own directory: what the file says, and what only LibRaw found out."""
    exposure, time = raw.exposure, raw.time
    known = {
        Base.ExposureTime: exposure.seconds and encode_rational(exposure.seconds),
        Base.FNumber: exposure.aperture and encode_rational(exposure.aperture),
        Base.ISOSpeedRatings: exposure.iso and encode_numbers(SHORT, _iso(exposure.iso)),
        Base.DateTimeOriginal: time and encode_text(time.strftime("%Y:%m:%d %H:%M:%S")),
        Base.LensModel: raw.lens and encode_text(raw.lens),
    }
    return {code: value for code, value in known.items() if value} | dict(raw.metadata.exif)


def _iso(iso: float) -> int:
    """Return a sensitivity as EXIF's 16 bits hold it; higher ones are the highest there."""
    return max(1, min(round(iso), MAX_ISO))


def encode_rational(value: float) -> TagValue:
    """Return a positive number as EXIF wants it, two whole numbers of 32 bits; floats it has not.

    The shortest fraction within PRECISION; what is nearly none becomes the least there is.
    """
    exact = Fraction(value)
    for digits in range(1, 10):
        near = exact.limit_denominator(10**digits)
        if abs(near - exact) <= PRECISION * exact:
            break
    near = min(max(near, Fraction(1, MAX_PART)), Fraction(MAX_PART))
    return encode_numbers(RATIONAL, near.numerator, near.denominator)


def pack_exif(main: Tags, exif: Tags, gps: Tags) -> bytes:
    """Return EXIF as a TIFF structure of up to three directories, without the mark of JPEG."""
    main, places, at = dict(main), b"", len(HEADER)
    pointers = {IFD.Exif: exif, IFD.GPSInfo: gps}
    pointers = {code: tags for code, tags in pointers.items() if tags}
    main |= {code: encode_numbers(LONG, 0) for code in pointers}
    at += len(pack_directory(main, at))
    for code, tags in pointers.items():
        main[code] = encode_numbers(LONG, at)
        block = pack_directory(tags, at)
        places += block
        at += len(block)
    return HEADER + pack_directory(main, len(HEADER)) + places


def pack_directory(tags: Mapping[int, TagValue], start: int) -> bytes:
    """Return a little-endian TIFF directory that stands at `start`, its values behind it."""
    entries, values = struct.pack("<H", len(tags)), b""
    behind = start + 2 + 12 * len(tags) + 4
    for code, tag in sorted(tags.items()):
        place = tag.data.ljust(4, b"\0")
        if len(tag.data) > 4:
            place = struct.pack("<I", behind + len(values))
            values += tag.data + bytes(len(tag.data) % 2)
        entries += struct.pack("<HHI", code, tag.kind, tag.count) + place
    return entries + bytes(4) + values


def embed_directory(writer: Any, name: str, tags: Tags) -> TiffTag:
    """Write a directory with tifffile's little-endian `writer`; returns the pointer called `name`.

    To be called before the picture is written. The pointer goes by its name, as tifffile keeps
    the number to itself without having EXIF.
    """
    place = writer.filehandle.tell()
    writer.filehandle.write(pack_directory(tags, place))
    return name, LONG, 1, place, True


def to_tiff_tags(tags: Tags) -> list[TiffTag]:
    """Return tags as tifffile takes them."""
    return [(code, tag.kind, tag.count, tag.data, True) for code, tag in tags.items()]
