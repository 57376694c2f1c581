"""The test chart and its photograph: known colours, known noise, the same every time."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.evaluation.chart import (
    BLACK,
    ELECTRONS_PER_STEP,
    READ_NOISE,
    ROW_NOISE,
    WHITE,
    draw_chart,
    photograph_chart,
)
from darkroom.raw.image import CFA

SMALL = (240, 360)


@cache
def small_chart() -> NDArray[np.float32]:
    return draw_chart(*SMALL)


def codes(linear: NDArray[np.float32]) -> NDArray[np.float64]:
    """sRGB codes of 255. Source: IEC 61966-2-1."""
    light = np.clip(linear, 0, 1).astype(np.float64)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def place(x: int, y: int) -> tuple[int, int]:
    """Where a place of the full 1800 x 1200 chart is on the small one."""
    return y * SMALL[0] // 1200, x * SMALL[1] // 1800


def test_patches_have_their_published_codes() -> None:
    """Corners of the chart's 6 x 4: dark skin, bluish green, white, black, and red."""
    patches = {
        (980, 100): (115, 82, 68),
        (1700, 100): (103, 189, 170),
        (980, 520): (243, 243, 242),
        (1700, 520): (52, 52, 52),
        (1270, 380): (175, 54, 60),
    }
    for (x, y), expected in patches.items():
        np.testing.assert_allclose(codes(small_chart()[place(x, y)]), expected, atol=0.01)


def test_ramp_rises_and_its_steps_are_even() -> None:
    row, left = place(40, 1080)
    right = place(1760, 0)[1]
    smooth = codes(small_chart()[row, left:right, 0])
    assert (np.diff(smooth) > 0).all()
    assert smooth[0] < 1
    assert smooth[-1] > 254
    steps = np.unique(np.rint(codes(small_chart()[place(40, 1145)[0], left:right, 0])))
    np.testing.assert_allclose(steps[np.isin(steps, np.arange(16) * 17)], np.arange(16) * 17)


def test_only_the_lamp_is_brighter_than_white() -> None:
    chart = small_chart()
    assert chart.dtype == np.float32
    assert chart.shape == (*SMALL, 3)
    assert chart.min() >= 0
    rows, columns = np.nonzero((chart > 1).any(axis=2))
    assert 1 < rows.size < 0.002 * chart[..., 0].size
    assert (rows < SMALL[0] / 2).all()
    assert (columns < SMALL[1] / 2).all()
    assert chart.max() == pytest.approx(8)


def test_same_seed_same_chart_and_other_seeds_other_leaves() -> None:
    again = draw_chart(*SMALL)
    np.testing.assert_array_equal(again, small_chart())
    assert (draw_chart(*SMALL, seed=1) != again).any()


@pytest.mark.parametrize("size", [(120, 120), (151, 203)])
def test_any_size(size: tuple[int, int]) -> None:
    chart = draw_chart(*size)
    assert chart.shape == (*size, 3)
    assert np.isfinite(chart).all()
    assert photograph_chart(chart).mosaic.shape == size


def test_photograph_describes_itself() -> None:
    raw = photograph_chart(small_chart())
    assert raw.mosaic.dtype == np.uint16
    assert raw.mosaic.shape == SMALL
    assert raw.cfa == CFA("RGGB")
    assert raw.black.tolist() == [[BLACK, BLACK], [BLACK, BLACK]]
    assert raw.white.tolist() == [[WHITE, WHITE], [WHITE, WHITE]]
    assert raw.camera == "darkroom chart"
    np.testing.assert_array_equal(raw.mosaic, photograph_chart(small_chart()).mosaic)
    assert (raw.mosaic != photograph_chart(small_chart(), seed=1).mosaic).any()


@pytest.mark.parametrize("gray", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("exposure", [1 / 300, 0.5])
def test_gray_has_the_light_and_the_noise_of_the_model(gray: float, exposure: float) -> None:
    """Tolerances: five standard errors of mean and variance over a quarter of 300 x 300 sites."""
    raw = photograph_chart(np.full((300, 300, 3), gray, np.float32), exposure=exposure)
    assert raw.color.white_balance is not None
    for row, column in np.ndindex(2, 2):
        plane = raw.mosaic[row::2, column::2].astype(np.float64) - BLACK
        multiplier = raw.color.white_balance[raw.cfa.channels[row, column]]
        light = gray * exposure * (WHITE - BLACK) / multiplier
        variance = light / ELECTRONS_PER_STEP + READ_NOISE**2 + ROW_NOISE**2 + 1 / 12
        per_row = ROW_NOISE**2 / len(plane)  # one draw for a whole row
        assert abs(plane.mean() - light) < 5 * np.sqrt(variance / plane.size + per_row)
        assert plane.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / plane.size) + 0.02)


def test_matrix_brings_the_colours_back() -> None:
    """Noise averaged away and the sensor's matrix undone, a colour is what it was.

    1 % of white is five standard errors of the noisiest channel.
    """
    color = np.array([0.5, 0.2, 0.35])
    flat = np.broadcast_to(color, (200, 200, 3)).astype(np.float32)
    raw = photograph_chart(flat, exposure=0.5)
    assert raw.color.white_balance is not None
    sites = raw.mosaic.astype(np.float64) - BLACK
    means = [sites[raw.cfa.channels[np.ix_(*_tiled(sites.shape))] == i].mean() for i in range(3)]
    camera = np.array(means) / (WHITE - BLACK) / 0.5 * raw.color.white_balance
    primaries = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    to_camera = raw.color.xyz_to_camera @ primaries
    to_camera /= to_camera.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.linalg.solve(to_camera, camera), color, atol=0.01)


def _tiled(shape: tuple[int, ...]) -> list[NDArray[np.intp]]:
    return [np.arange(length) % 2 for length in shape]


def test_clipped_light_stays_at_white() -> None:
    raw = photograph_chart(np.full((20, 20, 3), 8, np.float32), exposure=1)
    assert (raw.mosaic == WHITE).all()
