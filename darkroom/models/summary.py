"""What a network is made of: its layers, what each reads, and what each costs for a photo.

A network is run once on torch's meta device, where tensors have shapes and no values; `tracing`
writes down what it does.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from darkroom.errors import UsageError, WeightsError
from darkroom.models.architectures import find_architectures
from darkroom.models.architectures.base import Architecture, Conditions, Shapes, shapes_of
from darkroom.models.loading import find_source
from darkroom.models.tracing import Step, trace
from darkroom.mosaic.noise import Noise
from darkroom.weights import checkpoint, registry, store

TYPICAL = Noise(2.5e-3, 1e-2, "a full-frame camera at x100")
"""What a network is told that takes a photo's noise, where there is no photo."""

LEAST_SIDE, MOST_SIDE = 16, 100_000
"""Photosites along a side of the photo whose cost is asked for."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One step of a network.

    `name`: the module's; joins and shuffles are numbered in their module. `shape`: (C, h, w) of
    its result. `reduction`: photosites per pixel of that, along each axis. `macs`: multiplications,
    each with an addition. `sources`: the names of the steps that it reads.
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
class Anatomy:
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

    Where it is not, they are those of its first published form.
    """

    name: str
    architecture: Architecture
    shapes: Shapes
    installed: bool

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
    shapes = shapes_of(checkpoint.read_checkpoint(source.path))
    return Outline(name, source.identify(shapes), shapes, installed=True)


def dissect(network: nn.Module, architecture: Architecture, size: tuple[int, int]) -> Anatomy:
    """Return what a network is made of, wherever its weights are, for a photo run whole.

    `size`: width and height in photosites, continued up to the network's grid unless it takes any
    size. Raises UsageError where no photo has that size.
    """
    width, height = size
    if not all(LEAST_SIDE <= side <= MOST_SIDE for side in size):
        raise UsageError(f"{width}x{height}: give {LEAST_SIDE} to {MOST_SIDE} photosites a side")
    rows, cols = (architecture.packed_side(side) for side in (height, width))
    packed = torch.empty(1, architecture.channels, rows, cols, device="meta")
    state = {name: t.to("meta", torch.float32) for name, t in network.state_dict().items()}
    network = architecture.build(state).eval()
    if architecture.condition is not None and architecture.recognise(shapes_of(state)):
        network = architecture.condition(network, Conditions.of(TYPICAL, np.ones(3)))
    steps, picture = trace(network, packed)
    layers = tuple(_layer(step, rows, architecture.scale, steps) for step in steps[1:])
    shapes = tuple(packed.shape[1:]), tuple(picture.shape[1:])
    return Anatomy(*shapes, layers, tuple(_skips(steps)))


def stages(layers: Sequence[Layer]) -> list[Layer]:
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
def activations(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Watch what layers give while the network runs inside; filled in at the end, as `names` go.

    Each is (C, h, w) float32 on the processor, as the next layer saw it.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, result: Tensor) -> None:
            found[name] = result

        return hook

    modules = dict(network.named_modules())
    hooks = [modules[name].register_forward_hook(keep(name)) for name in names]
    maps: dict[str, Tensor] = {}
    try:
        yield maps
    finally:
        for handle in hooks:
            handle.remove()
    # Copied only now: activations change the layers' results in place.
    maps.update({name: found[name][0].to("cpu", torch.float32) for name in names})


def _layer(step: Step, rows: int, scale: int, steps: Sequence[Step]) -> Layer:
    """Finish a step of a network whose input has so many rows, each of `scale` photosites."""
    return Layer(
        name=step.name,
        kind=step.kind,
        shape=step.shape,
        reduction=_reduction(rows * scale, step.shape[-2], scale),
        parameters=step.parameters,
        macs=step.macs,
        sources=tuple(steps[source].name for source in step.sources),
    )


def _reduction(photosites: int, rows: int, scale: int) -> int:
    """Return the photosites per row; halves of odd sizes are rounded up, so the nearest halving."""
    if rows == photosites:
        return 1
    return int(scale * 2 ** round(math.log2(photosites / (rows * scale))))


def _skips(steps: Sequence[Step]) -> Iterator[Skip]:
    """List the connections by which a join reads a step and also something made of it."""
    before: list[set[int]] = []
    for step in steps:
        earlier = set().union(*(before[source] | {source} for source in step.sources))
        before.append(earlier)
        for source in step.sources if len(step.sources) > 1 else ():
            if any(source in before[other] for other in step.sources):
                start = steps[source]
                yield Skip(start.name, step.name, step.kind, start.shape, step.inside)
