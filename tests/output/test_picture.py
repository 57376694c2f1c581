"""Pictures out: what is saved is what other programs read, profile and EXIF included."""

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from darkroom import parallel
from darkroom.color.color_space import ColorSpace
from darkroom.errors import OutputError, UsageError
from darkroom.output.exif import encode_rational
from darkroom.output.icc import build_profile, srgb_profile
from darkroom.output.metadata import PictureMetadata, describe_picture
from darkroom.output.picture import PictureFormat, SaveOptions, save_picture
from darkroom.output.tiff import write_tiff
from darkroom.raw.exif_tags import encode_text
from darkroom.raw.image import RawImage

Picture = NDArray[np.uint8] | NDArray[np.uint16]

EXIF_DIRECTORY, EXPOSURE_TIME, LENS, MAKE, ORIENTATION = 34665, 33434, 42036, 271, 274
LOSSLESS = [
    (PictureFormat.PNG, 8),
    (PictureFormat.PNG, 16),
    (PictureFormat.TIFF, 8),
    (PictureFormat.TIFF, 16),
]
APART = (PictureFormat.DNG, PictureFormat.JXL, PictureFormat.EXR)  # in tests of their own
PICTURES = [kind for kind in PictureFormat if kind not in APART]


def gradient(height: int, width: int, bits: int = 8) -> Picture:
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    colors = np.stack([x, y, (x + y) / 2], axis=2)
    return np.rint(colors * (2**bits - 1)).astype(f"uint{bits}")


def sample() -> PictureMetadata:
    exposed = {EXPOSURE_TIME: encode_rational(0.1), LENS: encode_text("50 mm f/1.4")}
    return PictureMetadata({MAKE: encode_text("Example")}, exposed, {})


@pytest.mark.parametrize(("kind", "bits"), LOSSLESS)
def test_other_programs_read_back_the_same_picture(
    tmp_path: Path, kind: PictureFormat, bits: int
) -> None:
    picture = gradient(90, 140, bits)
    target = tmp_path / f"picture.{kind.value}"
    save_picture(picture, target, SaveOptions(kind, bits), metadata=sample())
    decoded = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    assert decoded.dtype == picture.dtype
    np.testing.assert_array_equal(decoded[:, :, ::-1], picture)
    if kind is PictureFormat.TIFF:
        np.testing.assert_array_equal(tifffile.imread(target), picture)


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    bits=st.sampled_from([8, 16]),
    rows=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_tiff_gives_back_any_picture(
    height: int, width: int, bits: int, rows: int, seed: int
) -> None:
    picture = (
        np.random.default_rng(seed)
        .integers(0, 2**bits, (height, width, 3))
        .astype(np.dtype(f"uint{bits}"))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "BAND_BYTES", rows * picture[0].nbytes)
        stream = io.BytesIO()
        write_tiff(stream, picture, profile=b"odd", metadata=sample())
    stream.seek(0)
    np.testing.assert_array_equal(tifffile.imread(stream), picture)


@pytest.mark.parametrize("kind", PICTURES)
def test_profile_and_exif_come_along(tmp_path: Path, kind: PictureFormat) -> None:
    target = tmp_path / f"picture.{kind.value}"
    save_picture(gradient(20, 30), target, SaveOptions(kind), metadata=sample())
    with Image.open(target) as image:
        image.load()
        assert image.info["icc_profile"] == srgb_profile()
        exif = image.getexif()
        assert exif[MAKE] == "Example"
        assert exif.get(ORIENTATION, 1) == 1
        directory = exif.get_ifd(EXIF_DIRECTORY)
        assert float(directory[EXPOSURE_TIME]) == pytest.approx(0.1)
        assert directory[LENS] == "50 mm f/1.4"
    plain = tmp_path / f"plain.{kind.value}"
    save_picture(gradient(20, 30), plain, SaveOptions(kind))
    with Image.open(plain) as image:
        assert EXIF_DIRECTORY not in image.getexif()


@pytest.mark.parametrize("kind", PICTURES)
def test_a_photos_facts_reach_its_picture(
    tmp_path: Path, kind: PictureFormat, synthetic_raw: Callable[..., RawImage]
) -> None:
    target = tmp_path / f"picture.{kind.value}"
    raw = synthetic_raw(8, 8, lens="50 mm f/1.4", orientation=6, camera="Sony ILCE-7S")
    metadata = describe_picture(raw, (20, 30), {})
    save_picture(gradient(20, 30), target, SaveOptions(kind), metadata=metadata)
    with Image.open(target) as image:
        exif = image.getexif()
        details = {**exif, **exif.get_ifd(EXIF_DIRECTORY)}
    assert details[272] == "Sony ILCE-7S"  # Model: all that is known of the camera
    assert details.get(ORIENTATION, 1) == 1  # the pixels are upright already
    assert float(details[EXPOSURE_TIME]) == pytest.approx(0.1)
    assert float(details[33437]) == pytest.approx(2.8)  # FNumber
    assert details[34855] == 1600  # ISO
    assert details[36867] == "2024:02:29 23:59:58"
    assert details[LENS] == "50 mm f/1.4"
    assert details[40961] == 1  # ColorSpace: sRGB


def test_profile_is_srgb_and_never_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against Little CMS's own sRGB: a conversion between both leaves each value as it is."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    picture = gradient(32, 32)
    same = ImageCms.profileToProfile(
        Image.fromarray(picture), profile, ImageCms.createProfile("sRGB")
    )
    assert same is not None
    np.testing.assert_array_equal(np.asarray(same), picture)
    other_day = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    changed = [i for i in range(len(other_day)) if other_day[i] != srgb_profile()[i]]
    assert set(changed) <= {*range(24, 36), *range(84, 100)}
    assert srgb_profile()[24:36] == bytes([7, 208, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(("quality", "sampling"), [(75, 2), (89, 2), (90, 1), (100, 1)])
def test_jpeg_keeps_full_colour_at_high_quality(
    tmp_path: Path, quality: int, sampling: int
) -> None:
    target = tmp_path / "picture.jpg"
    picture = gradient(64, 96)
    save_picture(picture, target, SaveOptions(PictureFormat.JPEG, quality=quality))
    with Image.open(target) as image:
        assert image.layer[0][1:3] == (sampling, sampling)
        difference = np.abs(np.asarray(image).astype(int) - picture)
    assert difference.mean() < 2  # of 255: a smooth gradient survives even quality 75


@pytest.mark.parametrize("kind", PICTURES)
def test_a_pipe_gets_the_bytes_of_the_file(tmp_path: Path, kind: PictureFormat) -> None:
    target, piped = tmp_path / "picture", tmp_path / "piped"
    options = SaveOptions(kind)
    save_picture(gradient(50, 60), target, options)
    reading, writing = os.pipe()  # what fits in its buffer needs no reader meanwhile
    with open(reading, "rb") as source, open(writing, "wb") as sink:  # noqa: PTH123
        save_picture(gradient(50, 60), sink, options)
        sink.close()
        piped.write_bytes(source.read())
    assert piped.read_bytes() == target.read_bytes()


@pytest.mark.parametrize("kind", PICTURES)
def test_a_closed_pipe_stays_a_broken_pipe(kind: PictureFormat) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sink = os.fdopen(writing, "wb", buffering=0)
    with pytest.raises(BrokenPipeError), sink:
        save_picture(gradient(50, 60), sink, SaveOptions(kind))


@pytest.mark.parametrize("kind", PICTURES)
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: PictureFormat
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"the disk is full; needs up to 0\.\d MB"):
        save_picture(gradient(200, 300), tmp_path / "picture", SaveOptions(kind))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
@pytest.mark.parametrize("kind", PICTURES)
def test_every_format_names_a_full_disk(kind: PictureFormat) -> None:
    with pytest.raises(OutputError, match="the disk is full"):
        save_picture(gradient(200, 300), Path("/dev/full"), SaveOptions(kind))
    with (
        pytest.raises(OutputError, match="standard output: No space left"),
        open("/dev/full", "wb", buffering=0) as sink,  # noqa: PTH123
    ):
        save_picture(gradient(200, 300), sink, SaveOptions(kind))


def test_formats_by_name_and_by_ending() -> None:
    for name in ("tif", "tiff", ".TIFF"):
        assert PictureFormat.from_name(name) is PictureFormat.TIFF
    for name in ("a.jpg", "a.b.JPEG"):
        assert PictureFormat.from_path(Path(name)) is PictureFormat.JPEG
    assert PictureFormat.from_path(Path("a.png")) is PictureFormat.PNG
    for unknown in ("a.bmp", "a", ".png"):
        with pytest.raises(UsageError, match="end it in png, tif"):
            PictureFormat.from_path(Path(unknown))
    with pytest.raises(UsageError, match="bmp: no picture format; use png, tif"):
        PictureFormat.from_name("bmp")


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="JPEG holds 8 bits, not 16; use PNG or TIFF"):
        SaveOptions(PictureFormat.JPEG, 16)
    with pytest.raises(UsageError, match="AVIF holds 8 bits"):
        SaveOptions(PictureFormat.AVIF, 16)
    with pytest.raises(UsageError, match="use 8 or 16"):
        SaveOptions(PictureFormat.PNG, 12)
    with pytest.raises(UsageError, match="use 1 to 100"):
        SaveOptions(PictureFormat.JPEG, quality=0)
    with pytest.raises(TypeError, match="16 bits asked for, the picture has uint8"):
        save_picture(gradient(2, 2), tmp_path / "a.png", SaveOptions(PictureFormat.PNG, 16))
    wide = np.zeros((1, 65501, 3), np.uint8)
    with pytest.raises(OutputError, match="65500 pixels a side; use PNG or TIFF"):
        save_picture(wide, tmp_path / "a.jpg", SaveOptions(PictureFormat.JPEG))
    assert list(tmp_path.iterdir()) == []


def test_floats_come_back_from_two_readers(tmp_path: Path) -> None:
    """Linear light, above white and below black too, to the bit; the profile has no curve."""
    light = np.random.default_rng(1).normal(0.5, 1, (40, 30, 3)).astype(np.float32)
    target, space = tmp_path / "light.tif", ColorSpace.REC2020
    save_picture(light, target, SaveOptions(PictureFormat.TIFF, 32), metadata=sample(), space=space)
    decoded = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    np.testing.assert_array_equal(decoded[:, :, ::-1], light)
    np.testing.assert_array_equal(tifffile.imread(target), light)
    with tifffile.TiffFile(target) as file:
        assert file.pages.first.tags[34675].value == build_profile(space, linear=True)
    for kind in (PictureFormat.PNG, PictureFormat.JPEG):
        with pytest.raises(UsageError, match="32 bits"):
            SaveOptions(kind, 32)


@pytest.mark.parametrize(("kind", "error"), [(PictureFormat.WEBP, 2.5), (PictureFormat.AVIF, 1.5)])
def test_lossy_pictures_are_near(tmp_path: Path, kind: PictureFormat, error: float) -> None:
    """Mean codes of 255 at quality 92; WebP halves the resolution of colour."""
    picture, target = gradient(90, 140), tmp_path / f"picture.{kind.value}"
    save_picture(picture, target, SaveOptions(kind), metadata=sample())
    with Image.open(target) as image:
        assert image.format == kind.name
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - picture).mean() < error


def test_jpeg_is_progressive(tmp_path: Path) -> None:
    save_picture(gradient(20, 30), tmp_path / "a.jpg", SaveOptions(PictureFormat.JPEG))
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.info["progressive"] == 1


@pytest.mark.parametrize("kind", [PictureFormat.WEBP, PictureFormat.AVIF])
def test_what_pillow_was_built_without_is_one_line(
    kind: PictureFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.output.picture.features.check", lambda name: False)
    with pytest.raises(UsageError, match=f"writes no {kind.name}; upgrade it, or use JPEG"):
        SaveOptions(kind)


def test_webp_has_its_limit(tmp_path: Path) -> None:
    wide = np.zeros((1, 16384, 3), np.uint8)
    with pytest.raises(OutputError, match="WEBP holds at most 16383"):
        save_picture(wide, tmp_path / "a.webp", SaveOptions(PictureFormat.WEBP))
