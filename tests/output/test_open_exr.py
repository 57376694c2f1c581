"""OpenEXR, read back by its own package, which is an extra."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from tagged import tag_dng

from darkroom.color.color_space import ColorSpace
from darkroom.errors import UsageError
from darkroom.output.metadata import describe_picture
from darkroom.output.open_exr import describe
from darkroom.output.picture import PictureFormat, SaveOptions, save_picture
from darkroom.raw.reader import read_raw

SIZE = (20, 30)


def test_without_the_extra_a_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(UsageError, match=r"pip install 'darkroom\[exr\]'"):
        SaveOptions(PictureFormat.EXR, 16)


def test_8_bits_are_refused() -> None:
    with pytest.raises(UsageError, match="16 or 32 bits"):
        SaveOptions(PictureFormat.EXR)


def test_attributes_are_the_standards() -> None:
    """Degrees to a thousandth of a second, north and east above 0; UTC is local time + offset."""
    said = describe(describe_picture(read_raw(tag_dng()), SIZE, {"Model": "safelight"}))
    assert said.pop("latitude") == pytest.approx(46 + 56 / 60 + 52.8 / 3600, abs=3e-7)
    assert said.pop("longitude") == pytest.approx(7 + 26 / 60 + 50.6 / 3600, abs=3e-7)
    xmp, software = said.pop("xmp"), said.pop("software")
    assert "<darkroom:Model" in str(xmp)
    assert str(software).startswith("darkroom ")
    assert said == {
        "cameraMake": "SONY",
        "cameraModel": "ILCE-7SM2",
        "owner": "(c) 2026 Ada",
        "comments": "Nächtlicher Wald",
        "capDate": "2026:11:20 22:11:09",
        "utcOffset": -3600.0,
        "cameraSerialNumber": "B456",
        "lensMake": "Zeiss",
        "lensModel": "FE 55mm F1.8 ZA",
        "lensSerialNumber": "L123",
        "expTime": 1 / 8,
        "aperture": 1.8,
        "isoSpeed": 12800.0,
        "nominalFocalLength": 55.0,
        "altitude": 540.0,
    }
    assert "latitude" not in describe(
        describe_picture(read_raw(tag_dng()), SIZE, {"Model": "safelight"}, gps=False)
    )


@pytest.mark.parametrize("bits", [16, 32])
def test_light_comes_back(bits: int, tmp_path: Path) -> None:
    """32 bits as they are; of 16, as NumPy rounds them, and the brightest is no infinity."""
    package = pytest.importorskip("OpenEXR")
    light = np.random.default_rng(1).normal(1, 1, (*SIZE, 3)).astype(np.float32)
    light[0, 0] = (-0.01, 3.5, 1e6)
    stream, path = io.BytesIO(), tmp_path / "picture.exr"
    options = SaveOptions(PictureFormat.EXR, bits)
    save_picture(light, stream, options, space=ColorSpace.DISPLAY_P3)
    save_picture(light, path, options, space=ColorSpace.DISPLAY_P3)
    assert path.read_bytes() == stream.getvalue()
    with package.File(str(path)) as file:
        found, header = file.channels()["RGB"].pixels, dict(file.header())
    wanted = light if bits == 32 else np.minimum(light, 65504).astype(np.float16)
    assert found.dtype == wanted.dtype
    assert np.array_equal(found, wanted)
    primaries = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329)
    assert header["chromaticities"] == pytest.approx(primaries)
