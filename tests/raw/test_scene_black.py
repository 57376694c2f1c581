"""Black from the darkest parts of the picture: known sensors, and what must not count."""

import io
from dataclasses import replace

import numpy as np
import pytest
from conftest import BLACK, WHITE, synthetic_raw
from numpy.typing import NDArray

from darkroom.output.dng import write_dng
from darkroom.raw.black_choice import with_black
from darkroom.raw.black_level import explain_black
from darkroom.raw.image import BlackSource, RawImage
from darkroom.raw.reader import read_raw
from darkroom.raw.scene_black import APART, measure_darkest

NOISE = 4.0
OFF = -2.0
SIZE = (480, 600)


def photographed(
    off: float | NDArray[np.float64] = OFF,
    cfa: str = "RGGB",
    light: NDArray[np.float64] | float = 0.0,
    floor: float = 0.0,
    seed: int = 0,
    size: tuple[int, int] = SIZE,
) -> RawImage:
    """A photo without masked pixels, read from its file, of a sensor whose black is `off` off 512.

    `light`: (H, W) sensor units, the right half of it fourfold; `floor`: the least value kept.
    """
    random = np.random.default_rng(seed)
    raw = synthetic_raw(*size, cfa, read_noise=0)
    field = np.broadcast_to(np.asarray(light, np.float64), size).copy()
    field[:, size[1] // 2 :] = 4 * field[:, size[1] // 2 :] + 40
    off = np.atleast_2d(off)
    black = BLACK + np.tile(off, (size[0] // len(off), size[1] // len(off)))
    values = random.poisson(field / 0.4) * 0.4 + random.normal(black, NOISE)
    mosaic = np.clip(np.rint(values), floor, WHITE).astype(np.uint16)
    stream = io.BytesIO()
    write_dng(stream, replace(raw, mosaic=mosaic))
    return read_raw(stream.getvalue())


def reason(raw: RawImage) -> str:
    assert raw.black_origin is not None
    return raw.black_origin.reason


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG", "xtrans"])
def test_a_stated_black_that_is_too_high_is_lowered(cfa: str) -> None:
    found = photographed(cfa=cfa)
    assert "lowered to the darkest parts" in reason(found)
    # Some 1800 sites of a channel are measured: 4 / sqrt(1800) is 0.1, three of that.
    np.testing.assert_allclose(found.black, BLACK + OFF, atol=0.3)
    assert found.black_origin is not None
    np.testing.assert_array_equal(found.black_origin.stated, BLACK)
    assert found.warnings == ()


def test_each_site_has_its_own() -> None:
    off = np.array([[-2.0, -2.6], [-2.5, -1.8]])
    np.testing.assert_allclose(photographed(off).black, BLACK + off, atol=0.3)


def test_noise_does_not_choose_what_is_measured() -> None:
    """Over photos that are black throughout the levels are as often above the truth as below."""
    photos = [photographed(0.0, seed=seed) for seed in range(12)]
    stated = np.full((2, 2), BLACK, np.float32)
    found = [measure_darkest(replace(raw, black=stated)) for raw in photos]
    levels = np.array([one.levels for one in found if one is not None])
    errors = np.array([one.errors for one in found if one is not None])
    assert levels.shape == (12, 4)
    # 48 levels of an error of 0.1 have a mean with an error of 0.014, five of that; chosen on
    # what is measured it would be -0.26.
    assert abs(levels.mean()) < 0.07
    assert 0.5 < levels.std() / errors.mean() < 1.5


@pytest.mark.parametrize(
    ("off", "light", "floor"),
    [(0.0, 0.0, 0.0), (1.5, 0.0, 0.0), (OFF, 8.0, 0.0), (OFF, 0.0, BLACK)],
    ids=["right", "too low", "no dark part", "cut off"],
)
def test_other_photos_keep_the_stated_level(off: float, light: float, floor: float) -> None:
    found = photographed(off, light=light, floor=floor)
    np.testing.assert_array_equal(found.black, BLACK)
    assert reason(found) == "as the file states it: the file has no masked pixels"


def test_a_channel_that_is_nowhere_dark_follows_the_others() -> None:
    """Under red light blue and green tell black, and red's is about the same."""
    light = np.zeros(SIZE)
    light[::2, ::2] = 30.0
    found = photographed(light=light)
    np.testing.assert_allclose(found.black.ravel()[1:], BLACK + OFF, atol=0.3)
    assert found.black[0, 0] == pytest.approx(BLACK + OFF + APART * NOISE, abs=0.5)


def test_dead_sites_are_not_darkness() -> None:
    raw = photographed(0.0)
    mosaic = raw.mosaic.copy()
    random = np.random.default_rng(1)
    mosaic[random.random(mosaic.shape) < 0.002] = 0
    found = measure_darkest(replace(raw, mosaic=mosaic))
    assert found is not None
    assert np.abs(found.levels).max() < 0.5


def test_an_unwritten_strip_is_not_black() -> None:
    random = np.random.default_rng(2)
    light = np.full(SIZE, 30.0)
    raw = photographed(0.0, light=light)
    mosaic = raw.mosaic.copy()
    mosaic[:120] = np.rint(random.normal(400, NOISE, (120, SIZE[1])))
    stream = io.BytesIO()
    write_dng(stream, replace(raw, mosaic=mosaic))
    found = read_raw(stream.getvalue())
    np.testing.assert_array_equal(found.black, BLACK)
    assert "parts of the picture are 11" in reason(found)
    assert "not plausible" in reason(found)


def test_small_photos_tell_nothing() -> None:
    raw = photographed(size=(120, 180))
    assert measure_darkest(raw) is None
    np.testing.assert_array_equal(raw.black, BLACK)


def test_stated_undoes_what_the_darkest_parts_said() -> None:
    raw = photographed()
    np.testing.assert_allclose(raw.black, BLACK + OFF, atol=0.3)  # as test_scene_black has it
    back = with_black(raw, BlackSource.STATED)
    np.testing.assert_array_equal(back.black, BLACK)
    assert back.mosaic is raw.mosaic  # nothing is copied
    told = explain_black(back)
    assert told is not None
    assert (told["source"], told["reason"]) == ("stated", "as the file states it, not as measured")
    assert with_black(back, BlackSource.STATED) is back
    assert with_black(raw, BlackSource.MEASURED) is raw
