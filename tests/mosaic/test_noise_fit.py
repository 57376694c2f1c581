"""The line of noise through bins that lie on a known one: found again, wherever it lies."""

import math

import numpy as np
import pytest

from darkroom.mosaic.noise_bins import Bins
from darkroom.mosaic.noise_blocks import Values
from darkroom.mosaic.noise_fit import fit_noise, variance_at

LEAST = 1 / math.sqrt(12) / 16383
"""What rounding to 14 bits makes."""
LIGHT = np.geomspace(1e-3, 0.9, 16)


def bins(light: Values, variance: Values, textured: float = 0.0) -> Bins:
    """Flat patches of noise measured to 7 %; of a share of them texture adds eightfold to it."""
    count = len(light)
    is_over = np.random.default_rng(0).permutation(count) < textured * count
    return Bins(light, np.where(is_over, 9 * variance, variance), np.full(count, 0.07), is_over, 1)


@pytest.mark.parametrize("textured", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("read", [0.1, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("shot", [1e-6, 2e-5, 1e-3])
def test_a_line_is_found_again_below_texture(shot: float, read: float, textured: float) -> None:
    """Deviations to a tenth: patches differ by 7 %, and electrons count as one of them."""
    expected = variance_at(shot, read * LEAST, LIGHT)
    found = fit_noise(bins(LIGHT, expected, textured), LEAST)
    np.testing.assert_allclose(variance_at(*found, LIGHT), expected, rtol=0.2)


@pytest.mark.parametrize("read", [1.0, 5.0, 20.0])
def test_masked_borders_decide_where_light_does_not(read: float) -> None:
    """Both numbers, of patches of 2 % of white and more, of which shot noise is nearly all."""
    light = LIGHT[8:]
    given = bins(light, variance_at(1e-4, read * LEAST, light))
    found = fit_noise(given, LEAST, masked=read * LEAST)
    assert found == pytest.approx((1e-4, read * LEAST), rel=0.05)


@pytest.mark.parametrize("read", [0.1, 0.3, 0.45, 0.6, 0.9])
def test_less_than_rounding_is_no_noise(read: float) -> None:
    """Of a picture that is smoother than its rounding nothing may be smoothed away."""
    shot, found = fit_noise(bins(LIGHT, np.full(16, (read * LEAST) ** 2)), LEAST)
    assert math.sqrt(shot + max(found, LEAST) ** 2) < 1.5 * LEAST
