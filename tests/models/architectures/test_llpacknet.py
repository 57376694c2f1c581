"""LLPackNet as published in 2020 and 2022, and the ablation beside it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import parity
import pytest
import torch
from llpacknet_weights import convolutional_amplifier, histogram_amplifier, weights
from torch import Tensor
from torch.nn import functional

from darkroom.errors import CheckpointError, UsageError
from darkroom.evaluation.published import Published
from darkroom.evaluation.published.llpacknet import PUBLISHED, unpack
from darkroom.gain import GainRule
from darkroom.models.architectures import ARCHITECTURES, identify, llpacknet
from darkroom.models.architectures.base import shapes_of
from darkroom.models.loading import load_model
from darkroom.models.tiling import run_tiled
from darkroom.mosaic.packing import BAYER, pack
from darkroom.pipeline import Options, find_gain
from darkroom.raw.image import RawImage


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("one", PUBLISHED, ids=lambda one: f"{one.network}, {one.dialect}")
def test_published_checkpoint(tmp_path: Path, one: Published) -> None:
    state = one.weights(3)
    parameters = sum(t.numel() for key, t in state.items() if not key.startswith("amplifier"))
    normed = any(key.endswith(("weight_g", "original0")) for key in state)
    assert parameters == (1_170_640 if normed else 1_169_088)
    saved = {f"module.{key}": tensor for key, tensor in state.items()}  # as DataParallel does
    model = parity.load_published(one, saved, tmp_path / "weights")
    assert model.architecture.name == one.network
    assert sum(p.numel() for p in model.network.parameters()) == 1_169_088
    assert parity.error(one, state, model) < parity.TOLERANCE


ABLATIONS = [one for one in PUBLISHED if "pixel-shuffle" in one.network]


@pytest.mark.parametrize("one", ABLATIONS, ids=lambda one: one.dialect)
def test_no_tensor_tells_pixel_shuffle_from_unpack(tmp_path: Path, one: Published) -> None:
    """So a file is read with UnPack, wrongly here, and the ablation is asked for by its name."""
    state = one.weights(3)
    default = one.network.removesuffix("-pixel-shuffle")
    found = [known.name for known in ARCHITECTURES if known.recognise(shapes_of(state))]
    assert found == [default, one.network]
    torch.save({"model": state}, tmp_path / "weights")
    model = load_model(tmp_path / "weights", device="cpu", precision="fp32")
    assert model.architecture.name == default
    assert parity.error(one, state, model) > 0.1


def test_unpack_has_one_order_in_both_years() -> None:
    x = torch.randn(1, 192, 3, 5, dtype=torch.float64)
    as_in_2022 = x.reshape(1, 8, 8, 3, 3, 5).permute(0, 3, 4, 1, 5, 2).reshape(3, 24, 40)
    assert torch.equal(unpack(x), as_in_2022), "as network.py of 2022 ends"


def test_other_photos_fail_as_published_so_they_are_cropped() -> None:
    mosaic = parity.random_mosaic(PUBLISHED[0])
    picture = PUBLISHED[0].picture(PUBLISHED[0].weights(3), mosaic)
    assert picture.shape == (96, 64, 3)


def test_tiles_equal_the_whole(tmp_path: Path) -> None:
    torch.save(weights(2022, "weight_g"), tmp_path / "weights")
    model = load_model(tmp_path / "weights", device="cpu", precision="fp32")
    packed = torch.rand(4, 420, 13)
    whole, tiled = run_tiled(model, packed, "off"), run_tiled(model, packed, 80)
    # The same float32 numbers in convolutions of another size.
    assert torch.allclose(whole, tiled, rtol=0, atol=1e-5)


def test_halo_by_impulse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llpacknet, "_GROWTH", 1)  # reach does not depend on widths
    architecture = llpacknet.ARCHITECTURES[0]
    network = llpacknet.LLPackNet(sigmoid=False).double().eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        parameter.fill_(0.0 if name.endswith("bias") else 1 / parameter[0].numel())
    size, middle = 400, 192
    reach = 0
    for phase in range(architecture.multiple):
        at = middle + phase
        x = torch.zeros(1, 4, size, architecture.multiple, dtype=torch.float64)
        x[:, :, at] = 1
        for lines in (network(x), network(x.mT).mT):
            reached = lines[0].amax((0, 2)).nonzero().flatten() // 2
            reach = max(reach, at - int(reached[0]), int(reached[-1]) - at)
    assert reach == architecture.halo


def test_other_shapes_are_refused() -> None:
    state = weights(2022, "weight_g")
    shapes = shapes_of(state)
    assert identify(shapes).name == "llpacknet"
    wrong = shapes | {"RDBr.0.weight_g": (1, 1, 1, 1)}
    assert not any(a.recognise(wrong) for a in ARCHITECTURES)
    del shapes["final.2.0.bias"]
    with pytest.raises(CheckpointError, match=r"nearest is llpacknet, with 1 missing \(final"):
        identify(shapes)


def dark_packed() -> Tensor:
    return torch.from_numpy(np.random.default_rng(2).exponential(0.02, (4, 31, 45))).float() - 0.01


def amplifier_gain(packed: Tensor, state: dict[str, Tensor]) -> float:
    amplifier = llpacknet.amplifier(state)
    assert amplifier is not None
    return float(amplifier(packed[None]))


def test_histogram_amplifier_as_published() -> None:
    state, packed = histogram_amplifier(), dark_packed()
    light = np.maximum(packed.double().numpy(), 0)
    edges = (np.logspace(0, 8, 64, base=2.0) - 1) / 255
    counts, _ = np.histogram(light, bins=edges)
    hidden = state["amplifier.conv_post.0.weight"].double().numpy() @ (counts / light.size)
    hidden += state["amplifier.conv_post.0.bias"].numpy()
    wanted = float(state["amplifier.conv_post.1.weight"].double().numpy()[0] @ hidden) + 100
    found = amplifier_gain(packed, weights(2020) | state)
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("side", [1, 3])
def test_convolutional_amplifier(side: int) -> None:
    state, packed = convolutional_amplifier(side), dark_packed()
    w = {name.removeprefix("amplifier."): t.double() for name, t in state.items()}
    x = functional.conv2d(
        packed.double().clamp(min=0)[None],
        w["conv_pre.0.weight"],
        w["conv_pre.0.bias"],
        padding=side // 2,
    )
    hidden = w["conv_post.0.weight"][:, :, 0, 0] @ x.mean((0, 2, 3)) + w["conv_post.0.bias"]
    wanted = float(w["conv_post.1.weight"][0, :, 0, 0] @ hidden + w["conv_post.1.bias"])
    assert wanted > 1
    assert amplifier_gain(packed, state) == pytest.approx(wanted, rel=1e-5)


def test_a_checkpoint_of_2020_brings_its_own_gain(
    tmp_path: Path, synthetic_raw: Callable[..., RawImage]
) -> None:
    """As with `enhance --model FILE`: by the amplifier in it, unless another rule is asked for."""
    state = weights(2020)
    torch.save(state, tmp_path / "plain")
    torch.save(state | histogram_amplifier(), tmp_path / "whole")
    plain, whole = (load_model(tmp_path / name, "cpu", "fp32") for name in ("plain", "whole"))
    assert (plain.gain_rule, plain.amplifier) == (GainRule.REDI, None)
    assert whole.gain_rule is GainRule.LLPACKNET
    raw = synthetic_raw(32, 48, exposure=0.01, read_noise=0)
    packed = torch.from_numpy(pack((raw.mosaic - 512.0).astype(np.float32) / 15871, BAYER))
    wanted = amplifier_gain(packed, state | histogram_amplifier())
    gain = find_gain(raw, whole, Options().resolve(whole))
    assert gain.value == pytest.approx(wanted, rel=1e-4)
    assert gain.rule is GainRule.LLPACKNET
    with pytest.raises(UsageError, match="amplifier"):
        find_gain(raw, plain, Options(rule=GainRule.LLPACKNET).resolve(plain))


def test_amplifier_never_gives_zero_or_less() -> None:
    state = histogram_amplifier(sign=-10)
    assert amplifier_gain(dark_packed(), state) == pytest.approx(1e-4)


def test_no_amplifier_and_unknown_ones() -> None:
    assert llpacknet.amplifier(weights(2022, "weight_g")) is None
    with pytest.raises(CheckpointError, match="no known form"):
        llpacknet.amplifier({"amplifier.gain.weight": torch.zeros(3, 3)})
    state = histogram_amplifier()
    del state["amplifier.conv_post.0.bias"]
    with pytest.raises(CheckpointError, match="hidden"):
        amplifier_gain(dark_packed(), state)
