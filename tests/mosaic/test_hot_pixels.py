"""Hot pixels go, stars and texture stay: simulated star fields and real daylight scenes."""

import math
import time

import numpy as np
import pytest
from conftest import XTRANS, smooth_scene
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from places import DATA

from darkroom.mosaic.hot_pixels import bound_noise, repair
from darkroom.raw.image import CFA

ARRAYS = (CFA("RGGB"), CFA("GBRG"), CFA(XTRANS))
BALANCE = np.array([2.1, 1.0, 1.6])
READ, SHOT, SKY = 1e-4, 2.5e-5, 2e-4  # as the Sony A7S II of the SID data set, units of white
SIGMA = math.sqrt(READ**2 + SHOT * SKY)

Mosaic = NDArray[np.float32]
Places = NDArray[np.intp]


def channels(cfa: CFA, height: int, width: int) -> Places:
    repeats = (-(-height // cfa.period), -(-width // cfa.period))
    return np.tile(cfa.channels, repeats)[:height, :width]


def exposed(light: NDArray[np.float64], seed: int) -> Mosaic:
    random = np.random.default_rng(seed)
    noisy = random.poisson(light / SHOT) * SHOT + random.normal(0, READ, light.shape)
    return np.minimum(noisy, 1).astype(np.float32)


def star_field(
    cfa: CFA, peak: float, tint: float = 0.0, size: int = 600
) -> tuple[NDArray[np.float64], Places]:
    """(H, W) light of stars of 1.5 sites' width, and (n, 2) their middles.

    `peak`: of the brightest site, in standard deviations of the dark sky, were the star centred.
    `tint`: standard deviation of the natural logarithm of its red and its blue.
    """
    random = np.random.default_rng(7)
    color = channels(cfa, size, size)
    light = SKY / BALANCE[color]
    grid = np.arange(12, size - 12, 20)
    middles = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    sigma = 1.5 / math.sqrt(8 * math.log(2))
    edges = np.arange(-4, 6) - 0.5
    area = np.vectorize(lambda x: 0.5 * math.erf(x / sigma / math.sqrt(2)))
    centred = float(area(0.5) - area(-0.5)) ** 2
    for row, column in middles:
        down, right = random.uniform(-0.5, 0.5, 2)
        spread = np.outer(np.diff(area(edges - down)), np.diff(area(edges - right))) / centred
        star = np.exp(tint * random.normal(size=3)) / BALANCE
        place = (slice(row - 4, row + 5), slice(column - 4, column + 5))
        light[place] += peak * SIGMA * spread * (star / star[color[row, column]])[color[place]]
    return light, middles


def eaten(before: Mosaic, after: Mosaic, middles: Places) -> float:
    """Share of the stars of which any site was changed."""
    changed = before != after
    return float(np.mean([changed[r - 1 : r + 2, c - 1 : c + 2].any() for r, c in middles]))


def repaired(mosaic: Mosaic, cfa: CFA) -> tuple[Mosaic, int]:
    after = mosaic.copy()
    return after, repair(after, cfa, BALANCE)


@pytest.mark.parametrize("cfa", ARRAYS, ids=("RGGB", "GBRG", "xtrans"))
@pytest.mark.parametrize("peak", [5, 8, 15, 60])
def test_stars_stay(cfa: CFA, peak: float) -> None:
    light, middles = star_field(cfa, peak)
    mosaic = exposed(light, 1)
    after, _ = repaired(mosaic, cfa)
    assert eaten(mosaic, after, middles) <= 0.01


@pytest.mark.parametrize("cfa", ARRAYS, ids=("RGGB", "GBRG", "xtrans"))
def test_coloured_stars_stay(cfa: CFA) -> None:
    """Red and blue off by half as much as green, up or down, one star in three even more."""
    light, middles = star_field(cfa, 20, tint=0.4)
    mosaic = exposed(light, 2)
    after, _ = repaired(mosaic, cfa)
    assert eaten(mosaic, after, middles) <= 0.01


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("cfa", ARRAYS, ids=("RGGB", "GBRG", "xtrans"))
def test_hot_pixels_go_from_among_stars(cfa: CFA, clipped: bool) -> None:
    """One site in 2000 is hot, by 10 to 2000 standard deviations of the noise."""
    light, middles = star_field(cfa, 20)
    mosaic = exposed(light, 3)
    random = np.random.default_rng(4)
    rows, columns = middles[random.permutation(len(middles))[:180]].T + 10  # between the stars
    rows, columns = rows + random.integers(0, 2, 180), columns + random.integers(0, 2, 180)
    mosaic[rows, columns] += (SIGMA * 10 * 200 ** random.random(180)).astype(np.float32)
    if clipped:
        np.maximum(mosaic, 0, out=mosaic)
    after, count = repaired(mosaic, cfa)
    gone = after[rows, columns] < SKY + 5 * SIGMA
    assert gone.mean() >= 0.95
    assert eaten(mosaic, after, middles) <= 0.01
    assert count - np.count_nonzero((after != mosaic)[rows, columns]) <= 3, "nothing else"


@pytest.mark.parametrize("cfa", ARRAYS, ids=("RGGB", "GBRG", "xtrans"))
def test_dead_pixels_go(cfa: CFA) -> None:
    random = np.random.default_rng(5)
    mosaic = exposed(np.full((300, 300), 0.02), 5)
    rows, columns = np.stack(np.meshgrid(np.arange(10, 290, 14), np.arange(10, 290, 14)))
    mosaic[rows, columns] = 0.001 * random.random(rows.shape)
    after, count = repaired(mosaic, cfa)
    assert (np.abs(after[rows, columns] - 0.02) < 0.004).mean() > 0.95
    assert count <= rows.size


@pytest.mark.parametrize("share", [0.475, 0.525])
@pytest.mark.parametrize("cfa", ARRAYS, ids=("RGGB", "GBRG", "xtrans"))
def test_dead_is_less_than_half_of_the_darkest_around(cfa: CFA, share: float) -> None:
    """Less than half of one brighter neighbour, by a tenth, is no more than a shadow."""
    mosaic = np.full((60, 60), 0.02, np.float32)
    mosaic[30, 30] = 0.02 * share
    mosaic[30 - (3 if cfa.period == 6 else 2), 30 - (3 if cfa.period == 6 else 0)] = 0.022
    after, _ = repaired(mosaic, cfa)
    assert (after[30, 30] > 0.019) == (share < 0.5)


@pytest.mark.parametrize("cfa", ARRAYS, ids=("RGGB", "GBRG", "xtrans"))
def test_a_bright_scene_is_left_alone(cfa: CFA) -> None:
    """Sites at white in a scene of half of white: sparkles of water, not defects."""
    mosaic = exposed(np.full((300, 300), 0.5), 6)
    mosaic[12:290:9, 12:290:11] = 1
    assert repaired(mosaic, cfa)[1] == 0


@pytest.mark.parametrize("cfa", ARRAYS, ids=("RGGB", "GBRG", "xtrans"))
@pytest.mark.parametrize("light", [0.0, 0.01, 0.5])
def test_noise_is_no_defect(cfa: CFA, light: float) -> None:
    mosaic = exposed(np.full((600, 600), light), 8)
    assert repaired(mosaic, cfa)[1] <= 1


@pytest.mark.parametrize("cfa", ARRAYS, ids=("RGGB", "GBRG", "xtrans"))
def test_noise_is_measured(cfa: CFA) -> None:
    """Of a scene of many levels; to a fifth, since only thresholds hang on it."""
    levels = np.repeat(np.repeat(np.linspace(0.001, 0.2, 100).reshape(10, 10), 60, 0), 60, 1)
    noise = bound_noise(exposed(levels, 9), cfa)
    light = np.array([0.002, 0.05, 0.2], np.float32)
    np.testing.assert_allclose(noise.deviation(light), np.sqrt(READ**2 + SHOT * light), rtol=0.2)


def test_clipped_black_hides_no_noise() -> None:
    mosaic = exposed(np.zeros((300, 300)), 10)
    kept, clipped = (
        bound_noise(m, ARRAYS[0]).read_variance for m in (mosaic, np.maximum(mosaic, 0))
    )
    assert math.sqrt(clipped / kept) == pytest.approx(1, abs=0.2)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 20), st.integers(2, 20), st.sampled_from(ARRAYS), st.floats(0, 1))
def test_any_size_and_no_noise(height: int, width: int, cfa: CFA, light: float) -> None:
    mosaic = np.full((height, width), light, np.float32)
    after, count = repaired(mosaic, cfa)
    assert count == 0
    assert np.array_equal(after, mosaic)


def test_smooth_scenes_stay_to_the_bit() -> None:
    for cfa in ARRAYS:
        scene = smooth_scene(200, 300, 0) / BALANCE[:, None, None] / 8
        mosaic = np.take_along_axis(scene, channels(cfa, 200, 300)[None], axis=0)[0]
        assert repaired(np.ascontiguousarray(mosaic, np.float32), cfa)[1] == 0


@pytest.mark.parametrize("cfa", ARRAYS, ids=("RGGB", "GBRG", "xtrans"))
def test_daylight_photographs_keep_their_texture(cfa: CFA) -> None:
    """Measured: 8 sites in a million, single glints of scans sharper than any lens; 54 dB."""
    paths = sorted((DATA / "kodak").glob("*.png"))[::3]
    if not paths:
        pytest.skip("the shared Kodak photographs are not here")
    count = sites = 0
    for path in paths:
        encoded = np.asarray(Image.open(path)) / 255
        linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
        color = channels(cfa, *linear.shape[:2])
        raw = np.take_along_axis(linear, color[..., None], 2)[..., 0] / BALANCE[color]
        for darkening in (1, 30):
            mosaic = exposed(raw / darkening, 11)
            after, found = repaired(mosaic, cfa)
            error = np.mean((after - mosaic) ** 2) * darkening**2
            assert -10 * math.log10(error + 1e-20) > 48, path.name
            count, sites = count + found, sites + mosaic.size
    assert count / sites < 3e-5


def test_twelve_megapixels_are_quick() -> None:
    mosaic = exposed(np.full((1500, 2000), 0.002), 12)
    start = time.process_time()
    repair(mosaic, ARRAYS[0])
    # 0.015 s for this quarter on an idle core; the bound only catches slips.
    assert time.process_time() - start < 0.3
