"""PerceptiLabs' U-Net, against its published graph written out in TensorFlow's conventions."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from darkroom.models.architectures import ARCHITECTURES, perceptilabs
from darkroom.models.architectures.base import shapes_of
from darkroom.models.loading import load_model
from darkroom.models.tiling import run_tiled
from darkroom.mosaic.packing import BAYER, pack

WIDTHS = (8, 16, 32, 64, 128, 256)

# float32 through 22 layers, against float64: seen are up to 1e-6 of the largest value.
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def weights() -> dict[str, Tensor]:
    """Random weights: names are ours, shapes those of the graph."""
    generator = torch.Generator().manual_seed(4)
    state: dict[str, Tensor] = {}

    def add(name: str, *shape: int, into: int) -> None:
        kernel = torch.randn(shape, generator=generator) * math.sqrt(1.9 / into)
        out = shape[1] if name.startswith("up") else shape[0]
        state[f"{name}.weight"] = kernel
        state[f"{name}.bias"] = 0.1 * torch.randn(out, generator=generator)

    add("enter", 8, 4, 3, 3, into=36)
    for i in range(5):
        fine, coarse = WIDTHS[i], WIDTHS[i + 1]
        add(f"widen.{i}", coarse, fine, 3, 3, into=9 * fine)
        add(f"down.{i}", coarse, coarse, 3, 3, into=9 * coarse)
        add(f"up.{4 - i}", coarse, fine, 3, 3, into=9 * coarse // 4)
        if i:
            add(f"join.{4 - i}", fine, 2 * fine, 3, 3, into=18 * fine)
    add("last", 12, 16, 1, 1, into=16)
    return state


def deconvolution(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """TensorFlow's conv2d_transpose, 3x3, stride 2, "SAME": the gradient of such a convolution.

    That convolution pads one row and column at the end only, so output 2i + k has input i's tap k.
    """
    n, _, h, w = x.shape
    out = torch.zeros(n, kernel.shape[1], 2 * h + 1, 2 * w + 1, dtype=x.dtype)
    for row in range(3):
        for col in range(3):
            tap = torch.einsum("nchw,cd->ndhw", x, kernel[:, :, row, col])
            out[:, :, row : row + 2 * h : 2, col : col + 2 * w : 2] += tap
    return out[:, :, : 2 * h, : 2 * w] + bias.view(-1, 1, 1)


def graph(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """(N, 4, h, w), multiples of 32 -> (N, 3, 2h, 2w); components numbered as in the graph."""
    w = {name: tensor.double() for name, tensor in state.items()}

    def lrelu(x: Tensor) -> Tensor:
        return torch.maximum(0.2 * x, x)

    def conv(x: Tensor, name: str) -> Tensor:
        kernel = w[f"{name}.weight"]
        pad = kernel.shape[-1] // 2
        return lrelu(functional.conv2d(x, kernel, w[f"{name}.bias"], padding=pad))

    def up(x: Tensor, name: str) -> Tensor:
        return lrelu(deconvolution(x, w[f"{name}.weight"], w[f"{name}.bias"]))

    conv1 = conv(x.double().clamp(0, 1), "enter")
    conv3 = conv(functional.max_pool2d(conv(conv1, "widen.0"), 2), "down.0")
    conv5 = conv(functional.max_pool2d(conv(conv3, "widen.1"), 2), "down.1")
    conv7 = conv(functional.max_pool2d(conv(conv5, "widen.2"), 2), "down.2")
    conv9 = conv(functional.max_pool2d(conv(conv7, "widen.3"), 2), "down.3")
    conv11 = conv(functional.max_pool2d(conv(conv9, "widen.4"), 2), "down.4")
    x = conv(torch.cat([up(conv11, "up.0"), conv9], dim=1), "join.0")
    x = conv(torch.cat([up(x, "up.1"), conv7], dim=1), "join.1")
    x = conv(torch.cat([up(x, "up.2"), conv5], dim=1), "join.2")
    x = conv(torch.cat([up(x, "up.3"), conv3], dim=1), "join.3")
    x = conv(torch.cat([up(x, "up.4"), conv1], dim=1), "last")
    return functional.pixel_shuffle(x, 2)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_checkpoint(tmp_path: Path, suffix: str) -> None:
    state = weights()
    assert sum(tensor.numel() for tensor in state.values()) == 1_964_988
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)

    model = load_model(path, device="cpu", precision="fp32")
    assert model.architecture.name == "perceptilabs"
    random = np.random.default_rng(1)
    packed = torch.from_numpy(pack(random.uniform(-0.2, 1.5, (74, 106)).astype(np.float32), BAYER))
    grid = functional.pad(packed[None], (0, 64 - 53, 0, 64 - 37), mode="reflect")
    wanted = graph(state, grid)[0, :, :74, :106]
    assert float(wanted.std()) > 0.05
    found = run_tiled(model, packed, "off").double()
    assert float((found - wanted).abs().max() / wanted.abs().max()) < TOLERANCE


def test_deconvolution_matches_the_convolution_it_transposes() -> None:
    """<conv(y), x> = <y, deconv(x)> with TensorFlow's "SAME": padding at the end only."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 5, 4, 6, dtype=torch.float64, generator=generator)
    y = torch.randn(1, 3, 8, 12, dtype=torch.float64, generator=generator)
    layer = perceptilabs.Deconvolution(5, 3).double().requires_grad_(False)
    layer.bias.zero_()
    forward = functional.conv2d(functional.pad(y, (0, 1, 0, 1)), layer.weight, stride=2)
    assert torch.isclose((forward * x).sum(), (y * layer(x)).sum())


def narrow(monkeypatch: pytest.MonkeyPatch) -> perceptilabs.PerceptiLabs:
    """Reach and grid do not depend on widths, so measure them on the narrowest network."""
    monkeypatch.setattr(perceptilabs, "WIDTHS", (1,) * 6)
    torch.manual_seed(2)
    return perceptilabs.PerceptiLabs().double().eval().requires_grad_(False)


def test_halo_by_impulse(monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = perceptilabs.ARCHITECTURES[0]
    network = narrow(monkeypatch)
    for name, parameter in network.named_parameters():
        parameter.fill_(0.0 if name.endswith("bias") else 1 / parameter[0].numel())
    size, middle = 416, 192
    reach = 0
    for phase in range(architecture.multiple):
        at = middle + phase
        x = torch.zeros(1, 4, size, architecture.multiple, dtype=torch.float64)
        x[:, :, at] = 1
        for lines in (network(x), network(x.mT).mT):
            reached = lines[0].amax((0, 2)).nonzero().flatten() // 2
            reach = max(reach, at - int(reached[0]), int(reached[-1]) - at)
    assert reach == architecture.halo


def test_tiles_on_the_grid_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    network, margin = narrow(monkeypatch), 192
    x = torch.rand(1, 4, 480, 32, dtype=torch.float64)
    whole = network(x)[:, :, 2 * (margin + 32) : 2 * (margin + 64)]
    tile = network(x[:, :, 32 : 64 + 2 * margin])[:, :, 2 * margin : 2 * (margin + 32)]
    assert torch.allclose(whole, tile, rtol=0, atol=1e-12)
    off = network(x[:, :, 33 : 65 + 2 * margin])[:, :, 2 * (margin - 1) : 2 * (margin + 31)]
    assert not torch.allclose(whole, off, rtol=0, atol=1e-6)


def test_other_shapes_are_not_recognised() -> None:
    shapes = shapes_of(weights()) | {"last.weight": (12, 16, 3, 3)}
    assert not any(architecture.recognise(shapes) for architecture in ARCHITECTURES)
