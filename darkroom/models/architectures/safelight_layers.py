"""Layers of safelight's own."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.mosaic.packing import BAYER, BAYER_SITES, COLORS_OF_CHANNELS, XTRANS_SITES

# Sites of one packed channel's period that the network folds into channels, per side.
UNSHUFFLE = 2

# Without a slope for negatives a quarter of some layers' features died in training.
LEAK = 0.1


class Film(NamedTuple):
    """A factor and an offset for each feature, (N, C, 1, 1) both.

    Source: Perez et al., "FiLM", AAAI 2018, section 2.
    """

    scale: Tensor
    shift: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same."""
        return torch.addcmul(self.shift, x, self.scale)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, film: Film | None = None) -> Tensor:
        """(N, width, h, w) -> the same."""
        inner = self.first(x) if film is None else film(self.first(x))
        added: Tensor = self.second(functional.leaky_relu(inner, LEAK, inplace=True))
        return added.add_(x)


class Leave(nn.Conv2d):
    """The last layer: it reads the features, in half precision where they are, and the mosaic.

    The mosaic's part is in the precision of the layer. Both parts are added in that: the features
    are but corrections to the mosaic, which bear rounding.
    """

    def forward(  # type: ignore[override]
        self, features: Tensor, mosaic: Tensor, inner: torch.dtype
    ) -> Tensor:
        """(N, C, h, w), (N, sites, h, w) -> (N, out, h, w); `inner`: what the features are in."""
        weights = torch.split(self.weight, [features.shape[1], mosaic.shape[1]], dim=1)
        exact = functional.conv2d(mosaic, weights[1], self.bias, padding=1)
        half = functional.conv2d(features, weights[0].to(inner), padding=1)
        return exact.add_(half)


class ResidualInterpolation(nn.Conv2d):
    """Corrects a picture by what it lacks of the mosaic, at the sites and in the colours around.

    Source: Kiku et al., "Residual interpolation for color image demosaicking", ICIP 2013, section
    2; its filters are learned here. In half precision where the features are: what is lacking is
    small.
    """

    def forward(  # type: ignore[override]
        self, picture: Tensor, mosaic: Tensor, gates: Tensor, exact: torch.dtype
    ) -> Tensor:
        """(N, out, h, w), (N, sites, h, w), (N, k * sites, h, w) -> (N, out, h, w).

        `gates`: factors on what is lacking, for each of the k ways in which it is spread. `exact`:
        what picture and mosaic are in.
        """
        # Picking by index would leave a layout that the next layer has to undo.
        own = find_own_colors(mosaic.shape[1] // UNSHUFFLE**2)
        pick = self.weight.new_zeros(len(own), self.out_channels, 1, 1, dtype=exact)
        pick[torch.arange(len(own)), own] = 1
        lacking = (mosaic - functional.conv2d(picture, pick)).to(self.weight.dtype)
        lacking = torch.cat([lacking] * (self.in_channels // mosaic.shape[1]), dim=1) * gates
        return picture + functional.conv2d(lacking, self.weight, padding=1)


def find_own_colors(channels: int) -> Tensor:
    """Return where the picture's channels, before their shuffle, have each site's own colour.

    `channels`: of the packed form. (sites,) int64, sites as `pixel_unshuffle` orders them.
    """
    corners = np.indices((UNSHUFFLE, UNSHUFFLE)).reshape(2, -1).T
    sites = BAYER_SITES + BAYER.period * corners if channels == 4 else XTRANS_SITES
    side = UNSHUFFLE * (2 if channels == 4 else 3)
    colors = np.array(COLORS_OF_CHANNELS[channels])[:, None]
    return torch.from_numpy((colors * side**2 + sites @ (side, 1)).ravel())
