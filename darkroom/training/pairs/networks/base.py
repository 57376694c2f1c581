"""What all trainable networks have in common: how one is made, fed, trained and loaded again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from darkroom.raw.image import Color, Sensor
from darkroom.training.pairs.recipes import PairRecipe

if TYPE_CHECKING:
    from darkroom.pairs.exposures import ExposurePair
    from darkroom.pairs.store import PairStore
    from darkroom.training.pairs.batches import DrawBatch

KINDS = {Sensor.BAYER: "Bayer", Sensor.XTRANS: "X-Trans"}


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Crops of dark photos and of their references.

    `packed`: (N, C, h, w) canonical packed form, float32, black 0, white 1 before amplification,
    not clipped either way, amplified by `ratios`: (N,). `targets`: (N, 3, H, W) float32 sRGB in
    [0, 1]. `colors`: each photo's own.
    """

    packed: Tensor
    ratios: Tensor
    targets: Tensor
    colors: tuple[Color, ...]

    def to(self, device: torch.device) -> "PairBatch":
        """Return the same on a device."""
        packed, ratios, targets = (
            tensor.to(device, non_blocking=True)
            for tensor in (self.packed, self.ratios, self.targets)
        )
        return PairBatch(packed, ratios, targets, self.colors)


def run_network(network: nn.Module, batch: PairBatch) -> Tensor:
    """Run a network that paints sRGB: amplified packed crops to pictures like the targets."""
    pictures: Tensor = network(batch.packed)
    return pictures


@dataclass(frozen=True)
class TrainableNetwork:
    """A published network that can be trained.

    `make`: the module with published names, initialisation and parameterisation, in training mode;
    its state dict is a checkpoint. It maps (N, C, h, w) in the canonical packed form, amplified and
    not clipped, to (N, 3, s*h, s*w) sRGB, clamped only where the paper's code does so in training;
    its own packing order and clipping happen inside. `architecture`: what it is loaded as, as in
    ARCHITECTURE=FILE. `recipe`: the paper's. `forward`: how it is run on a batch, for networks that
    need more than amplified crops; it must call the module itself, whose hooks then run. `draw` and
    `middle`: how its batches and the middle of a test pair are cut, where crops are fed otherwise
    than as published networks are; None for these.
    """

    name: str
    sensor: Sensor
    make: Callable[[], nn.Module]
    architecture: str
    recipe: PairRecipe
    forward: Callable[[nn.Module, PairBatch], Tensor] = run_network
    draw: "DrawBatch | None" = None
    middle: "Callable[[PairStore, ExposurePair, int], PairBatch] | None" = None
