"""Each measure of what the eye sees gives what was put in: a streak of a code, a hue's degrees."""

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from torch import Tensor

from darkroom.color.transfer import srgb_decode, srgb_encode
from darkroom.evaluation import artifacts
from darkroom.evaluation.artifact_scenes import SIDE, ArtifactScore, draw_scenes, measure_artifacts
from darkroom.evaluation.artifact_summary import MEASURES, list_saturated, summarise_artifacts
from darkroom.evaluation.simulated import photograph_light
from darkroom.mosaic.packing import BAYER, XTRANS

GRAY = torch.full((3, 192, 192), 0.5, dtype=torch.float64)
SIGNS = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(96)
"""A code more in one row, a code less in the next."""


def from_oklab(lab: Tensor) -> Tensor:
    """Return linear sRGB of OKLab."""
    cones, axes = (
        torch.tensor(one, dtype=torch.float64)
        for one in (artifacts.OKLAB_CONES, artifacts.OKLAB_AXES)
    )
    return torch.linalg.solve(cones, torch.linalg.solve(axes, lab) ** 3)


def test_cielab_is_scikit_images() -> None:
    """Whose white is rounded to four digits, which is worth 0.02."""
    picture = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(1)) ** 3
    expected = rgb2lab(picture.permute(1, 2, 0).double().numpy())
    assert np.abs(artifacts.to_lab(picture).permute(1, 2, 0).numpy() - expected).max() < 0.03


def test_oklab_is_as_published() -> None:
    """Red. Source: CSS Color 4's sample values for OKLab, #ff0000."""
    red = artifacts.to_oklab(torch.tensor([1.0, 0, 0]))
    assert red.tolist() == pytest.approx([0.62796, 0.22486, 0.12585], abs=1e-4)


def test_streaks_of_one_code_are_one_code() -> None:
    """To 0.5 %: next rows differ, so the Gaussian takes nothing but at edges. Columns stay 0."""
    picture = GRAY + SIGNS[:, None] / 255
    assert artifacts.measure_residue(picture, GRAY) == pytest.approx((1, 0), abs=5e-3)
    assert artifacts.measure_residue(picture.mT, GRAY) == pytest.approx((0, 1), abs=5e-3)
    assert artifacts.measure_noise(picture, GRAY) == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (2, 2), (1, 4), (4, 4)])
def test_a_weave_of_one_code_is_one_code_and_noise_is_an_eighth(shape: tuple[int, int]) -> None:
    """A weave to 1 %; white noise has 15 of 1023 frequencies in common with it, to 20 %."""
    rows, columns = (SIGNS.repeat_interleave(size // 2 or 1)[:192] for size in shape)
    woven = (rows[:, None] if shape[0] > 1 else 1) * (columns if shape[1] > 1 else 1) / 255
    assert artifacts.measure_weave(GRAY + woven, GRAY) == pytest.approx(1, rel=0.01)
    noise = torch.randn(GRAY.shape, generator=torch.Generator().manual_seed(2)) / 255
    assert artifacts.measure_weave(GRAY + noise, GRAY) == pytest.approx((15 / 1023) ** 0.5, rel=0.2)
    assert artifacts.measure_noise(GRAY + noise, GRAY) == pytest.approx(1, rel=0.01)


def test_a_weave_of_six_is_seen_at_the_period_of_x_trans() -> None:
    sixth = torch.cos(torch.arange(192) * math.pi / 3) * 2**0.5 / 255
    assert artifacts.measure_weave(GRAY + sixth, GRAY, period=6) == pytest.approx(1, rel=0.02)
    assert artifacts.measure_weave(GRAY + sixth, GRAY) < 0.3


def test_casts_count_and_light_does_not() -> None:
    cast = GRAY * torch.tensor([1.1, 1.0, 0.9])[:, None, None]
    expected = float((artifacts.to_lab(cast) - artifacts.to_lab(GRAY))[1:, 0, 0].norm())
    assert artifacts.measure_chroma_error(cast, GRAY) == pytest.approx(expected)
    assert artifacts.measure_false_color(cast) == pytest.approx(expected)
    assert artifacts.measure_chroma_error(1.2 * GRAY, GRAY) == pytest.approx(0, abs=1e-9)
    assert artifacts.measure_level(GRAY + 3 / 255, GRAY) == pytest.approx(3)


@pytest.mark.parametrize("degrees", [3.0, 40.0, 170.0])
def test_a_known_turn_of_hue_is_found_at_any_light(degrees: float) -> None:
    angle = math.radians(20 + degrees)
    truth = from_oklab(
        torch.tensor([0.6, 0.1 * math.cos(0.349066), 0.1 * math.sin(0.349066)]).double()
    )
    turned = from_oklab(
        torch.tensor([0.6, 0.05 * math.cos(angle), 0.05 * math.sin(angle)]).double()
    )
    assert artifacts.compare_hue(4 * turned, truth) == pytest.approx((degrees, 0.5), abs=1e-3)
    assert artifacts.compare_hue(0.1 * truth, truth) == pytest.approx((0, 1), abs=1e-6)


def test_specks_across_the_hue_count_and_bleaching_does_not() -> None:
    """Every other row's specks: 0.01 across the hue is 1, to 1 %; 0 on the way to white."""
    lab = torch.tensor([0.6, 0.1, 0.0]).double()[:, None, None].expand(3, 64, 64).clone()
    truth = from_oklab(lab[:, 0, 0])
    lab[1] *= torch.linspace(0.2, 1, 64)
    bleached = srgb_encode(from_oklab(lab.flatten(1)).reshape(lab.shape))
    assert artifacts.root_mean_square(artifacts.find_off_hue(bleached, truth)) == pytest.approx(
        0, abs=1e-4
    )
    lab[2] = 0.01 * SIGNS[:64, None]
    specked = srgb_encode(from_oklab(lab.flatten(1)).reshape(lab.shape))
    assert artifacts.root_mean_square(
        artifacts.find_specks(artifacts.find_off_hue(specked, truth))
    ) == pytest.approx(1, rel=0.01)


def test_half_the_contrast_is_half() -> None:
    truth = torch.rand(3, 400, generator=torch.Generator().manual_seed(3))
    assert artifacts.measure_contrast(0.3 + truth / 2, truth) == pytest.approx(0.5)


def test_a_lamp_twice_as_wide_is_twice_as_wide() -> None:
    light, picture = torch.zeros(2, 3, 60, 60)
    light[:, 20:30, 20:30], picture[:, 10:30, 10:30] = 300.0, 1.0
    assert artifacts.measure_size(picture, light) == pytest.approx(2)


@pytest.fixture(scope="module")
def perfect() -> list[ArtifactScore]:
    """Scores of a picture that shows the light as it is, to 16 bits, above white on one hue."""
    scenes = {(one.name, ratio): one for ratio in (1.0, 100.0) for one in draw_scenes([], ratio)}
    order = iter(scenes.values())

    def paint(*_: object) -> np.ndarray:
        light = torch.from_numpy(next(order).light)
        light = light / light.amax(2, keepdim=True).clamp(min=1)
        return (srgb_encode(light).numpy() * 65535).round().astype(np.uint16)

    return list(measure_artifacts([], (1.0, 100.0), {"perfect": paint}))


def test_a_perfect_picture_has_no_artifacts(perfect: list[ArtifactScore]) -> None:
    """But for its 16 bits; the picture of a lamp is as wide, a color's chroma is kept."""
    ideal = {"kept": 1.0, "lamp_size": 1.0, "detail": 1.0}
    for summary in summarise_artifacts(perfect):
        assert set(summary.figures) == set(MEASURES) - {"chroma", "rows", "columns"}
        for measure, value in summary.figures.items():
            assert value == pytest.approx(ideal.get(measure, 0), abs=0.05), asdict(summary)


def test_saturated_patches_are_named_and_left_out(perfect: list[ArtifactScore]) -> None:
    """White at four fills green with 0.25 of white: what the sensor sees, not what is shown."""
    assert list_saturated(perfect) == [
        "x1, ColorChecker, white at 4: saturated and left out: 2, 5, 6, 11, 12, 16"
    ]
    hues = [one for one in perfect if one.measure == "hue" and one.ratio == 100]
    assert len(hues) == 4 * 18
    worse = [
        ArtifactScore("m", 1.0, "s", "hue", value, "patch 2", value > 9) for value in (1, 5, 9.5)
    ]
    assert summarise_artifacts([*worse])[0].figures == {"hue": 5}


def test_scenes_fit_both_sensors_and_row_noise_is_in_the_photo() -> None:
    walls = next(one for one in draw_scenes([], 100.0, XTRANS) if one.name == "walls")
    assert SIDE % 4 == SIDE % XTRANS.period == 0
    assert SIDE >= 512
    quiet, noisy = (
        photograph_light("walls", walls.light, 100.0, BAYER, row_noise=noise).mosaic.mean(1)
        for noise in (0.0, 5.0)
    )
    assert (noisy - quiet).std() == pytest.approx(5.0, rel=0.15)
    early = photograph_light("walls", 1000 * walls.light, 1.0, full=4480).mosaic
    assert early.max() == 4480
    assert srgb_decode(torch.tensor(12 / 255)) == pytest.approx(walls.light.min())
