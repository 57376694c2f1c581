"""Dithering: skies do not band, nothing else changes, whatever the pieces."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from darkroom.color.dither import find_thresholds, find_thresholds_on
from darkroom.color.finish import Finish
from darkroom.color.render import Samples, render_codes, render_into
from darkroom.color.transfer import srgb_decode
from darkroom.raw.image import Color

COLOR = Color(
    np.ones(3), np.linalg.inv(np.array(((1.8, -0.6, -0.2), (-0.3, 1.6, -0.3), (0, -0.5, 1.5))))
)


def block_means(samples: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    rows, columns = (size // side for size in samples.shape)
    blocks = samples[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return np.asarray(blocks.mean((1, 3)))


def gray(codes: NDArray[np.float64]) -> torch.Tensor:
    """Camera RGB of these codes of sRGB, of all channels alike."""
    return srgb_decode(torch.from_numpy(codes / 255).double()).float().expand(3, -1, -1)


def dithered(picture: torch.Tensor, place: tuple[int, int] = (0, 0)) -> Samples:
    codes = np.empty((*picture.shape[1:], 3), np.uint8)
    render_into(picture, COLOR, codes, dither=place)
    return codes


def test_thresholds_are_even_everywhere() -> None:
    """By 8 pixels their means are within 0.05 of a half; of chance's, 0.036 would be one sigma."""
    thresholds = find_thresholds(512, 700, (0, 0)).astype(float)
    assert 0 < thresholds.min() < 0.001
    assert 0.999 < thresholds.max() < 1
    assert np.abs(block_means(thresholds, 8) - 0.5).max() < 0.05
    assert np.histogram(thresholds, 16)[0].std() < 0.01 * thresholds.size / 16


def test_a_sky_does_not_band() -> None:
    """Six codes over a picture's width: rounded, a band is off by half a code in its mean."""
    exact = np.tile(np.linspace(60, 66, 768), (64, 1))
    plain = render_codes(gray(exact), COLOR, 8).numpy()
    fine = dithered(gray(exact))
    wanted = block_means(exact, 8)
    assert np.abs(block_means(plain[..., 1].astype(float), 8) - wanted).max() > 0.4
    assert np.abs(block_means(fine[..., 1].astype(float), 8) - wanted).max() < 0.07
    assert np.abs(fine[..., 1] - exact).max() < 1
    assert (fine != fine[..., :1]).mean() < 1e-3  # gray stays gray, to float32


@pytest.mark.parametrize("code", [0, 255])
def test_black_and_white_stay(code: int) -> None:
    assert (dithered(gray(np.full((600, 500), float(code)))) == code).all()


def test_any_piece_is_dithered_alike() -> None:
    """Float32's sums differ in order: one code in few pixels."""
    picture = torch.rand(3, 70, 501, generator=torch.Generator().manual_seed(1))
    whole = dithered(picture)
    piece = dithered(picture[:, 13:50, 20:333], (13, 20))
    assert (piece != whole[13:50, 20:333]).mean() < 1e-3


def test_only_eight_bits_are_dithered() -> None:
    picture = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(2))
    codes = np.empty((40, 50, 3), np.uint16)
    render_into(picture, COLOR, codes, finish=Finish(), dither=(0, 0))
    assert np.array_equal(codes, render_codes(picture, COLOR, 16).numpy())


@pytest.mark.parametrize("place", [(0, 0), (70000, 12345)])
def test_tensors_have_the_same_thresholds(place: tuple[int, int]) -> None:
    found = find_thresholds_on(torch.device("cpu"), 40, 700, place)
    assert np.array_equal(found.numpy(), find_thresholds(40, 700, place))
