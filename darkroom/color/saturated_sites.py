"""Where a sensor's sites are saturated, and what of the picture's colour nobody knows there."""

import torch
from torch import Tensor
from torch.nn import functional

from darkroom.mosaic.demosaic import unpack_mosaic
from darkroom.mosaic.packing import COLORS_OF_CHANNELS

SATURATED = 0.97
"""Share of the saturated value from which on a site counts as saturated; noise spreads it."""
FADE, FROM = 7, 0.1
"""Pixels each way over which colour fades, and the share of them that hold a saturated colour from
which it begins to; it is gone half of them all later."""
LIT = (0.1, 0.3)
"""Light of a pixel, in shares of white, from which on and up to which its colour is in doubt: what
is darker beside a hard edge is no light that was cut off, and would get a white fringe."""


def find_saturated(packed: Tensor, limits: tuple[float, ...]) -> Tensor:
    """Return which packed pixels of (C, h, w) hold a site at its colour's limit: (h, w) bool."""
    return (packed >= limits_of_channels(packed, limits)).any(0)


def limits_of_channels(packed: Tensor, limits: tuple[float, ...]) -> Tensor:
    """Return the limits of R, G and B for each channel of (C, h, w): (C, 1, 1)."""
    channels = [limits[color] for color in COLORS_OF_CHANNELS[len(packed)]]
    return packed.new_tensor(channels)[:, None, None]


def find_unknown_colors(sites: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much of each pixel's colour is unknown, from 0 to 1, and which are white: (H, W).

    A colour is saturated at a pixel by the share of its sites there, the nearest ones counting
    most. Of one alone the unknown fades over pixels, or lamps had rims of false colour; where all
    are saturated it is white as sharply as the light is. `sites`: (C, h, w), which are saturated.
    `near`: (h, w), where that is not for noise alone.
    """
    channels = torch.tensor(COLORS_OF_CHANNELS[len(sites)], device=sites.device)
    there = torch.stack([channels == color for color in range(3)])[:, :, None, None]
    there = there.expand(3, *sites.shape)
    mosaics = unpack_mosaic(torch.cat([there & sites, there]).float())
    taps = mosaics.new_tensor([1.0, 2.0, 1.0])  # linear interpolation of sites two apart
    sums = functional.conv2d(mosaics, (taps[:, None] * taps)[None, None], padding=1)[:, 0]
    shares = sums[:3] / sums[3:].clamp(min=1)
    most = (shares > 0.5).any(0).float()  # so that single ones, which noise makes, do not count
    around = functional.avg_pool2d(most[None], FADE, 1, FADE // 2, count_include_pad=False)
    unknown = around[0].sub_(FROM).mul_(2).clamp_(0, 1)
    own = mosaics[:3, 0].amax(0) > 0
    white = own & (shares.amin(0) >= 0.5) & repeat(near, len(own) // len(near))
    return unknown, white


def lit_share(light: Tensor) -> Tensor:
    """Return how much (3, H, W) light, white 1, is no dark beside a light, from 0 to 1: (H, W)."""
    return ((light.amax(0) - LIT[0]) / (LIT[1] - LIT[0])).clamp_(0, 1)


def repeat(flags: Tensor, times: int) -> Tensor:
    """Return each of (h, w) so many times each way."""
    return flags.repeat_interleave(times, 0).repeat_interleave(times, 1)
