"""LLPackNet as published in 2020 and 2022, against networks written from its description."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from llpacknet_weights import COLOURS, convolutional_amplifier, histogram_amplifier, weights
from torch import Tensor
from torch.nn import functional

from darkroom.errors import CheckpointError, UsageError
from darkroom.gain import GainRule
from darkroom.models.architectures import ARCHITECTURES, identify, llpacknet
from darkroom.models.architectures.base import shapes_of
from darkroom.models.loading import load_model
from darkroom.models.tiling import run_tiled
from darkroom.mosaic.packing import BAYER, pack
from darkroom.pipeline import Options, find_gain
from darkroom.raw.image import RawImage

# float32 through 28 layers, against float64: seen are up to 1e-6 of the largest value.
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def kernel(state: dict[str, Tensor], name: str) -> Tensor:
    """A convolution's weights in float64, weight norm worked out one output at a time."""
    if f"{name}.weight" in state:
        return state[f"{name}.weight"].double()
    stem = f"{name}.parametrizations.weight.original"
    v = state[f"{name}.weight_v" if f"{name}.weight_v" in state else f"{stem}1"].double()
    g = state[f"{name}.weight_g" if f"{name}.weight_g" in state else f"{stem}0"].double()
    return torch.stack([g[i] * v[i] / torch.linalg.vector_norm(v[i]) for i in range(len(v))])


def foreign(state: dict[str, Tensor], end: str, mosaic: Tensor) -> Tensor:
    """(H, W) amplified mosaic, multiples of 16 -> the 192 channels before UnPack."""

    def conv(x: Tensor, name: str) -> Tensor:
        weight, bias = kernel(state, name + end), state.get(f"{name}{end}.bias")
        bias = None if bias is None else bias.double()
        return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def dense(x: Tensor, name: str) -> Tensor:
        seen = x
        for i in range(6):
            new = torch.relu(conv(seen, f"{name}.dense_layers.{i}.conv"))
            seen = torch.cat([seen, new], dim=1)
        return conv(seen, f"{name}.conv_1x1") + x

    mosaic = mosaic.double().clamp(min=0)  # as the authors' loader does
    branches = []
    for name, (row, col) in zip(COLOURS, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
        colour = mosaic[row::2, col::2]
        pack8 = torch.stack([colour[i::8, j::8] for i in range(8) for j in range(8)])[None]
        branches.append(torch.relu(conv(pack8, name)))
    start = conv(torch.cat(branches, dim=1), "before_identity")
    first = dense(start, "RDB1")
    second = dense(first, "RDB2")
    third = dense(second, "RDB3")
    x = conv(torch.cat([first, second, third], dim=1), "after_rdb") + start
    return conv(dense(functional.pixel_shuffle(x, 2), "final.1"), "final.2")


def unpack_2022(x: Tensor) -> Tensor:
    """(1, 192, h, w) -> (3, H, W), as network.py of 2022 ends."""
    _, _, h, w = x.shape
    x = x.reshape(1, 8, 8, 3, h, w).permute(0, 3, 4, 1, 5, 2)
    return torch.sigmoid(x.reshape(1, 3, 8 * h, 8 * w))[0]


def unpack_2020(x: Tensor) -> Tensor:
    """(1, 192, h, w) -> (3, H, W), as the loop in the README of 2020."""
    _, _, h, w = x.shape
    picture = torch.zeros(3, 8 * h, 8 * w, dtype=x.dtype)
    count = 0
    for i in range(8):
        for j in range(8):
            picture[:, i::8, j::8] = x[0, count : count + 3]
            count += 3
    return torch.relu(picture)


def photo() -> tuple[Tensor, Tensor]:
    """A packed photo whose size is a multiple of nothing, and its mosaic reflected to the grid."""
    random = np.random.default_rng(5)
    packed = torch.from_numpy(pack(random.uniform(-0.2, 1.5, (74, 106)).astype(np.float32), BAYER))
    grid = functional.pad(
        packed[None], (0, -packed.shape[2] % 8, 0, -packed.shape[1] % 8), "reflect"
    )
    mosaic = torch.zeros(2 * grid.shape[2], 2 * grid.shape[3])
    for channel, (row, col) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        mosaic[row::2, col::2] = grid[0, channel]
    return packed, mosaic


@pytest.mark.parametrize(
    ("end", "norm", "name"),
    [
        (".0", "g", "llpacknet"),
        (".0", "original", "llpacknet"),
        (".0", "", "llpacknet"),
        ("", "", "llpacknet-2020"),
        ("", "g", "llpacknet-2020"),
    ],
)
def test_published_checkpoint(tmp_path: Path, end: str, norm: str, name: str) -> None:
    state = weights(end, norm)
    parameters = sum(tensor.numel() for tensor in state.values())
    assert parameters == (1_170_640 if norm else 1_169_088)
    saved = {f"module.{key}": tensor for key, tensor in state.items()} if norm == "g" else state
    if name == "llpacknet-2020":
        saved = state | histogram_amplifier()
    torch.save({"model": saved, "iteration": 400_000}, tmp_path / "weights")

    model = load_model(tmp_path / "weights", device="cpu", precision="fp32")
    assert model.architecture.name == name
    assert sum(p.numel() for p in model.network.parameters()) == 1_169_088

    packed, mosaic = photo()
    wanted = foreign(state, end, mosaic)
    wanted = unpack_2022(wanted) if name == "llpacknet" else unpack_2020(wanted)
    wanted = wanted[:, :74, :106]
    assert float(wanted.std()) > 0.05
    found = run_tiled(model, packed, "off").double()
    assert float((found - wanted).abs().max() / wanted.abs().max()) < TOLERANCE


def test_unpack_has_one_order_in_both_years() -> None:
    x = torch.randn(1, 192, 3, 5, dtype=torch.float64)
    assert torch.equal(unpack_2020(torch.sigmoid(x)), unpack_2022(x))


def test_tiles_equal_the_whole(tmp_path: Path) -> None:
    torch.save(weights(".0", "g"), tmp_path / "weights")
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
    state = weights(".0", "g")
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
    found = amplifier_gain(packed, weights("", "") | state)
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
    hidden = w["conv.0.weight"][:, :, 0, 0] @ x.mean((0, 2, 3)) + w["conv.0.bias"]
    wanted = float(w["conv.1.weight"][0, :, 0, 0] @ hidden + w["conv.1.bias"])
    assert wanted > 1
    assert amplifier_gain(packed, state) == pytest.approx(wanted, rel=1e-5)


def test_a_checkpoint_of_2020_brings_its_own_gain(
    tmp_path: Path, synthetic_raw: Callable[..., RawImage]
) -> None:
    """As with `enhance --model FILE`: by the amplifier in it, unless another rule is asked for."""
    state = weights("", "")
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
    assert llpacknet.amplifier(weights(".0", "g")) is None
    with pytest.raises(CheckpointError, match="no known form"):
        llpacknet.amplifier({"amplifier.gain.weight": torch.zeros(3, 3)})
    state = histogram_amplifier()
    del state["amplifier.conv_post.0.bias"]
    with pytest.raises(CheckpointError, match="hidden"):
        amplifier_gain(dark_packed(), state)
