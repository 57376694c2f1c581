"""Reading RAW photos: LibRaw's own pictures as the reference, synthetic DNGs as the cameras."""

import io
import os
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy
from conftest import BLACK, WHITE, XTRANS, synthetic_raw
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from places import DATA

from darkroom.errors import RawError
from darkroom.output.dng import write_dng
from darkroom.raw.color_matrix import read_color
from darkroom.raw.image import CFA, SRGB_TO_XYZ, Exposure, RawImage, WhiteBalance
from darkroom.raw.quiet_stderr import silence_stderr
from darkroom.raw.reader import read_raw
from darkroom.raw.tiff_tags import read_camera, read_directories

needs_shared = pytest.mark.skipif(not DATA.is_dir(), reason="real RAW files are not here")


def dng(raw: RawImage, frame: NDArray[np.uint16] | None = None) -> bytes:
    stream = io.BytesIO()
    write_dng(stream, raw, frame=frame)
    return stream.getvalue()


def patched(data: bytes, code: int, value: int) -> bytes:
    """The same DNG with the first value of a tag of its first directory replaced."""
    entry = read_directories(data)[0].entries[code]
    kind = {1: "<B", 3: "<H", 4: "<I"}[entry.kind]
    changed = bytearray(data)
    struct.pack_into(kind, changed, entry.offset, value)
    return bytes(changed)


def framed(
    raw: RawImage, margins: tuple[int, int], masked: float, after: tuple[int, int] = (3, 5)
) -> tuple[RawImage, NDArray[np.uint16]]:
    """The photo and its full frame, with masked borders around of that level and noise 5."""
    (top, left), (height, width) = margins, raw.mosaic.shape
    random = np.random.default_rng(5)
    frame = random.normal(masked, 5, (top + height + after[0], left + width + after[1]))
    frame = np.clip(np.rint(frame), 0, WHITE).astype(np.uint16)
    frame[top : top + height, left : left + width] = raw.mosaic
    return replace(raw, margins=margins), frame


# What was written comes back.


@pytest.mark.parametrize("cfa", ["RGGB", "GRBG", "GBRG", "BGGR", "xtrans"])
def test_round_trip(cfa: str) -> None:
    raw = synthetic_raw(60, 72, cfa, lens="Example 50mm", orientation=8, pixel_aspect=0.5)
    found = read_raw(dng(raw))
    np.testing.assert_array_equal(found.mosaic, raw.mosaic)
    np.testing.assert_array_equal(found.black, raw.black)
    np.testing.assert_array_equal(found.white, raw.white)
    assert found.mosaic.flags.owndata
    assert (found.cfa, found.orientation, found.pixel_aspect) == (raw.cfa, 8, 0.5)
    assert (found.camera, found.lens, found.time) == (raw.camera, raw.lens, raw.time)
    assert found.exposure == Exposure(0.1, 1600, 2.8)
    assert found.warnings == ()
    np.testing.assert_allclose(found.color.white_balance, (2.1, 1, 1.6), rtol=1e-6)
    assert found.color.source is WhiteBalance.AS_SHOT


def test_path_and_bytes_give_the_same(dng_path: Callable[..., Path]) -> None:
    path = dng_path()
    np.testing.assert_array_equal(read_raw(path).mosaic, read_raw(path.read_bytes()).mosaic)


# Where the visible area begins.


def check_place(found: RawImage, raw: RawImage, frame: NDArray[np.uint16]) -> tuple[int, int]:
    """Sites and phase agree with the full frame; LibRaw trims odd margins to even ones."""
    (top, left), (height, width) = found.margins, found.mosaic.shape
    down, right = top - raw.margins[0], left - raw.margins[1]
    assert {down, right} <= {0, 1}
    assert (height + down, width + right) == raw.mosaic.shape
    np.testing.assert_array_equal(found.mosaic, frame[top : top + height, left : left + width])
    assert found.cfa == raw.cfa.shifted(down, right)
    return down, right


@pytest.mark.parametrize("margins", [(0, 0), (1, 0), (0, 1), (7, 9), (26, 15)])
@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
def test_bayer_phase_at_any_margin(cfa: str, margins: tuple[int, int]) -> None:
    raw, frame = framed(synthetic_raw(cfa=cfa), margins, BLACK)
    check_place(read_raw(dng(raw, frame)), raw, frame)


@pytest.mark.parametrize("margins", [(0, 0), (26, 16), (7, 9)])
def test_the_cameras_own_crop(margins: tuple[int, int]) -> None:
    """DNG counts it from the active area; LibRaw trims odd margins, and as much of the crop."""
    raw, frame = framed(synthetic_raw(), margins, BLACK)
    raw = replace(raw, default_crop=(8, 10, 30, 41))
    found = read_raw(dng(raw, frame))
    down, right = check_place(found, raw, frame)
    assert found.default_crop == (8, 10, 30 - down, 41 - right)


@pytest.mark.parametrize("crop", [(0, 0, 64, 96), (8, 8, 60, 20), (0, 90, 8, 8), (0, 0, 0, 5)])
def test_crops_that_are_none_or_leave_the_picture_are_left_out(
    crop: tuple[int, int, int, int],
) -> None:
    raw = synthetic_raw(64, 96)
    assert read_raw(dng(replace(raw, default_crop=crop))).default_crop is None


@settings(max_examples=15, deadline=None)
@given(
    margins=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    shift=st.tuples(st.integers(0, 5), st.integers(0, 5)),
)
def test_xtrans_phase_at_any_margin_and_offset(
    margins: tuple[int, int], shift: tuple[int, int]
) -> None:
    cfa = CFA(XTRANS).shifted(*shift)
    raw, frame = framed(synthetic_raw(60, 72, cfa.pattern), margins, BLACK)
    found = read_raw(dng(raw, frame))
    assert found.cfa == cfa
    np.testing.assert_array_equal(found.mosaic, raw.mosaic)


# Levels.


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (4, 2), (3, 5), (1, 8)])
@pytest.mark.parametrize("margins", [(0, 0), (3, 2)])
def test_repeating_black_keeps_its_phase(shape: tuple[int, int], margins: tuple[int, int]) -> None:
    pattern = (500 + np.arange(np.prod(shape)).reshape(shape)).astype(np.float32)
    raw, frame = framed(replace(synthetic_raw(), black=pattern), margins, BLACK)
    found = read_raw(dng(raw, frame if margins != (0, 0) else None))
    down, right = check_place(found, raw, frame)
    expected = np.tile(
        np.roll(pattern, (-down, -right), (0, 1)), found.black.shape // np.array(shape)
    )
    np.testing.assert_array_equal(found.black, expected)
    assert found.white.shape == found.black.shape
    assert all(n % 2 == 0 for n in found.black.shape)


def test_masked_borders_are_measured_per_site() -> None:
    raw, frame = framed(synthetic_raw(200, 240, "GRBG"), (33, 42), 530)
    frame[::2, ::2] += 6
    frame[33:233, 42:282] = raw.mosaic
    found = read_raw(dng(raw, frame))
    assert found.margins == (34, 42)
    assert found.masked_black is not None
    np.testing.assert_allclose(found.masked_black, [[536, 530], [530, 530]], atol=0.2)
    np.testing.assert_array_equal(found.black, raw.black)  # 24 of 16383 apart is not wrong


@pytest.mark.parametrize("exposure", [1.0, 0.01])
def test_black_that_the_masked_borders_refute_is_replaced(exposure: float) -> None:
    raw, frame = framed(synthetic_raw(200, 240, exposure=exposure), (30, 40), BLACK)
    found = read_raw(dng(replace(raw, black=np.zeros((2, 2), np.float32)), frame))
    np.testing.assert_allclose(found.black, BLACK, atol=1)
    assert "masked borders" in found.warnings[0]


def test_lit_borders_do_not_count_as_masked() -> None:
    raw = synthetic_raw(200, 240)
    full = synthetic_raw(240, 290, exposure=0.5)
    frame = full.mosaic.copy()
    frame[30:230, 40:280] = raw.mosaic
    found = read_raw(dng(replace(raw, margins=(30, 40)), frame))
    np.testing.assert_array_equal(found.black, raw.black)
    assert found.warnings == ()


def test_borders_filled_with_zeros_measure_nothing() -> None:
    raw = synthetic_raw(200, 240)
    frame = np.zeros((240, 290), np.uint16)
    frame[30:230, 40:280] = raw.mosaic
    found = read_raw(dng(replace(raw, margins=(30, 40)), frame))
    assert found.masked_black is None
    np.testing.assert_array_equal(found.black, raw.black)


@pytest.mark.parametrize("exposure", [1.0, 0.02, 0.003])
@pytest.mark.parametrize("lines", [(7, 0, 3, 0), (0, 1, 0, 12), (9, 9, 9, 9)])
@pytest.mark.parametrize("level", [BLACK, 0])
def test_optical_black_in_the_picture_is_cut_off(
    exposure: float, lines: tuple[int, int, int, int], level: int
) -> None:
    raw = synthetic_raw(400, 480, "GBRG", exposure=exposure, read_noise=5)
    top, bottom, left, right = lines
    random = np.random.default_rng(3)
    covered = np.clip(random.normal(level, 5 if level else 0, raw.mosaic.shape), 0, WHITE)
    mosaic = np.rint(covered).astype(np.uint16)
    inner = np.s_[top : 400 - bottom, left : 480 - right]
    mosaic[inner] = raw.mosaic[inner]
    found = read_raw(dng(replace(raw, mosaic=mosaic)))
    np.testing.assert_array_equal(found.mosaic, raw.mosaic[inner])
    assert found.cfa == raw.cfa.shifted(top, left)
    assert found.margins == (top, left)
    kind = "optical-black lines inside the picture" if level else "lines without a picture"
    assert found.warnings[-1].startswith(f"{kind} were cut off: {top} at the top")


def night_sky(height: int, width: int) -> NDArray[np.float64]:
    """Nothing at the top, lights at the bottom: darkness that is no optical black."""
    rows = np.linspace(0, 1, height)[:, None]
    return np.broadcast_to(np.maximum(rows - 0.04, 0) ** 2 * 800, (height, width))


def vignette(height: int, width: int) -> NDArray[np.float64]:
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return 300 * np.maximum(1 - (x**2 + y**2) / 1.6, 0)


def lit_window(height: int, width: int) -> NDArray[np.float64]:
    """One bright spot in a dark room, close to a border and sharp."""
    light = np.zeros((height, width))
    light[20:120, 200:300] = 4000
    return light


@pytest.mark.parametrize("scene", [night_sky, vignette, lit_window, None])
def test_dark_scenes_are_not_cut(
    scene: Callable[[int, int], NDArray[np.float64]] | None,
) -> None:
    light = np.zeros((400, 480)) if scene is None else scene(400, 480)
    mosaic = np.random.default_rng(4).normal(BLACK + light, 6)
    raw = synthetic_raw(400, 480, mosaic=np.clip(np.rint(mosaic), 0, WHITE).astype(np.uint16))
    assert read_raw(dng(raw)).mosaic.shape == (400, 480)


# Colours, against LibRaw's own rendering.


@pytest.mark.parametrize("camera", ["Example One", "SONY ILCE-7S"])
def test_matrix_and_white_balance_are_those_of_libraw(camera: str) -> None:
    """For the second camera LibRaw has a matrix of its own, and yet prefers the file's."""
    raw = synthetic_raw(64, 96, read_noise=0, camera=camera)
    data = dng(raw)
    found = read_raw(data)
    with rawpy.imread(io.BytesIO(data)) as file:
        reference = file.postprocess(
            half_size=True,
            use_camera_wb=True,
            no_auto_bright=True,
            gamma=(1, 1),
            output_bps=16,
            user_flip=0,
            adjust_maximum_thr=0,
        )
    blocks = (raw.mosaic.astype(np.float64) - BLACK) / (WHITE - BLACK)
    camera_rgb = np.stack(
        [blocks[::2, ::2], (blocks[::2, 1::2] + blocks[1::2, ::2]) / 2, blocks[1::2, 1::2]], -1
    )
    assert found.color.white_balance is not None
    srgb_to_camera = found.color.xyz_to_camera @ SRGB_TO_XYZ
    srgb_to_camera /= srgb_to_camera.sum(axis=1, keepdims=True)
    linear = camera_rgb * found.color.white_balance @ np.linalg.inv(srgb_to_camera).T
    unclipped = (linear > 0.02) & (linear < 0.98)
    assert unclipped.mean() > 0.5
    # 0.5 %: LibRaw rounds its multipliers and the picture to 16 bits in between.
    np.testing.assert_allclose(linear[unclipped], reference[unclipped] / 65535, rtol=5e-3)


def colour(**tables: Any) -> tuple[Any, tuple[str, ...]]:
    given = {
        "as_shot": [2, 1, 1.5, 0],
        "daylight": [2.5, 1, 1.2, 0],
        "camera_to_srgb": np.zeros((3, 4), np.float32),
        "xyz_to_camera": np.vstack([np.eye(3), np.zeros((1, 3))]).astype(np.float32),
    }
    return read_color(**(given | tables))


def test_multipliers_are_scaled_to_green() -> None:
    color, _ = colour(as_shot=[1658.0, 1036.0, 1685.0, 1036.0])
    np.testing.assert_allclose(color.white_balance, [1.60039, 1, 1.62645], atol=1e-5)


@pytest.mark.parametrize(
    "as_shot",
    [[0, 1, 0, 0], [0, 0, 0, 0], [-1, 1, 2, 0], [np.nan, 1, 1, 0], [1e9, 1, 1, 0]],
)
def test_placeholder_balance_falls_back_to_daylight_then_gray_world(as_shot: list[float]) -> None:
    color, warnings = colour(as_shot=as_shot)
    assert color.source is WhiteBalance.DAYLIGHT
    np.testing.assert_allclose(color.white_balance, [2.5, 1, 1.2])
    assert "daylight" in warnings[0]
    color, warnings = colour(as_shot=as_shot, daylight=[1, 1, 1, 0])
    assert color.source is WhiteBalance.GRAY_WORLD
    assert color.white_balance is None
    assert "gray world" in warnings[0]


@pytest.mark.parametrize("fourth", [0.0, 1.0])
@pytest.mark.parametrize("one", [1.0, 256.0])
def test_balance_of_ones_is_measured(one: float, fourth: float) -> None:
    """Nikon's D1 writes ones beside balanced values: daylight would turn them pink.

    LibRaw has 0 for the second green where a file states three numbers.
    """
    color, warnings = colour(as_shot=[one, one, one, fourth * one])
    assert color.white_balance is None
    assert color.source is WhiteBalance.GRAY_WORLD
    assert "1 throughout" in warnings[0]


def test_kodak_matrix_serves_where_there_is_no_other() -> None:
    kodak = np.array([[1.5, -0.4, -0.1], [-0.1, 1.3, -0.2], [0, -0.4, 1.4]])
    color, warnings = colour(xyz_to_camera=np.zeros((4, 3), np.float32), kodak=kodak)
    np.testing.assert_allclose(color.xyz_to_camera @ SRGB_TO_XYZ @ kodak, np.eye(3), atol=1e-12)
    assert warnings == ()


def test_unknown_camera_counts_as_srgb() -> None:
    color, warnings = colour(xyz_to_camera=np.zeros((4, 3), np.float32))
    np.testing.assert_allclose(color.xyz_to_camera @ SRGB_TO_XYZ, np.eye(3), atol=1e-12)
    assert "no colour matrix" in warnings[0]


# Orientation and shape, against LibRaw's own rendering.

TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p),
}
"""What brings a picture upright, by EXIF 2.32's meaning of each orientation."""


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_what_libraw_shows(orientation: int) -> None:
    data = dng(synthetic_raw(orientation=orientation, read_noise=0))
    found = read_raw(data)
    assert found.orientation == orientation
    options = {"half_size": True, "no_auto_bright": True}
    with rawpy.imread(io.BytesIO(data)) as file:
        turned = file.postprocess(**options)
    with rawpy.imread(io.BytesIO(data)) as file:
        plain = file.postprocess(user_flip=0, **options)
    np.testing.assert_array_equal(TURNS[found.orientation](plain), turned)


@pytest.mark.parametrize(("aspect", "shape"), [(1.5, (48, 96)), (0.5, (96, 64))])
def test_pixel_aspect_is_what_libraw_stretches(aspect: float, shape: tuple[int, int]) -> None:
    data = dng(synthetic_raw(pixel_aspect=aspect))
    with rawpy.imread(io.BytesIO(data)) as file:
        assert file.postprocess().shape[:2] == shape
    assert read_raw(data).pixel_aspect == aspect


# Bad inputs: one line, what it is, what to do.


def refused(data: bytes) -> str:
    with pytest.raises(RawError) as caught:
        read_raw(data, "photo.x")
    message = str(caught.value)
    assert message.startswith("photo.x: ")
    assert "\n" not in message
    return message


def picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (60, 40), (9, 200, 3)).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"Dear diary, it was dark.\n" * 9, "is a text file"),
        (b"dark\n", "is a text file"),
        (bytes(range(256)) * 40, "is no RAW photo that LibRaw knows"),
        (bytes(5000), "is no RAW photo that LibRaw knows"),
        (picture("JPEG"), "is a JPEG picture"),
        (picture("PNG"), "is a PNG picture"),
        (picture("TIFF"), "is a TIFF picture"),
        (b"FOVb" + bytes(900), "is from a Foveon sensor"),
        (picture("WEBP"), "is a WebP picture"),
        (b"\0\0\0\x18ftypheic" + bytes(900), "is a HEIF picture"),
        (b"II*\0\x08\0\0\0", "is damaged or truncated"),
    ],
)
def test_other_files_are_named(data: bytes, what: str) -> None:
    assert what in refused(data)


@pytest.mark.parametrize(
    ("code", "value", "what"),
    [
        (259, 9, "GPR"),
        (259, 52546, "JPEG XL"),
        (259, 8, "compressed by method 8"),
        (262, 34892, "monochrome"),  # one sample: as from a camera without filters
        (262, 1, "monochrome"),
        (257, 60000, "truncated"),
        (256, 0, "decoded"),
    ],
)
def test_dngs_that_cannot_be_developed(code: int, value: int, what: str) -> None:
    data = patched(dng(synthetic_raw()), code, value)
    if code == 257:
        data = patched(data, 279, 60000 * 128)
    assert what in refused(data)


@pytest.mark.parametrize(("cfa", "rows"), [("RGGB", 0), ("RGGB", 2), ("xtrans", 4), ("xtrans", 6)])
def test_a_picture_needs_a_period_of_its_array(cfa: str, rows: int) -> None:
    """Of an ActiveArea without rows LibRaw makes all that lies below it in the frame."""
    raw, frame = framed(synthetic_raw(40, 40, cfa), (12, 12), BLACK, after=(12, 12))
    changed, top = bytearray(dng(raw, frame)), 64 - max(rows, 1)
    area = read_directories(bytes(changed))[0].entries[50829]
    struct.pack_into("<4I", changed, area.offset, top, 12, top, 52)
    if rows < raw.cfa.period:
        assert "is damaged or truncated" in refused(bytes(changed))
    else:
        assert read_raw(bytes(changed)).mosaic.shape == (rows, 40)


def test_linear_dngs_are_named() -> None:
    data = patched(patched(dng(synthetic_raw()), 262, 34892), 277, 3)
    assert "linear DNG" in refused(data)


def test_stripes_are_an_unusual_array() -> None:
    raw = synthetic_raw()
    data = dng(raw)
    at = read_directories(data)[0].entries[33422].offset
    assert "unusual" in refused(data[:at] + bytes([0, 1, 2, 1]) + data[at + 4 :])


def test_white_below_black() -> None:
    assert "white level below black" in refused(patched(dng(synthetic_raw()), 50717, 400))


def test_missing_end_of_samples() -> None:
    mosaic = synthetic_raw(200, 200).mosaic.copy()
    mosaic[180:] = 0
    assert "truncated" in refused(dng(synthetic_raw(200, 200, mosaic=mosaic)))


@pytest.mark.parametrize("cfa", ["RGGB", "xtrans"])
def test_truncated_anywhere(cfa: str) -> None:
    data = dng(synthetic_raw(24, 24, cfa))
    for length in [*range(0, len(data) - 1, 97), len(data) - 1]:
        refused(data[:length])


@settings(max_examples=150, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 829), st.integers(0, 7)), min_size=1, max_size=8))
def test_damaged_headers_never_leak_another_error(flips: list[tuple[int, int]]) -> None:
    data = bytearray(dng(synthetic_raw(24, 24)))
    for place, bit in flips:
        data[place] ^= 1 << bit
    with suppress(RawError):
        raw = read_raw(bytes(data))
        assert raw.mosaic.ndim == 2
        assert raw.orientation in range(1, 9)
        assert raw.white.min() > raw.black.max()


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RawError, match=r"none\.dng: no such file"):
        read_raw(tmp_path / "none.dng")
    with pytest.raises(RawError, match="is a folder"):
        read_raw(tmp_path)
    with pytest.raises(RawError, match="cannot be read"):
        read_raw(Path("a\0b"))
    with pytest.raises(RawError, match="cannot be read"):
        read_raw(Path("x" * 5000))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(RawError, match="no regular file"):
            read_raw(tmp_path / "pipe")
    with (tmp_path / "huge.dng").open("wb") as file:
        file.truncate(1 << 31)  # sparse: takes no room
    with pytest.raises(RawError, match="larger than any RAW photo"):
        read_raw(tmp_path / "huge.dng")


def test_libraw_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    data = dng(synthetic_raw())
    refused(patched(data, 273, len(data) - 300)[: len(data)])
    with silence_stderr():
        os.write(2, b"ours\n")
    assert capfd.readouterr().err == "ours\n"


def test_silence_is_safe_from_threads(capfd: pytest.CaptureFixture[str]) -> None:
    data = dng(synthetic_raw())
    damaged = patched(data, 273, len(data) - 300)

    def work() -> None:
        for _ in range(10):
            with pytest.raises(RawError):
                read_raw(damaged)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert capfd.readouterr().err == ""


# Tags of cameras that are not here.


def ciff(camera: bytes) -> bytes:
    """The smallest Canon CRW heap that names its camera, in a sub-heap as real ones do."""
    inner = camera + struct.pack("<HHIII", 1, 0x080A, len(camera), 0, len(camera))
    outer = inner + struct.pack("<HHIII", 1, 0x2807, len(inner), 0, len(inner))
    return b"II" + struct.pack("<I", 26) + b"HEAPCCDR" + bytes(12) + outer


def test_camera_of_a_crw() -> None:
    assert read_camera(ciff(b"Canon\0Canon PowerShot G9\0"), ()) == "Canon PowerShot G9"


@pytest.mark.parametrize(
    ("mark", "gap"), [(b"\0\0\0\x18ftypcrx CMT1", 0), (b"\0MRM....\0TTW", 4), (b"RAFExif\0\0", 0)]
)
def test_embedded_tags_are_found(mark: bytes, gap: int) -> None:
    data = mark + bytes(gap) + dng(synthetic_raw(camera="Example One"))
    assert read_camera(data, read_directories(data)) == "Example One"


@pytest.mark.parametrize(
    ("make", "model", "name"),
    [
        ("Canon", "EOS 5D", "Canon EOS 5D"),
        ("NIKON", "NIKON D1", "NIKON D1"),
        ("Sony", "", "Sony"),
    ],
)
def test_the_make_is_said_once(make: str, model: str, name: str) -> None:
    data = dng(synthetic_raw(camera=f"{make} {model}".strip()))
    assert read_raw(data).camera == name


def first_directory(data: bytes) -> tuple[int, int]:
    """Where the first directory stands, and how many tags it has."""
    start = struct.unpack_from("<I", data, 4)[0]
    return start, struct.unpack_from("<H", data, start)[0]


def test_directory_loops_end() -> None:
    data = bytearray(dng(synthetic_raw()))
    start, count = first_directory(data)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    assert len(read_directories(bytes(data))) == 2


@pytest.mark.parametrize("code", [34665, 37400, 50713, 50714, 50829, 51041])
@pytest.mark.parametrize(
    ("kind", "value"), [(5, bytes(8)), (11, b"\0\0\x80\x7f"), (12, b"\xff" * 8)]
)
def test_values_that_are_no_numbers_are_damage(code: int, kind: int, value: bytes) -> None:
    """Zero over zero, infinity, not a number: once a traceback, where a whole number is due."""
    data = bytearray(dng(replace(synthetic_raw(), noise_profile=(1e-4, 1e-6))))
    start, count = first_directory(data)
    entries = [struct.unpack_from("<HHII", data, start + 2 + 12 * n) for n in range(count)]
    entries = [entry for entry in entries if entry[0] != code]
    entries.append((code, kind, 64, len(data) + 2 + 12 * (len(entries) + 1) + 4))
    struct.pack_into("<I", data, 4, len(data))
    data += struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    data += bytes(4) + value * 64
    directory = read_directories(bytes(data))[0]
    assert directory.numbers(code).size == 0
    assert directory.number(code) is None
    with suppress(RawError):  # LibRaw may refuse it
        read_raw(bytes(data))


@pytest.mark.parametrize("count", [255, 65535])
def test_absurd_counts_cost_no_time(count: int) -> None:
    """A damaged count of 65535 tags in 64 directories took seconds."""
    data = bytearray(dng(synthetic_raw(600, 800)))
    struct.pack_into("<H", data, first_directory(data)[0], count)
    start = time.process_time()
    read_directories(bytes(data))
    assert time.process_time() - start < 1


# Real cameras.

EXPECTED = {
    "blackmagic_pocket_cinema_linearization_table.dng": ("GBRG", 256, 51080, 1),
    "canon_550d_magic_lantern.dng": ("RGGB", 2056, 15000, 1),
    "canon_powershot_g2.crw": ("RGGB", 32, 1023, 1),
    "canon_powershot_s40.crw": ("RGGB", 32, 1023, 1),
    "gopro_hero7_12mp.dng": ("RGGB", 0, 16383, 2),
    "kodak_dc120.kdc": ("GRBG", 0, 255, 1),
    "kodak_dc50.kdc": ("GRBG", 0, 16383, 1),
    "nikon_d1.nef": ("BGGR", 0, 4095, 1),
}


@needs_shared
@pytest.mark.parametrize("name", EXPECTED)
def test_real_file(name: str) -> None:
    cfa, black, white, orientation = EXPECTED[name]
    raw = read_raw(DATA / "raw" / name)
    assert raw.cfa.pattern == cfa
    assert raw.orientation == orientation
    assert raw.black_origin is not None
    assert np.all(raw.black_origin.stated == black)
    assert np.all(raw.white == white)
    assert raw.camera


@needs_shared
@pytest.mark.parametrize("name", EXPECTED)
def test_real_file_cut_in_the_middle(name: str) -> None:
    data = (DATA / "raw" / name).read_bytes()
    assert "truncated" in refused(data[: len(data) // 2])


@needs_shared
def test_real_files_that_cannot_be_developed() -> None:
    with pytest.raises(RawError, match=r"four-colour filter array \(GMCY\)"):
        read_raw(DATA / "raw" / "canon_powershot_g1_gmyc.crw")
    with pytest.raises(RawError, match="convert it to an uncompressed DNG"):
        read_raw(DATA / "raw" / "gopro_hero7_unsupported.gpr")


@needs_shared
def test_real_metadata() -> None:
    raw = read_raw(DATA / "raw" / "canon_powershot_g2.crw")
    assert raw.camera == "Canon PowerShot G2"
    assert raw.time == datetime(2022, 1, 20, 8, 13, 42)
    assert raw.exposure == Exposure(pytest.approx(0.0198289, rel=1e-5), 50, 4)
    assert raw.masked_black is not None
    np.testing.assert_allclose(raw.masked_black, 32, atol=0.1)
    assert read_raw(DATA / "raw" / "kodak_dc120.kdc").pixel_aspect == pytest.approx(
        1.5346, abs=1e-4
    )
