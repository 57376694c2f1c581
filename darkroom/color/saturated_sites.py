"""Where a sensor's sites are saturated, and what of the picture's colour nobody knows there."""

import torch
from torch import Tensor
from torch.nn import functional

from darkroom.mosaic.demosaic import unpack_mosaic
from darkroom.mosaic.packing import BAYER, COLORS_OF_CHANNELS, XTRANS

SATURATED = 0.97
"""Share of the saturated value from which on a site counts as saturated; noise spreads it."""
FADE, FADE_FROM = 7, 0.1
"""Pixels each way over which colour fades, and the share of them that hold a saturated colour from
which it begins to; it is gone half of them all later."""
LIGHT_ENOUGH = (0.1, 0.3)
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
    saturated = unpack_mosaic(sites[None].byte())[0, 0]
    cfa = BAYER if len(sites) == len(BAYER.pattern) else XTRANS
    colors = torch.from_numpy(cfa.channels).byte().to(sites.device)
    height, width = saturated.shape
    colors = colors.repeat(height // cfa.period, width // cfa.period)
    there = torch.stack([(colors == color).byte() for color in range(3)])
    full, all_of_it = _interpolate(there * saturated), _interpolate(there)
    full *= 2
    # Half of a colour's sites are not enough here: single ones, which noise makes, shall not count.
    unknown = (full > all_of_it).any(0).float()[None]
    for kernel in ((FADE, 1), (1, FADE)):
        padding = kernel[0] // 2, kernel[1] // 2
        unknown = functional.avg_pool2d(unknown, kernel, 1, padding, count_include_pad=False)
    white = (full >= all_of_it).all(0)
    white &= saturated.bool()
    white &= repeat(near, height // len(near))
    return unknown[0].sub_(FADE_FROM).mul_(2).clamp_(0, 1), white


def _interpolate(planes: Tensor) -> Tensor:
    """Sum (3, H, W) bytes over 3x3 pixels with 1, 2, 1 each way: linear between sites two apart."""
    rows = functional.pad(planes, (1, 1, 1, 1))
    rows = rows[:, :-2] + rows[:, 1:-1] + rows[:, 1:-1] + rows[:, 2:]
    return rows[..., :-2] + rows[..., 1:-1] + rows[..., 1:-1] + rows[..., 2:]


def lit_share(light: Tensor) -> Tensor:
    """Return how much (3, H, W) light, white 1, is no dark beside a light, from 0 to 1: (H, W)."""
    low, high = LIGHT_ENOUGH
    return ((light.amax(0) - low) / (high - low)).clamp_(0, 1)


def repeat(flags: Tensor, times: int) -> Tensor:
    """Return each of (h, w) so many times each way."""
    return flags.repeat_interleave(times, 0).repeat_interleave(times, 1)
