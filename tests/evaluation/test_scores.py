"""Each metric against scikit-image, and against the published scripts that define it."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from darkroom.errors import UsageError, WeightsError
from darkroom.evaluation.metrics import truncate_to_8_bits
from darkroom.evaluation.perceptual import SAFE, load_lpips
from darkroom.evaluation.scores import DEFAULT, FIGURES, Metric, parse_metrics, score_picture


def pictures(seed: int, noise: float, size: tuple[int, int] = (61, 83)) -> tuple[Tensor, Tensor]:
    """A smooth reference and a noisy picture of it: (3, H, W) float32 in [0, 1]."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]] / 20
    waves = [0.5 + 0.3 * np.sin(rows * k + columns / k) for k in (1, 2, 3)]
    reference = np.stack(waves).astype(np.float32)
    noisy = np.clip(reference + random.normal(0, noise, reference.shape), 0, 1)
    return torch.from_numpy(noisy.astype(np.float32)), torch.from_numpy(reference)


def codes(picture: Tensor) -> NDArray[np.uint8]:
    """(H, W, 3) as a script writes it that says `astype(np.uint8)`."""
    return (picture.permute(1, 2, 0).numpy() * 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_every_metric_equals_scikit_image(seed: int) -> None:
    """1e-6, of which scikit-image's own sums in float32 would take most; it gets float64."""
    picture, reference = pictures(seed, 0.02 + 0.1 * seed)
    found = score_picture(picture, reference, [m for m in Metric if m is not Metric.LPIPS])
    x, y = (one.double().numpy() for one in (picture, reference))
    kind: dict[str, Any] = {"channel_axis": 0, "data_range": 1}
    gaussian = {"gaussian_weights": True, "use_sample_covariance": False, **kind}
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(y, x, data_range=1), abs=1e-6)
    assert found["ssim"] == pytest.approx(structural_similarity(y, x, **kind), abs=1e-6)
    assert found["ssim_gaussian"] == pytest.approx(
        structural_similarity(y, x, **gaussian), abs=1e-6
    )
    cut = codes(reference), codes(picture)
    assert found["psnr_8bit"] == pytest.approx(peak_signal_noise_ratio(*cut), abs=1e-6)
    expected = structural_similarity(*cut, channel_axis=2)
    assert found["ssim_8bit"] == pytest.approx(expected, abs=1e-6)
    assert found["aligned_psnr"] >= found["psnr"]


def test_8_bits_are_what_a_script_writes() -> None:
    """To the bit; and the 256 levels themselves stay, for references that have no more."""
    picture, _ = pictures(1, 0.3)
    cut = truncate_to_8_bits(picture).permute(1, 2, 0) * 255
    assert np.array_equal(cut.round().numpy(), codes(picture))
    levels = torch.arange(256) / 255
    assert torch.equal(truncate_to_8_bits(levels), levels)
    assert truncate_to_8_bits(torch.ones(1)).item() == 1


def test_truncating_costs_what_the_papers_lose_by_it() -> None:
    """Half a level of darkening: some hundredths of a dB at 35 dB."""
    picture, reference = pictures(5, 10 ** (-35 / 20), (200, 200))
    found = score_picture(picture, reference, [Metric.SID, Metric.EIGHT_BIT])
    assert 0 < abs(found["psnr"] - found["psnr_8bit"]) < 0.1
    assert 0 < abs(found["ssim"] - found["ssim_8bit"]) < 0.01


def test_metrics_are_read_from_words() -> None:
    assert parse_metrics([]) == ()
    assert parse_metrics(["8bit,sid", "sid"]) == (Metric.SID, Metric.EIGHT_BIT)
    assert set(FIGURES) == set(Metric) > set(DEFAULT)
    with pytest.raises(UsageError, match=r"--metrics ssim: give some of sid, 8bit, gaussian"):
        parse_metrics(["sid,ssim"])


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A stand-in for the package lpips, which is optional."""
    load_lpips.cache_clear()
    module = types.ModuleType("lpips")
    monkeypatch.setitem(sys.modules, "lpips", module)
    yield module
    load_lpips.cache_clear()


def test_lpips_gets_pictures_and_reads_no_pickled_code(
    package: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package's own interface: LPIPS(net=...)(x, y, normalize=True), values in [0, 1]."""
    import os

    seen: dict[str, str | None] = {}

    class LPIPS(torch.nn.Module):
        def __init__(self, net: str, version: str, verbose: bool) -> None:
            super().__init__()
            seen.update(net=net, version=version, safe=os.environ.get(SAFE))

        def forward(self, x: Tensor, y: Tensor, normalize: bool) -> Tensor:
            assert normalize
            assert x.shape == y.shape == (1, 3, 61, 83)
            return (x - y).abs().mean()

    monkeypatch.delenv(SAFE, raising=False)
    monkeypatch.setattr(package, "LPIPS", LPIPS, raising=False)
    picture, reference = pictures(2, 0.1)
    found = score_picture(picture, reference, parse_metrics(["lpips"]))
    assert found == {"lpips": pytest.approx(float((picture - reference).abs().mean()), abs=1e-6)}
    assert seen == {"net": "alex", "version": "0.1", "safe": "1"}
    assert SAFE not in os.environ


def test_lpips_that_is_not_there_is_one_line(
    package: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: Exception) -> None:
        def build(**options: object) -> None:
            raise error

        monkeypatch.setattr(package, "LPIPS", build, raising=False)
        with pytest.raises(WeightsError, match=r"cannot be had \(.*\); go online once"):
            parse_metrics(["lpips"])

    fail(OSError("urlopen error:\nno route to host"))
    fail(RuntimeError("invalid hash value"))
    fail(UnpicklingError("Weights only load failed.\nMore"))
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(UsageError, match=r"pip install 'darkroom\[lpips\]'"):
        parse_metrics(["lpips"])


def test_a_torchvision_of_another_torch_is_one_line(
    package: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It fails as it is imported, with a RuntimeError."""
    text = "raise RuntimeError('operator torchvision::nms does not exist')"
    (tmp_path / "lpips.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, package.__name__)
    with pytest.raises(UsageError, match="does not fit this torch"):
        parse_metrics(["lpips"])
