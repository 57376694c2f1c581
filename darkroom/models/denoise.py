"""How much of the noise a network may remove: from demosaicing alone to all that it can.

`denoise` 0 is demosaicing alone, 1 the network's own result, and between them both are blended in
camera RGB, before any colour is made. Above 1 the network is told of more noise than there is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from darkroom.errors import UsageError
from darkroom.models.model import Model
from darkroom.models.tiling import Grid, Runner
from darkroom.mosaic.demosaic import demosaic
from darkroom.mosaic.noise import Noise
from darkroom.raw.image import Color
from darkroom.weights.registry import Output

STRONGEST = 2.0

DEMOSAIC_HALO = 1
"""Packed pixels that hold what demosaicing looks at around a tile."""


def check_range(denoise: float) -> None:
    """Raise UsageError for a number that is not from 0 to STRONGEST."""
    if not 0 <= denoise <= STRONGEST:
        raise UsageError(
            f"--denoise {denoise:g}: must be between 0 (demosaicing alone) and {STRONGEST:g}"
        )


def check(model: Model, denoise: float) -> None:
    """Raise UsageError where this model cannot be asked for that much denoising."""
    check_range(denoise)
    if denoise != 1 and model.output is not Output.CAMERA:
        raise UsageError(
            f"--denoise {denoise:g}: {model.name} denoises, demosaics and colours in one; "
            "leave --denoise out, or take --model safelight"
        )


def steered(model: Model, denoise: float, color: Color, measure: Callable[[], Noise]) -> Runner:
    """Return what to run for so much denoising: a model that takes no noise as it is.

    `color`: the photo's, with a white balance. `measure`: finds the noise of the amplified photo;
    called where the model takes it. Raises UsageError where it cannot denoise so much or little.
    """
    check(model, denoise)
    if denoise == 0:
        # On the network's grid, so that photos end the same way however little of it is blended.
        return Demosaicer(replace(model.grid, halo=DEMOSAIC_HALO), model.device)
    network = model
    if model.takes_noise:
        network = model.tuned(measure().louder(max(denoise, 1.0)), color)
    return network if denoise >= 1 else Blend(network, denoise)


@dataclass(frozen=True, slots=True)
class Demosaicer:
    """Demosaicing alone, in a network's place."""

    grid: Grid
    device: torch.device

    @torch.inference_mode()
    def __call__(self, packed: Tensor) -> Tensor:
        """(N, C, h, w) on any device -> (N, 3, s*h, s*w) camera RGB, on its own."""
        return demosaic(packed.to(self.device))

    def on_cpu(self) -> "Demosaicer":
        """Return the same on the processor."""
        return replace(self, device=torch.device("cpu"))


@dataclass(frozen=True, slots=True)
class Blend:
    """A network's result, and demosaicing alone for the rest: `share` of the first, 0 to 1."""

    network: Runner
    share: float

    @property
    def grid(self) -> Grid:
        """The network's: it reaches further than demosaicing."""
        return self.network.grid

    @property
    def device(self) -> torch.device:
        """Where both run."""
        return self.network.device

    @torch.inference_mode()
    def __call__(self, packed: Tensor) -> Tensor:
        """(N, C, h, w) on any device -> (N, 3, s*h, s*w) camera RGB, on its own."""
        clean = self.network(packed)
        return demosaic(packed.to(self.device)).lerp_(clean, self.share)

    def on_cpu(self) -> "Blend":
        """Return the same on the processor."""
        return replace(self, network=self.network.on_cpu())
