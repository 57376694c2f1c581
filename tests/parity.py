"""A network as darkroom runs it beside the same as published, for tests of both."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from darkroom.evaluation.published import Mosaic, Published
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.models.tiling import TileOption, run_tiled
from darkroom.mosaic.packing import BAYER, BAYER_SITES, XTRANS, XTRANS_SITES, pack
from darkroom.raw.image import Sensor

# float32 through some thirty layers, against float64: seen are up to 5e-6 of the largest value.
TOLERANCE = 1e-5


def random_mosaic(published: Published, height: int = 106, width: int = 74) -> Mosaic:
    """Amplified light with values below black and above white, of a size on no grid."""
    side = 2 if published.sensor is Sensor.BAYER else 6  # whole blocks of the colour filter array
    shape = (height // side * side, width // side * side)
    return np.random.default_rng(5).uniform(-0.2, 1.5, shape).astype(np.float32)


def packed_of(published: Published, mosaic: Mosaic) -> Tensor:
    return torch.from_numpy(pack(mosaic, BAYER if published.sensor is Sensor.BAYER else XTRANS))


def continued(published: Published, packed: Tensor, multiple: int) -> Mosaic:
    """Reflect a packed photo up to a network's grid, as darkroom does, and unpack it."""
    sites = BAYER_SITES if published.sensor is Sensor.BAYER else XTRANS_SITES
    edges = (0, -packed.shape[2] % multiple, 0, -packed.shape[1] % multiple)
    grid = functional.pad(packed[None], edges, mode="reflect")[0]
    side, period = (1, 2) if len(sites) == 4 else (2, 6)
    _, rows, cols = grid.shape
    mosaic = np.zeros((rows // side * period, cols // side * period), dtype=np.float32)
    for channel, block in zip(grid.numpy(), sites, strict=True):
        for place, (row, col) in enumerate(block):
            mosaic[row::period, col::period] = channel[place // side :: side, place % side :: side]
    return mosaic


def load_published(published: Published, state: dict[str, Tensor], path: Path) -> Model:
    """Load weights as a user would, from a file as its publisher saves it."""
    if published.tensorflow:
        from bundles import write_bundle

        path = write_bundle(path, {key: t.numpy() for key, t in state.items()}, fast=True)
    else:
        torch.save({"model": state}, path)
    name = f"{published.network}={path}" if published.ambiguous else path
    return load_model(name, device="cpu", precision="fp32")


def error(
    published: Published,
    state: dict[str, Tensor],
    model: Model,
    tile: TileOption = "off",
) -> float:
    """The largest difference of both pictures, relative to the largest value."""
    mosaic = random_mosaic(published)
    packed = packed_of(published, mosaic)
    wanted = published.picture(state, continued(published, packed, model.architecture.multiple))
    wanted = wanted[: mosaic.shape[0], : mosaic.shape[1]]
    assert wanted.std() > 0.04  # or there would be nothing to compare
    found: NDArray[np.float32] = run_tiled(model, packed, tile).permute(1, 2, 0).numpy()
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())
