"""DNGs to go on with, as LibRaw, tifffile and editors see them."""

import io
import subprocess
from dataclasses import replace
from pathlib import Path

import editors
import numpy as np
import pytest
import rawpy
import tifffile
import torch
from conftest import synthetic_raw
from programs import find_program

from darkroom.color.render import render
from darkroom.output.light_codes import LINEAR_FROM, WHITE, LightLevels, level_table
from darkroom.output.linear_dng import CameraPicture, DngKind, write_linear_dng
from darkroom.output.metadata import describe_picture
from darkroom.output.orientation import upright
from darkroom.output.picture import PictureFormat, SaveOptions, save_picture
from darkroom.raw.image import CFA, SRGB_TO_XYZ, Color, PhotoMetadata, RawImage
from darkroom.raw.reader import read_raw

EXIFTOOL = find_program("exiftool", says=r"^[\d.]+$", option="-ver")
MULTIPLIERS = np.array([2.0, 1.0, 1.5])
MATRIX = np.array([[0.7, -0.1, -0.05], [-0.4, 1.2, 0.2], [-0.1, 0.2, 0.6]])
"""A camera's, XYZ to its RGB; rows as unequal as real ones."""
XTRANS = "RBGBRGGGRGGBGGBGGRBRGRBGGGBGGRGGRGGB"


def scene(height: int = 70, width: int = 90) -> np.ndarray:
    """(H, W, 3) white-balanced camera RGB: smooth, muted, 0.05 to 0.6 of white."""
    down, right = np.mgrid[:height, :width].astype(np.float32)
    light = 0.05 + 0.55 * right / width
    tint = 0.1 * np.sin(down / height * 3)
    return np.stack([light * (1 + tint), light, light * (1 - tint)], axis=2).astype(np.float32)


def camera_picture(balanced: np.ndarray, **changes: object) -> CameraPicture:
    light = (balanced / MULTIPLIERS).astype(np.float32)
    return replace(
        CameraPicture(light, DngKind.LINEAR, MULTIPLIERS, MATRIX, CFA("RGGB"), 1, 1.0, "Example 1"),
        **changes,  # type: ignore[arg-type]
    )


def rendered(balanced: np.ndarray, orientation: int = 1) -> np.ndarray:
    color = Color(MULTIPLIERS, MATRIX)
    picture = render(torch.from_numpy(balanced).permute(2, 0, 1), color)
    codes = (picture * 65535).round().to(torch.uint16)
    return upright(codes.permute(1, 2, 0).numpy(), orientation)


def written(picture: CameraPicture, pixels: np.ndarray, raw: RawImage | None = None) -> bytes:
    stream = io.BytesIO()
    raw = raw or synthetic_raw()
    metadata = describe_picture(raw, pixels.shape[:2], {"Gain": "9"}, is_upright=False)
    write_linear_dng(stream, picture, pixels, metadata)
    return stream.getvalue()


def read_levels(data: bytes) -> np.ndarray:
    with rawpy.imread(io.BytesIO(data)) as file:
        return np.array(file.raw_image[..., :3] if file.raw_image.ndim == 3 else file.raw_image)


@pytest.mark.parametrize("size", [(70, 90), (257, 255), (31, 33)])
@pytest.mark.parametrize("brightest", [1.0, 3.0, 40.0])
def test_libraw_reads_the_light_to_rounding(size: tuple[int, int], brightest: float) -> None:
    balanced = scene(*size)
    balanced[0, 0] = brightest * 1.0
    picture = camera_picture(balanced)
    levels = read_levels(written(picture, rendered(balanced)))
    scale = max(1.0, brightest)
    wanted = picture.light / scale * WHITE
    # Half a code, which is a level or, above 66, the root of their share; dithered a whole level.
    step = np.sqrt(np.maximum(wanted / 66, 1)) if scale < LINEAR_FROM else 2.0
    assert (np.abs(levels - wanted) <= step * 0.5 + 0.6).all()


def test_tifffile_reads_the_tags() -> None:
    balanced = scene()
    balanced[5, 5] = 4.0
    data = written(camera_picture(balanced, orientation=6, pixel_aspect=1.5), rendered(balanced, 6))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        first = file.pages.first
        tags = {tag.name: tag.value for tag in first.tags.values()}
        raw = {tag.name: tag.value for tag in first.pages[0].tags.values()}
        preview = data[tags["StripOffsets"][0] :][: tags["StripByteCounts"][0]]
    assert tags["UniqueCameraModel"] == "Example 1"
    assert tags["Orientation"] == 6
    assert tags["CalibrationIlluminant1"] == 21
    numerator, denominator = tags["BaselineExposure"]
    assert numerator / denominator == pytest.approx(2.0, abs=1e-5)  # 4 in green, whose factor is 1
    neutral = np.array(tags["AsShotNeutral"]).reshape(3, 2)
    np.testing.assert_allclose(neutral[:, 0] / neutral[:, 1], 1 / MULTIPLIERS, rtol=1e-5)
    matrix = np.array(tags["ColorMatrix1"]).reshape(9, 2)
    np.testing.assert_allclose(matrix[:, 0] / matrix[:, 1], MATRIX.ravel(), atol=1e-5)
    assert b"darkroom:Gain" in tags["XMP"]
    assert raw["WhiteLevel"] == (65535,) * 3
    assert raw["BlackLevel"] == (0,) * 3
    assert raw["DefaultScale"] == (3, 2, 1, 1)
    assert raw["ActiveArea"] == (0, 0, 70, 90)
    assert preview.startswith(b"\xff\xd8")
    assert preview.endswith(b"\xff\xd9")


def test_a_matrix_without_scale_makes_the_photos_light_d65() -> None:
    """What LibRaw makes of a DNG's matrix: rows sum to the same; else editors guess odd light."""
    lost = MATRIX / (MATRIX @ SRGB_TO_XYZ.sum(1))[:, None]
    balanced = scene()
    data = written(camera_picture(balanced, xyz_to_camera=lost), rendered(balanced))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        numbers = np.array(file.pages.first.tags["ColorMatrix1"].value).reshape(3, 3, 2)
    white = (numbers[..., 0] / numbers[..., 1]) @ SRGB_TO_XYZ.sum(1)
    np.testing.assert_allclose(white, 1 / MULTIPLIERS, rtol=1e-4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_libraw_shows_what_darkroom_shows(orientation: int, tmp_path: Path) -> None:
    balanced = scene()
    dng = tmp_path / "a.dng"
    pixels = rendered(balanced, orientation)
    dng.write_bytes(written(camera_picture(balanced, orientation=orientation), pixels))
    ours = editors.decode(pixels / 65535)
    off = editors.differences(ours, editors.open_in_libraw(dng), border=2)
    assert len(off) > 20
    assert np.abs(off).max() < 0.005  # LibRaw rounds its matrix, and all steps to 16 bits


@pytest.mark.parametrize("orientation", [1, 2, 5])
@pytest.mark.parametrize("editor", list(editors.EDITORS))
def test_editors_demosaic_what_darkroom_shows(
    editor: str, orientation: int, tmp_path: Path
) -> None:
    """Of 767 columns RawTherapee died, and it showed mirrored mosaics as they lie."""
    if not editors.is_there(editor):
        pytest.skip(f"{editor} is not installed")
    balanced = scene(510, 767)
    picture = camera_picture(balanced, kind=DngKind.MOSAIC, orientation=orientation)
    dng, pixels = tmp_path / "a.dng", rendered(balanced, orientation)
    dng.write_bytes(written(picture, pixels))
    off = editors.differences(editors.decode(pixels / 65535), editors.EDITORS[editor](dng))
    assert len(off) > 200
    assert np.abs(off).max() < 0.02  # what the issue asks for


@pytest.mark.parametrize("editor", ["darktable-cli", "rawtherapee-cli"])
@pytest.mark.parametrize("brightest", [2.0, 8.0])
def test_editors_show_what_darkroom_shows(editor: str, brightest: float, tmp_path: Path) -> None:
    if not editors.is_there(editor):
        pytest.skip(f"{editor} is not installed")
    balanced = scene(300, 400)
    balanced[200, 200] = brightest
    dng, pixels = tmp_path / "a.dng", rendered(balanced, 2)
    dng.write_bytes(written(camera_picture(balanced, orientation=2), pixels))
    off = editors.differences(editors.decode(pixels / 65535), editors.EDITORS[editor](dng))
    assert len(off) > 200
    assert np.abs(off).max() < 0.02  # what the issue asks for


def test_shadows_do_not_band_where_highlights_take_the_levels() -> None:
    """One level is 60 codes of 16-bit sRGB there; means of 32 x 32 follow a ramp to a tenth."""
    balanced = np.zeros((256, 256, 3), np.float32)
    balanced[:] = np.linspace(0.002, 0.006, 256)[None, :, None]
    balanced[0, 0] = 60.0
    picture = camera_picture(balanced)
    levels = read_levels(written(picture, rendered(balanced)))[..., 1]
    means = levels.reshape(8, 32, 8, 32).mean(axis=(1, 3))
    wanted = (picture.light[..., 1] / 60 * WHITE).reshape(8, 32, 8, 32).mean(axis=(1, 3))
    np.testing.assert_allclose(means[1:], wanted[1:], atol=0.1)  # 6 standard errors of the dither
    assert np.ptp(wanted[1]) > 3


def test_every_code_of_8_bits_has_codes_of_its_own() -> None:
    codes = np.arange(256) / 255
    light = editors.decode(codes).astype(np.float32)
    for scale in (1.0, LINEAR_FROM * 0.999):
        assert np.diff(LightLevels(0, scale).encode(light, (0, 0)).astype(int)).min() >= 5
    assert len(level_table()) <= 4096  # RawTherapee reads no more


@pytest.mark.parametrize("size", [(66, 78), (66, 512), (67, 79)])
@pytest.mark.parametrize("pattern", ["RGGB", "GBRG", XTRANS])
def test_mosaics_are_the_picture_through_the_filters(
    pattern: str, size: tuple[int, int], tmp_path: Path
) -> None:
    """Also 512 columns, of which LibRaw would take two rows for one; columns are even."""
    balanced = scene(*size)
    height, width = size[0], size[1] // 2 * 2
    balanced[3:9, 3:9] = -0.01  # noise below black, which a mosaic keeps
    picture = camera_picture(balanced, kind=DngKind.MOSAIC, cfa=CFA(pattern))
    path = tmp_path / "a.dng"
    path.write_bytes(written(picture, rendered(balanced)))
    raw = read_raw(path)
    assert raw.cfa.pattern == pattern
    light = (raw.mosaic - raw.black[0, 0]) / (raw.white[0, 0] - raw.black[0, 0])
    period = raw.cfa.period
    channels = np.tile(raw.cfa.channels, (height // period + 1, width // period + 1))
    channels = channels[:height, :width, None]
    wanted = np.take_along_axis(picture.light[:height, :width], channels, axis=2)[..., 0]
    # A code of the table is at most 32 levels.
    np.testing.assert_allclose(light, wanted, atol=17 / WHITE)
    assert light.min() < -0.004


def test_noise_that_is_left_is_stated(tmp_path: Path) -> None:
    """Within a factor of 1.5 of what was added: one number is measured on some hundred blocks."""
    rng = np.random.default_rng(3)
    balanced = np.full((400, 400, 3), 0.3, np.float32)
    balanced += np.linspace(0, 0.2, 400, dtype=np.float32)[None, :, None]
    light = (balanced / MULTIPLIERS).astype(np.float32)
    light += rng.normal(0, 0.01, light.shape).astype(np.float32)
    picture = camera_picture(balanced, light=light)
    with tifffile.TiffFile(io.BytesIO(written(picture, rendered(balanced)))) as file:
        shot, read = file.pages.first.pages[0].tags["NoiseProfile"].value
    assert 1 / 1.5 < np.sqrt(shot * 0.3 + read) / 0.01 < 1.5


def test_all_that_the_photo_says_is_kept() -> None:
    balanced = scene()
    raw = synthetic_raw(lens="Example 50mm F1.4")
    raw = replace(raw, metadata=PhotoMetadata(iptc=b"\x1c\x02\x19\x00\x03sky"))
    data = written(camera_picture(balanced), rendered(balanced), raw)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = {tag.name: tag.value for tag in file.pages.first.tags.values()}
    assert tags["ExifTag"]["LensModel"] == "Example 50mm F1.4"
    assert tags["ExifTag"]["ColorSpace"] == 65535
    assert b"sky" in tags["IPTCNAA"]


@pytest.mark.skipif(EXIFTOOL is None, reason="needs exiftool")
@pytest.mark.parametrize("kind", DngKind)
def test_exiftool_finds_no_fault(kind: DngKind, tmp_path: Path) -> None:
    balanced = scene()
    path = tmp_path / "a.dng"
    path.write_bytes(written(camera_picture(balanced, kind=kind), rendered(balanced)))
    command = [str(EXIFTOOL), "-validate", "-warning", "-a", str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert told.split() == ["Validate", ":", "OK"]


def test_files_are_written_whole_and_to_pipes(tmp_path: Path) -> None:
    balanced = scene()
    picture, pixels = camera_picture(balanced), rendered(balanced)
    options = SaveOptions(PictureFormat.DNG, bits=16)
    path, pipe = tmp_path / "a.dng", io.BytesIO()
    pipe.seekable = lambda: False  # type: ignore[method-assign]
    for target in (path, pipe):
        save_picture(pixels, target, options, camera=picture)
    assert path.read_bytes() == pipe.getvalue()
