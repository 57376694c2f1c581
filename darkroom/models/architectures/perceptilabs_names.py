"""How PerceptiLabs' tool names the tensors of a graph, and how they become ours.

A component's variables stand in a scope of its type and name, DeepLearningConv_Convolution_2/W and
/b, in TensorFlow's layouts. Three kinds of files have them: TensorFlow 1 checkpoints as they are,
beside an optimiser's slots; exported checkpoints of objects, with ":0" and escaped slashes; and
dictionaries of either names that were converted to torch or safetensors files.

What the publication leaves open, and what is taken:

- Which half of a merge is first. Two graphs list the inputs of each merge, in no uniform order, and
  the tool of that time kept connections in a set; the third names them input1 and input2. Taken is
  the order of each list.
- The names of a batch norm's variables in its component's scope, and their place. Taken are
  TensorFlow's own, gamma, beta, moving_mean and moving_variance, in whichever scope below the
  component's, after the bias and before the activation, with TensorFlow's epsilon. An exported
  checkpoint of objects has trainable variables alone, so without the moving ones it is refused.
- The order of the four packed channels: the data are SID's, so it is R, G, B, G, clockwise.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from darkroom.models.architectures import fold
from darkroom.models.architectures.base import Shapes, State

NORM_EPSILON = 1e-3
"""Of TensorFlow's batch norm, by default. Source: tf.compat.v1.layers.batch_normalization."""

NORM_PARTS = ("gamma", "beta", "moving_mean", "moving_variance")

Value = TypeVar("Value")

Variable = tuple[str, str]
"""A component, and the name of one of its variables."""

_VARIABLE = re.compile(
    rf"(DeepLearning(?:Conv|Deconv)_\w+)/(?:\w+/)?(W|b|{'|'.join(NORM_PARTS)})(?::0)?"
)
_OBJECT = "/.ATTRIBUTES/VARIABLE_VALUE"
_BOOKKEEPING = re.compile(
    r"(.*/)?(Adam|Adam_\d+|beta[12]_power|beta[12]_power_\d+|global_step|save_counter)(:0)?"
    r"|optimizer(/.*)?|.*\.OPTIMIZER_SLOT.*"
)


@dataclass(frozen=True, slots=True)
class PerceptiLabsNaming:
    """The component of each of our layers; those that are merged skip connection first.

    `normed`: components with a batch norm in the graph; in checkpoints any may have one, or none.
    """

    components: Mapping[str, str]
    skip_first: tuple[str, ...]
    normed: tuple[str, ...] = ()


def _naming(
    convolutions: list[str],
    deconvolutions: list[str],
    skip_first: tuple[str, ...],
    normed: tuple[str, ...] = (),
) -> PerceptiLabsNaming:
    """Name our layers; components come in the order in which the graph runs them."""
    joins = [f"join.{i}" for i in range(4)]
    down = [f"{kind}.{i}" for i in range(5) for kind in ("widen", "down")]
    ours = ["enter", *down, *joins, "last"]
    components = {
        our: f"DeepLearningConv_Convolution_{name}"
        for our, name in zip(ours, convolutions, strict=False)
    }
    ours = [*(f"up.{i}" for i in range(5)), "last"]
    components |= {
        our: f"DeepLearningDeconv_Deconvolution_{name}"
        for our, name in zip(ours, deconvolutions, strict=False)
    }
    return PerceptiLabsNaming(components, skip_first, normed)


_JOINED = ("join.0", "join.1", "join.2", "join.3", "last")

RELU = _naming(
    [str(i) for i in range(1, 17)],
    [str(i) for i in range(1, 6)],
    skip_first=("join.0", "join.2", "join.3"),
)
LEAKY = _naming(
    [*(str(i) for i in range(1, 13)), "12_1", "12_1_1", "12_1_1_1", "13"],
    ["1", "2", "2_1", "2_1_1", "2_1_1_1"],
    skip_first=("join.0", "join.1"),
    normed=(*(f"down.{i}" for i in range(5)), *(f"up.{i}" for i in range(1, 5))),
)
STRIDED = _naming(
    [str(i) for i in range(1, 16)], ["1", "3", "6", "5", "4", "2"], skip_first=_JOINED
)
"""Source: layerName, connectionIn and backward_connections in the graphs."""


def recognise(naming: PerceptiLabsNaming, ours: Shapes, shapes: Shapes) -> bool:
    """Say whether tensors are those of the graph's components, with or without batch norms.

    `ours`: names and shapes of our module's.
    """
    found = _variables(shapes) or {}
    known = _plain(naming, ours)
    for layer, component in naming.components.items():
        if (component, NORM_PARTS[0]) in found:
            known |= {(component, part): ours[f"{layer}.bias"] for part in NORM_PARTS}
    return found == known


def _plain(naming: PerceptiLabsNaming, ours: Shapes) -> dict[Variable, tuple[int, ...]]:
    """Return the shapes of all components without norms, in TensorFlow's layouts."""
    known: dict[Variable, tuple[int, ...]] = {}
    for layer, component in naming.components.items():
        shape = ours[f"{layer}.weight"]
        known[component, "W"] = (*shape[2:], shape[1], shape[0])
        known[component, "b"] = ours[f"{layer}.bias"]
    return known


def _variables(named: Mapping[str, Value]) -> dict[Variable, Value] | None:
    """Return what is of components; None where there is anything else.

    What training keeps beside the weights is left out.
    """
    found: dict[Variable, Value] = {}
    for name, value in named.items():
        if _BOOKKEEPING.fullmatch(name.removesuffix(_OBJECT)):
            continue
        if name.endswith(_OBJECT):  # escaped as TensorFlow does
            name = name.removesuffix(_OBJECT).replace(".S", "/").replace("..", ".")
        match = _VARIABLE.fullmatch(name)
        if match is None or (match[1], match[2]) in found:
            return None
        found[match[1], match[2]] = value
    return found


def convert(naming: PerceptiLabsNaming, state: State) -> State:
    """Fold layouts, batch norms, packing, the order of merges and depth_to_space into our names."""
    found = _variables(state) or {}
    new: dict[str, Tensor] = {}
    for layer, component in naming.components.items():
        weight, bias = fold.from_tensorflow(found[component, "W"]), found[component, "b"]
        into, out = (0, 1) if component.startswith("DeepLearningDeconv") else (1, 0)
        if (component, NORM_PARTS[0]) in found:
            gamma, beta, mean, variance = (found[component, part] for part in NORM_PARTS)
            scale = gamma / torch.sqrt(variance + NORM_EPSILON)
            weight = (weight.movedim(out, -1) * scale).movedim(-1, out)
            bias = (bias - mean) * scale + beta
        if layer in naming.skip_first:
            weight = torch.cat(weight.chunk(2, into)[::-1], into)
        new |= {f"{layer}.weight": weight, f"{layer}.bias": bias}
    new["enter.weight"] = new["enter.weight"][:, fold.SID_PACKING]
    if naming.components["last"].startswith("DeepLearningConv"):
        order = fold.depth_to_space_order(3, 2)
        new |= {name: new[name][order] for name in ("last.weight", "last.bias")}
    return new


def dialects(naming: PerceptiLabsNaming, ours: Shapes) -> tuple[Shapes, ...]:
    """Return names and shapes of checkpoints of the graph: without its batch norms, and with."""
    plain = {"/".join(variable): shape for variable, shape in _plain(naming, ours).items()}
    norms = {
        f"{naming.components[layer]}/batch_normalization/{part}": ours[f"{layer}.bias"]
        for layer in naming.normed
        for part in NORM_PARTS
    }
    return (plain, plain | norms) if norms else (plain,)
