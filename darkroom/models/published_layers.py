"""The layers of a network as they were published, beside those that run.

Which published tensor went into which of ours is not written down per network: the checkpoint is
converted once more, on torch's meta device and without values, and what each result was computed
from is followed through every operation.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from darkroom.errors import UsageError
from darkroom.models.architectures.base import Architecture, Conditions, Shapes, shapes_of
from darkroom.models.architectures.fold import weight_norm_pairs
from darkroom.models.summary import TYPICAL
from darkroom.models.tracing import Layer

FRESH = {"new_zeros", "new_ones", "new_empty", "new_full", "zeros_like", "ones_like", "empty_like"}
"""Operations of torch that are given a tensor and take none of its values."""

OBJECT = "/.ATTRIBUTES/VARIABLE_VALUE"
"""Ends a name in TensorFlow's checkpoints of objects, where a slash is written .S."""

STATISTICS = {"running_mean", "moving_mean"}
"""Names of what only batch norms have, in torch and in TensorFlow."""

PARAMETRISED = ".parametrizations.weight."
"""In torch's names, what stands between a layer and the parts of its weight."""


@dataclass(frozen=True, slots=True)
class CheckpointLayer:
    """A layer by the name and with the tensors that its publisher gave it.

    `name`: that of its tensors without their last part. `tensors`: names, whole, and shapes, in the
    publisher's layout. `runs_as`: names of our layers that its tensors went into; empty where
    nothing reads them. `activation`, `before`: as a `Layer` has them.
    """

    name: str
    kind: str
    tensors: dict[str, tuple[int, ...]]
    runs_as: tuple[str, ...]
    activation: str = ""
    before: str = ""

    @property
    def parameters(self) -> int:
        """Numbers in its tensors."""
        return sum(math.prod(shape) for shape in self.tensors.values())

    @property
    def is_norm(self) -> bool:
        """Whether it is a norm, folded into a convolution or not."""
        return "norm" in self.kind and not self.kind.startswith(("conv", "deconv", "linear"))


def list_published_layers(
    architecture: Architecture, shapes: Shapes, layers: Sequence[Layer]
) -> tuple[CheckpointLayer, ...]:
    """Return a checkpoint's layers as published, in the order in which they run, unread ones last.

    `shapes`: of the checkpoint, in any dialect. `layers`: of `summarize_model`, for the same.
    """
    order = {layer.name: place for place, layer in enumerate(layers)}
    into: dict[str, set[str]] = {name: set() for name in shapes}
    for ours, origins in trace_origins(architecture, shapes).items():
        layer = ours.rpartition(".")[0]
        for name in origins:
            into[name] |= {layer} & order.keys()
    groups: dict[str, list[str]] = {}
    for name in shapes:
        groups.setdefault(split_name(name)[0], []).append(name)
    kinds = {layer.name: layer.kind for layer in layers}
    # Only TensorFlow separates by slashes, and has the sides of a kernel first.
    tensorflow = any("/" in name for name in shapes)
    found = []
    for group, names in groups.items():
        runs_as = tuple(sorted(set().union(*(into[name] for name in names)), key=order.__getitem__))
        tensors = {name: shapes[name] for name in names}
        target = kinds[runs_as[0]] if runs_as else ""
        found.append(
            CheckpointLayer(group, _describe(tensors, target, tensorflow), tensors, runs_as)
        )
    found.sort(key=lambda one: (order[one.runs_as[0]] if one.runs_as else len(order), one.is_norm))
    return tuple(_with_activations(found, layers))


def find_running_layers(
    name: str, published: Sequence[CheckpointLayer], layers: Sequence[Layer]
) -> tuple[str, ...]:
    """Return our layers of that name: one by its own, or those that a published one went into.

    A published tensor's whole name does too. Raises UsageError, which names the nearest, where
    there is none.
    """
    ours = [layer.name for layer in layers if layer.parameters]
    if name in ours:
        return (name,)
    for layer in published:
        if name == layer.name or name in layer.tensors:
            if layer.runs_as:
                return layer.runs_as
            raise UsageError(f"--layer {name}: is in the checkpoint, but nothing reads it")
    near = get_close_matches(name, [*ours, *(one.name for one in published)], 3, 0.4)
    advice = f"did you mean {', '.join(near)}?" if near else "darkroom models NAME lists them"
    raise UsageError(f"--layer {name}: no layer with weights is called so; {advice}")


def trace_origins(architecture: Architecture, shapes: Shapes) -> dict[str, frozenset[str]]:
    """Return, for each tensor of the network that runs, the published ones that it is made of.

    `shapes`: of a checkpoint that the architecture recognises. Raises CheckpointError where it
    cannot be converted.
    """
    state = {
        name: torch.empty(shape, device="meta", dtype=torch.float64)
        for name, shape in shapes.items()
    }
    origins = _Origins()
    for name, tensor in state.items():
        origins.add([tensor], frozenset({name}))
    with torch.no_grad(), origins:
        network = architecture.load(state)
        if architecture.condition is not None and architecture.recognise(
            shapes_of(network.state_dict())
        ):
            network = architecture.condition(network, Conditions.of(TYPICAL, np.ones(3)))
    return {name: origins.of(tensor) for name, tensor in network.state_dict().items()}


def split_name(tensor: str) -> tuple[str, str]:
    """Split a published tensor's name into its layer's and its own, as in g_conv1_1 and weights.

    A lone name, as TensorFlow's Variable, is both.
    """
    if tensor.endswith(OBJECT):
        tensor = tensor.removesuffix(OBJECT).replace(".S", "/").replace("..", ".")
    tensor = tensor.removesuffix(":0")
    layer, parts, own = tensor.partition(PARAMETRISED)
    if parts:
        return layer, f"weight.{own}"
    cut = max(tensor.rfind("/"), tensor.rfind("."))
    return (tensor[:cut], tensor[cut + 1 :]) if cut > 0 else (tensor, tensor)


class _Origins(TorchDispatchMode):
    """Follows what tensors are computed from, by their storages, so that views are followed too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._found: dict[int, frozenset[str]] = {}
        self._kept: list[torch.UntypedStorage] = []  # or another could take the place of one

    def of(self, tensor: Tensor) -> frozenset[str]:
        """Return the names of what a tensor is made of."""
        return self._found.get(tensor.untyped_storage()._cdata, frozenset())

    def add(self, values: Any, names: frozenset[str]) -> None:
        """Say that tensors are made of these, besides what they were made of before."""
        for tensor in (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)):
            self._kept.append(tensor.untyped_storage())
            self._found[self._kept[-1]._cdata] = self.of(tensor) | names

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ not in FRESH:
            self.add(result, reduce(or_, map(self.of, given), frozenset()))
        return result


def _describe(tensors: Shapes, target: str, tensorflow: bool) -> str:
    """Describe a published layer in few words: conv 3x3, weight norm."""
    weight = max(tensors.values(), key=lambda shape: (len(shape), math.prod(shape)))
    if len(weight) == 4 and math.prod(weight) > 1:
        height, width = weight[:2] if tensorflow else weight[2:]
        words = f"{'deconv' if target.startswith('deconv') else 'conv'} {height}x{width}"
        return f"{words}, weight norm" if weight_norm_pairs(tensors) else words
    if len(weight) == 2:
        return "linear"
    if any(split_name(name)[1] in STATISTICS for name in tensors):
        return "batch norm"
    return target if "norm" in target and len(weight) == 1 else "numbers"


def _with_activations(
    found: Sequence[CheckpointLayer], layers: Sequence[Layer]
) -> Iterator[CheckpointLayer]:
    """Say of each published layer which activation follows, and which it begins with.

    Where several became one layer, the norm among them comes last.
    """
    known = {layer.name: layer for layer in layers}
    for one in found:
        # What went into fewer layers than it is their own; the rest, as safelight's tuner, bends.
        rivals = [
            other
            for other in found
            if one.runs_as and set(one.runs_as) & set(other.runs_as) and other is not one
        ]
        own = one.runs_as and all(len(one.runs_as) <= len(other.runs_as) for other in rivals)
        if not own:
            yield one
            continue
        normed = not one.is_norm and any(rival.is_norm for rival in rivals)
        after = "" if normed else known[one.runs_as[-1]].activation
        yield replace(one, activation=after, before=known[one.runs_as[0]].before)
