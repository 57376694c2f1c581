"""Tukey's lambda from the kurtosis of what was drawn."""

import numpy as np
import pytest

from darkroom.calibration.noise_shape import find_lambda, tukey_kurtosis, without_rounding


@pytest.mark.parametrize("shape", [-0.1, -0.05, 0.05, 0.14, 0.4])
def test_kurtosis_is_that_of_draws(shape: float) -> None:
    """Quantiles at a million even places instead of draws: exact but for the outermost."""
    places = (np.arange(1_000_000) + 0.5) / 1_000_000
    values = (places**shape - (1 - places) ** shape) / shape
    expected = (values**4).mean() / (values**2).mean() ** 2 - 3
    assert tukey_kurtosis(shape) == pytest.approx(expected, abs=0.08 if shape < 0 else 0.002)
    assert find_lambda(tukey_kurtosis(shape)) == pytest.approx(shape, abs=0.001)


def test_known_values() -> None:
    """Logistic (lambda 0) 1.2 and uniform (lambda 1) -1.2; normal near 0.135."""
    assert find_lambda(1.2) == pytest.approx(0, abs=0.001)
    assert tukey_kurtosis(1.0) == pytest.approx(-1.2, abs=1e-6)
    assert find_lambda(0.0) == pytest.approx(0.135, abs=0.001)
    assert find_lambda(1e9) == -0.2
    assert find_lambda(-1.1) == 0.5


def test_rounding_flattens() -> None:
    """Gaussian noise of 0.8 units, rounded, has less kurtosis; 3e6 draws tell it to 0.01."""
    values = np.rint(np.random.default_rng(1).normal(0, 0.8, 3_000_000) + 0.3)
    variance = values.var()
    excess = ((values - values.mean()) ** 4).mean() / variance**2 - 3
    assert without_rounding(excess, variance) == pytest.approx(0, abs=0.02)
