"""Which published tensor runs as which layer: against converted marked tensors, and by name."""

import pytest
import torch

from darkroom.errors import UsageError
from darkroom.models.architectures import ARCHITECTURES, find_architectures
from darkroom.models.architectures.base import Architecture, Shapes
from darkroom.models.published_layers import (
    CheckpointLayer,
    find_running_layers,
    list_published_layers,
    split_name,
    trace_origins,
)
from darkroom.models.summary import summarize_model

DISTINCT = [a for a in ARCHITECTURES if not a.name.startswith("redi-group-norm-")]


def listed(architecture: Architecture, shapes: Shapes) -> tuple[CheckpointLayer, ...]:
    network = architecture.outline(shapes)
    layers = summarize_model(network, architecture, (320, 320)).layers
    return list_published_layers(architecture, shapes, layers)


def by_name(name: str, dialect: int = 0) -> dict[str, CheckpointLayer]:
    architecture = find_architectures(name)[0]
    return {one.name: one for one in listed(architecture, architecture.dialects[dialect])}


@pytest.mark.parametrize("name", ["redi", "llpacknet", "perceptilabs"])
def test_what_a_marked_tensor_marks(name: str) -> None:
    """Each published tensor in turn is made NaN and converted: what it went into is NaN too."""
    architecture = find_architectures(name)[0]
    shapes = architecture.dialects[-1 if name == "perceptilabs" else 0]
    torch.manual_seed(0)
    state = {key: torch.rand(shape, dtype=torch.float64) for key, shape in shapes.items()}
    origins = trace_origins(architecture, shapes)
    for key in list(shapes)[:: 1 + len(shapes) // 12]:
        marked = state | {key: torch.full_like(state[key], torch.nan)}
        found = {ours for ours, t in architecture.convert(marked).items() if t.isnan().any()}
        assert found == {ours for ours, names in origins.items() if key in names}
        assert found


@pytest.mark.parametrize("architecture", DISTINCT, ids=lambda a: f"{a.name}-{a.sensor.value}")
def test_every_dialect_is_told_whole(architecture: Architecture) -> None:
    """No tensor is lost, every layer that runs was published, and nothing runs before its time."""
    for shapes in architecture.dialects:
        network = architecture.outline(shapes)
        layers = summarize_model(network, architecture, (320, 320)).layers
        found = list_published_layers(architecture, shapes, layers)
        assert sorted(name for one in found for name in one.tensors) == sorted(shapes)
        weighted = {layer.name for layer in layers if layer.parameters}
        assert set().union(*(one.runs_as for one in found)) == weighted
        assert sum(one.parameters for one in found) == sum(
            torch.Size(shape).numel() for shape in shapes.values()
        )
        for one in found:
            assert find_running_layers(one.name, found, layers) if one.runs_as else True


def test_tensorflows_layouts_and_lone_names() -> None:
    sid = by_name("sid")
    assert sid["g_conv5_2"].kind == "conv 3x3"
    assert sid["g_conv5_2"].runs_as == ("levels.4.second",)
    assert sid["g_conv5_2"].activation == "leaky relu 0.2"
    assert (sid["Variable_2"].kind, sid["Variable_2"].runs_as) == ("deconv 2x2", ("ups.2",))
    assert sid["g_conv10"].activation == ""
    named = by_name("perceptilabs", 1)
    assert named["DeepLearningDeconv_Deconvolution_1"].kind == "deconv 3x3"
    normed = by_name("perceptilabs", 2)
    (norm,) = (one for one in normed.values() if one.runs_as == ("down.0",) and one.is_norm)
    assert norm.name.endswith("/batch_normalization")
    assert norm.kind == "batch norm"


def test_the_activation_follows_the_norm_that_was_folded() -> None:
    normed = by_name("sid-batch-norm")
    assert normed["bn1"].runs_as == normed["conv1_2"].runs_as == ("levels.0.second",)
    assert (normed["bn1"].activation, normed["conv1_2"].activation) == ("leaky relu 0.2", "")
    last = by_name("sid-norm-last")
    assert last["bn1"].runs_as == ("levels.0.second_last",)
    assert (last["bn1"].activation, last["conv1_2"].activation) == ("", "leaky relu 0.2")


def test_redis_layers() -> None:
    redi = by_name("redi")
    assert redi["conv_2_8_32.0"].runs_as == ("last_fine", "last_coarse")
    assert redi["conv_2_8_32.0"].kind == "conv 5x5, weight norm"
    # Only the middle layers rectify what they read.
    befores = [redi[f"RDB2.dense_layers.{i}.conv.{min(i, 1)}"].before for i in range(5)]
    assert befores == ["", *["leaky relu 0.2"] * 3, ""]
    two = by_name("redi", 2)
    assert two["RDB3.conv_1x1.0"].runs_as == ()
    assert list(two)[-1].startswith("RDB3")


def test_what_a_photos_noise_changes() -> None:
    safelight = by_name("safelight")
    assert safelight["body.middle.first"].runs_as == ("middle.first",)
    tuned = safelight["tuner.4"].runs_as
    assert {"enter", "middle.first", "decoder.0.first", "leave"} < set(tuned)
    assert (safelight["tuner.4"].kind, safelight["tuner.4"].activation) == ("linear", "")


@pytest.mark.parametrize(
    ("tensor", "parts"),
    [
        ("conv1_1.weight", ("conv1_1", "weight")),
        ("g_conv1_1/weights/Adam_1", ("g_conv1_1/weights", "Adam_1")),
        ("Variable_3", ("Variable_3", "Variable_3")),
        ("DeepLearningConv_Convolution_2/W:0", ("DeepLearningConv_Convolution_2", "W")),
        ("Conv_2.SW/.ATTRIBUTES/VARIABLE_VALUE", ("Conv_2", "W")),
        ("a.b.parametrizations.weight.original0", ("a.b", "weight.original0")),
    ],
)
def test_names_are_split(tensor: str, parts: tuple[str, str]) -> None:
    assert split_name(tensor) == parts


def test_layers_are_found_by_either_name() -> None:
    architecture = find_architectures("redi")[0]
    shapes = architecture.dialects[2]
    layers = summarize_model(architecture.outline(shapes), architecture, (320, 320)).layers
    found = list_published_layers(architecture, shapes, layers)
    assert find_running_layers("fine", found, layers) == ("fine",)
    assert find_running_layers("conv2x.0.weight", found, layers) == ("fine",)
    with pytest.raises(UsageError, match=r"--layer RDB3.conv_1x1.0: .* nothing reads it"):
        find_running_layers("RDB3.conv_1x1.0", found, layers)
    with pytest.raises(UsageError, match="did you mean middle_out"):
        find_running_layers("midle_out", found, layers)
    with pytest.raises(UsageError, match="no layer with weights is called so"):
        find_running_layers("add.1", found, layers)
