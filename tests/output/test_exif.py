import io
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from conftest import synthetic_raw
from PIL import ExifTags, Image

from darkroom.output.exif import picture_exif, rational
from darkroom.output.tiff import write_tiff
from darkroom.raw.image import Exposure, RawImage
from darkroom.raw.tiff_tags import read_directories


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


@pytest.mark.parametrize("whole", [False, True])
def test_exposure_is_stored_in_rationals(whole: bool) -> None:
    """EXIF knows no floats (TIFF type 12); 5 is a rational. In the bytes, and in a TIFF of them."""
    raw = replace(synthetic_raw(16, 16), exposure=Exposure(seconds=1 / 30, iso=100, aperture=2.8))
    data = picture_exif(raw)
    if whole:
        stream = io.BytesIO()
        write_tiff(stream, np.zeros((4, 4, 3), np.uint8), exif=data)
        data = stream.getvalue()
    found = {
        code: (directory.entries[code].kind, float(directory.numbers(code)[0]))
        for directory in read_directories(data)
        for code in (ExifTags.Base.ExposureTime, ExifTags.Base.FNumber)
        if code in directory.entries
    }
    assert found == {33434: (5, 1 / 30), 33437: (5, 2.8)}


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (1 / 30, (1, 30)),
        (1 / 8000, (1, 8000)),
        (0.1, (1, 10)),
        (30.5, (61, 2)),
        (4321.7, (43217, 10)),
        (5.6, (28, 5)),
        (1e-12, (1, 2**32 - 1)),
        (1e12, (2**32 - 1, 1)),
        (3.14159265, (311, 99)),
    ],
)
def test_rationals_are_short_and_fit_32_bits(value: float, parts: tuple[int, int]) -> None:
    found = rational(value)
    assert (found.numerator, found.denominator) == parts
