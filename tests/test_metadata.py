from dataclasses import replace
from datetime import datetime

from conftest import synthetic_raw
from PIL import ExifTags, Image

from darkroom.files.metadata import picture_exif
from darkroom.files.sensor import Exposure, RawImage


def read_back(raw: RawImage) -> Image.Exif:
    exif = Image.Exif()
    exif.load(picture_exif(raw))
    return exif


def test_what_the_camera_said_comes_through() -> None:
    raw = replace(
        synthetic_raw(16, 16),
        camera="SONY ILCE-7SM2",
        lens="FE 55mm F1.8 ZA",
        time=datetime(2016, 5, 4, 3, 2, 1),
        exposure=Exposure(seconds=0.04, iso=6400, aperture=5.6),
        orientation=6,
    )
    exif = read_back(raw)
    detail = exif.get_ifd(ExifTags.IFD.Exif)
    base = ExifTags.Base
    assert (exif[base.Make], exif[base.Model]) == ("SONY", "SONY ILCE-7SM2")
    assert detail[base.DateTimeOriginal] == "2016:05:04 03:02:01"
    assert float(detail[base.ExposureTime]) == 0.04
    assert float(detail[base.FNumber]) == 5.6
    assert detail[base.ISOSpeedRatings] == 6400
    assert detail[base.LensModel] == "FE 55mm F1.8 ZA"


def test_orientation_is_always_upright() -> None:
    """The pixels have been turned already; a viewer must not turn them again."""
    raw = replace(synthetic_raw(16, 16), orientation=8)
    assert read_back(raw)[ExifTags.Base.Orientation] == 1


def test_what_is_unknown_is_left_out() -> None:
    raw = replace(synthetic_raw(16, 16), camera="", exposure=Exposure(), lens=None, time=None)
    exif = read_back(raw)
    assert ExifTags.Base.Model not in exif
    assert ExifTags.Base.ExposureTime not in exif.get_ifd(ExifTags.IFD.Exif)
