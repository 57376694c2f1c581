"""PerceptiLabs' U-Nets, against its published graphs written out in TensorFlow's conventions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import parity
import pytest
import torch
from bundles import write_bundle
from safetensors.torch import save_file
from torch.nn import functional

from darkroom.errors import CheckpointError
from darkroom.evaluation.published import Published
from darkroom.evaluation.published.perceptilabs import PUBLISHED
from darkroom.models.architectures import ARCHITECTURES, identify, perceptilabs
from darkroom.models.architectures.base import Architecture, shapes_of
from darkroom.models.architectures.perceptilabs import GRAPHS, PerceptiLabsGraph
from darkroom.models.loading import load_model

EACH_GRAPH = pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("one", PUBLISHED, ids=lambda one: f"{one.network}, {one.dialect}")
def test_every_graph_under_every_name(tmp_path: Path, one: Published) -> None:
    state = one.weights(4)
    assert [a.name for a in ARCHITECTURES if a.recognise(shapes_of(state))] == [one.network]
    model = parity.load_published(one, state, tmp_path / "weights")
    assert model.architecture.name == one.network
    assert parity.error(one, state, model) < parity.TOLERANCE


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_tensorflow_names_in_other_files(tmp_path: Path, suffix: str) -> None:
    """As somebody converts them, tensor by tensor, in TensorFlow's layouts."""
    one = PUBLISHED[0]
    state = one.weights(4)
    path = tmp_path / f"weights{suffix}"
    saved = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(saved, path) if suffix == ".safetensors" else torch.save(saved, path)
    model = load_model(path, device="cpu", precision="fp32")
    assert parity.error(one, state, model) < parity.TOLERANCE


@pytest.mark.parametrize("dialect", ["TensorFlow", "TensorFlow, exported objects"])
def test_what_training_keeps_is_left_out(tmp_path: Path, dialect: str) -> None:
    one = next(one for one in PUBLISHED if one.dialect == dialect)
    state = one.weights(4)
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    step = np.array(7, dtype=np.int64)
    if dialect == "TensorFlow":
        arrays |= {f"{name}/{slot}": arrays[name] for name in state for slot in ("Adam", "Adam_1")}
        arrays |= {"beta1_power": np.float32(0.9), "beta2_power": np.float32(0.9)}
        arrays["global_step"] = step
    else:
        end = "/.ATTRIBUTES/VARIABLE_VALUE"
        slot = "/.OPTIMIZER_SLOT/optimizer/m" + end
        arrays |= {name.removesuffix(end) + slot: arrays[name] for name in state}
        arrays |= {"save_counter" + end: step, "optimizer/beta1_power" + end: np.float32(0.9)}
    tensors = {name: np.asarray(array) for name, array in arrays.items()}
    index = write_bundle(tmp_path / "model.ckpt", tensors, fast=True)
    model = load_model(index, device="cpu", precision="fp32")
    assert parity.error(one, state, model) < parity.TOLERANCE


def test_parameters() -> None:
    plain = [one for one in PUBLISHED if one.dialect == "TensorFlow"]
    counts = {one.network: sum(t.numel() for t in one.weights(0).values()) for one in plain}
    assert counts["perceptilabs"] == 1_964_988
    # Deconvolutions of four taps instead of nine, and an end of nine instead of one.
    pairs = sum(a * b for a, b in ((256, 128), (128, 64), (64, 32), (32, 16), (16, 8)))
    assert counts["perceptilabs-relu"] == 1_964_988 - 5 * pairs + 8 * 16 * 12
    assert counts["perceptilabs-strided"] == 1_964_988 - (16 + 1) * 12 + (9 * 16 + 1) * 3


def test_half_a_batch_norm_is_refused() -> None:
    """Exported objects have trainable variables alone, so no moving ones."""
    one = next(one for one in PUBLISHED if "batch norm" in one.dialect)
    shapes = {key: s for key, s in shapes_of(one.weights(0)).items() if "moving" not in key}
    with pytest.raises(CheckpointError, match="nearest is perceptilabs, with 18 missing"):
        identify(shapes)
    wrong = shapes_of(one.weights(0)) | {"DeepLearningConv_Convolution_99/W": (3, 3, 4, 4)}
    with pytest.raises(CheckpointError, match="nearest is perceptilabs, with 1 unexpected"):
        identify(wrong)


@pytest.mark.parametrize("side", [2, 3])
def test_deconvolution_matches_the_convolution_it_transposes(side: int) -> None:
    """<conv(y), x> = <y, deconv(x)> with TensorFlow's "SAME": padding at the end only."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 5, 4, 6, dtype=torch.float64, generator=generator)
    y = torch.randn(1, 3, 8, 12, dtype=torch.float64, generator=generator)
    layer = perceptilabs.Deconvolution(5, 3, side).double().requires_grad_(False)
    layer.bias.zero_()
    padded = functional.pad(y, (0, 1, 0, 1)) if side == 3 else y
    forward = functional.conv2d(padded, layer.weight, stride=2)
    assert torch.isclose((forward * x).sum(), (y * layer(x)).sum())


def narrow(monkeypatch: pytest.MonkeyPatch, graph: PerceptiLabsGraph) -> perceptilabs.PerceptiLabs:
    """Reach and grid do not depend on widths, so measure them on the narrowest network."""
    monkeypatch.setattr(perceptilabs, "WIDTHS", (1,) * 6)
    torch.manual_seed(2)
    return perceptilabs.PerceptiLabs(graph).double().eval().requires_grad_(False)


def architecture_of(graph: PerceptiLabsGraph) -> Architecture:
    return next(one for one in ARCHITECTURES if one.name == graph.name)


@EACH_GRAPH
def test_halo_by_impulse(monkeypatch: pytest.MonkeyPatch, graph: PerceptiLabsGraph) -> None:
    architecture = architecture_of(graph)
    # Without activations, whose curves would hide or end what arrives.
    network = narrow(monkeypatch, replace(graph, activate=lambda x: x))
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


@EACH_GRAPH
def test_tiles_on_the_grid_equal_the_whole(
    monkeypatch: pytest.MonkeyPatch, graph: PerceptiLabsGraph
) -> None:
    # All of a single channel may be below the rectifier of one graph, so take the leaky one.
    network, margin = narrow(monkeypatch, replace(graph, activate=GRAPHS[0].activate)), 192
    x = torch.rand(1, 4, 480, 32, dtype=torch.float64)
    whole = network(x)[:, :, 2 * (margin + 32) : 2 * (margin + 64)]
    tile = network(x[:, :, 32 : 64 + 2 * margin])[:, :, 2 * margin : 2 * (margin + 32)]
    assert torch.allclose(whole, tile, rtol=0, atol=1e-12)
    off = network(x[:, :, 33 : 65 + 2 * margin])[:, :, 2 * (margin - 1) : 2 * (margin + 31)]
    assert not torch.allclose(whole, off, rtol=0, atol=1e-6)


def test_other_shapes_are_not_recognised() -> None:
    shapes = shapes_of(PUBLISHED[2].weights(0)) | {"last.weight": (12, 16, 3, 3)}
    assert not any(architecture.recognise(shapes) for architecture in ARCHITECTURES)
