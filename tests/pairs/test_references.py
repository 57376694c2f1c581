"""References as the papers make them: LibRaw's rendering, bit for bit, and pictures of it."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import rawpy
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base
from places import DATA

from darkroom.errors import RawError, UsageError
from darkroom.output.orientation import upright
from darkroom.pairs.references import read_reference, turn_back


def published(path: Path) -> NDArray[np.uint16]:
    """SID's train_Sony.py, to the letter; rows and columns as the sensor has them."""
    with rawpy.imread(str(path)) as raw:
        return np.asarray(
            raw.postprocess(
                use_camera_wb=True,
                half_size=False,
                no_auto_bright=True,
                output_bps=16,
                user_flip=0,
            )
        )


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG", "xtrans"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_raw_is_developed_as_the_papers_do(
    dng_path: Callable[..., Path], cfa: str, orientation: int
) -> None:
    side = 516 if cfa == "xtrans" else 48  # LibRaw refuses smaller X-Trans photos
    path = dng_path(height=side, width=side, cfa=cfa, orientation=orientation)
    assert np.array_equal(read_reference(path), published(path))


@pytest.mark.parametrize(
    "name", ["canon_550d_magic_lantern.dng", "kodak_dc120.kdc", "nikon_d1.nef"]
)
def test_a_cameras_own_is_developed_as_the_papers_do(name: str) -> None:
    """Margins, stretched pixels and another phase among them."""
    path = DATA / "raw" / name
    if not path.is_file():
        pytest.skip("the shared photos are not here")
    assert np.array_equal(read_reference(path), published(path))


def picture(dtype: type[np.unsignedinteger]) -> NDArray[np.uint16]:
    random = np.random.default_rng(1)
    return random.integers(0, np.iinfo(dtype).max, (5, 7, 3), endpoint=True).astype(dtype)


@pytest.mark.parametrize("ending", ["png", "tif", "TIFF"])
def test_pictures_of_8_and_16_bits(tmp_path: Path, ending: str) -> None:
    """White stays white: 255 is 65535. Also where a name is not ASCII."""
    for dtype, factor in ((np.uint8, 257), (np.uint16, 1)):
        rgb, path = picture(dtype), tmp_path / f"référence.{ending}"
        if ending == "png":
            cv2.imencode(".png", rgb[:, :, ::-1])[1].tofile(path)
        else:
            tifffile.imwrite(path, rgb, photometric="rgb")
        found = read_reference(path)
        assert found.dtype == np.uint16
        assert np.array_equal(found, rgb.astype(np.uint16) * factor)


def test_a_pictures_own_orientation_counts(tmp_path: Path) -> None:
    rgb, path = picture(np.uint8), tmp_path / "turned.png"
    tags = Image.Exif()
    tags[Base.Orientation] = 6
    Image.fromarray(rgb).save(path, exif=tags)
    assert np.array_equal(read_reference(path), upright(rgb, 6).astype(np.uint16) * 257)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_back_undoes_turning_upright(orientation: int) -> None:
    rgb = picture(np.uint16)
    assert np.array_equal(turn_back(upright(rgb, orientation), orientation), rgb)


def test_an_xtrans_photo_that_libraw_refuses(dng_path: Callable[..., Path]) -> None:
    with pytest.raises(RawError, match=r"photo\.dng: cannot be developed by LibRaw"):
        read_reference(dng_path(height=96, width=96, cfa="xtrans"))


def test_what_is_no_reference(tmp_path: Path) -> None:
    for name, mode in (("gray.png", "L"), ("clear.png", "RGBA")):
        Image.new(mode, (4, 4)).save(tmp_path / name)
    (tmp_path / "text.png").write_text("no picture")
    whole = tmp_path / "whole.png"
    Image.new("RGB", (64, 64)).save(whole)
    (tmp_path / "part.png").write_bytes(whole.read_bytes()[:60])
    for name in ("gray.png", "clear.png", "text.png", "nothing.tif", "part.png"):
        with pytest.raises(UsageError, match=f"{name}: no RGB picture of 8 or 16 bits"):
            read_reference(tmp_path / name)
    (tmp_path / "text.dng").write_text("no photo")
    with pytest.raises(RawError, match=r"text\.dng: "):
        read_reference(tmp_path / "text.dng")
    with pytest.raises(RawError, match="cannot be read"):
        read_reference(tmp_path / "nothing.dng")
