"""EXIF's bytes: as Pillow and our own reader of camera files see them."""

import io
from dataclasses import replace

import numpy as np
import pytest
from conftest import synthetic_raw
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from darkroom.output.exif import encode_rational, pack_directory, shot_tags
from darkroom.output.metadata import describe_picture
from darkroom.output.tiff import write_tiff
from darkroom.raw.exif_tags import EXIF, decode_text, encode_text, read_tags
from darkroom.raw.image import Exposure, TagValue
from darkroom.raw.tiff_tags import read_directories

TIME, FNUMBER, ISO, ORIGINAL, LENS = 33434, 33437, 34855, 36867, 42036


def test_what_only_libraw_knows_is_said_and_the_file_goes_first() -> None:
    raw = replace(synthetic_raw(16, 16), exposure=Exposure(seconds=0.04, iso=102400, aperture=5.6))
    tags = shot_tags(raw)
    assert np.frombuffer(tags[TIME].data, "<u4").tolist() == [1, 25]
    assert np.frombuffer(tags[ISO].data, "<u2").tolist() == [65535]  # the highest there is
    assert decode_text(tags[ORIGINAL]) == "2024:02:29 23:59:58"
    said = replace(raw.metadata, exif={ORIGINAL: encode_text("2024:02:29 22:00:00")})
    assert decode_text(shot_tags(replace(raw, metadata=said))[ORIGINAL])[11:] == "22:00:00"


def test_what_is_unknown_is_left_out() -> None:
    raw = replace(synthetic_raw(16, 16), camera="", exposure=Exposure(), lens=None, time=None)
    exif = Image.Exif()
    exif.load(describe_picture(raw, (16, 16), {}).pack_exif())
    assert not exif.keys() & {271, 272, 306}
    assert not exif.get_ifd(ExifTags.IFD.Exif).keys() & {TIME, FNUMBER, ISO, ORIGINAL, LENS}


@pytest.mark.parametrize("whole", [False, True])
def test_exposure_is_stored_in_rationals(whole: bool) -> None:
    """EXIF knows no floats (TIFF type 12); 5 is a rational. In the bytes, and in a TIFF of them."""
    raw = replace(synthetic_raw(16, 16), exposure=Exposure(seconds=1 / 30, iso=100, aperture=2.8))
    metadata = describe_picture(raw, (4, 4), {})
    data = metadata.pack_exif()
    if whole:
        stream = io.BytesIO()
        write_tiff(stream, np.zeros((4, 4, 3), np.uint8), metadata=metadata)
        data = stream.getvalue()
    found = {
        code: (directory.entries[code].kind, float(directory.numbers(code)[0]))
        for directory in read_directories(data)
        for code in (TIME, FNUMBER)
        if code in directory.entries
    }
    assert found == {TIME: (5, 1 / 30), FNUMBER: (5, 2.8)}


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
    assert tuple(np.frombuffer(encode_rational(value).data, "<u4")) == parts


@settings(max_examples=30, deadline=None)
@given(texts=st.dictionaries(st.sampled_from(sorted(EXIF)), st.text(max_size=9), max_size=9))
def test_a_directory_is_read_back_as_written(texts: dict[int, str]) -> None:
    """Values of all lengths, in the entry and behind it; standard kinds only come back."""
    tags = {code: encode_text(text) for code, text in texts.items()}
    (directory,) = read_directories(b"II*\0\x08\0\0\0" + pack_directory(tags, 8))
    kept = {c: t for c, t in tags.items() if EXIF[c][0] == 2 and t.data.strip(b" \0")}
    dates = (ORIGINAL, 36868)
    expected = {
        code: TagValue(2, len(data), data)
        for code, tag in kept.items()
        if code not in dates and (data := tag.data.rstrip(b"\0") + b"\0")
    }
    assert read_tags([directory], EXIF) == expected
