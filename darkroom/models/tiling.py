"""Run a network over a photo of any size in tiles, with the result of running it whole.

A photo is continued by reflection at the bottom and right up to the network's grid, unless the
network takes any size; the caller may crop it to the grid instead (`Edges`). Tiles start on that
grid and carry a margin as wide as the network's reach, so tiled equals whole; only the tile's core
is kept. With wide reaches small tiles waste most of their work: tiles are few and large. A network
that reaches over the whole photo has no tiles.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from darkroom.errors import TooLargeError, UsageError
from darkroom.models.accelerator import caught_out_of_memory, release_cache
from darkroom.models.memory import budget, bytes_per_pixel, usable
from darkroom.models.photo_window import Packed, take_window

TileOption = Literal["auto", "off"] | int

MAX_CUTS = 64
"""Tiles along one axis, at most: beyond, the margins of any known network are all the work."""


class Edges(Enum):
    """What is done with a photo that ends off a network's grid: continue it, or cut that off.

    Cropping is what published code does; what is left then equals it up to the last pixel.
    """

    REFLECT = "reflect"
    CROP = "crop"


@dataclass(frozen=True, slots=True)
class Grid:
    """What a network asks of its tiles.

    `multiple`: packed pixels that sizes and origins are multiples of. `halo`: packed pixels of
    reach, None for the whole photo. `scale`: picture pixels per packed pixel along each axis.
    `any_size`: whether a photo may end off the grid.
    """

    multiple: int
    halo: int | None
    scale: int
    any_size: bool = False

    @property
    def margin(self) -> int:
        """The halo, rounded up to the grid; none where there is nothing outside a tile."""
        return 0 if self.halo is None else _up(self.halo, self.multiple)

    def step(self, period: int) -> int:
        """Return the photosites that a photo's sides are multiples of where nothing is continued.

        `period`: of its colour filter array.
        """
        return period if self.any_size else math.lcm(period, self.multiple * self.scale)

    def full(self, packed: Packed) -> tuple[int, int]:
        """Return the rows and columns that the network runs over for a photo (C, h, w)."""
        _, height, width = packed.shape
        if self.any_size:
            return height, width
        return _up(height, self.multiple), _up(width, self.multiple)


class TiledModel(Protocol):
    """A network where it runs: `darkroom.models.model.Model`, or anything like it."""

    @property
    def grid(self) -> Grid:
        """What it asks of its tiles."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""

    def __call__(self, packed: Tensor) -> Tensor:
        """(N, C, h, w) on any device -> (N, 3, s*h, s*w), on its own device."""

    def on_cpu(self) -> "TiledModel":
        """Return the same network on the processor."""


@runtime_checkable
class BandedModel(TiledModel, Protocol):
    """A network that may run by bands of rows, where it says so."""

    @property
    def by_rows(self) -> bool:
        """Whether it does."""

    def run_bands(
        self, photo: Callable[[int, int], Tensor], shape: tuple[int, int, int]
    ) -> Iterator[Tensor]:
        """Yield the picture of a photo of a shape (C, h, w), whose rows `photo` gives, by rows."""


class Part(NamedTuple):
    """One finished piece of the picture: its place in the whole, and (3, H, W) float32.

    It is where the network ran.
    """

    rows: slice
    cols: slice
    picture: Tensor


class Core(NamedTuple):
    """A rectangle of packed pixels on the grid: [top, bottom) x [left, right)."""

    top: int
    bottom: int
    left: int
    right: int


def warn_of_tile(message: str) -> None:
    """Tell of a tile that did not fit, as a RuntimeWarning."""
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def run_tiled(
    model: TiledModel,
    packed: Packed,
    tile: TileOption = "auto",
    warn: Callable[[str], None] = warn_of_tile,
) -> Tensor:
    """Run a network over a packed photo (C, h, w) and return its picture (3, s*h, s*w), float32.

    `tile`: "auto" from the memory that is free, "off" for the whole photo at once, or the side of
    a tile in picture pixels. Raises UsageError for any other, and for tiles where the network
    reaches over the whole photo; TooLargeError where that does not fit.
    """
    _, height, width = packed.shape
    scale = model.grid.scale
    picture = torch.empty(3, height * scale, width * scale)
    for part in run_tiles(model, packed, tile, warn):
        picture[:, part.rows, part.cols] = part.picture
    return picture


def run_tiles(
    model: TiledModel,
    packed: Packed,
    tile: TileOption = "auto",
    warn: Callable[[str], None] = warn_of_tile,
) -> Iterator[Part]:
    """Yield the picture of a packed photo (C, h, w) part by part, each pixel exactly once.

    For photos so large that a float32 picture would not fit: finish each part as it comes. Where an
    accelerator runs out of memory the tile is halved, down to the grid, then the processor takes
    over; `warn` is given one line about either.
    """
    if isinstance(model, BandedModel) and model.by_rows and tile in ("auto", "off"):
        yield from _run_bands(model, packed)
        return
    waiting = plan(model, packed, tile)[::-1]
    while waiting:
        core = waiting.pop()
        with caught_out_of_memory() as caught:
            part = _run(model, packed, core)
        if not caught:
            yield part
            continue
        release_cache(model.device)
        halves = _halves(core, model.grid)
        waiting = [half for other in waiting for half in _cut(other, _area(halves[0]), model.grid)]
        waiting += halves[::-1]
        size = f"a tile of {_size(core, model.grid.scale)}"
        if len(halves) > 1:
            warn(f"{model.device}: out of memory for {size}; halving it")
            continue
        warn(f"{model.device}: out of memory for {size}; continuing on the processor")
        model = model.on_cpu()
        packed = packed.cpu() if isinstance(packed, Tensor) else packed
        if model.grid.halo is None and tile == "auto":
            _check_whole(model, packed)


def plan(model: TiledModel, packed: Packed, tile: TileOption = "auto") -> list[Core]:
    """Return the tiles that a photo (C, h, w) is cut into, in reading order."""
    _, height, width = packed.shape
    grid = model.grid
    full = grid.full(packed)
    if tile == "off" or (tile == "auto" and grid.halo is None):
        size = full
        if tile == "auto" and model.device.type == "cpu":  # accelerators are tried first
            _check_whole(model, packed)
    elif tile == "auto":
        need = bytes_per_pixel(model, packed, grid.multiple)
        size = choose_tile(height, width, int(budget(model.device) / need), grid)
    elif isinstance(tile, int) and tile > 0:
        side = _up(max(tile // grid.scale, 1), grid.multiple)
        size = side, side
        if grid.halo is None and max(full) > side:
            raise UsageError(
                f"--tile {tile}: this network's statistics are of the whole photo, "
                "so it runs in one piece; use --tile off, or auto"
            )
    else:
        raise UsageError(f"--tile {tile}: give a size in pixels, auto or off")
    return [
        Core(top, min(top + size[0], full[0]), left, min(left + size[1], full[1]))
        for top in range(0, full[0], size[0])
        for left in range(0, full[1], size[1])
    ]


def _check_whole(model: TiledModel, packed: Packed) -> None:
    """Raise TooLargeError where a photo (C, h, w) does not fit into the memory in one piece."""
    rows, cols = model.grid.full(packed)
    need = bytes_per_pixel(model, packed, model.grid.multiple) * rows * cols
    free = usable(model.device)
    if need > free:
        size = f"{packed.shape[2] * model.grid.scale}x{packed.shape[1] * model.grid.scale}"
        raise TooLargeError(
            f"a photo of {size} needs {need / 1e9:.1f} GB in one piece, which this network's "
            f"statistics ask for, and {free / 1e9:.1f} GB may be used: take another model, "
            "or --tile off to try it all the same"
        )


def choose_tile(height: int, width: int, pixels: int, grid: Grid) -> tuple[int, int]:
    """Return the (rows, columns) of tiles that cost the least work for a photo of packed pixels.

    A tile with its margins has at most `pixels` packed pixels, as far as the grid allows.
    """
    full = _up(height, grid.multiple), _up(width, grid.multiple)
    rows, cols = (_sides(size, grid) for size in full)
    ways = [
        (max(window_down * window_right - pixels, 0), work_down * work_right, (down, right))
        for down, window_down, work_down in rows
        for right, window_right, work_right in cols
    ]
    # The least work of those that fit; where none fits, the one that exceeds the least.
    return min(ways)[2]


def _sides(full: int, grid: Grid) -> list[tuple[int, int, int]]:
    """List ways to cut one axis evenly: side of the core, of the widest window, sum of windows."""
    ways = {}
    for count in range(1, min(full // grid.multiple, MAX_CUTS) + 1):
        side = _up(-(-full // count), grid.multiple)
        starts = range(0, full, side)
        windows = [
            min(start + side + grid.margin, full) - max(start - grid.margin, 0) for start in starts
        ]
        ways[side] = (side, max(windows), sum(windows))
    return list(ways.values())


def _run(model: TiledModel, packed: Packed, core: Core) -> Part:
    """Run one tile with its margins and return its core, cropped to the photo."""
    _, height, width = packed.shape
    grid, scale = model.grid, model.grid.scale
    full = grid.full(packed)
    top, left = max(core.top - grid.margin, 0), max(core.left - grid.margin, 0)
    bottom, right = min(core.bottom + grid.margin, full[0]), min(core.right + grid.margin, full[1])
    picture = model(take_window(packed, range(top, bottom), range(left, right))[None])[0]
    rows = slice(core.top * scale, min(core.bottom, height) * scale)
    cols = slice(core.left * scale, min(core.right, width) * scale)
    inner = picture[
        :,
        rows.start - top * scale : rows.stop - top * scale,
        cols.start - left * scale : cols.stop - left * scale,
    ]
    return Part(rows, cols, inner.float())


def _run_bands(model: BandedModel, packed: Packed) -> Iterator[Part]:
    """Run the whole photo by bands of rows; none is computed twice."""
    _, height, width = packed.shape
    full, scale = model.grid.full(packed), model.grid.scale
    first = 0
    for picture in model.run_bands(
        lambda start, stop: take_window(packed, range(start, stop), range(full[1])),
        (packed.shape[0], *full),
    ):
        stop = first + picture.shape[1]
        rows, cols = slice(first, min(stop, height * scale)), slice(0, width * scale)
        if rows.stop > first:
            yield Part(rows, cols, picture[:, : rows.stop - first, cols])
        first = stop


def _cut(core: Core, area: int, grid: Grid) -> list[Core]:
    """Halve a tile until no piece has more than `area` packed pixels."""
    halves = _halves(core, grid)
    if _area(core) <= area or len(halves) == 1:
        return [core]
    return [piece for half in halves for piece in _cut(half, area, grid)]


def _halves(core: Core, grid: Grid) -> list[Core]:
    """Cut a tile in two across its longer side, on the grid.

    A tile no larger than its own margins stays one: its halves would need nearly as much. So does
    one of a network that reaches over the whole photo.
    """
    top, bottom, left, right = core
    multiple = grid.multiple
    if grid.halo is None or max(bottom - top, right - left) <= max(multiple, 2 * grid.margin):
        return [core]
    if bottom - top >= right - left:
        middle = top + _up((bottom - top) // 2, multiple)
        return [Core(top, middle, left, right), Core(middle, bottom, left, right)]
    middle = left + _up((right - left) // 2, multiple)
    return [Core(top, bottom, left, middle), Core(top, bottom, middle, right)]


def _area(core: Core) -> int:
    return (core.bottom - core.top) * (core.right - core.left)


def _size(core: Core, scale: int) -> str:
    return f"{(core.right - core.left) * scale}x{(core.bottom - core.top) * scale} pixels"


def _up(size: int, multiple: int) -> int:
    """Round up to a multiple."""
    return math.ceil(size / multiple) * multiple
