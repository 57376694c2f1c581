"""PerceptiLabs' three graphs for SID's task, component by component in TensorFlow's conventions.

Source: PerceptiLabs/Seeing-in-the-Dark, the model.json of three times, numbers as there. Where they
leave something open, the choice is that of `darkroom.models.architectures.perceptilabs_names`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from darkroom.evaluation.published import Mosaic, Published
from darkroom.raw.image import Sensor

GRID = 64
"""Photosites that sides must be multiples of; on others the merges fail."""

FEATURE_MAPS = (8, 16, 16, 32, 32, 64, 64, 128, 128, 256, 256)
"""Of the components Convolution_1 to Convolution_11, in all graphs."""


@dataclass(frozen=True, slots=True)
class PublishedGraph:
    """One graph: sides of its deconvolutions and of its end, and names of its last components.

    `joins`: the convolutions after the merges, coarse to fine; `ups`: the deconvolutions before
    them. `skip_first`: whether a merge lists the skip connection first. `end`: what paints.
    """

    activation: Callable[[Tensor], Tensor]
    strided: bool
    up_side: int
    end_side: int
    joins: tuple[str, ...]
    ups: tuple[str, ...]
    skip_first: tuple[bool, ...]
    end: str
    normed: tuple[str, ...] = ()


def leaky_relu(x: Tensor) -> Tensor:
    """TensorFlow's, by default."""
    return torch.maximum(0.2 * x, x)


RELU = PublishedGraph(
    activation=torch.relu,
    strided=False,
    up_side=2,
    end_side=3,
    joins=("12", "13", "14", "15"),
    ups=("1", "2", "3", "4", "5"),
    skip_first=(True, False, True, True, False),
    end="DeepLearningConv_Convolution_16",
)
LEAKY = PublishedGraph(
    activation=leaky_relu,
    strided=False,
    up_side=3,
    end_side=1,
    joins=("12", "12_1", "12_1_1", "12_1_1_1"),
    ups=("1", "2", "2_1", "2_1_1", "2_1_1_1"),
    skip_first=(True, True, False, False, False),
    end="DeepLearningConv_Convolution_13",
    normed=(
        *(f"DeepLearningConv_Convolution_{i}" for i in (3, 5, 7, 9, 11)),
        *(f"DeepLearningDeconv_Deconvolution_2{more}" for more in ("", "_1", "_1_1", "_1_1_1")),
    ),
)
STRIDED = PublishedGraph(
    activation=torch.sigmoid,
    strided=True,
    up_side=3,
    end_side=3,
    joins=("12", "13", "14", "15"),
    ups=("1", "3", "6", "5", "4"),
    skip_first=(True,) * 5,
    end="DeepLearningDeconv_Deconvolution_2",
)

Names = Literal["variables", "objects", "ours"]
"""TensorFlow 1's; those of an exported checkpoint of objects; darkroom's, in torch's layouts."""


def list_components(graph: PublishedGraph) -> dict[str, tuple[int, int, int]]:
    """Return the side, inputs and outputs of each component."""
    found, into = {}, 4
    for number, maps in enumerate(FEATURE_MAPS, start=1):
        found[f"DeepLearningConv_Convolution_{number}"] = (3, into, maps)
        into = maps
    for name, coarse in zip(graph.ups, (256, 128, 64, 32, 16), strict=True):
        found[f"DeepLearningDeconv_Deconvolution_{name}"] = (graph.up_side, coarse, coarse // 2)
    for name, coarse in zip(graph.joins, (256, 128, 64, 32), strict=True):
        found[f"DeepLearningConv_Convolution_{name}"] = (3, coarse, coarse // 2)
    found[graph.end] = (graph.end_side, 16, 3 if "Deconv" in graph.end else 12)
    return found


def make_weights(graph: PublishedGraph, names: Names, normed: bool, seed: int) -> dict[str, Tensor]:
    """Return random weights of a checkpoint; `normed`: with the batch norms of the graph."""
    generator = torch.Generator().manual_seed(seed)
    draw = partial(torch.randn, generator=generator)
    gain = 16.0 if graph.strided else 1.9  # a sigmoid's slope is a quarter at most
    state: dict[str, Tensor] = {}
    for name, (side, into, out) in list_components(graph).items():
        turned = "Deconv" in name
        shape = (side, side, out, into) if turned else (side, side, into, out)
        inputs = max(side * side * into // (4 if turned else 1), 1)
        state[f"{name}/W"] = draw(shape) * math.sqrt(gain / inputs)
        state[f"{name}/b"] = 0.1 * draw(out)
        if normed and name in graph.normed:
            scope = f"{name}/batch_normalization"
            state[f"{scope}/gamma"] = 1 + 0.2 * draw(out)
            state[f"{scope}/beta"] = 0.1 * draw(out)
            state[f"{scope}/moving_mean"] = 0.1 * draw(out)
            state[f"{scope}/moving_variance"] = 0.5 + draw(out).abs()
    if names == "objects":
        ending = ":0/.ATTRIBUTES/VARIABLE_VALUE"
        return {name.replace("/", ".S") + ending: tensor for name, tensor in state.items()}
    return state if names == "variables" else rename_to_ours(graph, state)


def rename_to_ours(graph: PublishedGraph, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the same tensors under darkroom's names, in torch's layouts, in no other order."""
    convolutions = [f"Convolution_{i}" for i in range(1, 12)]
    down = [f"{kind}.{i}" for i in range(5) for kind in ("widen", "down")]
    ours = dict(zip(convolutions, ["enter", *down], strict=True))
    ours |= {f"Convolution_{name}": f"join.{i}" for i, name in enumerate(graph.joins)}
    ours |= {f"Deconvolution_{name}": f"up.{i}" for i, name in enumerate(graph.ups)}
    ours[graph.end.partition("_")[2]] = "last"
    parts = {"W": "weight", "b": "bias"}
    new = {}
    for name, tensor in state.items():
        component, _, part = name.partition("_")[2].partition("/")
        layout = tensor.permute(3, 2, 0, 1).contiguous() if part == "W" else tensor
        new[f"{ours[component]}.{parts[part]}"] = layout
    return new


@torch.inference_mode()
def paint(
    graph: PublishedGraph, names: Names, state: Mapping[str, Tensor], mosaic: Mosaic
) -> NDArray[np.float32]:
    """Return what the graph makes of an amplified mosaic, cropped to its grid.

    Under darkroom's names packing is in reading order, merges have the deconvolution first and the
    picture's channels are in PixelShuffle's order.
    """
    height, width = (side // GRID * GRID for side in mosaic.shape)
    light = torch.from_numpy(mosaic[:height, :width]).double().clamp(0, 1)
    sites = [light[0::2, 0::2], light[0::2, 1::2], light[1::2, 1::2], light[1::2, 0::2]]
    if names == "ours":
        sites[2:] = sites[:1:-1]
    run = partial(_run_component, graph, _tensorflow_names(graph, names, state))
    seen = [torch.stack(sites)[None]]
    for number in range(1, 12):
        halves = number % 2 == 0
        x = run(seen[-1], f"DeepLearningConv_Convolution_{number}", halve=halves and graph.strided)
        seen.append(functional.max_pool2d(x, 2) if halves and not graph.strided else x)
    x = seen[11]
    for level, up in enumerate(graph.ups):
        both = [run(x, f"DeepLearningDeconv_Deconvolution_{up}"), seen[9 - 2 * level]]
        if names != "ours" and graph.skip_first[level]:
            both.reverse()
        x = torch.cat(both, dim=1)
        if level < len(graph.joins):
            x = run(x, f"DeepLearningConv_Convolution_{graph.joins[level]}")
    x = run(x, graph.end)
    if "Deconv" not in graph.end:
        x = functional.pixel_shuffle(x, 2) if names == "ours" else depth_to_space(x)
    return x[0].permute(1, 2, 0).float().numpy()


def _tensorflow_names(
    graph: PublishedGraph, names: Names, state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors of any checkpoint in float64 under TensorFlow 1's names and layouts."""
    if names == "objects":
        return {name.partition(":")[0].replace(".S", "/"): t.double() for name, t in state.items()}
    if names == "variables":
        return {name: tensor.double() for name, tensor in state.items()}
    shapes = make_weights(graph, "variables", normed=False, seed=0)
    back = {}
    for name in shapes:
        (ours,) = rename_to_ours(graph, {name: shapes[name]})
        tensor = state[ours].double()
        back[name] = tensor.permute(2, 3, 1, 0) if tensor.ndim == 4 else tensor
    return back


def _run_component(
    graph: PublishedGraph, state: Mapping[str, Tensor], x: Tensor, name: str, halve: bool = False
) -> Tensor:
    """Run one component: convolution, bias, batch norm, activation."""
    kernel, bias = state[f"{name}/W"], state[f"{name}/b"].view(-1, 1, 1)
    if "Deconv" in name:
        x = deconvolve(x, kernel) + bias
    else:
        weight, edge = kernel.permute(3, 2, 0, 1), kernel.shape[0] // 2
        if halve:  # "SAME" with a stride of 2: at the end only
            x = functional.conv2d(functional.pad(x, (0, 1, 0, 1)), weight, stride=2) + bias
        else:
            x = functional.conv2d(x, weight, padding=edge) + bias
    scope = f"{name}/batch_normalization"
    if f"{scope}/gamma" in state:
        gamma, beta, mean, variance = (
            state[f"{scope}/{part}"].view(-1, 1, 1)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        x = gamma * (x - mean) / torch.sqrt(variance + 0.001) + beta
    return graph.activation(x)


def deconvolve(x: Tensor, kernel: Tensor) -> Tensor:
    """TensorFlow's conv2d_transpose, stride 2, "SAME": the gradient of such a convolution.

    Of 3x3 that convolution pads one row and column at the end only, so output 2i + k has input i's
    tap k; of 2x2 it pads none. `kernel`: (side, side, outputs, inputs).
    """
    n, _, h, w = x.shape
    side, _, outputs, _ = kernel.shape
    out = x.new_zeros(n, outputs, 2 * h + 1, 2 * w + 1)
    for row in range(side):
        for col in range(side):
            tap = torch.einsum("nchw,dc->ndhw", x, kernel[row, col])
            out[:, :, row : row + 2 * h : 2, col : col + 2 * w : 2] += tap
    return out[:, :, : 2 * h, : 2 * w]


def depth_to_space(x: Tensor) -> Tensor:
    """TensorFlow's, by 2: (N, 12, h, w), of row, column and colour -> (N, 3, 2h, 2w)."""
    out = x.new_empty(x.shape[0], 3, 2 * x.shape[2], 2 * x.shape[3])
    for row in range(2):
        for col in range(2):
            start = 3 * (2 * row + col)
            out[:, :, row::2, col::2] = x[:, start : start + 3]
    return out


def _published(
    network: str, dialect: str, graph: PublishedGraph, names: Names, normed: bool = False
) -> Published:
    """Bind the functions to a graph and the names of its checkpoints."""
    return Published(
        network=network,
        dialect=dialect,
        sensor=Sensor.BAYER,
        weights=partial(make_weights, graph, names, normed),
        picture=partial(paint, graph, names),
        tensorflow=names != "ours",
    )


def _forms(network: str, graph: PublishedGraph) -> tuple[Published, ...]:
    """List the forms of a graph's checkpoints without batch norms."""
    return (
        _published(network, "TensorFlow", graph, "variables"),
        _published(network, "TensorFlow, exported objects", graph, "objects"),
        _published(network, "PyTorch", graph, "ours"),
    )


PUBLISHED = (
    *_forms("perceptilabs", LEAKY),
    _published("perceptilabs", "TensorFlow, batch norm", LEAKY, "variables", normed=True),
    *_forms("perceptilabs-relu", RELU),
    *_forms("perceptilabs-strided", STRIDED),
)
"""The three graphs in the forms of their checkpoints."""
