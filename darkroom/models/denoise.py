"""How much of the noise a network may remove: from demosaicing alone to all that it can.

`denoise` 0 is demosaicing alone, 1 the network's own result, and between them both are blended in
camera RGB, before any colour is made. Above 1 the network is told of more noise than there is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from darkroom.errors import UsageError
from darkroom.models.model import Model
from darkroom.models.tiling import BandedModel, Grid, TiledModel
from darkroom.mosaic.demosaic import demosaic
from darkroom.mosaic.noise import Noise
from darkroom.raw.image import Color

MAX_DENOISE = 2.0

DEMOSAIC_HALO = 1
"""Packed pixels that hold what demosaicing looks at around a tile."""


def check_range(denoise: float) -> None:
    """Raise UsageError for a number that is not from 0 to MAX_DENOISE."""
    if not 0 <= denoise <= MAX_DENOISE:
        raise UsageError(
            f"--denoise {denoise:g}: must be between 0 (demosaicing alone) and {MAX_DENOISE:g}"
        )


def with_denoise(model: Model, denoise: float, noise: Noise, color: Color) -> TiledModel:
    """Return what to run for so much denoising, 0 to MAX_DENOISE.

    `model`: one that gives camera RGB; where it takes no noise, it runs as it is. `noise`: of the
    amplified photo. `color`: the photo's, with a white balance.
    """
    if denoise == 0:
        # On the network's grid, so that photos end the same way however little of it is blended.
        return DemosaicingModel(replace(model.grid, halo=DEMOSAIC_HALO), model.device)
    if model.takes_noise:
        model = model.conditioned(noise.louder(max(denoise, 1.0)), color)
    return model if denoise >= 1 else BlendedModel(model, denoise)


@dataclass(frozen=True, slots=True)
class DemosaicingModel:
    """Demosaicing alone, in a network's place."""

    grid: Grid
    device: torch.device

    @torch.inference_mode()
    def __call__(self, packed: Tensor) -> Tensor:
        """(N, C, h, w) on any device -> (N, 3, s*h, s*w) camera RGB, on its own."""
        return demosaic(packed.to(self.device))

    def on_cpu(self) -> "DemosaicingModel":
        """Return the same on the processor."""
        return replace(self, device=torch.device("cpu"))


@dataclass(frozen=True, slots=True)
class BlendedModel:
    """A network's result, and demosaicing alone for the rest: `share` of the first, 0 to 1."""

    network: TiledModel
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

    @property
    def by_rows(self) -> bool:
        """Whether the network runs by bands of rows."""
        return isinstance(self.network, BandedModel) and self.network.by_rows

    def run_bands(
        self, photo: Callable[[int, int], Tensor], shape: tuple[int, int, int]
    ) -> Iterator[Tensor]:
        """Yield the picture by rows, as `Model.run_bands` does."""
        assert isinstance(self.network, BandedModel)
        scale, first = self.grid.scale, 0
        for clean in self.network.run_bands(photo, shape):
            stop = first + clean.shape[1]
            # Two packed pixels are X-Trans's period.
            start = max(first // scale - DEMOSAIC_HALO, 0) // 2 * 2
            end = min(-(-stop // scale // 2) * 2 + 2 * DEMOSAIC_HALO, shape[1])
            rows = demosaic(photo(start, end)[None])[0, :, first - start * scale :]
            yield rows[:, : stop - first].lerp(clean, self.share)
            first = stop

    def on_cpu(self) -> "BlendedModel":
        """Return the same on the processor."""
        return replace(self, network=self.network.on_cpu())
