import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from literal_ms_ssim import literal_ms_ssim
from skimage.metrics import structural_similarity
from torch import Tensor, nn
from torch.nn import functional

from darkroom.errors import UsageError
from darkroom.training.pairs import vgg
from darkroom.training.pairs.loss import llpacknet_loss, redi_loss, total_variation
from darkroom.training.pairs.ms_ssim import MIN_SIDE, ms_ssim


def pictures(side: int = 176, noise: float = 0.1, count: int = 2) -> tuple[Tensor, Tensor]:
    """A noisy picture and what it shows: waves of several sizes."""
    random = torch.Generator().manual_seed(3)
    rows = torch.linspace(0, 1, side)[:, None]
    waves = [torch.sin(k * 6 * rows + 3 * k * rows.T).expand(side, side) for k in (1, 3, 9)]
    target = (0.5 + 0.3 * torch.stack(waves)).expand(count, -1, -1, -1).contiguous()
    return (target + noise * torch.randn(target.shape, generator=random)).clamp(0, 1), target


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5])
def test_ms_ssim_is_that_of_its_paper(noise: float) -> None:
    """The same sums in another order; float32 loses what variances are the difference of."""
    picture, target = (x.double() for x in pictures(noise=noise))
    wanted = literal_ms_ssim(picture, target).item()
    assert ms_ssim(picture, target).item() == pytest.approx(wanted, abs=1e-12)
    assert ms_ssim(picture.float(), target.float()).item() == pytest.approx(wanted, abs=1e-5)


def test_one_scale_of_the_literal_formula_is_scikit_images() -> None:
    """What the formula is held to: its constants and window, where only luminance is different.

    scikit-image takes the mean over the windows that are whole, as we do.
    """
    picture, target = (x[0, :1].double() for x in pictures())
    wanted = structural_similarity(
        picture[0].numpy(), target[0].numpy(), data_range=1, gaussian_weights=True,
        use_sample_covariance=False, truncate=3.5,
    )  # fmt: skip
    axis = torch.arange(11, dtype=torch.float64) - 5
    taps = torch.exp(-(axis**2) / 4.5)
    window = (taps[:, None] * taps / taps.sum() ** 2)[None, None]
    x, y = picture[None], target[None]
    mx, my, xx, yy, xy = (functional.conv2d(z, window) for z in (x, y, x * x, y * y, x * y))
    map_ = (2 * mx * my + 1e-4) * (2 * (xy - mx * my) + 9e-4)
    map_ /= (mx**2 + my**2 + 1e-4) * (xx - mx**2 + yy - my**2 + 9e-4)
    assert map_.mean().item() == pytest.approx(wanted, abs=1e-9)


def test_ms_ssim_of_equal_pictures_is_one() -> None:
    _, target = pictures()
    assert ms_ssim(target, target).item() == pytest.approx(1, abs=1e-6)


def test_ms_ssim_has_a_gradient_where_nothing_is_alike() -> None:
    """Powers of 0, which the published package takes there, have a gradient that is no number."""
    _, target = pictures()
    picture = (1 - target).requires_grad_()
    value = ms_ssim(picture, target)
    value.backward()
    assert 0 <= value.item() < 0.05
    assert picture.grad is not None
    assert torch.isfinite(picture.grad).all()


def test_ms_ssim_takes_odd_sides_and_says_what_is_too_small() -> None:
    picture, target = pictures(MIN_SIDE)
    assert 0 < ms_ssim(picture, target).item() < 1
    with pytest.raises(UsageError, match=r"crops of 160x160 pixels are too small.*at least 161"):
        ms_ssim(picture[..., 1:, 1:], target[..., 1:, 1:])


def test_redis_loss_is_its_two_terms() -> None:
    picture, target = pictures()
    wanted = (picture - target).abs().mean() + 0.2 * (1 - ms_ssim(picture, target))
    assert redi_loss(picture, target).item() == pytest.approx(wanted.item(), abs=1e-7)


@pytest.mark.parametrize(("step", "smooth", "blur"), [(19_999, 1000, 10), (20_000, 400, 1)])
def test_llpacknets_loss_is_its_terms_term_by_term(step: int, smooth: float, blur: float) -> None:
    """Written out as train.py has it, in float64: seen are 1e-8."""
    picture, target = (x.numpy().astype(np.float64) for x in pictures(32, count=1))
    layer = nn.Linear(4, 3)
    wanted = np.abs(picture - target).mean()
    wanted += 1e-6 * sum(one.detach().abs().sum().item() for one in layer.parameters())
    _, channels, height, width = picture.shape
    down = ((picture[:, :, 1:] - picture[:, :, :-1]) ** 2).sum() / (channels * (height - 1) * width)
    across = ((picture[..., 1:] - picture[..., :-1]) ** 2).sum() / (channels * height * (width - 1))
    variation = 2 * (down + across) / (channels * height * width)
    wanted += smooth * variation
    side, corner, middle = 0.044863533, 0.03797616, 0.053
    kernel = [[corner, side, corner], [side, middle, side], [corner, side, corner]]
    difference, blurred = picture - target, np.zeros((1, 3, 30, 30))
    for row in range(3):
        for col in range(3):
            blurred += kernel[row][col] * difference[:, :, row : row + 30, col : col + 30]
    wanted += blur * (blurred**2).mean()
    found = llpacknet_loss(*pictures(32, count=1), layer, step)
    assert found.item() == pytest.approx(wanted, rel=1e-6)
    assert total_variation(pictures(32, count=1)[0]).item() == pytest.approx(variation, rel=1e-5)


def test_the_vgg_term_needs_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    vgg._load_layers.cache_clear()
    with pytest.raises(UsageError, match=r"needs torchvision: pip install 'darkroom\[vgg\]'"):
        redi_loss(*pictures(), vgg=0.1)


def imitation(fails: bool = False) -> ModuleType:
    """A torchvision whose VGG16 has random weights, or cannot fetch any."""

    def make(weights: str) -> SimpleNamespace:
        if fails:
            raise OSError("no route")
        assert weights == "imagenet"
        torch.manual_seed(1)
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), *(nn.Identity() for _ in range(7))]
        return SimpleNamespace(features=nn.Sequential(*layers, nn.Conv2d(8, 1, 1)))

    found = ModuleType("torchvision.models")
    found.VGG16_Weights = SimpleNamespace(IMAGENET1K_V1="imagenet")  # type: ignore[attr-defined]
    found.vgg16 = make  # type: ignore[attr-defined]
    return found


def test_the_vgg_term_is_the_distance_of_the_first_nine_layers_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", imitation())
    vgg._load_layers.cache_clear()
    picture, target = pictures()
    features = imitation().vgg16("imagenet").features[:9]
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    distance = (features((picture - mean) / std) - features((target - mean) / std)).abs().mean()
    wanted = redi_loss(picture, target) + 0.3 * distance
    assert redi_loss(picture, target, vgg=0.3).item() == pytest.approx(wanted.item(), rel=1e-5)
    vgg._load_layers.cache_clear()


def test_the_vgg_term_says_so_where_its_weights_cannot_be_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", imitation(fails=True))
    vgg._load_layers.cache_clear()
    with pytest.raises(UsageError, match=r"VGG16's weights, which cannot be fetched \(no route\)"):
        redi_loss(*pictures(), vgg=0.1)
