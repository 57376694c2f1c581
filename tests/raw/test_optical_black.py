"""Black lines that are cut off: everything that belongs to a site stays with it."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import BLACK, synthetic_raw
from numpy.typing import NDArray

from darkroom.raw.image import BlackOrigin
from darkroom.raw.optical_black import optical_black, without_optical_black

SIZE = (400, 480)


def everywhere(pattern: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) what a repeating pattern says of each site."""
    rows, columns = pattern.shape
    return pattern[np.ix_(np.arange(SIZE[0]) % rows, np.arange(SIZE[1]) % columns)]


@pytest.mark.parametrize("cfa", ["GBRG", "xtrans"])
@pytest.mark.parametrize("lines", [(7, 4, 4, 3), (0, 5, 3, 0), (4, 0, 0, 7)])
def test_every_site_keeps_what_is_its_own(cfa: str, lines: tuple[int, int, int, int]) -> None:
    """No two sites of a pattern are alike, so one that is seen from elsewhere shows."""
    top, bottom, left, right = lines
    inner = np.s_[top : SIZE[0] - bottom, left : SIZE[1] - right]
    raw = synthetic_raw(*SIZE, cfa, exposure=0.1, margins=(3, 5))
    shape = raw.black.shape
    pattern = np.arange(raw.black.size, dtype=np.float32).reshape(shape) / 8
    patterns = [pattern + BLACK, pattern + 16000, pattern + 500, pattern + 400, pattern + 1]
    black, white, masked, stated, error = patterns
    mosaic = np.full(SIZE, BLACK, np.uint16)
    mosaic[inner] = raw.mosaic[inner]
    raw = replace(
        raw,
        mosaic=mosaic,
        black=black,
        white=white,
        masked_black=masked,
        black_origin=BlackOrigin(stated, "as stated", error),
        row_black=np.arange(SIZE[0], dtype=np.float32),
        missing=np.random.default_rng(0).random(SIZE) < 0.5,
    )
    found = without_optical_black(raw)
    assert found.warnings == (
        "optical-black lines inside the picture were cut off: "
        f"{top} at the top, {bottom} at the bottom, {left} left, {right} right",
    )
    np.testing.assert_array_equal(found.mosaic, mosaic[inner])
    assert found.margins == (3 + top, 5 + left)
    assert found.row_black is not None
    np.testing.assert_array_equal(found.row_black, np.arange(top, SIZE[0] - bottom))
    assert found.missing is not None
    assert raw.missing is not None
    np.testing.assert_array_equal(found.missing, raw.missing[inner])
    assert found.cfa == raw.cfa.shifted(top, left)
    assert found.black_origin is not None
    after = [found.black, found.white, found.masked_black]
    after += [found.black_origin.stated, found.black_origin.error]
    height, width = found.mosaic.shape
    for before, now in zip(patterns, after, strict=True):
        assert now is not None
        seen = everywhere(now)[:height, :width]
        np.testing.assert_array_equal(seen, everywhere(before)[inner])


@pytest.mark.parametrize("covered", [0.3, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("side", range(4))
def test_a_line_half_under_the_cover_goes_too(covered: float, side: int) -> None:
    """From three quarters of the light on, it is a picture's; flat light, noise of 5 units."""
    light = np.full(SIZE, 300.0)
    turned = np.rot90(light, (0, 2, 3, 1)[side])  # a view, whose top is that side
    turned[:6] = 0
    turned[6] *= covered
    mosaic = np.random.default_rng(1).normal(BLACK + light, 5).round().astype(np.uint16)
    found = optical_black(mosaic, np.full((2, 2), BLACK, np.float32), 2)
    expected = [0] * 4
    expected[side] = 7 if covered < 0.75 else 6
    assert found == tuple(expected)


@pytest.mark.parametrize("lines", [1, 6, 49, 50])
def test_an_eighth_of_the_picture_is_no_border(lines: int) -> None:
    """Of 400 lines: that may be a scene, and is left."""
    light = np.full(SIZE, 300.0)
    light[:lines] = 0
    mosaic = np.random.default_rng(1).normal(BLACK + light, 5).round().astype(np.uint16)
    found = optical_black(mosaic, np.full((2, 2), BLACK, np.float32), 2)
    assert found == (lines if lines < 50 else 0, 0, 0, 0)


@pytest.mark.parametrize("period", [2, 6])
@pytest.mark.parametrize("size", [(400, 480), (401, 485)])
@pytest.mark.parametrize("side", range(4))
def test_levels_that_differ_by_more_than_the_light_are_told_from_it(
    side: int, size: tuple[int, int], period: int
) -> None:
    """Seen from each side the pattern of black begins with that side's own sites."""
    black = (np.arange(period**2, dtype=np.float32) ** 2 * 40).reshape(period, period) + BLACK
    light = np.full(size, 300.0)
    np.rot90(light, (0, 2, 3, 1)[side])[:5] = 0  # a view, whose top is that side
    repeats = (-(-size[0] // period), -(-size[1] // period))
    level = np.tile(black, repeats)[: size[0], : size[1]] + light
    mosaic = np.random.default_rng(1).normal(level, 5).round().astype(np.uint16)
    expected = [0] * 4
    expected[side] = 5
    assert optical_black(mosaic, black, period) == tuple(expected)
