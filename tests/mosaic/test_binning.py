"""Photos made smaller for a quick look."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from darkroom.mosaic.binning import shrink_photo
from darkroom.mosaic.noise import measure_noise
from darkroom.mosaic.packing import linearise
from darkroom.raw.image import RawImage

Synthetic = Callable[..., RawImage]


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG", "xtrans"])
def test_each_site_is_the_mean_of_its_own(synthetic_raw: Synthetic, cfa: str) -> None:
    """Against the definition, written out; 1e-4 of values to 16383 is float32's rounding."""
    raw = synthetic_raw(75, 110, cfa)
    small = shrink_photo(raw, 75 * 110 // 5)
    period, factor = raw.black.shape[0], 3
    step = period * factor
    assert small.mosaic.shape == (75 // step * period, 110 // step * period)
    for row, column in ((0, 0), (1, 0), (period, 1), (small.mosaic.shape[0] - 1, period)):
        block = (
            slice(size // period * step, size // period * step + step) for size in (row, column)
        )
        sites = raw.mosaic[tuple(block)][row % period :: period, column % period :: period]
        assert sites.shape == (factor, factor)
        assert small.mosaic[row, column] == pytest.approx(sites.mean(dtype=np.float64), abs=2e-3)
    assert small.cfa == raw.cfa
    assert small.mosaic.size <= 75 * 110 // 5


def test_the_cameras_own_crop_goes_with_it(synthetic_raw: Synthetic) -> None:
    raw = synthetic_raw(64, 64, default_crop=(5, 8, 52, 40))
    assert shrink_photo(raw, 64 * 64 // 5).default_crop == (2, 3, 17, 13)


def test_what_is_stated_goes_with_it(synthetic_raw: Synthetic) -> None:
    raw = synthetic_raw(64, 64, read_noise=0)
    offsets = np.arange(64, dtype=np.float32)
    missing = np.zeros((64, 64), bool)
    missing[5, 9] = True
    stated = {"row_black": offsets, "missing": missing, "masked_noise": 4.0}
    small = shrink_photo(replace(raw, noise_profile=(4e-4, 8e-4), **stated), 32 * 32)
    assert small.row_black is not None
    assert np.array_equal(small.row_black[:4], [1, 2, 5, 6])  # rows 0 2, 1 3, 4 6, 5 7
    assert small.missing is not None
    assert np.argwhere(small.missing).tolist() == [[3, 5]]
    assert (small.masked_noise, small.noise_profile) == (2.0, (1e-4, 2e-4))


def test_noise_falls_by_the_factor(synthetic_raw: Synthetic) -> None:
    """As measured on the photo; a fifth, as 128 x 128 sites give it no better."""
    raw = synthetic_raw(512, 512, exposure=0.001, read_noise=20.0)
    small = shrink_photo(raw, 128 * 128)
    before, after = (measure_noise(one).read for one in (raw, small))
    assert after == pytest.approx(before / 4, rel=0.2)
    assert linearise(small).mean() == pytest.approx(linearise(raw).mean(), rel=0.02)


def test_a_small_photo_stays(synthetic_raw: Synthetic) -> None:
    raw = synthetic_raw()
    assert shrink_photo(raw) is raw
