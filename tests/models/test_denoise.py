"""--denoise: from demosaicing alone to the network, and beyond for those that can be tuned."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import synthetic_raw
from safetensors.torch import save_file

from darkroom.color.render import render_codes
from darkroom.color.white_balance import balance_white
from darkroom.errors import UsageError
from darkroom.gain import given_gain
from darkroom.models.architectures.safelight import Safelight
from darkroom.models.denoise import with_denoise
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.mosaic.demosaic import demosaic
from darkroom.mosaic.hot_pixels import HotPixels
from darkroom.mosaic.noise import Noise, measure_noise
from darkroom.mosaic.packing import linearise, pack
from darkroom.pipeline import Options, enhance
from darkroom.raw.image import Color
from darkroom.weights.registry import Output

OPTIONS = Options(gain=given_gain(20.0), bits=16)
NOISE = Noise(1e-3, 2e-3, "given")
COLOR = Color(np.array([2.0, 1.0, 1.5]), np.eye(3))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path: Path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(3)
    network = Safelight(widths=(8, 8, 8, 8))
    torch.nn.init.normal_(network.tuner[-1].weight, std=0.05)
    save_file(network.state_dict(), path)
    return load_model(path, "cpu", "fp32")


def picture(model: Model, denoise: float, **options: object) -> np.ndarray:
    raw = synthetic_raw(70, 90, exposure=0.04)
    return enhance(raw, model, replace(OPTIONS, denoise=denoise, **options)).pixels.astype(int)


def test_zero_is_demosaicing_alone(model: Model) -> None:
    """Whatever the network: the steps are put together by hand. One code for rounding.

    On the network's grid, since off it tiling continues photos for either.
    """
    raw = synthetic_raw(64, 96, exposure=0.04)
    packed = torch.from_numpy(pack(linearise(raw), raw.cfa)) * 20
    alone = demosaic(balance_white(packed, raw.color)[None])[0]
    expected = render_codes(alone, raw.color, 16).numpy().astype(int)
    found = enhance(raw, model, replace(OPTIONS, denoise=0.0)).pixels.astype(int)
    assert np.abs(found - expected).max() <= 1


def test_a_network_that_takes_no_noise_runs_as_it_is(model: Model) -> None:
    plain = replace(model, architecture=replace(model.architecture, condition=None))
    assert with_denoise(plain, 1.0, NOISE, COLOR) is plain


def test_between_the_two_it_is_continuous(model: Model) -> None:
    ends = [picture(model, end) for end in (0.0, 1.0)]
    assert np.abs(ends[0] - ends[1]).mean() > 1000, "this network is no demosaicing"
    for end, near in ((0, 1e-4), (1, 1 - 1e-4)):
        assert np.abs(picture(model, near) - ends[end]).mean() < 10
    packed = torch.rand(1, 4, 32, 32)
    middle = with_denoise(model, 0.25, NOISE, COLOR)(packed)
    expected = 0.75 * demosaic(packed) + 0.25 * model.conditioned(NOISE, COLOR)(packed)
    assert torch.allclose(middle, expected, atol=1e-6)


@pytest.mark.parametrize("denoise", [0.0, 0.5])
def test_tiled_equals_whole(model: Model, denoise: float) -> None:
    """To one code of 16 bits, which float32's last digits may tip."""
    raw = synthetic_raw(650, 75, exposure=0.05)
    whole, tiled = (
        enhance(raw, model, replace(OPTIONS, tile=tile, denoise=denoise)).pixels.astype(int)
        for tile in ("off", 64)
    )
    assert np.abs(whole - tiled).max() <= 1


@pytest.mark.parametrize("denoise", [-0.1, 2.1, float("nan"), float("inf")])
def test_other_numbers_are_refused(denoise: float) -> None:
    with pytest.raises(UsageError, match="--denoise"):
        Options(denoise=denoise)


def test_networks_that_paint_srgb_take_none(model: Model) -> None:
    painter = replace(model.conditioned(NOISE, COLOR), output=Output.SRGB, name="painter")
    with pytest.raises(UsageError, match="painter denoises, demosaics and colours in one"):
        enhance(synthetic_raw(32, 32), painter, replace(OPTIONS, denoise=0.5))
    enhance(synthetic_raw(32, 32), painter, OPTIONS)


def test_the_network_is_told_the_noise(model: Model) -> None:
    """Twice the standard deviation at 2, the photo's own up to 1."""
    packed = torch.rand(1, 4, 32, 32) * 0.2
    for denoise, noise in ((0.9999999, NOISE), (1.0, NOISE), (2.0, NOISE.louder(2))):
        found = with_denoise(model, denoise, NOISE, COLOR)(packed)
        assert torch.allclose(found, model.conditioned(noise, COLOR)(packed), atol=1e-5)
    assert not torch.allclose(
        model.conditioned(NOISE, COLOR)(packed),
        model.conditioned(NOISE.louder(2), COLOR)(packed),
        atol=1e-4,
    )


def test_enhance_measures_the_noise_of_the_amplified_photo(model: Model) -> None:
    raw = synthetic_raw(64, 64, exposure=0.02)
    packed = torch.from_numpy(pack(linearise(raw), raw.cfa)) * 20
    told = model.conditioned(measure_noise(raw).amplified(20.0), raw.color)
    by_hand = told(balance_white(packed, raw.color)[None])[0]
    expected = render_codes(by_hand, raw.color, 16).numpy().astype(int)
    found = enhance(raw, model, replace(OPTIONS, hot_pixels=HotPixels.KEEP)).pixels.astype(int)
    assert np.abs(found - expected).max() <= 1
