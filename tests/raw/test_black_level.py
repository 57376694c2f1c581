"""The photo's own black: simulated sensors of known black and row noise, odd borders, real ones."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rawpy
from conftest import BLACK, WHITE, synthetic_raw
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from places import DATA

from darkroom.mosaic.packing import linearise
from darkroom.output.dng import write_dng
from darkroom.raw.black_choice import with_black
from darkroom.raw.black_level import explain_black
from darkroom.raw.image import BlackSource, RawImage
from darkroom.raw.masked_pixels import (
    GUARD,
    Strip,
    measure_levels,
    measure_read_noise,
    measure_rows,
)
from darkroom.raw.reader import read_raw

needs_shared = pytest.mark.skipif(not DATA.is_dir(), reason="real RAW files are not here")

NOISE = 4.0
Edges = tuple[int, int, int, int]
"""Masked lines above, below, left and right."""
EDGES = (24, 20, 48, 40)


def exposed(
    cfa: str = "RGGB",
    edges: Edges = EDGES,
    off: float | NDArray[np.float64] = 0.0,
    rows: float | NDArray[np.float64] = 0.0,
    size: tuple[int, int] = (240, 256),
    noise: float = NOISE,
    light: float = 0.004,
    seed: int = 0,
) -> tuple[RawImage, NDArray[np.float64]]:
    """A dark photo and its full frame, before rounding, with masked borders.

    `off`: black less 512, per site of the full frame; `rows`: each row's offset, or their std.
    """
    random = np.random.default_rng(seed)
    top, bottom, left, right = edges
    height, width = size[0] + top + bottom, size[1] + left + right
    scene = synthetic_raw(*size, cfa, exposure=light, read_noise=0)
    off = np.atleast_2d(off)
    black = BLACK + np.tile(off, (-(-height // len(off)), -(-width // len(off))))[:height, :width]
    offsets = random.normal(0, rows, height) if np.isscalar(rows) else np.asarray(rows)
    frame = random.normal(black + offsets[:, None], noise)
    frame[top : top + size[0], left : left + size[1]] += scene.mosaic.astype(np.float64) - BLACK
    return replace(scene, margins=(top, left)), frame


def taken(raw: RawImage, frame: NDArray[np.float64]) -> RawImage:
    """The photo as it is read from a file with that frame."""
    (top, left), (height, width) = raw.margins, raw.mosaic.shape
    whole = np.clip(np.rint(frame), 0, WHITE).astype(np.uint16)
    stream = io.BytesIO()
    mosaic = whole[top : top + height, left : left + width]
    write_dng(stream, replace(raw, mosaic=mosaic), frame=whole)
    return read_raw(stream.getvalue())


def reason(raw: RawImage) -> str:
    assert raw.black_origin is not None
    return raw.black_origin.reason


def kept(found: RawImage, why: str) -> None:
    """The stated level and no row's offset was used, and the photo says why."""
    np.testing.assert_array_equal(found.black, BLACK)
    assert found.row_black is None
    assert reason(found).startswith("as the file states it: ")
    assert why in reason(found)
    assert found.warnings == ()


# The level.


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG", "xtrans"])
@pytest.mark.parametrize("margins", [(24, 48), (25, 37), (31, 42)])
def test_fractions_of_a_unit_are_recovered_per_site(cfa: str, margins: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    period = 6 if cfa == "xtrans" else 2
    off = random.uniform(-3, 1, (period, period))
    raw, frame = exposed(cfa, (margins[0], 20, margins[1], 60), off, size=(480, 256))
    found = taken(raw, frame)
    expected = BLACK + np.roll(off, (-found.margins[0], -found.margins[1]), axis=(0, 1))
    assert reason(found) == "measured on the masked pixels"
    # 4 units of noise, of a site 1000 masked values at least where the period is 6.
    assert np.abs(found.black - expected).max() < (0.1 if period == 2 else 0.45)
    assert found.black_origin is not None
    np.testing.assert_array_equal(found.black_origin.stated, BLACK)
    np.testing.assert_array_equal(found.masked_black, found.black)
    assert found.black_origin.known


def test_the_standard_error_is_that_of_many_photos() -> None:
    """Errors of the mean, in units of what the photo says of them, are normal."""
    off, scores = np.array([[-0.6, 0.2], [-0.4, -0.3]]), []
    for seed in range(40):
        raw, frame = exposed(off=off, rows=0.8, size=(64, 64), seed=seed)
        found = taken(raw, frame)
        assert found.black_origin is not None
        scores.append((found.black - BLACK - off) / found.black_origin.error)
    # Of 160 numbers of which pairs in a row share its offset: within a third of one.
    assert 0.67 < np.std(scores) < 1.34


def test_hot_masked_sites_and_dead_rows_do_not_count() -> None:
    raw, frame = exposed(off=-0.5)
    random = np.random.default_rng(2)
    frame[random.random(frame.shape) < 0.003] += 900
    frame[6] -= 12
    found = taken(raw, frame)
    assert np.abs(found.black - (BLACK - 0.5)).max() < 0.1


def test_little_noise_is_not_cut_on_one_side() -> None:
    raw, frame = exposed(off=0.3, noise=0.25)
    assert np.abs(taken(raw, frame).black - (BLACK + 0.3)).max() < 0.1


@pytest.mark.parametrize("edges", [(30, 0, 0, 0), (0, 0, 24, 0), (0, 28, 0, 0), (0, 0, 0, 30)])
def test_one_border_is_enough(edges: Edges) -> None:
    raw, frame = exposed(edges=edges, off=-0.7)
    # 1000 masked values a site.
    assert np.abs(taken(raw, frame).black - (BLACK - 0.7)).max() < 0.4


def test_a_stated_pattern_larger_than_the_period_keeps_its_shape() -> None:
    raw, frame = exposed()
    pattern = BLACK + np.array([[0, 1, 2, 3]] * 4, np.float32)
    frame = frame - BLACK - 0.5 + np.tile(pattern, (frame.shape[0] // 4, frame.shape[1] // 4))
    found = taken(replace(raw, black=pattern), frame)
    np.testing.assert_allclose(found.black, pattern - 0.5, atol=0.1)


# What is not believed.


def lit_side(frame: NDArray[np.float64]) -> None:
    frame[:, :48] += 6


def lit_end(frame: NDArray[np.float64]) -> None:
    frame[:24] += 8


def constant(frame: NDArray[np.float64]) -> None:
    everywhere_but_in_the_picture(frame, 512)


def zeros(frame: NDArray[np.float64]) -> None:
    everywhere_but_in_the_picture(frame, 0)


def far(frame: NDArray[np.float64]) -> None:
    frame -= 40


def everywhere_but_in_the_picture(frame: NDArray[np.float64], value: float) -> None:
    picture = frame[24:264, 48:304].copy()
    frame[:] = value
    frame[24:264, 48:304] = picture


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lit_side, "its masked borders differ by 6"),
        (lit_end, "its masked borders differ by 8"),
        (constant, "hold one value"),
        (zeros, "nothing was written"),
        (far, "away, not plausible"),
    ],
)
def test_odd_borders_are_refused(damage: Callable[[NDArray[np.float64]], None], why: str) -> None:
    raw, frame = exposed(off=-0.5)
    damage(frame)
    found = taken(raw, frame)
    if damage is far:  # the picture is as far below 512 as its borders: a warning, but no guess
        assert "above most of the picture" in found.warnings[0]
        found = replace(found, warnings=found.warnings[1:])
    kept(found, why)


def test_a_border_brighter_than_the_picture_is_lit() -> None:
    raw, frame = exposed(light=1e-9)
    (top, left), (height, width) = raw.margins, raw.mosaic.shape
    picture = frame[top : top + height, left : left + width].copy()
    frame += 14
    frame[top : top + height, left : left + width] = picture
    kept(taken(raw, frame), "the picture is darker")


def test_black_cut_off_at_0_is_not_measured() -> None:
    raw, frame = exposed()
    found = taken(replace(raw, black=np.zeros((2, 2), np.float32)), frame - BLACK)
    assert "cut off at 0" in reason(found)
    np.testing.assert_array_equal(found.black, 0)


@pytest.mark.parametrize(("black", "believed"), [(20, True), (14, True), (7, False), (4, False)])
def test_black_near_0_is_measured_unless_values_are_cut_off(black: int, believed: bool) -> None:
    """Noise of 4: of 14 units one site in 3000 is cut off, of 7 one in 20, and their mean rises."""
    raw, frame = exposed(off=-0.5)
    stated = np.full((2, 2), black, np.float32)
    found = taken(replace(raw, black=stated), frame - BLACK + black)
    if believed:
        assert reason(found) == "measured on the masked pixels"
        np.testing.assert_allclose(found.black, black - 0.5, atol=0.1)
    else:
        assert "cut off at 0" in reason(found)
        np.testing.assert_array_equal(found.black, stated)


def test_an_unwritten_border_leaves_the_others() -> None:
    raw, frame = exposed(off=-0.5)
    frame[:, 48 + 256 :] = 0
    found = taken(raw, frame)
    # 2000 masked values a site beside the picture.
    assert np.abs(found.black - (BLACK - 0.5)).max() < 0.3


@pytest.mark.parametrize(
    ("edges", "why"),
    [
        ((0, 0, 0, 0), "the file has no masked pixels"),
        ((1, 2, 3, 4), "too narrow"),
        ((GUARD, GUARD, GUARD, GUARD + 3), "too narrow"),
        ((0, 0, GUARD + 4, 0), "too few"),
    ],
)
def test_tiny_borders_measure_nothing(edges: Edges, why: str) -> None:
    size = (64, 64)
    raw, frame = exposed(edges=edges, off=-0.5, size=size)
    found = taken(raw, frame)
    kept(found, why)
    assert found.masked_black is None


# Rows.


def rows_left(found: RawImage, rows: NDArray[np.float64]) -> float:
    """What is left of the rows' offsets after those that the photo knows, root mean square."""
    top, height = found.margins[0], found.mosaic.shape[0]
    assert found.row_black is not None
    assert found.row_black.dtype == np.float32
    left = rows[top : top + height] - found.row_black
    for phase in range(found.cfa.period):  # their means belong to the level
        left[phase :: found.cfa.period] -= left[phase :: found.cfa.period].mean()
    return float(left.std())


@pytest.mark.parametrize("cfa", ["RGGB", "xtrans"])
@pytest.mark.parametrize("std", [0.7, 2.0])
@pytest.mark.parametrize("edges", [EDGES, (0, 0, 76, 0), (9, 0, 0, 77)])
def test_row_noise_falls_by_what_theory_says(cfa: str, std: float, edges: Edges) -> None:
    rows = np.random.default_rng(7).normal(0, std, 600 + edges[0] + edges[1])
    raw, frame = exposed(cfa, edges, -0.4, rows, size=(600, 72))
    found = taken(raw, frame)
    width = 88 - 2 * GUARD if edges is EDGES else 72
    noise = NOISE**2 / width
    ideal = std * np.sqrt(noise / (noise + std**2))
    # The best that can be had, and a quarter for measuring how much that is.
    assert rows_left(found, rows) < 1.25 * ideal
    assert found.black_origin is not None
    assert found.black_origin.row_noise == pytest.approx(std, rel=0.15)
    assert found.black_origin.row_noise_left == pytest.approx(ideal, rel=0.3)


def test_slow_shading_is_followed_better_than_single_rows() -> None:
    rows = np.sin(np.arange(1044) / 100)
    raw, frame = exposed(rows=rows, size=(1000, 64), edges=(24, 20, 16, 16))
    # 24 columns alone would leave 4 / sqrt(24) = 0.8 of noise, of 0.7 that there is.
    assert rows_left(taken(raw, frame), rows) < 0.2


@given(st.integers(0, 10**6), st.sampled_from(["RGGB", "xtrans"]))
@settings(max_examples=25, deadline=None)
def test_photos_without_row_noise_stay_without(seed: int, cfa: str) -> None:
    raw, frame = exposed(cfa, (0, 0, 28, 28), size=(240, 48), seed=seed)
    found = taken(raw, frame)
    assert reason(found).startswith("measured")
    if found.row_black is not None:  # once in hundreds of photos
        assert found.row_black.std() < 0.1 * NOISE


def test_noise_of_a_border_alone_is_not_the_rows() -> None:
    raw, frame = exposed(off=-0.5)
    frame[:, :48] += np.random.default_rng(8).normal(0, 1.5, (len(frame), 1))
    assert taken(raw, frame).row_black is None


def test_rows_that_differ_more_than_noise_are_left() -> None:
    raw, frame = exposed(edges=(0, 0, 48, 40), rows=np.linspace(-10, 10, 600), size=(600, 64))
    found = taken(raw, frame)
    assert found.row_black is None
    assert "stay as they are" in reason(found)
    np.testing.assert_array_equal(found.black, found.masked_black)


def test_row_offsets_are_taken_off_the_picture() -> None:
    rows = np.random.default_rng(9).normal(0, 2, 284)
    raw, frame = exposed(rows=rows, size=(240, 256), light=1e-9)
    found = taken(raw, frame)
    plain = linearise(replace(found, row_black=None)).mean(axis=1) * (WHITE - BLACK)
    assert linearise(found).mean(axis=1).std() * (WHITE - BLACK) < 0.35 * plain.std()


def test_stated_row_offsets_win(monkeypatch: pytest.MonkeyPatch) -> None:
    from darkroom.raw.dng_levels import DngBlack

    monkeypatch.setattr(DngBlack, "has_deltas", True)
    raw, frame = exposed(off=-0.5)
    kept(taken(raw, frame), "row by row")


def test_optical_black_lines_take_their_rows_with_them() -> None:
    random = np.random.default_rng(10)
    rows = random.normal(0, 2, 444)
    raw, frame = exposed(
        "GBRG", (24, 20, 60, 60), [[-0.6, 0.5], [0, 0]], rows, (400, 480), light=0.1
    )
    frame[24:31, 60:540] = random.normal(BLACK - 0.2 + rows[24:31, None], NOISE, (7, 480))
    found = taken(raw, frame)
    assert "optical-black" in found.warnings[-1]
    assert found.margins == (31, 60)
    assert found.row_black is not None
    assert found.row_black.shape == (393,)
    assert rows_left(found, rows) < 0.7
    assert found.black_origin is not None
    assert found.black_origin.error is not None
    np.testing.assert_array_equal(found.masked_black, found.black)
    own = [[rows[25:424:2].mean()], [rows[24:424:2].mean()]]
    np.testing.assert_allclose(found.black - BLACK - own, [[0, 0], [-0.6, 0.5]], atol=0.15)


# What it says.


def test_the_explanation() -> None:
    raw, frame = exposed(off=-0.5, rows=1.0)
    black = explain_black(taken(raw, frame))
    assert black is not None
    assert black["stated"] == [[512, 512], [512, 512]]
    assert black["used"] == black["measured"]
    assert np.max(black["error"]) < 0.3
    assert 0 < black["row_noise_left"] < black["row_noise"]
    assert black["reason"] == "measured on the masked pixels"
    assert explain_black(synthetic_raw()) is None


@needs_shared
def test_real_files() -> None:
    canon = read_raw(DATA / "raw" / "canon_550d_magic_lantern.dng")
    # States 2056; a dead row above the picture and leaked light at the right do not count.
    np.testing.assert_allclose(canon.black, [[2047.2, 2047.3], [2050.4, 2050.2]], atol=0.3)
    assert explain_black(canon)["row_noise"] == pytest.approx(1.0, abs=0.3)  # type: ignore[index]
    for name in ("canon_powershot_g2.crw", "canon_powershot_s40.crw"):
        small = read_raw(DATA / "raw" / name)
        np.testing.assert_allclose(small.black, 32, atol=0.1)
        assert reason(small) == "measured on the masked pixels"
    # A hum of the S40 of 0.16 units and 18.5 rows is in both borders.
    assert small.row_black is not None
    hum = np.abs(np.fft.rfft(small.row_black))
    assert np.argmax(hum[10:]) + 10 == pytest.approx(0.0541 * small.mosaic.shape[0], abs=1)


@needs_shared
@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("canon_550d_magic_lantern.dng", 0.9),
        ("canon_powershot_s40.crw", 0.7),
        ("canon_powershot_g2.crw", 0.65),
    ],
)
def test_row_noise_of_real_sensors_falls_on_columns_that_were_not_used(
    name: str, most: float
) -> None:
    with rawpy.imread(str(DATA / "raw" / name)) as file:
        sizes, frame = file.sizes, file.raw_image.copy()
    top, left, height = sizes.top_margin, sizes.left_margin, sizes.height
    right = left + sizes.width
    used = [slice(0, 100)] if left > 100 else [slice(0, left - GUARD), slice(right + GUARD, -24)]
    unused = slice(100, left - GUARD) if left > 100 else slice(-24, None)
    strips = [Strip((top, part.start), frame[top : top + height, part]) for part in used]
    noise = measure_read_noise(strips, 2)
    assert noise is not None
    levels = [measure_levels(strip, (top, left), 2, noise) for strip in strips]
    rows = measure_rows(strips, levels, (top, left), 2, noise)
    assert rows.offsets is not None
    held = frame[top : top + height, unused].astype(np.float64)
    middle = np.median(held)
    held = np.clip(held, middle - 4 * noise, middle + 4 * noise).mean(axis=1)
    for phase in (0, 1):
        held[phase::2] -= held[phase::2].mean()
    # The held columns have noise of their own, so only what they share with the estimate counts.
    gained = 2 * np.mean(rows.offsets * held) - np.mean(rows.offsets**2)
    assert rows.found**2 - gained < (most * rows.found) ** 2


def test_inspect_shows_it(
    dng_path: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from darkroom.cli.inspect import inspect

    raw, frame = exposed(off=-0.5, rows=1.0)
    photo = tmp_path / "masked.dng"
    write_dng(photo, raw, frame=np.clip(np.rint(frame), 0, WHITE).astype(np.uint16))
    inspect(photo)
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("511.", "measured on the masked pixels", "stated black 512", "error 0.", "left"):
        assert words in shown
    inspect(dng_path())
    shown = " ".join(capsys.readouterr().out.split())
    assert "512: as the file states it: the file has no masked pixels" in shown


def test_stated_undoes_masked_pixels_and_offsets_of_rows() -> None:
    raw = taken(*exposed(off=-1.5, rows=2.0))
    assert raw.row_black is not None
    np.testing.assert_allclose(raw.black, BLACK - 1.5, atol=0.5)
    back = with_black(raw, BlackSource.STATED)
    np.testing.assert_array_equal(back.black, BLACK)
    assert back.row_black is None
    assert back.black_origin is not None
    assert back.black_origin.row_noise_left == back.black_origin.row_noise > 0
    np.testing.assert_array_equal(back.masked_black, raw.masked_black)  # still told


def test_warnings_are_true_for_what_is_used() -> None:
    """Masked pixels at 512 refute a stated 0; each choice says what it does, a number nothing."""
    scene, frame = exposed()
    raw = taken(replace(scene, black=np.zeros((2, 2), np.float32)), frame)
    (line,) = raw.warnings
    assert "black level 0, as the file states it, is wrong; using 51" in line
    (line,) = with_black(raw, BlackSource.STATED).warnings
    assert "black level 0 is used as the file states it" in line
    assert "--black measured takes their 51" in line
    assert with_black(raw, 500).warnings == ()
    assert with_black(raw, BlackSource.MEASURED).warnings == raw.warnings


def test_stated_patterns_larger_than_measured_ones_get_white_of_their_shape() -> None:
    scene, frame = exposed()
    raw = taken(replace(scene, black=np.zeros((4, 2), np.float32)), frame)
    back = with_black(raw, BlackSource.STATED)
    assert back.black.shape == back.white.shape == (4, 2)
