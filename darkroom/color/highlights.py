"""Light above white: what the RAW still holds of lamps, signs and skies, and how it is shown.

Networks learn that the picture's white is 1, so above it they say nothing. The sensor does: at a
gain of 300 it is saturated only at 300 times white, and what is far above white has little noise.
So there the picture is taken from the mosaic itself, and a shoulder brings it below white.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from darkroom.color.matrix import camera_to_srgb
from darkroom.color.tone_curve import Shoulder
from darkroom.models.tiling import Grid, TiledModel
from darkroom.mosaic.demosaic import unpack_mosaic
from darkroom.mosaic.noise import Noise
from darkroom.mosaic.packing import BAYER, COLORS_OF_CHANNELS, XTRANS
from darkroom.raw.image import CFA, Color

FROM, TO = 0.7, 1.2
"""Light from which, and up to which, the mosaic's own picture takes over from the network's."""
OFFSET = 0.1
"""Added before the logarithm, so that the noise of shadows beside a lamp counts for little."""
HUE_REACH = 4
"""Packed pixels on each side over which colour is averaged, where it is noise that differs."""
DETAIL_REACH = 3
"""Photosites on each side from which light and its spread are measured."""
BINOMIAL_NOISE = (6 / 16) ** 2
"""Share of the variance of noise that weights of 1 2 1 leave, both ways."""
NOISE_LIMIT = 1.3
"""Spread counts as noise up to so many times what is expected: it is measured on few sites."""
TINY = 1e-9
REACH = 8
"""Packed pixels that light above white reaches, and from which what it reaches is made."""
BAND = 64
"""Rows of packed pixels worked on at once."""
CELL = 2
"""Packed pixels each way that are averaged for the photo's brightest light."""

Window = tuple[slice, slice]
"""Rows and columns of packed pixels."""


class Highlights(Enum):
    """What becomes of light above white."""

    CLIP = "clip"
    ROLL = "roll"


def with_highlights(
    network: TiledModel, packed: Tensor, noise: Noise, color: Color, gain: float
) -> tuple[TiledModel, Shoulder | None]:
    """Return a network whose picture goes on above white, and the curve that brings it below.

    The network as it is and None where nothing in the photo is above white. `packed`: (C, h, w),
    amplified by `gain` and white-balanced. `noise`: of the amplified photo. `color`: with a white
    balance.
    """
    shoulder = find_shoulder(packed, color, gain)
    if shoulder is None:
        return network, None
    assert color.white_balance is not None, "a photo without one is balanced before"
    balance = color.white_balance / color.white_balance.min()
    return ExtendedModel(network, noise, tuple(balance.tolist()), gain), shoulder


def find_shoulder(packed: Tensor, color: Color, gain: float) -> Shoulder | None:
    """Return the curve for a photo; None where nothing is above white.

    `packed`: (C, h, w), amplified by `gain` and white-balanced, so that every channel of a
    saturated sensor is at least `gain`.
    """
    if gain <= 1:
        return None
    over = packed.amax(dim=(0, 2)) > 1
    if not bool(over.any()):
        return None
    matrix = camera_to_srgb(color).float()
    peak = max(_brightest(packed[:, rows], matrix, gain) for rows in _runs(over))
    return Shoulder.of(min(peak, gain), gain) if peak > 1 else None


def _brightest(packed: Tensor, matrix: Tensor, white: float) -> float:
    """Return the largest linear sRGB of cells of packed pixels."""
    camera = _colors(packed.clamp(max=white))
    cells = functional.avg_pool2d(camera[None], CELL, ceil_mode=True, count_include_pad=False)[0]
    return float((matrix @ cells.flatten(1)).max())


def _runs(flags: Tensor) -> Iterator[slice]:
    """Yield the pieces, at most BAND long, of a line in which flags are set."""
    places = flags.nonzero().flatten().tolist()
    while places:
        start = places[0]
        inside = [place for place in places[:BAND] if place < start + BAND]
        yield slice(start, inside[-1] + 1)
        places = places[len(inside) :]


@dataclass(frozen=True, slots=True)
class ExtendedModel:
    """A network whose picture goes on above white, with what the mosaic holds.

    `noise`: of the amplified photo. `balance`: multipliers of R, G, B, the least 1. `white`: light
    of a saturated sensor.
    """

    network: TiledModel
    noise: Noise
    balance: tuple[float, ...]
    white: float

    @property
    def grid(self) -> Grid:
        """The network's, with room for the mosaic's picture."""
        grid = self.network.grid
        return grid if grid.halo is None else replace(grid, halo=max(grid.halo, 2 * REACH))

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.network.device

    @torch.inference_mode()
    def __call__(self, packed: Tensor) -> Tensor:
        """(N, C, h, w) on any device -> (N, 3, s*h, s*w) camera RGB, on the network's."""
        picture = self.network(packed)
        for light, part in zip(packed, picture, strict=True):
            for inner, outer in _windows(light):
                self._extend(light[:, *outer].to(part.device), inner, outer, part)
        return picture

    def on_cpu(self) -> "ExtendedModel":
        """Return the same on the processor."""
        return replace(self, network=self.network.on_cpu())

    def _extend(self, light: Tensor, inner: Window, outer: Window, picture: Tensor) -> None:
        """Replace what is bright in the `inner` part of a picture; `light` is that of `outer`."""
        scale = self.grid.scale
        held = self._hold(light)[:, *_scale(inner, (outer[0].start, outer[1].start), scale)]
        place = picture[:, *_scale(inner, (0, 0), scale)]
        # All channels at once, or colours would change where they are handed over one by one.
        share = ((held.amax(0) - FROM) / (TO - FROM)).clamp_(0, 1)
        place.lerp_(held, share * share * (3 - 2 * share))

    def _hold(self, light: Tensor) -> Tensor:
        """Demosaic and denoise: (C, h, w) -> (3, s*h, s*w) camera RGB.

        Detail is what each photosite has more, or less, of its colour than its surroundings, in
        logarithms, so that a lamp's sharp rim, which some sites see and others do not, decides
        nothing beyond it.
        """
        light = light.clamp(0, self.white)
        mosaic = unpack_mosaic(light[None])[0, 0]
        hue = self._hue(light).exp_()
        hue /= hue.mean(0)
        scale = mosaic.shape[0] // light.shape[1]
        hue = functional.interpolate(hue[None], scale_factor=scale, mode="bilinear")[0]
        cfa = BAYER if len(light) == len(BAYER.pattern) else XTRANS
        periods = (side // cfa.period for side in mosaic.shape)
        balance = torch.tensor(self.balance, device=hue.device)[cfa.channels].tile(*periods)
        detail = ((mosaic + OFFSET) / _at_sites(hue, cfa)).log_()
        noise = self._noise(mosaic, balance).mul_(BINOMIAL_NOISE)
        smooth = _denoise(_binomial(detail), noise, DETAIL_REACH)
        return hue.mul_(smooth.exp_()).sub_(OFFSET)

    def _hue(self, light: Tensor) -> Tensor:
        """Return the logarithms of colours, (C, h, w) -> (3, h, w), smoothed as noise asks."""
        levels = _colors(_center((light + OFFSET).log()))
        balance = torch.tensor(self.balance, device=light.device)[:, None, None]
        noise = self._noise(levels.exp() - OFFSET, balance)
        brightness = levels.mean(0)
        return torch.stack(
            [
                _denoise(level - brightness, spread, HUE_REACH)
                for level, spread in zip(levels, noise, strict=True)
            ]
        )

    def _noise(self, light: Tensor, balance: Tensor) -> Tensor:
        """Return the variance of the logarithm of light, of its shape."""
        noise = balance * self.noise.shot * light + (balance * self.noise.read).square()
        return noise / (light + OFFSET).square()


def _windows(light: Tensor) -> Iterator[tuple[Window, Window]]:
    """Yield what light above white reaches in a packed photo (C, h, w), and what that depends on.

    Their sides are even, as X-Trans has them.
    """
    _, height, width = light.shape
    rows_over = light.amax(dim=(0, 2)) > FROM
    for top in range(0, height, BAND):
        bottom = min(top + BAND, height)
        near = slice(max(top - REACH, 0), bottom + REACH)
        if not bool(rows_over[near].any()):
            continue
        columns = (light[:, near].amax(dim=(0, 1)) > FROM).nonzero()
        left, right = (int(columns[end]) // 2 * 2 for end in (0, -1))
        inner = slice(max(left - REACH, 0), min(right + 2 + REACH, width))
        outer = slice(max(inner.start - REACH, 0), min(inner.stop + REACH, width))
        rows = slice(max(top - REACH, 0), min(bottom + REACH, height))
        yield (slice(top, bottom), inner), (rows, outer)


def _scale(window: Window, origin: tuple[int, int], scale: int) -> Window:
    """Turn packed pixels, counted from `origin`, into picture pixels."""
    rows, columns = (
        slice((side.start - start) * scale, (side.stop - start) * scale)
        for side, start in zip(window, origin, strict=True)
    )
    return rows, columns


def _colors(light: Tensor) -> Tensor:
    """Average the sites of each colour of every packed pixel: (C, h, w) -> (3, h, w)."""
    channels = np.array(COLORS_OF_CHANNELS[len(light)])
    return torch.stack([light[channels == color].mean(0) for color in range(3)])


def _center(light: Tensor) -> Tensor:
    """Interpolate a Bayer photo's channels (4, h, w) at the middle of their packed pixels.

    Else red and blue, which lie half a packed pixel apart, would show at the two sides of a lamp.
    X-Trans stays as it is: there the colours lie around the middle.
    """
    if len(light) != len(BAYER.pattern):
        return light
    padded = functional.pad(light[None], (1, 1, 1, 1), mode="replicate")[0]
    _, height, width = light.shape
    centred = torch.empty_like(light)
    for channel, (row, column) in enumerate(np.ndindex(2, 2)):
        rows = slice(2 - 2 * row, 2 - 2 * row + height)  # towards the middle
        columns = slice(2 - 2 * column, 2 - 2 * column + width)
        plane = padded[channel]
        across = 0.75 * plane[:, 1:-1] + 0.25 * plane[:, columns]
        centred[channel] = 0.75 * across[1:-1] + 0.25 * across[rows]
    return centred


def _at_sites(planes: Tensor, cfa: CFA) -> Tensor:
    """Take from (3, H, W) at each photosite the plane of its colour: (H, W)."""
    taken = torch.empty_like(planes[0])
    for row, column in np.ndindex(cfa.channels.shape):
        sites = slice(row, None, cfa.period), slice(column, None, cfa.period)
        taken[sites] = planes[int(cfa.channels[row, column])][sites]
    return taken


def _denoise(plane: Tensor, noise: Tensor, reach: int) -> Tensor:
    """Smooth (H, W) as far as its spread is that of noise of such variance, (H, W).

    Source: Lee, "Digital image enhancement and noise filtering by use of local statistics", IEEE
    TPAMI 2(2), 1980.
    """
    mean, square, noise = _average(torch.stack([plane, plane.square(), noise]), reach)
    variance = (square - mean.square()).clamp_(min=TINY)
    kept = (1 - NOISE_LIMIT * noise / variance).clamp_(min=0)
    smooth: Tensor = mean.addcmul_(kept, plane - mean)
    return smooth


def _binomial(plane: Tensor) -> Tensor:
    """Weigh (H, W) by 1 2 1 both ways: in Bayer each colour then counts alike everywhere."""
    padded = functional.pad(plane[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    down = padded[:-2] + padded[2:] + 2 * padded[1:-1]
    return (down[:, :-2] + down[:, 2:] + 2 * down[:, 1:-1]).div_(16)


def _average(planes: Tensor, reach: int) -> Tensor:
    """Average (n, h, w) over squares, the borders continued."""
    side = 2 * reach + 1
    padded = functional.pad(planes[None], (reach,) * 4, mode="replicate")[0]
    _, height, width = planes.shape
    # A few sums of whole rows: several times as fast as torch's pooling.
    down = padded[:, :height].clone()
    for row in range(1, side):
        down += padded[:, row : row + height]
    across = down[:, :, :width].clone()
    for column in range(1, side):
        across += down[:, :, column : column + width]
    return across.div_(side * side)
