"""Light above white: what the RAW still holds of lamps, signs and skies, and how it is shown.

Networks learn that the picture's white is 1, so above it they say nothing. But amplified less, a
lamp is an ordinary bright photo: where there is light above white the network is run again at
lower gains, down to one that brings all of it below white, and each place is taken from the
highest gain that does not clip it. A tone curve (`darkroom.color.tone_curve`) shows the result.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from darkroom.color.highlight_windows import (
    Window,
    find_strip_windows,
    find_windows,
    scale_window,
    widen,
)
from darkroom.color.matrix import camera_to_srgb
from darkroom.color.saturated_sites import (
    SATURATED,
    find_saturated,
    find_unknown_colors,
    limits_of_channels,
    lit_share,
    repeat,
)
from darkroom.color.tone_curve import Shoulder
from darkroom.models.tiling import BandedModel, Grid, TiledModel
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
BLUR = 4
"""Pixels each way over which light is averaged for the colour of what is dark beside lights."""
LIT, SPECKS = 2.0, (2.0, 8.0)
"""What is darker than the light around it, from these times LIT on, and so many times, takes on its
colour: errors of a hundredth of a lamp are speckles beside it. Skies over branches are dimmer."""
COLORED = 1.05
"""Most over least light of a saturated site from which on a sensor's end has a colour."""
NEAR = 5.0
"""Of five by five packed pixels so many in 25 are saturated where all are beside saturated ones:
noise saturates single sites, which shall not make specks."""


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
    limits, highest = tuple((SATURATED * white).tolist()), float(white.max())
    brightest, sensor_white = _row_maxima(packed), float(white.min())
    # Flat neutral surfaces may be taken for saturated ones; where these are neutral, all is well.
    colored = highest > COLORED * sensor_white
    if sensor_white < 1 and colored and _is_saturated(packed, brightest, limits):
        peak = sensor_white
    else:
        sensor_white = max(sensor_white, 1.0)
        if highest <= 1 or not bool((brightest > 1).any()):
            return network, None
        matrix = camera_to_srgb(color).float().to(brightest.device)
        peak, saturated = 0.0, False
        for rows in _runs(brightest > 1):
            light = torch.as_tensor(packed[:, rows, :])
            full = find_saturated(light, limits)
            saturated |= bool(full.any())
            cells = _cells(light.masked_fill(full, sensor_white))
            peak = max(peak, float((matrix @ cells.flatten(1)).max()))
        if peak <= 1 and not saturated:
            return network, None
        peak = max(min(peak, sensor_white), 1.0)
    lowest = max(min(ROOM * float(brightest.max()), highest), 1.0)
    count = max(1, math.ceil(math.log(lowest) / math.log(STEP)))
    factors = [lowest ** (step / count) for step in range(1, count + 1)]
    exposures = tuple(DimmedModel(factor, dimmed(factor)) for factor in factors)
    model = HighDynamicRangeModel(network, exposures, limits, sensor_white)
    return model, Shoulder.of(peak, highest)


def _row_maxima(packed: Tensor | PackedPhoto) -> Tensor:
    """Return the brightest site of each row of packed pixels, (h,)."""
    bands = (packed[:, top : top + ROWS, :] for top in range(0, packed.shape[1], ROWS))
    return torch.cat([torch.as_tensor(light).amax(dim=(0, 2)) for light in bands])


def _is_saturated(
    packed: Tensor | PackedPhoto, brightest: Tensor, limits: tuple[float, ...]
) -> bool:
    """Whether any site of a photo is at its colour's limit; `brightest`: of each row."""
    runs = _runs(brightest >= min(limits))
    return any(
        bool(find_saturated(torch.as_tensor(packed[:, rows, :]), limits).any()) for rows in runs
    )


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
            near = _surroundings(self._bright(light), *light.shape[1:])
            for inner, outer in find_windows(near, self.grid):
                self._extend(light[:, *outer], near[inner], inner, outer).put(part, 0)
        return picture

    def on_cpu(self) -> "HighDynamicRangeModel":
        """Return the same on the processor."""
        exposures = tuple(replace(e, network=e.network.on_cpu()) for e in self.exposures)
        return replace(self, network=self.network.on_cpu(), exposures=exposures)

    @property
    def by_rows(self) -> bool:
        """Whether the network runs by bands of rows."""
        return isinstance(self.network, BandedModel) and self.network.by_rows

    @torch.inference_mode()
    def run_bands(
        self, photo: Callable[[int, int], Tensor], shape: tuple[int, int, int]
    ) -> Iterator[Tensor]:
        """Yield the picture by rows, as `Model.run_bands` does."""
        assert isinstance(self.network, BandedModel)
        _, height, width = shape
        tops = range(0, height, ROWS)
        cells = [self._bright(photo(top, min(top + ROWS, height))) for top in tops]
        near = _surroundings(torch.cat(cells), height, width)
        waiting = deque(find_strip_windows(near, self.grid))
        begun: list[Extension] = []
        first = 0
        for picture in self.network.run_bands(photo, shape):
            stop = first + picture.shape[1]
            while waiting and waiting[0][0][0].start * self.grid.scale < stop:
                inner, (rows, columns) = waiting.popleft()
                window = photo(rows.start, rows.stop)[..., columns]
                begun.append(self._extend(window, near[inner], inner, (rows, columns)))
            for extension in begun:
                extension.put(picture, first)
            begun = [one for one in begun if one.rows.stop > stop]
            yield picture
            first = stop

    def _bright(self, packed: Tensor) -> Tensor:
        """Return the cells that may hold light above white, or saturated sites: (h, w) bool."""
        bright = _cells(packed).amax(0) > BRIGHT
        if self.white < 1:
            full = find_saturated(packed, self.saturated).float()[None, None]
            bright |= functional.max_pool2d(full, CELL, ceil_mode=True)[0, 0] > 0
        return bright

    def _extend(self, window: Tensor, flags: Tensor, inner: Window, outer: Window) -> "Extension":
        """Find light above white `inner` a window, which the mosaic, packed, has `outer` of.

        `flags`: where there may be any, of the inner one.
        """
        scale = self.grid.scale
        wide = widen(inner, BLUR // scale + 1, outer)
        inside = scale_window(wide, (outer[0].start, outer[1].start), scale)
        brightest = float(window.max())
        steps = list(zip([1.0, *(e.factor for e in self.exposures)], self.exposures, strict=False))
        needed = [e for above, e in steps if above * FROM < brightest] or [self.exposures[0]]
        sites = window >= limits_of_channels(window, self.saturated)
        full = sites.any(0).float()[None, None]
        near = functional.avg_pool2d(full, 5, 1, 2).mul_(NEAR).clamp_(max=1)
        # Of a saturated colour nobody knows how much there was, so there is no colour.
        window = window.lerp(window.clamp(max=self.white), (full * near)[0])
        merged = self._run(needed[-1], window, inside)

        def fit(part: Tensor, size: int) -> Tensor:
            pixels = functional.interpolate(part, scale_factor=size * scale, mode="bilinear")
            return pixels[0][:, *inside].to(merged.device)

        if bool(sites.any()):
            unknown, known_white = find_unknown_colors(sites, near[0, 0] == 1)
            unknown = unknown[inside].to(merged.device) * lit_share(merged / self.white)
            merged.lerp_(merged.new_tensor(self.white), unknown)
            merged.masked_fill_(known_white[inside].to(merged.device), self.white)
        # Beside a clipped lamp a network sees white; so it is the neighbourhood that decides.
        cells = _cells(window)[None]
        light = fit(functional.max_pool2d(cells.amax(1, keepdim=True), 3, 1, 1), CELL)[0]
        if self.white < 1:  # what is saturated is taken from there however dim it is
            light = torch.maximum(light, fit(near, 1)[0] * (TO * needed[-1].factor))
        for exposure in needed[-2::-1]:
            bright = self._run(exposure, window, inside)
            merged = _merge(bright, merged, light, exposure.factor)
        if brightest > LIT * SPECKS[0]:
            merged = _without_specks(merged)
        crop = scale_window(inner, (wide[0].start, wide[1].start), scale)
        mask = repeat(flags.to(merged.device), scale)
        place = scale_window(inner, (0, 0), scale)
        return Extension(*place, merged[:, *crop], light[crop], mask)

    def _run(self, exposure: DimmedModel, window: Tensor, inside: Window) -> Tensor:
        """Return the `inside` of a window at an exposure, as light at the full one."""
        dimmed = (window / exposure.factor)[None]
        return exposure.network(dimmed)[0][:, *inside] * exposure.factor


class Extension(NamedTuple):
    """Light above white in some rows and columns of a picture, for pixels where `mask` is set.

    `light`: (3, H, W). `around`: (H, W) light around each pixel.
    """

    rows: slice
    columns: slice
    light: Tensor
    around: Tensor
    mask: Tensor

    def put(self, picture: Tensor, top: int) -> None:
        """Merge it into rows of the picture, (3, rows, W), of which the first is row `top`."""
        start, stop = max(self.rows.start, top), min(self.rows.stop, top + picture.shape[1])
        if start >= stop:
            return
        own = slice(start - self.rows.start, stop - self.rows.start)
        place = picture[:, start - top : stop - top, self.columns]
        whole = _merge(place, self.light[:, own], self.around[own], 1.0)
        place.copy_(torch.where(self.mask[own], whole, place))


def _surroundings(bright: Tensor, height: int, width: int) -> Tensor:
    """Return the surroundings of bright cells in a packed photo: (h, w) bool."""
    wide = functional.max_pool2d(bright[None, None].float(), 2 * REACH + 1, 1, REACH)
    return repeat(wide[0, 0] > 0, CELL)[:height, :width]


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


def _without_specks(picture: Tensor) -> Tensor:
    """Give what is far darker than the lights beside it their colour, (3, H, W); light stays."""
    around, width = picture[None], BLUR + 1
    for _ in range(2):
        around = functional.avg_pool2d(around, width, 1, BLUR // 2, count_include_pad=False)
    color = around[0].clamp_(min=0)
    most, light = color.amax(0), picture.amax(0)
    start, end = SPECKS
    share = ((most / light.clamp(min=LIT) - start) / (end - start)).clamp_(0, 1)
    return picture.lerp(color.mul_(light.clamp_(min=0) / most.clamp(min=LIT)), share)
