"""Tone and saturation against slow literal formulas, then their properties."""

import numpy as np
import pytest
import torch
from conftest import synthetic_raw

from darkroom.color.color_space import ColorSpace
from darkroom.color.finish import Finish, Tone, bend_tone
from darkroom.color.render import render_into
from darkroom.errors import UsageError


def literal_tone(rgb: np.ndarray, bend: float) -> np.ndarray:
    """One pixel, written out from the description."""

    def encode(v: float) -> float:
        return 12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055

    def decode(v: float) -> float:
        return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4

    light = max(rgb)
    code = encode(light)
    bent = code + bend * code * (1 - code) * (code - encode(0.18))
    return rgb * decode(bent) / light


@pytest.mark.parametrize(("tone", "bend"), [(Tone.SOFT, -0.8), (Tone.CONTRAST, 1.2)])
def test_a_tone_is_the_written_out_curve(tone: Tone, bend: float) -> None:
    rgb = torch.rand(3, 200, generator=torch.Generator().manual_seed(1)) ** 3
    expected = np.stack([literal_tone(pixel, bend) for pixel in rgb.T.double().numpy()], 1)
    bend_tone(rgb, tone)
    # float32's powers, on values up to 1
    np.testing.assert_allclose(rgb.numpy(), expected, rtol=3e-5, atol=1e-7)


@pytest.mark.parametrize("tone", Tone)
def test_black_middle_gray_and_white_stay_and_light_never_falls(tone: Tone) -> None:
    gray = torch.tensor([0.0, 0.18, 1.0]).expand(3, 3).clone()
    bend_tone(gray, tone)
    np.testing.assert_allclose(gray[0].numpy(), [0, 0.18, 1], atol=1e-6)
    ramp = torch.linspace(0, 1, 2000).expand(3, 2000).clone()
    bend_tone(ramp, tone)
    assert bool((ramp[0].diff() >= 0).all())
    assert float(ramp.max()) <= 1 + 1e-6


def finished(finish: Finish, bits: type = np.uint16) -> np.ndarray:
    picture = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(2))
    codes = np.empty((20, 30, 3), bits)
    render_into(picture, synthetic_raw(8, 8).color, codes, finish=finish)
    return codes


def test_what_is_left_alone_is_the_same_to_the_bit() -> None:
    plain = np.empty((20, 30, 3), np.uint16)
    picture = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(2))
    render_into(picture, synthetic_raw(8, 8).color, plain)
    assert np.array_equal(finished(Finish(ColorSpace.SRGB, Tone.NEUTRAL, 1.0)), plain)
    assert np.array_equal(Finish().matrix, np.eye(3))


@pytest.mark.parametrize("space", [ColorSpace.SRGB, ColorSpace.ADOBE_RGB, ColorSpace.PROPHOTO])
def test_no_saturation_is_gray_in_every_space(space: ColorSpace) -> None:
    codes = finished(Finish(space, saturation=0.0)).astype(int)
    assert np.ptp(codes, axis=2).max() <= 2  # of 65535: float32 sums


def test_saturation_keeps_luminance() -> None:
    """Before colours are brought into gamut: the rows of the matrix keep sRGB's luminance."""
    light = np.array([0.2126, 0.7152, 0.0722])
    np.testing.assert_allclose(light @ Finish(saturation=1.7).matrix, light, atol=1e-4)


@pytest.mark.parametrize("saturation", [-0.1, 2.5, float("nan")])
def test_saturations_out_of_range_are_refused(saturation: float) -> None:
    with pytest.raises(UsageError, match="--saturation"):
        Finish(saturation=saturation)
