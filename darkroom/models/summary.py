"""What a network is made of: its layers, what each reads, and what each costs for a photo.

A network is run once on torch's meta device, where tensors have shapes and no values, and what it
does is written down. Each module with weights of its own is one layer, whatever happens inside it;
of what happens between such modules, only what joins or resizes is a layer.

Torch's own counter counts the work. Its graphs are not used: `torch.fx` cannot trace safelight and
REDI, whose code asks for sizes, and it loses work in place on views.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from darkroom.errors import UsageError, WeightsError
from darkroom.models.architectures import find_architectures
from darkroom.models.architectures.base import Architecture, Conditions, Shapes, shapes_of
from darkroom.models.loading import find_source
from darkroom.mosaic.noise import Noise
from darkroom.weights import checkpoint, registry, store

RESIZING = {
    "max_pool2d_with_indices": "max pool",
    "pixel_shuffle": "pixel shuffle",
    "pixel_unshuffle": "pixel unshuffle",
}
"""Operations of torch without weights that are layers of their own."""

TYPICAL = Noise(2.5e-3, 1e-2, "a full-frame camera at x100")
"""What a network is told that takes a photo's noise, where there is no photo."""

MIN_SIDE, MAX_SIDE = 16, 100_000
"""Photosites along a side of the photo whose cost is asked for."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One step of a network: a module with weights, or what joins or resizes.

    `name`: the module's; joins and shuffles are numbered in their module. `shape`: (C, h, w) of
    its result. `reduction`: photosites per pixel of that, along each axis. `macs`: multiplications,
    each with an addition. `sources`: the names of the layers that it reads, or input.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    reduction: int
    parameters: int
    macs: int
    sources: tuple[str, ...]

    @property
    def part(self) -> str:
        """The branch or level that it belongs to, as in coarse or levels.4."""
        found = re.match(r"[^.]+(\.\d+)?", self.name)
        return found[0] if found else self.name


@dataclass(frozen=True, slots=True)
class Skip:
    """A connection past some layers: `source` meets in `join` what was made of it.

    `inside`: the module that has all of it, empty for the network itself.
    """

    source: str
    join: str
    kind: str
    shape: tuple[int, ...]
    inside: str


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A network run whole over a photo; `input` and `output` are (C, h, w)."""

    input: tuple[int, ...]
    output: tuple[int, ...]
    layers: tuple[Layer, ...]
    skips: tuple[Skip, ...]

    @property
    def macs(self) -> int:
        """Multiplications of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Weights and biases as they run, folded."""
        return sum(layer.parameters for layer in self.layers)

    def macs_by(self, key: Callable[[Layer], Any]) -> dict[Any, int]:
        """Return the multiplications of each scale or part, in the order in which they come."""
        total: Counter[Any] = Counter()
        for layer in self.layers:
            if layer.macs:
                total[key(layer)] += layer.macs
        return dict(total)


@dataclass(frozen=True, slots=True)
class Outline:
    """A network by name: names and shapes of its checkpoint; `installed` says whether it is here.

    Where it is not, they are those of its first published form. `notes`: as a `Model` has them.
    """

    name: str
    architecture: Architecture
    shapes: Shapes
    installed: bool
    notes: tuple[str, ...] = ()

    @property
    def published_parameters(self) -> int:
        """Numbers in the checkpoint's tensors, of whatever kind."""
        return sum(int(torch.Size(shape).numel()) for shape in self.shapes.values())


def find_outline(name: str) -> Outline:
    """Return the network of weights, of a file, or by its own name as in perceptilabs.

    Weights need not be installed. Raises WeightsError for a name that nobody knows, CheckpointError
    for a file that no network recognises.
    """
    known = {**registry.ENTRIES, **store.imported()}
    if name in known:
        entry = known[name]
        if store.state(entry) is store.State.ABSENT:
            fits = [
                one for one in find_architectures(entry.architecture) if one.sensor is entry.sensor
            ]
            if not fits:
                raise WeightsError(f"{name}: no network is called {entry.architecture}")
            return Outline(name, fits[0], fits[0].dialects[0], installed=False)
    elif find_architectures(name):
        architecture = find_architectures(name)[0]
        return Outline(name, architecture, architecture.dialects[0], installed=False)
    source = find_source(name)
    state = checkpoint.read_checkpoint(source.path)
    shapes = shapes_of(state)
    architecture = source.identify(shapes)
    notes = source.list_notes(state, architecture)
    return Outline(name, architecture, shapes, installed=True, notes=notes)


def summarize_model(
    network: nn.Module, architecture: Architecture, size: tuple[int, int]
) -> ModelSummary:
    """Return what a network is made of, wherever its weights are, for a photo run whole.

    `size`: width and height in photosites, continued up to the network's grid unless it takes any
    size. Raises UsageError where no photo has that size.
    """
    width, height = size
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise UsageError(f"{width}x{height}: give {MIN_SIDE} to {MAX_SIDE} photosites a side")
    rows, cols = (architecture.packed_side(side) for side in (height, width))
    packed = torch.empty(1, architecture.channels, rows, cols, device="meta")
    state = {name: t.to("meta", torch.float32) for name, t in network.state_dict().items()}
    network = architecture.build(state).eval()
    if architecture.condition is not None and architecture.recognise(shapes_of(state)):
        network = architecture.condition(network, Conditions.of(TYPICAL, np.ones(3)))
    layers, picture = trace_layers(network, packed, architecture.scale)
    shapes = tuple(packed.shape[1:]), tuple(picture.shape[1:])
    return ModelSummary(*shapes, layers, tuple(_find_skips(layers, shapes[0])))


def trace_layers(
    network: nn.Module, packed: Tensor, scale: int
) -> tuple[tuple[Layer, ...], Tensor]:
    """Run a network and return its layers in order, and its result.

    `packed`: (1, C, h, w), each pixel `scale` photosites along each axis.
    """
    recorder, counter = _Recorder(packed, scale), FlopCounterMode(display=False)
    with torch.no_grad(), recorder.watching(network), counter, recorder:
        picture = network(packed)
    counts = counter.get_flop_counts().items()  # two per multiplication; by class and then by name
    macs = {name.partition(".")[2]: sum(flops.values()) // 2 for name, flops in counts}
    return tuple(replace(one, macs=macs.get(one.name, 0)) for one in recorder.layers), picture


def select_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Choose layers that show what happens at each scale, in order.

    Of layers with weights that follow each other at one scale: the last, and of more than two the
    first as well.
    """
    chosen = []
    weighted = [layer for layer in layers if layer.parameters]
    for _, group in groupby(weighted, key=lambda layer: layer.reduction):
        run = list(group)
        chosen += [run[0], run[-1]] if len(run) > 2 else [run[-1]]
    return chosen


@contextmanager
def record_activations(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Watch what layers give while the network runs inside; filled in at the end, as `names` go.

    Each is (C, h, w) float32 on the processor, as the next layer saw it.
    """
    found: dict[str, Tensor] = {}
    maps: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: Any, result: Tensor) -> None:
        found[name] = result

    modules = dict(network.named_modules())
    hooks = [modules[name].register_forward_hook(partial(keep, name)) for name in names]
    try:
        yield maps
    finally:
        for handle in hooks:
            handle.remove()
    # Copied only now: activations change the layers' results in place.
    maps.update({name: found[name][0].to("cpu", torch.float32) for name in names})


class _Recorder(TorchDispatchMode):
    """Writes down the layers of a network while it runs, but not their work."""

    def __init__(self, packed: Tensor, scale: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers: list[Layer] = []
        self._scale, self._photosites = scale, packed.shape[-2] * scale
        # Which layer made each storage, so that views and work in place are followed. Storages are
        # kept, or another could take the place and the number of one that is gone.
        self._makers: dict[int, str] = {}
        self._kept: list[torch.UntypedStorage] = []
        self._modules = [""]
        self._running: tuple[str, tuple[str, ...]] | None = None  # a layer and its sources
        self._numbers: Counter[str] = Counter()
        self._mark(packed, "input")

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Follow the network into its modules."""
        hooks = []
        for name, module in network.named_modules():
            hooks.append(module.register_forward_pre_hook(partial(self._enter, name)))
            hooks.append(module.register_forward_hook(partial(self._leave, name)))
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()

    def _enter(self, name: str, module: nn.Module, inputs: Any) -> None:
        self._modules.append(name)
        if next(module.parameters(recurse=False), None) is not None:
            self._running = name, self._sources(inputs)

    def _leave(self, name: str, module: nn.Module, inputs: Any, result: Tensor) -> None:
        self._modules.pop()
        if self._running is not None and self._running[0] == name:
            parameters = sum(parameter.numel() for parameter in module.parameters(recurse=False))
            self._add(name, _describe(module), result, self._running[1], parameters)
            self._running = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        sources = self._sources((args, kwargs))
        result = func(*args, **(kwargs or {}))
        if self._running is not None:
            return result
        operation = func.overloadpacket.__name__.removesuffix("_")
        if len(sources) > 1 or operation in RESIZING:
            kind = RESIZING.get(operation, operation)
            place = f"{self._modules[-1]}.{kind.replace(' ', '_')}".removeprefix(".")
            self._numbers[place] += 1
            self._add(f"{place}.{self._numbers[place]}", kind, next(_tensors(result)), sources)
        elif sources:
            self._mark(result, sources[0])
        return result

    def _add(
        self, name: str, kind: str, result: Tensor, sources: tuple[str, ...], parameters: int = 0
    ) -> None:
        reduction, scale = self._photosites / result.shape[-2], self._scale
        if reduction != 1:  # halves of odd sizes are rounded up, so the nearest halving
            reduction = scale * 2 ** round(math.log2(reduction / scale))
        shape = tuple(result.shape[1:])
        self.layers.append(Layer(name, kind, shape, int(reduction), parameters, 0, sources))
        self._mark(result, name)

    def _mark(self, values: Any, maker: str) -> None:
        """Say which layer made these tensors."""
        for tensor in _tensors(values):
            self._kept.append(tensor.untyped_storage())
            self._makers[self._kept[-1]._cdata] = maker

    def _sources(self, values: Any) -> tuple[str, ...]:
        """Return the layers that made these tensors, each once; weights were made by none."""
        keys = (tensor.untyped_storage()._cdata for tensor in _tensors(values))
        return tuple(dict.fromkeys(self._makers[key] for key in keys if key in self._makers))


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def _describe(module: nn.Module) -> str:
    """Describe a layer in few words: conv 3x3, deconv 2x2 x2, group norm in 32 groups."""
    if isinstance(module, nn.GroupNorm):
        return f"group norm in {module.num_groups} groups"
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return type(module).__name__.lower()
    transposed = isinstance(module, nn.ConvTranspose2d)
    height, width = module.kernel_size
    words = f"{'deconv' if transposed else 'conv'} {height}x{width}"
    if module.stride[0] > 1:
        words += f" {'x' if transposed else '/'}{module.stride[0]}"
    return words if module.groups == 1 else f"{words} in {module.groups} groups"


def _find_skips(layers: Sequence[Layer], packed: tuple[int, ...]) -> Iterator[Skip]:
    """List the connections by which a join reads a layer and also something made of it."""
    before: dict[str, set[str]] = {"input": set()}
    shapes = {"input": packed} | {layer.name: layer.shape for layer in layers}
    for layer in layers:
        name, sources = layer.name, layer.sources
        before[name] = set(sources).union(*(before[source] for source in sources))
        inside = "" if layer.parameters or name.count(".") < 2 else name.rsplit(".", 2)[0]
        for source in sources:
            if any(source in before[other] for other in sources):
                yield Skip(source, name, layer.kind, shapes[source], inside)
