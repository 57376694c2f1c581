"""What a finished picture says in words and numbers, for every format.

The photo's own, as its file and sidecars say it, upright and with true sizes; and how the picture
was made. Source: CIPA DC-008 (Exif 2.32), 4.6; Adobe, XMP specification part 3; IPTC, IIM 4.2.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL.ExifTags import GPS, Base

from darkroom.output.exif import (
    SOFTWARE,
    TiffTag,
    embed_directory,
    pack_exif,
    shot_tags,
    to_tiff_tags,
)
from darkroom.output.xmp import pack_xmp
from darkroom.raw.exif_tags import (
    BYTE,
    KNOWN_SINCE_3,
    LONG,
    RATIONAL,
    SHORT,
    UNDEFINED,
    decode_text,
    encode_numbers,
    encode_text,
)
from darkroom.raw.image import RawImage, Tags, TagValue

SCREEN = 72
"""Pixels an inch where nobody knows better. Source: CIPA DC-008 (Exif 2.32), XResolution."""
INCH, CENTERED, SRGB, UNCALIBRATED = 2, 1, 1, 65535
"""Of ResolutionUnit, YCbCrPositioning and ColorSpace. Source: CIPA DC-008 (Exif 2.32)."""
VERSION, VERSION_3, FLASHPIX, GPS_VERSION = b"0232", b"0300", b"0100", (2, 3, 0, 0)
YCC = bytes([1, 2, 3, 0])
"""ComponentsConfiguration of JPEG: Y, Cb, Cr."""
UNSAID_METHOD = b"ASCII\0\0\0GPS"
"""GPSProcessingMethod, which exiftool's check of TIFFs demands."""
XMP_TAG, MAX_SHORT = 700, 65535
"""Source: Adobe, XMP specification part 3, table 12."""
FOCAL_PLANE = (
    Base.FocalPlaneXResolution,
    Base.FocalPlaneYResolution,
    Base.FocalPlaneResolutionUnit,
)
TURNED = range(5, 9)
"""Orientations that swap width and height."""


@dataclass(frozen=True, slots=True)
class PictureMetadata:
    """What a picture file says: EXIF's three directories, XMP and IPTC, empty for none.

    `main`: without resolution, which depends on the format. `iptc`: IIM datasets.
    """

    main: Tags
    exif: Tags
    gps: Tags
    xmp: bytes = b""
    iptc: bytes = b""

    @property
    def software(self) -> str | None:
        """The program that wrote it; None where nothing is to be said."""
        return decode_text(self.main.get(Base.Software)) or None

    def pack_exif(self, *, jpeg: bool = False) -> bytes:
        """Return EXIF as a TIFF structure, without the "Exif" mark of JPEG.

        `jpeg`: whether the file keeps luma and chroma.
        """
        resolution = encode_numbers(RATIONAL, SCREEN, 1)
        main = dict(self.main) | {
            Base.XResolution: resolution,
            Base.YResolution: resolution,
            Base.ResolutionUnit: encode_numbers(SHORT, INCH),
        }
        exif = dict(self.exif)
        if jpeg:
            main[Base.YCbCrPositioning] = encode_numbers(SHORT, CENTERED)
            exif[Base.ComponentsConfiguration] = TagValue(UNDEFINED, len(YCC), YCC)
        return pack_exif(main, exif, self.gps)

    def tiff_directories(self) -> tuple[Tags, Tags, Tags]:
        """Return the first page's tags, XMP and IPTC among them, EXIF's own and those of GPS.

        Without sizes and resolution, which each page of a TIFF has for itself.
        """
        sizes = (Base.ExifImageWidth, Base.ExifImageHeight)
        exif = {code: value for code, value in self.exif.items() if code not in sizes}
        main = dict(self.main)
        if self.xmp:
            main[XMP_TAG] = TagValue(BYTE, len(self.xmp), self.xmp)
        if self.iptc:
            words = self.iptc + bytes(-len(self.iptc) % 4)
            main[Base.IPTCNAA] = TagValue(LONG, len(words) // 4, words)
        method = TagValue(UNDEFINED, len(UNSAID_METHOD), UNSAID_METHOD)
        return main, exif, {GPS.GPSProcessingMethod: method, **self.gps} if self.gps else {}

    def embed(self, writer: Any) -> list[TiffTag]:
        """Write EXIF's directories with tifffile's little-endian `writer`, before any picture.

        Returns the tags of the first page, which has its own size and resolution: they are not
        among them.
        """
        main, exif, gps = self.tiff_directories()
        main = {code: value for code, value in main.items() if code != Base.Software}
        tags = [*to_tiff_tags(main), embed_directory(writer, "ExifTag", exif)]
        return [*tags, embed_directory(writer, "GPSTag", gps)] if gps else tags


def describe_picture(
    raw: RawImage,
    size: tuple[int, int],
    processing: Mapping[str, str],
    *,
    gps: bool = True,
    is_upright: bool = True,
    srgb: bool = True,
    resized: bool = False,
) -> PictureMetadata:
    """Say of a finished picture what its photo says, and how it was made.

    `size`: rows and columns. `processing`: as `darkroom.output.xmp.pack_xmp` takes it. `gps`:
    whether coordinates are kept. `is_upright`: whether that is how the file holds
    it, not as the sensor was. `srgb`: whether its colours are sRGB's. `resized`: whether its pixels
    are not the sensor's any more, whose resolution is left out then.
    """
    bare, said = describe_file(size, srgb=srgb), raw.metadata
    exif = dict(shot_tags(raw))
    if is_upright and raw.orientation in TURNED:
        across, down = Base.FocalPlaneXResolution, Base.FocalPlaneYResolution
        turned = {across: exif.pop(down, None), down: exif.pop(across, None)}
        exif |= {code: value for code, value in turned.items() if value is not None}
    if resized:
        exif = {code: value for code, value in exif.items() if code not in FOCAL_PLANE}
    exif |= bare.exif
    if exif.keys() & set(KNOWN_SINCE_3):
        exif[Base.ExifVersion] = TagValue(UNDEFINED, len(VERSION_3), VERSION_3)
    main: dict[int, TagValue] = {}
    if raw.camera:
        main[Base.Model] = encode_text(raw.camera)
    if Base.DateTimeOriginal in exif:
        main[Base.DateTime] = exif[Base.DateTimeOriginal]
    main |= {**said.main, **bare.main, Base.Software: encode_text(SOFTWARE)}
    position = dict(said.gps) | {GPS.GPSVersionID: encode_numbers(BYTE, *GPS_VERSION)}
    xmp = pack_xmp(said.xmp, processing, gps=gps)
    return PictureMetadata(main, exif, position if gps and said.gps else {}, xmp, said.iptc)


def describe_file(size: tuple[int, int], *, srgb: bool = True) -> PictureMetadata:
    """Say only what readers need of a finished picture: upright, its colours, rows and columns.

    Colours that are not sRGB's are what the profile says, "uncalibrated" to EXIF.
    """
    height, width = size
    exif: dict[int, TagValue] = {
        Base.ExifVersion: TagValue(UNDEFINED, len(VERSION), VERSION),
        Base.FlashPixVersion: TagValue(UNDEFINED, len(FLASHPIX), FLASHPIX),
        Base.ColorSpace: encode_numbers(SHORT, SRGB if srgb else UNCALIBRATED),
        Base.ExifImageWidth: encode_numbers(LONG if width > MAX_SHORT else SHORT, width),
        Base.ExifImageHeight: encode_numbers(LONG if height > MAX_SHORT else SHORT, height),
    }
    return PictureMetadata({Base.Orientation: encode_numbers(SHORT, 1)}, exif, {})


def find_time(raw: RawImage, photo: Path | None) -> float | None:
    """Return when a photo was taken, in seconds since 1970; None where nothing tells.

    As EXIF says, with its fraction and offset from UTC, else by this machine's clock; else when the
    file at `photo` was written.
    """
    exif = raw.metadata.exif
    original = Base.DateTimeOriginal in exif
    codes = (
        (Base.DateTimeOriginal, Base.SubsecTimeOriginal, Base.OffsetTimeOriginal)
        if original
        else (Base.DateTimeDigitized, Base.SubsecTimeDigitized, Base.OffsetTimeDigitized)
    )
    date, fraction, offset = (decode_text(exif.get(code)).strip() for code in codes)
    with suppress(ValueError, OverflowError, OSError):
        time = datetime.strptime(date, "%Y:%m:%d %H:%M:%S") if date else raw.time
        if time is not None:
            with suppress(ValueError):
                time = time.replace(tzinfo=datetime.strptime(offset, "%z").tzinfo)
            return time.timestamp() + (float(f"0.{fraction}") if fraction.isdecimal() else 0)
    with suppress(OSError, ValueError):
        return None if photo is None else photo.stat().st_mtime
    return None
