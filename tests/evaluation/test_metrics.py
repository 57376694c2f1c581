"""Scores: equal to scikit-image's, and to the published parity numbers where the data is there."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SHARED
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from darkroom.color.transfer import bt709_decode, bt709_encode, srgb_decode, srgb_encode
from darkroom.evaluation.metrics import align_brightness, psnr, ssim, ssim_map

SID = SHARED / "data" / "sid"


def pair(height: int, width: int, seed: int, noise: float = 0.05) -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = np.sin(x / 9 + y / 14) + np.sin(x * y / 600)
    reference = np.clip(0.5 + 0.2 * np.stack([waves, waves.T.reshape(waves.shape), -waves]), 0, 1)
    picture = np.clip(reference + random.normal(0, noise, reference.shape), 0, 1)
    return torch.from_numpy(picture), torch.from_numpy(reference)


@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(7, 150),
    width=st.integers(7, 80),
    seed=st.integers(0, 1000),
    noise=st.floats(0.001, 0.5),
)
def test_scores_equal_scikit_image(height: int, width: int, seed: int, noise: float) -> None:
    """Both in float64; what is left is the order of summation."""
    picture, reference = pair(height, width, seed, noise)
    x, y = picture.numpy(), reference.numpy()
    expected = structural_similarity(x, y, channel_axis=0, data_range=1)
    assert ssim(picture, reference) == pytest.approx(expected, abs=1e-9)
    expected = peak_signal_noise_ratio(y, x, data_range=1)
    assert psnr(picture, reference) == pytest.approx(expected, abs=1e-9)


def test_float32_pictures_equal_scikit_image_too() -> None:
    """scikit-image sums float32 in float32, which is what 1e-6 allows for."""
    picture, reference = (values.float() for values in pair(120, 90, 1))
    x, y = picture.numpy(), reference.numpy()
    expected = structural_similarity(x, y, channel_axis=0, data_range=1)
    assert ssim(picture, reference) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("stride", [2, 3, 7])
def test_windows_may_be_fewer(stride: int) -> None:
    picture, reference = pair(45, 38, 2)
    every = ssim_map(picture, reference)[..., ::stride, ::stride]
    assert torch.allclose(ssim_map(picture, reference, stride), every, atol=1e-12)


def test_known_values() -> None:
    black, gray = torch.zeros(3, 8, 8), torch.full((3, 8, 8), 0.1)
    assert psnr(black, gray) == pytest.approx(20, abs=1e-5)  # 0.1 in float32
    assert psnr(gray, gray) == math.inf
    assert ssim(gray, gray) == pytest.approx(1)
    # without any structure only the means count: C1 / (0.1^2 + C1)
    assert ssim(black, gray) == pytest.approx(1e-4 / (1e-2 + 1e-4), abs=1e-7)


@settings(max_examples=10, deadline=None)
@given(stops=st.floats(-0.95, 0.95))
def test_alignment_undoes_a_change_of_brightness(stops: float) -> None:
    _, reference = pair(40, 40, 0)
    reference = reference * 0.5  # so that one stop more does not clip
    changed = srgb_encode(srgb_decode(reference) * 2**stops)
    aligned = align_brightness(changed, reference, srgb_decode, srgb_encode)
    assert math.log2(aligned.gain) == pytest.approx(-stops, abs=2e-3)
    assert aligned.psnr > 60
    assert psnr(aligned.picture, reference) == aligned.psnr


def test_alignment_never_loses_and_stays_within_a_stop() -> None:
    picture, reference = pair(40, 40, 3)
    plain = psnr(picture, reference)
    aligned = align_brightness(picture, reference, srgb_decode, srgb_encode)
    assert aligned.psnr >= plain - 1e-9
    far = align_brightness(picture / 8, reference, srgb_decode, srgb_encode)
    assert far.gain == pytest.approx(2, rel=1e-3)


@pytest.mark.skipif(not SID.exists(), reason="needs the SID crops of ../shared/data/sid")
def test_published_pictures_score_as_they_should() -> None:
    """REDI's published weights on 11 pairs: 33.27 dB plain, 33.35 dB and 0.868 aligned."""
    scores = []
    for path in sorted((SID / "redi").glob("*.png")):
        reference = next((SID / "long").glob(path.name.split("_0.")[0] + "_*.png"))
        picture, truth = read_png16(path), read_png16(reference)
        aligned = align_brightness(picture, truth, bt709_decode, bt709_encode)
        scores.append((psnr(picture, truth), aligned.psnr, ssim(aligned.picture, truth)))
    assert len(scores) == 11
    plain, best, similarity = np.mean(scores, axis=0)
    assert plain == pytest.approx(33.27, abs=0.005)  # the published numbers' own rounding
    assert best == pytest.approx(33.35, abs=0.005)
    assert similarity == pytest.approx(0.868, abs=0.0005)


def read_png16(path: Path) -> Tensor:
    cv2 = pytest.importorskip("cv2")
    codes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:, :, ::-1]
    return torch.from_numpy(codes.transpose(2, 0, 1).astype(np.float32)) / 65535
