"""The curve that brings light above white below it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.color.tone_curve import KNEE, Shoulder

PEAKS = st.floats(1.001, 1000)


@settings(max_examples=40, deadline=None)
@given(PEAKS)
def test_it_rises_smoothly_from_the_knee_to_the_peak(peak: float) -> None:
    """Float32: 1e-6 about the ends. Concave, so that no stop gets more than the one below it."""
    shoulder = Shoulder.of(peak, 1000)
    light = torch.linspace(0, 1.5 * peak, 3000)
    shown = shoulder.curve(light)
    below = light <= KNEE
    assert torch.equal(shown[below], light[below])
    assert bool((shown.diff() >= 0).all())
    assert float(shoulder.curve(torch.tensor(peak))) == pytest.approx(1, abs=1e-6)
    assert bool((shown <= 1 + 1e-6).all())


@settings(max_examples=40, deadline=None)
@given(PEAKS)
def test_value_and_slope_are_continuous_at_the_knee(peak: float) -> None:
    """A step of 1e-3 beyond the knee; the curve's own bend, at most 50 and 1 / 2 of it, shows."""
    step = 1e-3
    shoulder = Shoulder.of(peak, 1000)
    beyond = shoulder.curve(torch.tensor(KNEE + step, dtype=torch.float64))
    assert float(beyond) - KNEE == pytest.approx(step, rel=shoulder.bend * step)


def test_the_curve_is_the_logarithm_that_it_says() -> None:
    """For a peak of 50, in float64 by NumPy: the bend solves 0.2 b = log(1 + 49.2 b)."""
    shoulder = Shoulder.of(50.0, 300.0)
    bend = shoulder.bend
    assert 0.2 * bend == pytest.approx(np.log1p(49.2 * bend), rel=1e-9)
    light = np.array([0.9, 1.0, 4.0, 50.0])
    expected = 0.8 + 0.2 * np.log1p(bend * (light - 0.8)) / np.log1p(bend * 49.2)
    found = shoulder.curve(torch.from_numpy(light)).numpy()
    assert np.allclose(found, expected, atol=1e-9)
    assert np.allclose(found, [0.8415, 0.8570, 0.9276, 1.0], atol=1e-4), "golden"


def test_hardly_above_white_it_hardly_changes_anything() -> None:
    light = torch.linspace(0, 1, 100)
    assert float((Shoulder.of(1.001, 1000).curve(light) - light).abs().max()) < 2e-3


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 0.999))
def test_where_sensors_end_early_their_white_is_lifted(peak: float) -> None:
    """Float64: 1e-9 about the ends. From a stop below on, smoothly, and never darker."""
    shoulder = Shoulder.of(peak, 1000)
    light = torch.linspace(0, 1.5 * peak, 3001, dtype=torch.float64)
    shown = shoulder.curve(light)
    below = light <= peak / 2
    assert torch.equal(shown[below], light[below])
    assert bool((shown.diff() >= 0).all())
    assert bool((shown >= light.clamp(max=1) - 1e-9)[light <= peak].all())
    assert shown[light >= peak].tolist() == pytest.approx([1] * int((light >= peak).sum()))
    step = 1e-6
    beyond = shoulder.curve(torch.tensor(peak / 2 + step, dtype=torch.float64))
    assert float(beyond) - peak / 2 == pytest.approx(step, rel=shoulder.bend * step + 1e-6)


def test_the_lift_is_the_parabola_that_it_says() -> None:
    """By hand, for a sensor that ends at a quarter: x + 0.75 ((x - 0.125) / 0.125)^2."""
    light = torch.tensor([0.1, 0.125, 0.1875, 0.25, 0.5], dtype=torch.float64)
    assert Shoulder.of(0.25, 1).curve(light).tolist() == pytest.approx([0.1, 0.125, 0.375, 1, 1])
