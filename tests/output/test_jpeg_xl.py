"""JPEG XL, read back by its own decoder; needs imagecodecs, which is an extra."""

import io
import sys

import numpy as np
import pytest
from tagged import tag_dng

from darkroom.color.color_space import ColorSpace
from darkroom.errors import UsageError
from darkroom.output.jpeg_xl import find_distance
from darkroom.output.metadata import describe_picture
from darkroom.output.picture import PictureFormat, SaveOptions, save_picture
from darkroom.raw.reader import read_raw


def test_without_the_extra_a_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(UsageError, match=r"pip install 'darkroom\[jxl\]'"):
        SaveOptions(PictureFormat.JXL)


@pytest.mark.parametrize(("quality", "distance"), [(100, 0), (90, 1), (30, 6.4), (1, 23.87)])
def test_distances_are_libjxls(quality: int, distance: float) -> None:
    assert find_distance(quality) == pytest.approx(distance, abs=0.01)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("quality", [92, 100])
def test_pictures_come_back(bits: int, quality: int) -> None:
    """Lossless to the bit; at 92 within 2 % on average, as smooth as this is."""
    codecs = pytest.importorskip("imagecodecs")
    white = 2**bits - 1
    ramp = np.add.outer(np.arange(40), np.arange(50)) / 88 * white
    picture = np.stack([ramp, ramp[::-1], ramp / 2], 2).astype(f"uint{bits}")
    metadata = describe_picture(read_raw(tag_dng(orientation=6)), (40, 50), {"Model": "safelight"})
    stream = io.BytesIO()
    options = SaveOptions(PictureFormat.JXL, bits, quality)
    save_picture(picture, stream, options, metadata=metadata)
    data = stream.getvalue()
    found = codecs.jpegxl_decode(data)
    assert found.dtype == picture.dtype
    assert np.abs(found.astype(float) - picture).mean() <= (0 if quality == 100 else 0.02 * white)
    kinds = []
    at = 0
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        kinds.append(kind)
        content, at = data[at + 8 : at + size], at + size
        if kind == b"Exif":
            assert content == bytes(4) + metadata.pack_exif()
        if kind == b"xml ":
            assert content == metadata.xmp
    assert [kind for kind in kinds if kind != b"jxll"] == [
        b"JXL ",
        b"ftyp",
        b"Exif",
        b"xml ",
        b"jxlc",
    ]


def test_other_spaces_are_refused() -> None:
    pytest.importorskip("imagecodecs")
    with pytest.raises(UsageError, match="sRGB alone"):
        SaveOptions(PictureFormat.JXL).check_space(ColorSpace.DISPLAY_P3)
