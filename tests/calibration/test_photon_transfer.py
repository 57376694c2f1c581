"""The slope of variance over light, and where there is none."""

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.calibration.photon_transfer import PairBlocks, fit_shot_gain, measure_pair
from darkroom.calibration.profile import Estimate

SPAN = 15871.0
GAIN, READ = 0.42, Estimate(3.0, 0.01)
Frame = NDArray[np.float32]


def take(light: float, seed: int, smooth: float = 0.0) -> Frame:
    """Return a flat frame; `smooth`: share of its noise that is lost where it is brightest."""
    random = np.random.default_rng(seed)
    noise = random.poisson(light / GAIN, (192, 288)) * GAIN - light
    noise *= 1 - smooth * light / SPAN
    return np.asarray(light + noise + random.normal(0, 3, noise.shape), np.float32)


def pair(light: float, change: float = 1.0, smooth: float = 0.0) -> PairBlocks:
    found = measure_pair(take(light, 1, smooth), take(light * change, 2, smooth), 2, SPAN)
    assert found is not None
    return found


@pytest.mark.parametrize("change", [0.95, 1.0, 1.08])
def test_the_slope(change: float) -> None:
    """Six blocks of 9,216 sites, neighbours overlapping: 0.7 % for each light, three stds of it."""
    found = fit_shot_gain([pair(1000, change), pair(6000, change)], READ)
    assert found is not None
    assert found.gain.value == pytest.approx(GAIN, rel=0.015)
    assert found.gain.error < 0.01 * GAIN
    assert found.blocks == 12
    assert found.curvature == pytest.approx(1, abs=0.05)


def test_dust_that_moved_does_not_count() -> None:
    one, other = take(5000, 1), take(5000, 2)
    one[20:80, 20:80] *= np.random.default_rng(3).uniform(0.8, 1, (60, 60)).astype(np.float32)
    found = measure_pair(one, other, 2, SPAN)
    assert found is not None
    gain = fit_shot_gain([found], READ)
    assert gain is not None
    assert gain.blocks == 5
    assert gain.gain.value == pytest.approx(GAIN, rel=0.02)


def test_smoothed_files_are_found_out() -> None:
    found = fit_shot_gain([pair(800, smooth=0.8), pair(9000, smooth=0.8)], READ)
    assert found is not None
    assert found.curvature is not None
    assert found.curvature < 0.8


def test_no_slope() -> None:
    """Light that changed too much, frames near white, and frames that hold read noise alone."""
    assert measure_pair(take(1000, 1), take(1200, 2), 2, SPAN) is None
    full = pair(13000)
    assert full.signal.size == 0
    assert fit_shot_gain([full], READ) is None
    dark = [np.random.default_rng(n).normal(4, 3, (192, 288)).astype(np.float32) for n in (1, 2)]
    found = measure_pair(*dark, 2, SPAN)
    assert found is None or fit_shot_gain([found], READ) is None
