"""The published networks as their publications describe them, to hold darkroom's own against.

Each is written plainly, with its own packing, its own names and its own treatment of a photo's
edges, and shares no code with `darkroom.models`: a mistake there cannot hide here. They are slow,
and nothing but the parity table and the tests runs them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.raw.image import Sensor

Mosaic = NDArray[np.float32]
"""(H, W) amplified light, black 0, white 1, unclipped; its first site is the CFA's first."""

Picture = NDArray[np.float32]
"""(H', W', 3) sRGB, not yet clipped; H' <= H, W' <= W where it is cropped at the bottom, right."""

Weights = Mapping[str, Tensor]

Load = Callable[[Weights, Tensor], Callable[[Mosaic], Picture]]
"""Makes what paints a mosaic with these weights, computed as a tensor is: its type, its device."""


def paint_exactly(load: Load, weights: Weights, mosaic: Mosaic) -> Picture:
    """Paint a mosaic in float64, on the processor."""
    return load(weights, torch.empty(0, dtype=torch.float64))(mosaic)


@dataclass(frozen=True, slots=True)
class Published:
    """One published network in one of the forms that its checkpoints have.

    `network`: the name to ask for it by, as in NETWORK=FILE. `dialect`: whose names and order the
    checkpoint has, in a few words. `weights`: random weights of a seed, under the published names
    and in the published layout. `picture`: what the publication makes of a mosaic with these
    weights. `tensorflow`: whether its checkpoints are TensorFlow's. `ambiguous`: whether the
    checkpoint's tensors fit another network too, so that the name has to be given.
    `norm_statistics`: what batch norms went by, as for `darkroom.load_model`. `load`: makes the
    publication's code step by step, so that its time can be had; None where that is not for
    PyTorch.
    """

    network: str
    dialect: str
    sensor: Sensor
    weights: Callable[[int], Weights]
    picture: Callable[[Weights, Mosaic], Picture]
    tensorflow: bool = False
    ambiguous: bool = False
    norm_statistics: str = "stored"
    load: Load | None = None
