"""The published networks as their publications describe them, to hold darkroom's own against.

Each is written plainly, with its own packing, its own names and its own treatment of a photo's
edges, and shares no code with `darkroom.models`: a mistake there cannot hide here. They are slow,
and nothing but the parity table and the tests runs them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from darkroom.raw.image import Sensor

Mosaic = NDArray[np.float32]
"""(H, W) amplified light, black 0, white 1, unclipped; its first site is the CFA's first."""


@dataclass(frozen=True, slots=True)
class Published:
    """One published network in one of the forms that its checkpoints have.

    `network`: the name to ask for it by, as in NETWORK=FILE. `dialect`: whose names and order the
    checkpoint has, in a few words. `weights`: random weights of a seed, under the published names
    and in the published layout. `picture`: what the publication makes of a mosaic with these
    weights: (H', W', 3) float32 sRGB, not yet clipped, H' <= H, W' <= W where it crops at the
    bottom and right. `tensorflow`: whether its checkpoints are TensorFlow's. `ambiguous`: whether
    the checkpoint's tensors fit another network too, so that the name has to be given.
    `norm_statistics`: what batch norms went by, as for `darkroom.load_model`.
    """

    network: str
    dialect: str
    sensor: Sensor
    weights: Callable[[int], Mapping[str, Tensor]]
    picture: Callable[[Mapping[str, Tensor], Mosaic], NDArray[np.float32]]
    tensorflow: bool = False
    ambiguous: bool = False
    norm_statistics: str = "stored"
