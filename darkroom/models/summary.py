"""What a network is made of: its layers, what each reads, and what each costs for a photo."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import nn

from darkroom.errors import UsageError, WeightsError
from darkroom.models.architectures import find_architectures
from darkroom.models.architectures.base import Architecture, Conditions, Shapes, shapes_of
from darkroom.models.loading import find_source
from darkroom.models.tracing import Layer, Skip, find_skips, trace_layers
from darkroom.mosaic.noise import Noise
from darkroom.weights import checkpoint, registry, store

TYPICAL = Noise(2.5e-3, 1e-2, "a full-frame camera at x100")
"""What a network is told that takes a photo's noise, where there is no photo."""

MIN_SIDE, MAX_SIDE = 16, 100_000
"""Photosites along a side of the photo whose cost is asked for."""


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
    return ModelSummary(*shapes, layers, tuple(find_skips(layers, shapes[0])))


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
