"""All that a tagged photo says comes out of its picture, in every format, as others read it."""

import io
import json
import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from conftest import synthetic_raw
from PIL import Image, IptcImagePlugin
from places import DATA
from programs import find_program
from tagged import EXPOSED, IPTC, MAIN, OF_THE_FILE, PLACE, add_directory, tag_dng

from darkroom.output.exif import SOFTWARE
from darkroom.output.linear_dng import CameraPicture, DngKind
from darkroom.output.metadata import PictureMetadata, describe_file, describe_picture, find_time
from darkroom.output.picture import PictureFormat, SaveOptions, save_picture
from darkroom.output.tiff import write_tiff
from darkroom.raw.image import CFA, PhotoMetadata, RawImage
from darkroom.raw.reader import read_raw

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DC = "{http://purl.org/dc/elements/1.1/}"
OURS = "{urn:x-darkroom:1.0/}"
EXIFTOOL = find_program("exiftool", says=r"^[\d.]+$", option="-ver")
SIZE = (30, 20)
APART = (PictureFormat.DNG, PictureFormat.JXL, PictureFormat.EXR)  # in tests of their own
PICTURES = [kind for kind in PictureFormat if kind not in APART]
PROCESSING = {"Model": "safelight", "Gain": "12.5"}
UTF8_TAGS = {270}
"""Text that Pillow takes for Latin-1, as EXIF says nothing of its letters."""


@pytest.fixture(scope="module")
def raw() -> RawImage:
    return read_raw(tag_dng(orientation=6))


def written(metadata: PictureMetadata | None, kind: PictureFormat) -> Image.Image:
    stream = io.BytesIO()
    save_picture(np.zeros((*SIZE, 3), np.uint8), stream, SaveOptions(kind), metadata=metadata)
    image = Image.open(stream)
    image.load()
    return image


def packet(image: Image.Image) -> ElementTree.Element:
    found = image.info.get("xmp") or image.tag_v2[700]  # type: ignore[attr-defined]
    assert isinstance(found, bytes)
    return ElementTree.fromstring(found)


def plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, tuple | list) else value


@pytest.mark.filterwarnings("ignore:Metadata Warning, tag 33723")  # LONG, as libtiff has it
@pytest.mark.parametrize("kind", PICTURES)
def test_every_field_comes_out_equal(raw: RawImage, kind: PictureFormat) -> None:
    image = written(describe_picture(raw, SIZE, PROCESSING), kind)
    exif = image.getexif()
    main = {**exif}
    for code in UTF8_TAGS:
        main[code] = main[code].encode("latin-1").decode()
    assert {code: main.get(code) for code in MAIN} == MAIN
    exposed, place = exif.get_ifd(34665), exif.get_ifd(34853)
    expected = {code: value for code, value in EXPOSED.items() if code not in OF_THE_FILE}
    expected |= {41486: EXPOSED[41487], 41487: EXPOSED[41486]}  # turned by 90 degrees
    assert {code: plain(exposed.get(code)) for code in expected} == expected
    assert {code: plain(place.get(code)) for code in PLACE} == PLACE
    names = {one.tag: one for one in packet(image).iter() if one.tag.startswith("{")}
    assert names["{http://ns.adobe.com/xap/1.0/}Rating"].text == "4"
    assert names["{http://example.org/survey/}Station"].text == "7 & 8"
    texts = [item.text for item in names[f"{DC}subject"].iter(f"{RDF}li")]
    assert texts == ["owl", "night"]
    assert "{http://ns.adobe.com/exif/1.0/}GPSDestBearing" in names
    assert names[f"{OURS}Model"].text == "safelight"
    assert names[f"{OURS}Gain"].text == "12.5"
    expected_iptc = IPTC[: IPTC.index(b"\x1c\x02\xca")]  # all but the preview
    if kind is PictureFormat.JPEG:
        found = IptcImagePlugin.getiptcinfo(image)
        assert found == {(2, 25): [b"owl", b"night"], (2, 90): b"Bern"}
    elif kind is PictureFormat.TIFF:
        stream = io.BytesIO()
        metadata = describe_picture(raw, SIZE, PROCESSING)
        write_tiff(stream, np.zeros((*SIZE, 3), np.uint8), metadata=metadata)
        stream.seek(0)
        with tifffile.TiffFile(stream) as file:
            tag = file.pages.first.tags[33723]
        assert (tag.dtype, tag.value.rstrip(b"\0")) == (4, expected_iptc)
    elif kind is PictureFormat.PNG:  # WebP and AVIF have no place for it
        assert expected_iptc.hex() in image.info["Raw profile type iptc"].replace("\n", "")


@pytest.mark.parametrize("kind", PICTURES)
def test_what_is_of_the_file_itself_is_not_the_photos(raw: RawImage, kind: PictureFormat) -> None:
    image = written(describe_picture(raw, SIZE, PROCESSING), kind)
    exif = image.getexif()
    exposed = exif.get_ifd(34665)
    assert exif.get(274, 1) == 1  # AVIF has a place of its own for it
    assert exif[305] == SOFTWARE
    assert 37500 not in exposed
    assert exposed[36864] == b"0232"
    assert exposed[40961] == 1
    sizes = (exposed.get(40962), exposed.get(40963))
    assert sizes == ((None, None) if kind is PictureFormat.TIFF else (20, 30))
    assert (exposed.get(37121) == b"\1\2\3\0") == (kind is PictureFormat.JPEG)
    text = ElementTree.tostring(packet(image)).decode()
    assert "Exposure2012" not in text
    assert "PixelXDimension" not in text


@pytest.mark.parametrize("kind", PICTURES)
def test_no_gps_leaves_out_coordinates_alone(raw: RawImage, kind: PictureFormat) -> None:
    image = written(describe_picture(raw, SIZE, PROCESSING, gps=False), kind)
    exif = image.getexif()
    assert not exif.get_ifd(34853)
    assert exif[272] == "ILCE-7SM2"
    text = ElementTree.tostring(packet(image)).decode()
    assert "GPS" not in text
    assert "Wald" in text


@pytest.mark.parametrize("kind", PICTURES)
def test_a_stripped_picture_says_nothing_of_its_photo(kind: PictureFormat) -> None:
    image = written(describe_file(SIZE), kind)
    exif = image.getexif()
    structure = {256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 34675}
    assert (exif.keys() | {274}) - structure == {274, 282, 283, 296, 34665} | (
        {531} if kind is PictureFormat.JPEG else set()
    )
    assert exif.get_ifd(34665).keys() <= {36864, 37121, 40960, 40961, 40962, 40963}
    assert not image.info.get("xmp")
    assert image.info["icc_profile"]


def test_the_largest_metadata_fits_a_jpeg(raw: RawImage) -> None:
    """A segment holds 65,533 bytes; the longest properties go first."""
    xmp = {
        f"{{urn:x/}}p{n}": f'<x:p{n} xmlns:x="urn:x/">{"long" * 4000}</x:p{n}>' for n in range(9)
    }
    said = replace(raw.metadata, xmp=raw.metadata.xmp | xmp)
    image = written(
        describe_picture(replace(raw, metadata=said), SIZE, PROCESSING), PictureFormat.JPEG
    )
    names = {one.tag for one in packet(image).iter()}
    assert {f"{DC}title", f"{OURS}Model"} <= names
    assert 2 <= len([name for name in names if name.startswith("{urn:x/}")]) <= 3


@pytest.mark.skipif(EXIFTOOL is None, reason="needs exiftool")
@pytest.mark.parametrize("stripped", [False, True])
@pytest.mark.parametrize("kind", PICTURES)
def test_exiftool_finds_no_fault(
    raw: RawImage, kind: PictureFormat, stripped: bool, tmp_path: Path
) -> None:
    metadata = describe_file(SIZE) if stripped else describe_picture(raw, SIZE, PROCESSING)
    target = tmp_path / f"picture.{kind.value}"
    save_picture(np.zeros((*SIZE, 3), np.uint8), target, SaveOptions(kind), metadata=metadata)
    told = subprocess.run(
        [str(EXIFTOOL), "-j", "-a", "-validate", "-warning", "-Orientation#", "-Keywords", target],
        capture_output=True,
        check=True,
        timeout=60,
    )
    (said,) = json.loads(told.stdout)
    faults = {key: value for key, value in said.items() if key.startswith(("Warning", "Error"))}
    deflated = {"Warning": "Invalid value for IFD0 tag 0x0103 Compression"}
    assert faults == (deflated if kind is PictureFormat.TIFF else {})
    assert said.get("Orientation", 1) == 1
    assert said.get("Keywords") == (None if stripped or kind in NO_IPTC else ["owl", "night"])


NO_IPTC = (PictureFormat.WEBP, PictureFormat.AVIF)
"""Formats without a place for it."""
TAGS = """
IFD0:Artist=Ada Lovelace|IFD0:Copyright=(c) 2026 Ada|IFD0:ImageDescription=Nächtlicher Wald
IFD0:Make=SONY|IFD0:Model=ILCE-7SM2|IFD0:ModifyDate=2026:11:20 22:11:10|IFD0:XPTitle=Titel
ExifIFD:DateTimeOriginal=2026:11:20 22:11:09|ExifIFD:CreateDate=2026:11:20 22:11:08
ExifIFD:OffsetTime=+01:00|ExifIFD:OffsetTimeOriginal=+01:00|ExifIFD:SubSecTimeOriginal=345
ExifIFD:ExposureTime=1/8|ExifIFD:FNumber=1.8|ExifIFD:ISO=12800|ExifIFD:FocalLength=55
ExifIFD:FocalLengthIn35mmFormat=82|ExifIFD:LensMake=Zeiss|ExifIFD:LensModel=FE 55mm F1.8 ZA
ExifIFD:LensSerialNumber=L123|ExifIFD:SerialNumber=B456|ExifIFD:OwnerName=Ada
ExifIFD:ExposureProgram#=3|ExifIFD:MeteringMode#=5|ExifIFD:Flash#=16
ExifIFD:ExposureCompensation=-0.7|ExifIFD:WhiteBalance#=1|ExifIFD:UserComment=a comment
GPS:GPSLatitude=46.9480|GPS:GPSLatitudeRef=N|GPS:GPSLongitude=7.4474|GPS:GPSLongitudeRef=E
GPS:GPSAltitude=540|GPS:GPSAltitudeRef#=0|GPS:GPSTimeStamp=21:11:09|GPS:GPSDateStamp=2026:11:20
XMP-xmp:Rating=4|XMP-xmp:Label=Red|XMP-dc:Title=Wald|XMP-dc:Creator=Ada|XMP-dc:Rights=(c) Ada
XMP-dc:Subject=owl|XMP-dc:Description=Im Wald|XMP-photoshop:City=Bern|XMP-iptcExt:PersonInImage=Ada
XMP-lr:HierarchicalSubject=animal,owl|XMP-iptcCore:CreatorWorkEmail=a@b.c|IPTC:City=Bern
IPTC:Keywords=owl|IPTC:By-line=Ada Lovelace|IPTC:Headline=Eule|IPTC:DateCreated=2026:11:20
"""
PHOTOS = ("nikon_d1.nef", "blackmagic_pocket_cinema_linearization_table.dng")


@pytest.mark.skipif(EXIFTOOL is None or not DATA.is_dir(), reason="needs exiftool, real photos")
@pytest.mark.parametrize("name", PHOTOS)
def test_what_exiftool_writes_into_a_photo_it_reads_from_the_picture(
    name: str, tmp_path: Path
) -> None:
    """All 52 fields, to the letter."""
    photo = tmp_path / name
    photo.write_bytes((DATA / "raw" / name).read_bytes())
    tags = TAGS.replace("\n", "|").strip("|").split("|")
    words = [f"-{tag}" for tag in tags]
    subprocess.run([str(EXIFTOOL), "-q", "-m", *words, photo], check=True, timeout=60)
    metadata = describe_picture(read_raw(photo), SIZE, PROCESSING)
    kinds = [*PICTURES, PictureFormat.DNG]
    pictures = [tmp_path / f"picture.{kind.value}" for kind in kinds]
    black = np.zeros((*SIZE, 3), np.float32)
    camera = CameraPicture(black, DngKind.LINEAR, np.ones(3), np.eye(3), CFA("RGGB"))
    for path, kind in zip(pictures, kinds, strict=True):
        save = SaveOptions(kind, bits=16 if kind is PictureFormat.DNG else 8)
        pixels = black.astype(f"uint{save.bits}")
        save_picture(pixels, path, save, metadata=metadata, camera=camera)
    asked = [f"-{tag.partition('=')[0].removesuffix('#')}" for tag in tags]
    told = subprocess.run(
        [str(EXIFTOOL), "-j", "-G1", "-n", *asked, photo, *pictures],
        capture_output=True,
        check=True,
        timeout=60,
    )
    expected, *found = json.loads(told.stdout)
    del expected["SourceFile"]
    assert len(expected) == len(tags)
    for one in found:
        iptc = not one["SourceFile"].endswith(tuple(kind.value for kind in NO_IPTC))
        wanted = {key: value for key, value in expected.items() if iptc or key[:4] != "IPTC"}
        assert {key: one.get(key) for key in wanted} == wanted, one["SourceFile"]


def test_the_same_photo_gives_the_same_bytes(raw: RawImage) -> None:
    first, second = (describe_picture(raw, SIZE, PROCESSING) for _ in range(2))
    assert first.pack_exif() == second.pack_exif()
    assert first.xmp == second.xmp


@pytest.mark.parametrize(
    ("exif", "expected"),
    [
        ({}, datetime(2026, 11, 20, 21, 11, 9, 345000, UTC)),
        ({36881: "-05:30"}, datetime(2026, 11, 21, 3, 41, 9, 345000, UTC)),
    ],
)
def test_the_photos_time_has_its_offset_and_fraction(exif: Any, expected: datetime) -> None:
    found = read_raw(add_directory(tag_dng(), exif=exif))
    time = find_time(found, None)
    assert time is not None
    assert datetime.fromtimestamp(time, UTC) == expected


def test_without_a_date_the_files_own_time_counts(tmp_path: Path) -> None:
    raw = replace(synthetic_raw(16, 16, time=None), metadata=PhotoMetadata())
    assert find_time(raw, None) is None
    (tmp_path / "photo").touch()
    os.utime(tmp_path / "photo", (5, 12345678))
    assert find_time(raw, tmp_path / "photo") == 12345678


def test_a_file_gets_the_time_that_it_is_given(tmp_path: Path) -> None:
    target = tmp_path / "picture.png"
    picture = np.zeros((4, 4, 3), np.uint8)
    save_picture(picture, target, SaveOptions(PictureFormat.PNG), time=987654321.5)
    assert target.stat().st_mtime == 987654321.5
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_a_smaller_pictures_pixels_are_not_the_sensors(raw: RawImage) -> None:
    whole = describe_picture(raw, SIZE, PROCESSING).exif
    small = describe_picture(raw, SIZE, PROCESSING, resized=True).exif
    assert {41486, 41487} <= whole.keys()
    assert small.keys() == whole.keys() - {41486, 41487, 41488}
