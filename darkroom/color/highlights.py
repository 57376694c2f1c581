"""Light above white: what the RAW still holds of lamps, signs and skies, and how it is shown.

Networks learn that the picture's white is 1, so above it they say nothing. But amplified less, a
lamp is an ordinary bright photo: where there is light above white the network is run again at
lower gains, down to one that brings all of it below white, and each place is taken from the
highest gain that does not clip it. A tone curve (`darkroom.color.tone_curve`) shows the result.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from darkroom.color.matrix import camera_to_srgb
from darkroom.color.tone_curve import Shoulder
from darkroom.models.tiling import Grid, TiledModel
from darkroom.mosaic.packed_photo import PackedPhoto
from darkroom.mosaic.packing import COLORS_OF_CHANNELS
from darkroom.raw.image import Color

STEP = 4.0
"""Each gain is at most so many times the next lower one."""
FROM, TO = 0.7, 0.95
"""The picture's light, largest channel, from which and up to which the next lower gain takes over;
networks begin to flatten below their white."""
BRIGHT = 0.65
"""Light of a cell in whose surroundings there may be light above FROM."""
ROOM = 1.25
"""The lowest gain brings the brightest site so far below white, where the sensor allows."""
CELL = 2
"""Packed pixels each way that are averaged, so that noise is not taken for light."""
REACH = 4
"""Cells on each side of bright ones that belong to their surroundings."""
BAND, ROWS = 64, 256
"""Rows of packed pixels whose brightness is measured at once: that of cells, that of sites."""
SATURATED = 0.97
"""Share of the saturated value from which on a site counts as saturated; noise spreads it."""
NEAR = 5.0
"""Of five by five packed pixels so many in 25 are saturated where all are beside saturated ones:
noise saturates single sites, which shall not make specks."""

Window = tuple[slice, slice]
"""Rows and columns."""


class Highlights(Enum):
    """What becomes of light above white."""

    CLIP = "clip"
    ROLL = "roll"


def with_highlights(
    network: TiledModel,
    dimmed: Callable[[float], TiledModel],
    packed: Tensor | PackedPhoto,
    color: Color,
    white: NDArray[np.float64],
) -> tuple[TiledModel, Shoulder | None]:
    """Return a network whose picture goes on above white, and the curve that brings it below.

    A colour whose own sites are not saturated goes on above the light at which white is. The
    network as it is and None where nothing in the photo is above white, or saturated. `dimmed`:
    makes the network for the same photo with so many times less light. `packed`: (C, h, w),
    amplified and white-balanced. `color`: with a white balance. `white`: (3,) the least light of a
    saturated site of each colour, amplified and white-balanced.
    """
    sensor_white, highest = max(float(white.min()), 1.0), float(white.max())
    brightest = _row_maxima(packed)
    if highest <= 1 or not bool((brightest > 1).any()):
        return network, None
    matrix, limits = camera_to_srgb(color).float(), tuple((SATURATED * white).tolist())
    peak, saturated = 0.0, False
    for rows in _runs(brightest > 1):
        light = torch.as_tensor(packed[:, rows, :])
        full = _saturated(light, limits)
        saturated |= bool(full.any())
        cells = _cells(light.masked_fill(full, sensor_white))
        peak = max(peak, float((matrix @ cells.flatten(1)).max()))
    if peak <= 1 and not saturated:
        return network, None
    lowest = min(ROOM * float(brightest.max()), highest)
    count = max(1, math.ceil(math.log(lowest) / math.log(STEP)))
    factors = [lowest ** (step / count) for step in range(1, count + 1)]
    exposures = tuple(DimmedModel(factor, dimmed(factor)) for factor in factors)
    model = HighDynamicRangeModel(network, exposures, limits, sensor_white)
    return model, Shoulder.of(min(peak, sensor_white), highest)


def _row_maxima(packed: Tensor | PackedPhoto) -> Tensor:
    """Return the brightest site of each row of packed pixels, (h,)."""
    bands = (packed[:, top : top + ROWS, :] for top in range(0, packed.shape[1], ROWS))
    return torch.cat([torch.as_tensor(light).amax(dim=(0, 2)) for light in bands])


def _saturated(packed: Tensor, limits: tuple[float, ...]) -> Tensor:
    """Return which packed pixels of (C, h, w) hold a site at its colour's limit: (h, w)."""
    return (packed >= _limits(packed, limits)).any(0)


def _limits(packed: Tensor, limits: tuple[float, ...]) -> Tensor:
    """Return the limits of the colours of packed channels: (C, 1, 1)."""
    channels = [limits[color] for color in COLORS_OF_CHANNELS[len(packed)]]
    return packed.new_tensor(channels)[:, None, None]


def _cells(packed: Tensor) -> Tensor:
    """Average cells of packed pixels by colour: (C, h, w) to (3, h / CELL, w / CELL)."""
    channels = np.array(COLORS_OF_CHANNELS[len(packed)])
    colors = torch.stack([packed[channels == color].mean(0) for color in range(3)])
    return functional.avg_pool2d(colors, CELL, ceil_mode=True, count_include_pad=False)


def _runs(flags: Tensor) -> Iterator[slice]:
    """Yield the pieces, at most BAND long, of a line in which flags are set."""
    places = flags.nonzero().flatten().tolist()
    while places:
        start = places[0]
        inside = [place for place in places[:BAND] if place < start + BAND]
        yield slice(start, inside[-1] + 1)
        places = places[len(inside) :]


@dataclass(frozen=True, slots=True)
class DimmedModel:
    """The network for the same photo with `factor` times less light."""

    factor: float
    network: TiledModel


@dataclass(frozen=True, slots=True)
class HighDynamicRangeModel:
    """A network whose picture goes on above white, from runs at lower gains.

    `exposures`: from the brightest to the darkest. `saturated`: light of R, G and B from which on a
    site is taken for saturated. `white`: light of all three where the sensor is saturated.
    """

    network: TiledModel
    exposures: tuple[DimmedModel, ...]
    saturated: tuple[float, ...]
    white: float

    @property
    def grid(self) -> Grid:
        """The network's."""
        return self.network.grid

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.network.device

    @torch.inference_mode()
    def __call__(self, packed: Tensor) -> Tensor:
        """(N, C, h, w) on any device -> (N, 3, s*h, s*w) camera RGB, on the network's."""
        picture = self.network(packed)
        for light, part in zip(packed, picture, strict=True):
            self._extend(light, part)
        return picture

    def on_cpu(self) -> "HighDynamicRangeModel":
        """Return the same on the processor."""
        exposures = tuple(replace(e, network=e.network.on_cpu()) for e in self.exposures)
        return replace(self, network=self.network.on_cpu(), exposures=exposures)

    def _extend(self, light: Tensor, picture: Tensor) -> None:
        """Put light above white into a picture (3, s*h, s*w); `light`: its mosaic, packed."""
        near, scale = _surroundings(light), self.grid.scale
        for inner, outer in _windows(near, self.grid):
            place = picture[:, *_scaled(inner, (0, 0), scale)]
            inside = _scaled(inner, (outer[0].start, outer[1].start), scale)
            held = self._hold(light[:, *outer], inside, place)
            mask = near[inner].to(place.device).repeat_interleave(scale, 0)
            place.copy_(torch.where(mask.repeat_interleave(scale, 1), held, place))

    def _hold(self, window: Tensor, inside: Window, first: Tensor) -> Tensor:
        """Merge the `inside` of a window at all exposures: (3, H, W), `first` at the full one."""
        brightest = float(window.max())
        steps = list(zip([1.0, *(e.factor for e in self.exposures)], self.exposures, strict=False))
        needed = [e for above, e in steps if above * FROM < brightest] or [self.exposures[0]]
        merged = self._without_false_color(self._run(needed[-1], window, inside), window, inside)
        # Beside a clipped lamp a network sees white; so it is the neighbourhood that decides.
        near = functional.max_pool2d(_cells(window).amax(0)[None, None], 3, 1, 1)
        near = functional.interpolate(near, scale_factor=CELL * self.grid.scale, mode="bilinear")
        light = near[0, 0][inside].to(first.device)
        for exposure in needed[-2::-1]:
            bright = self._run(exposure, window, inside)
            merged = _merge(bright, merged, light, exposure.factor)
        return _merge(first, merged, light, 1.0)

    def _run(self, exposure: DimmedModel, window: Tensor, inside: Window) -> Tensor:
        """Return the `inside` of a window at an exposure, as light at the full one."""
        dimmed = (window / exposure.factor)[None]
        return exposure.network(dimmed)[0][:, *inside] * exposure.factor

    def _without_false_color(self, picture: Tensor, window: Tensor, inside: Window) -> Tensor:
        """Make a picture white as the sites around each pixel are saturated.

        Of a saturated colour nobody knows how much there was, so there is no colour.
        """
        full = _saturated(window, self.saturated).float()[None, None]
        if not bool(full.any()):
            return picture
        # What is told of the others' colour reaches a little further than they do.
        share = functional.avg_pool2d(full, 3, 1, 1, count_include_pad=False)
        near = functional.avg_pool2d(full, 5, 1, 2).mul_(NEAR).clamp_(max=1)
        share, near = (
            functional.interpolate(
                part.to(picture.device), scale_factor=self.grid.scale, mode="bilinear"
            )[0][:, *inside]
            for part in (share, near)
        )
        picture = picture.lerp(picture.clamp(max=self.white), near)
        return picture.lerp(torch.full_like(picture, self.white), share)


def _surroundings(light: Tensor) -> Tensor:
    """Return where in a packed photo (C, h, w) there may be light above white: (h, w) bool."""
    _, height, width = light.shape
    bright = (_cells(light).amax(0) > BRIGHT)[None, None].float()
    wide = functional.max_pool2d(bright, 2 * REACH + 1, 1, REACH)
    sites = functional.interpolate(wide, scale_factor=CELL, mode="nearest")[0, 0]
    return sites[:height, :width] > 0


def _merge(bright: Tensor, dark: Tensor, near: Tensor, factor: float) -> Tensor:
    """Take a picture from a brighter exposure, and where that comes near its white from a darker.

    `near`: (H, W) light around each pixel. `factor`: by how much the brighter exposure is dimmed.
    Mixed in square roots, as the network works: there noise is alike at all levels.
    """
    light = torch.maximum(dark.amax(0), near)
    share = ((light / factor - FROM) / (TO - FROM)).clamp_(0, 1)
    share = share * share * (3 - 2 * share)
    roots = [part.abs().sqrt_().copysign_(part) for part in (bright, dark)]
    mixed = roots[0].lerp_(roots[1], share)
    return mixed * mixed.abs()


def _windows(flags: Tensor, grid: Grid) -> Iterator[tuple[Window, Window]]:
    """Yield windows that together hold all flags of (h, w), each with what it depends on around it.

    They start on the network's grid, so that it sees them as it sees the whole.
    """
    height, width = flags.shape
    if not bool(flags.any()):
        return
    if grid.halo is None:
        whole = slice(0, height), slice(0, width)
        yield whole, whole
        return
    step, margin = grid.multiple, grid.margin
    cells = functional.max_pool2d(flags[None].float(), step, ceil_mode=True)[0].numpy() > 0
    for rows, columns in _split(cells, (0, 0), margin // step):
        inner, outer = [], []
        for side, size in ((rows, height), (columns, width)):
            start, stop = side.start * step, min(side.stop * step, size)
            inner.append(slice(start, stop))
            outer.append(slice(max(start - margin, 0), min(stop + margin, size)))
        yield (inner[0], inner[1]), (outer[0], outer[1])


def _split(cells: NDArray[np.bool_], origin: tuple[int, int], margin: int) -> list[Window]:
    """Return windows that hold all cells that are set, and with their margins are least work.

    Halves a window as long as both halves, each as small as its cells allow, are less.
    """
    places = np.argwhere(cells)
    if not len(places):
        return []
    (top, left), (bottom, right) = places.min(0), places.max(0) + 1
    cells, origin = cells[top:bottom, left:right], (origin[0] + int(top), origin[1] + int(left))
    height, width = cells.shape
    best = [(slice(origin[0], origin[0] + height), slice(origin[1], origin[1] + width))]
    if height >= width and height > 1:
        middle = height // 2
        halves = [(cells[:middle], origin), (cells[middle:], (origin[0] + middle, origin[1]))]
    elif width > 1:
        middle = width // 2
        halves = [(cells[:, :middle], origin), (cells[:, middle:], (origin[0], origin[1] + middle))]
    else:
        return best
    parts = [window for half, start in halves for window in _split(half, start, margin)]

    def work(windows: list[Window]) -> int:
        return sum(
            (rows.stop - rows.start + 2 * margin) * (columns.stop - columns.start + 2 * margin)
            for rows, columns in windows
        )

    return min(best, parts, key=work)


def _scaled(window: Window, origin: tuple[int, int], scale: int) -> Window:
    """Turn packed pixels, counted from `origin`, into picture pixels."""
    rows, columns = (
        slice((side.start - start) * scale, (side.stop - start) * scale)
        for side, start in zip(window, origin, strict=True)
    )
    return rows, columns
