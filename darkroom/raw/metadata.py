"""All that a RAW photo and its sidecars say of it in words and numbers, as PhotoMetadata.

What is damaged costs itself and a warning, never the photo.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL.ExifTags import GPS, IFD, Base

from darkroom.raw.ciff import read_ciff
from darkroom.raw.embedded import (
    MAX_PART,
    RAF_MAGIC,
    Parts,
    find_cr3_parts,
    find_crw_parts,
    find_raf_parts,
)
from darkroom.raw.exif_tags import (
    BYTE,
    CAMERA_SERIAL,
    EXIF,
    GPS_TAGS,
    LENS_INFO,
    MAIN,
    RATIONAL,
    encode_numbers,
    encode_text,
    read_tags,
)
from darkroom.raw.image import PhotoMetadata, TagValue
from darkroom.raw.iptc import TO_IPTC, clean_iptc, find_iptc, iptc_to_xmp
from darkroom.raw.tiff_tags import Directory, is_ciff
from darkroom.raw.xmp import (
    DC,
    MAX_XMP,
    SIDECAR_FOR,
    XMP,
    DamagedXmpError,
    Property,
    find_sidecars,
    read_xmp,
    write_property,
)
from darkroom.raw.xmp import EXIF as XMP_EXIF

COORDINATE = re.compile(r"(\d{1,3}),(\d{1,2}(?:\.\d{1,12})?)(?:,(\d{1,2}))?([NSEW])")
FRACTION = re.compile(r"(\d{1,9})/(\d{1,9})")
MINUTE = 1_000_000
"""Parts of a minute of arc, 2 mm. Source of the forms: ISO 16684-1, GPSCoordinate and Rational."""
XMP_TAG, XMP_RATING = 700, f"{{{XMP}}}Rating"
RATING, MAX_RATING = 18246, 5
"""Microsoft's tag, which EXIF does not know; XMP says the same."""
FROM_XMP = {
    Base.Artist: f"{{{DC}}}creator",
    Base.Copyright: f"{{{DC}}}rights",
    Base.ImageDescription: f"{{{DC}}}description",
}
"""What EXIF says too. Source: MWG, "Guidelines for handling image metadata", 5."""


def read_metadata(
    data: bytes, directories: tuple[Directory, ...], photo: Path | None = None
) -> tuple[PhotoMetadata, tuple[str, ...]]:
    """Read what a file and the sidecars beside it say; returns a warning for each one damaged.

    `directories`: as `read_directories` found them. `photo`: where the file lies, None for a pipe.
    A sidecar is believed before the file, as it is what somebody said of the photo later.
    """
    parts = _find_parts(data, directories)
    ciff_main, ciff_exif = read_ciff(data)
    first = [one for one in (parts.main,) if one is not None]
    main = ciff_main | read_tags(first, MAIN)
    exif = ciff_exif | _read_dng_tags(first) | read_tags(filter(None, (parts.exif, *first)), EXIF)
    gps = read_tags(filter(None, (parts.gps,)), GPS_TAGS)
    warnings: list[str] = []
    xmp = iptc_to_xmp(parts.iptc)
    if parts.xmp:
        xmp |= _read_packet(parts.xmp, "XMP", warnings.append)
    if first and XMP_RATING not in xmp:
        xmp |= _read_rating(first[0])
    main, gps = _texts_for_exif(xmp) | main, gps or _read_position(xmp)
    told: set[str] = set()
    if photo is not None:
        for path in find_sidecars(photo):
            found = _read_sidecar(path, photo.suffix, warnings.append)
            main |= _texts_for_exif(found)
            gps |= _read_position(found)
            xmp |= found
            told |= found.keys()
    kept = {name: one.xml for name, one in xmp.items() if name != SIDECAR_FOR}
    iptc = clean_iptc(parts.iptc, {TO_IPTC[name] for name in told & TO_IPTC.keys()})
    return PhotoMetadata(main, exif, gps, kept, iptc), tuple(warnings)


def _find_parts(data: bytes, directories: tuple[Directory, ...]) -> Parts:
    """Find the directories, XMP and IPTC of a file of any kind."""
    if data[4:8] == b"ftyp":
        return find_cr3_parts(data)
    if is_ciff(data):
        return find_crw_parts(data)
    if not directories:
        return Parts()
    main = directories[0]
    exif, gps = (
        next(filter(None, (one.sub_directory(code) for one in directories)), None)
        for code in (IFD.Exif, IFD.GPSInfo)
    )
    if data.startswith(RAF_MAGIC):
        return find_raf_parts(data)._replace(main=main, exif=exif, gps=gps)
    iptc = main.block(Base.IPTCNAA, MAX_PART)
    iptc = iptc or find_iptc(main.block(Base.ImageResources, MAX_PART))
    return Parts(main, exif, gps, main.block(XMP_TAG, MAX_XMP), iptc)


def _read_dng_tags(directories: list[Directory]) -> dict[int, TagValue]:
    """Read what DNG says by tags of its own, as EXIF's."""
    standard = {LENS_INFO: EXIF[Base.LensSpecification], CAMERA_SERIAL: EXIF[Base.BodySerialNumber]}
    found = read_tags(directories, standard)
    codes = {LENS_INFO: Base.LensSpecification, CAMERA_SERIAL: Base.BodySerialNumber}
    return {codes[code]: value for code, value in found.items()}


def _read_rating(main: Directory) -> dict[str, Property]:
    """Read Microsoft's rating, 0 to 5, as XMP's; some cameras write it."""
    rating = main.number(RATING)
    if rating is None or not 0 <= rating <= MAX_RATING:
        return {}
    return {XMP_RATING: Property(write_property(XMP_RATING, str(rating)), (str(rating),))}


def _read_packet(packet: bytes, name: str, warn: Callable[[str], None]) -> dict[str, Property]:
    try:
        return read_xmp(packet)
    except DamagedXmpError as error:
        warn(f"{name} cannot be read ({error}); what it says is left out")
        return {}


def _read_sidecar(path: Path, ending: str, warn: Callable[[str], None]) -> dict[str, Property]:
    """Read a sidecar; nothing where it says that it is for a file of another ending (IMG.JPG)."""
    try:
        with path.open("rb") as file:
            found = _read_packet(file.read(MAX_XMP + 1), f"sidecar {path.name}", warn)
    except OSError as error:
        warn(f"sidecar {path.name} cannot be read ({error.strerror}); what it says is left out")
        return {}
    other = found.get(SIDECAR_FOR)
    if other and other.texts and other.texts[0].casefold() != ending[1:].casefold():
        return {}
    return found


def _read_position(xmp: Mapping[str, Property]) -> dict[int, TagValue]:
    """Return latitude, longitude and altitude as EXIF says them, where XMP has the former two."""
    found: dict[int, TagValue] = {}
    for axis, code in (("GPSLatitude", GPS.GPSLatitude), ("GPSLongitude", GPS.GPSLongitude)):
        match = COORDINATE.fullmatch(_text(xmp, axis))
        if match is None:
            return {}
        minutes = round(float(match[2]) * MINUTE) + round(float(match[3] or 0) * MINUTE / 60)
        found[code - 1] = encode_text(match[4])  # the axis's Ref
        found[code] = encode_numbers(RATIONAL, int(match[1]), 1, minutes, MINUTE, 0, 1)
    if match := FRACTION.fullmatch(_text(xmp, "GPSAltitude")):
        found[GPS.GPSAltitudeRef] = encode_numbers(BYTE, int(_text(xmp, "GPSAltitudeRef") == "1"))
        found[GPS.GPSAltitude] = encode_numbers(RATIONAL, int(match[1]), int(match[2]))
    return found


def _text(xmp: Mapping[str, Property], name: str) -> str:
    """Return the text of one of XMP's properties of EXIF; empty where it is missing."""
    found = xmp.get(f"{{{XMP_EXIF}}}{name}")
    return found.texts[0] if found and found.texts else ""


def _texts_for_exif(xmp: Mapping[str, Property]) -> dict[int, TagValue]:
    """Return what EXIF can say too: creators, rights in the default language, description."""
    return {
        code: encode_text("; ".join(texts if code == Base.Artist else texts[:1]))
        for code, name in FROM_XMP.items()
        if name in xmp and (texts := xmp[name].texts)
    }
