"""DNGs as LibRaw and tifffile see them, and black levels as the specification places them."""

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import rawpy
import tifffile
from conftest import synthetic_raw
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.errors import OutputError
from darkroom.output.dng import write_dng
from darkroom.raw.dng_levels import DngBlack, read_black
from darkroom.raw.image import Exposure, RawImage
from darkroom.raw.tiff_tags import read_directories


def written(raw: RawImage, **keywords: object) -> bytes:
    stream = io.BytesIO()
    write_dng(stream, raw, **keywords)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize("cfa", ["RGGB", "GRBG", "GBRG", "BGGR", "xtrans"])
def test_libraw_sees_what_was_written(cfa: str) -> None:
    raw = synthetic_raw(60, 72, cfa, orientation=6, pixel_aspect=1.5)
    with rawpy.imread(io.BytesIO(written(raw))) as file:
        np.testing.assert_array_equal(file.raw_image, raw.mosaic)
        period = raw.cfa.period
        colours = file.raw_colors_visible[:period, :period]
        assert "".join("RGBG"[c] for c in colours.flat) == raw.cfa.pattern
        assert file.black_level_per_channel == [512] * 4
        assert file.white_level == 16383
        assert file.sizes.flip == 6
        assert file.sizes.pixel_aspect == 1.5
        np.testing.assert_allclose(file.camera_whitebalance[:3], (2.1, 1.0, 1.6), rtol=1e-5)
        assert file.other.shutter_speed == pytest.approx(0.1)
        assert file.other.aperture == pytest.approx(2.8)
        assert file.other.iso_speed == 1600


def test_tifffile_reads_every_tag() -> None:
    raw = synthetic_raw(lens="Example 50mm F1.4")
    with tifffile.TiffFile(io.BytesIO(written(raw))) as file:
        page = file.pages.first
        np.testing.assert_array_equal(page.asarray(), raw.mosaic)
        tags = {tag.name: tag.value for tag in page.tags.values()}
    assert tags["UniqueCameraModel"] == "Example One"
    assert (tags["Make"], tags["Model"]) == ("Example", "One")
    assert tags["CalibrationIlluminant1"] == 21
    assert tags["CFAPattern"] == bytes([0, 1, 1, 2])
    assert tags["ExifTag"] == {
        "ExifVersion": "0232",
        "ExposureTime": (1, 10),
        "FNumber": (14, 5),
        "ISOSpeedRatings": 1600,
        "DateTimeOriginal": "2024:02:29 23:59:58",
        "LensModel": "Example 50mm F1.4",
    }


def test_the_same_photo_gives_the_same_bytes() -> None:
    raw = synthetic_raw(lens="Example 50mm F1.4")
    assert written(raw) == written(raw)
    assert 306 not in read_directories(written(raw))[0].entries  # DateTime, of now


def test_tags_are_sorted_as_tiff_asks() -> None:
    for directory in read_directories(written(synthetic_raw())):
        assert list(directory.entries) == sorted(directory.entries)


def test_unknown_parts_are_left_out() -> None:
    raw = synthetic_raw(exposure=1.0)
    bare = replace(
        raw, exposure=Exposure(), time=None, camera="", color=replace(raw.color, white_balance=None)
    )
    codes = {code for d in read_directories(written(bare)) for code in d.entries}
    assert not codes & {271, 272, 33434, 33437, 34855, 36867, 42036, 50728}
    assert 50708 in codes  # DNG demands UniqueCameraModel


def test_float_mosaic_is_rounded_and_clipped() -> None:
    mosaic = np.full((48, 64), 600.6, dtype=np.float32)
    mosaic[0, :3] = (-5, 70000, 512.4)
    with rawpy.imread(io.BytesIO(written(synthetic_raw(mosaic=mosaic)))) as file:
        assert file.raw_image[0, :4].tolist() == [0, 65535, 512, 601]


@pytest.mark.parametrize("seconds", [1 / 8000, 1 / 3, 30.0, 4321.7, 90000.5])
def test_any_exposure_time_fits_a_rational(seconds: float) -> None:
    data = written(replace(synthetic_raw(), exposure=Exposure(seconds=seconds)))
    values = [d.numbers(33434) for d in read_directories(data) if 33434 in d.entries]
    assert values[0][0] == pytest.approx(seconds, rel=1e-4)


def test_unwritable_path_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"missing/photo\.dng: cannot be written"):
        write_dng(tmp_path / "missing" / "photo.dng", synthetic_raw())


def test_helper_writes_a_file(dng_path: Callable[..., Path]) -> None:
    with rawpy.imread(str(dng_path(height=50, width=66))) as file:
        assert file.raw_image.shape == (50, 66)


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 8),
    columns=st.integers(1, 8),
    origin=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    margins=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    period=st.sampled_from([2, 6]),
)
def test_black_pattern_keeps_its_place(
    rows: int, columns: int, origin: tuple[int, int], margins: tuple[int, int], period: int
) -> None:
    """Slow reference: the level of each site, counted from the active area's first."""
    levels = np.arange(rows * columns, dtype=np.float64).reshape(rows, columns)
    black = DngBlack(levels, np.empty(0), np.empty(0), origin)
    seen = black.seen_from(margins, period)
    assert seen.shape[0] % period == seen.shape[1] % period == 0
    for y in range(seen.shape[0]):
        for x in range(seen.shape[1]):
            row, column = y + margins[0] - origin[0], x + margins[1] - origin[1]
            assert seen[y, x] == levels[row % rows, column % columns]


def test_black_deltas_are_taken_off_their_rows_and_columns() -> None:
    raw = synthetic_raw(margins=(3, 5))
    height, width = raw.mosaic.shape
    rows, columns = np.arange(height + 4.0), -np.arange(width + 4.0)
    found = DngBlack(np.zeros((1, 1)), rows, columns, (1, 2)).without_deltas(raw)
    expected = raw.mosaic - rows[2 : height + 2, None] - columns[3 : width + 3]
    np.testing.assert_allclose(found.mosaic, expected)
    assert found.mosaic.dtype == np.float32


def test_black_of_a_file_that_is_no_dng_is_left_to_libraw() -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((8, 8), np.uint16), metadata=None)
    assert read_black(read_directories(stream.getvalue())) is None


def test_time_is_written_as_exif_writes_it() -> None:
    data = written(replace(synthetic_raw(), time=datetime(1999, 12, 31, 0, 0, 1)))
    assert b"1999:12:31 00:00:01\0" in data
