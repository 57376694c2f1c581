"""A photo that is ready for its network, and how what that gives becomes a picture."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from darkroom.color.finish import AS_IT_IS, Finish
from darkroom.color.render import render_into
from darkroom.color.tone_curve import Shoulder, roll_off
from darkroom.gain import Gain
from darkroom.models.photo_window import Packed
from darkroom.models.tiling import (
    BandedModel,
    Part,
    TiledModel,
    TileOption,
    run_tiles,
    warn_of_tile,
)
from darkroom.mosaic.noise import NO_NOISE, Noise
from darkroom.output.linear_dng import CameraPicture, DngKind
from darkroom.output.orientation import Pixels, square
from darkroom.raw.image import CFA, Color, RawImage


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """A photo that is ready for its network, and what its picture is finished with.

    `shape`: rows and columns of the picture. `packed`: (C, h, w), amplified, as the network takes
    it; `cfa`: its filters, phase as at the picture's first site. `frame`: the rows and columns that
    are shown. `color`: None where the network paints finished sRGB. `shoulder`: None where nothing
    is above white. `white`: light above which there is none that can be told, or that is wanted.
    `wanted`: how it is finished. `noise`: the photo's, amplified, where the network was told.
    """

    shape: tuple[int, ...]
    packed: Packed
    gain: Gain
    network: TiledModel
    cfa: CFA
    frame: tuple[slice, slice]
    color: Color | None = None
    shoulder: Shoulder | None = None
    white: float = 1.0
    wanted: Finish = AS_IT_IS
    noise: Noise = NO_NOISE

    @property
    def multipliers(self) -> NDArray[np.float64]:
        """The white balance, (3,), the smallest 1; all 1 where the network paints finished sRGB."""
        if self.color is None or self.color.white_balance is None:
            return np.ones(3)
        return np.asarray(self.color.white_balance / self.color.white_balance.min())

    def run(self, tile: TileOption, warn: Callable[[str], None]) -> Iterator[Part]:
        """Run the network, part by part; `warn` is told of tiles that do not fit."""
        return run_tiles(self.network, self.packed, tile, warn)

    def runs_by_rows(self, tile: TileOption) -> bool:
        """Whether parts are whole rows, in their order."""
        by_rows = isinstance(self.network, BandedModel) and self.network.by_rows
        return by_rows and tile in ("auto", "off")

    def make_rows(
        self, tile: TileOption, dtype: np.dtype[Any], watch: Callable[[float], None]
    ) -> Iterator[Pixels]:
        """Make what is shown of the picture, some rows after others, where it `runs_by_rows`."""
        (rows, cols), (height, width) = self.frame, self.shape
        for part in self.run(tile, warn_of_tile):
            top = part.rows.start
            band = np.empty((len(range(height)[part.rows]), width, 3), dtype)
            self.finish(part, band, top)
            watch(min(part.rows.stop / height, 1.0))
            yield band[max(rows.start - top, 0) : max(rows.stop - top, 0), cols]

    def finish(self, part: Part, pixels: Pixels, top: int = 0) -> None:
        """Put the finished samples of a part in their place in the picture, (H, W, 3).

        `top`: the picture's row that `pixels` begin with. At 8 bits they are dithered, but for
        networks that paint sRGB, which round as published.
        """
        rows = slice(part.rows.start - top, part.rows.stop - top)
        place = pixels[rows, part.cols]  # cropped where the mosaic's size is odd
        picture = part.picture[:, : place.shape[0], : place.shape[1]]
        dither = None if self.color is None else (part.rows.start, part.cols.start)
        render_into(picture, self.color, place, self.shoulder, self.wanted, dither)

    def keep(self, part: Part, whole: Tensor) -> None:
        """Put a part's camera RGB in its place in a whole one, (3, H, W)."""
        place = whole[:, part.rows, part.cols]
        place.copy_(part.picture[:, : place.shape[1], : place.shape[2]])

    def keep_light(self, part: Part, light: NDArray[np.float32]) -> None:
        """Put a part's camera RGB, white balance undone, in its place in the picture, (H, W, 3)."""
        place = light[part.rows, part.cols]
        picture = part.picture[:, : place.shape[0], : place.shape[1]].clamp(max=self.white)
        factors = (1 / self.multipliers).astype(np.float32)
        np.multiply(picture.permute(1, 2, 0).cpu().numpy(), factors, out=place)

    def describe_light(
        self, light: NDArray[np.float32], raw: RawImage, kind: DngKind, denoise: float
    ) -> CameraPicture:
        """Describe the photo's camera RGB, (H, W, 3), for a DNG of that kind."""
        light, aspect = light[self.frame], raw.pixel_aspect
        if kind is not DngKind.MOSAIC:  # of which darktable and RawTherapee stretch nothing
            light, aspect = np.asarray(square(light, aspect), np.float32), 1.0
        if kind is DngKind.BRIGHT:
            roll_off(light, self.multipliers)
        return CameraPicture(
            light,
            kind,
            self.multipliers,
            raw.color.xyz_to_camera,
            self.cfa.shifted(*(edge.start for edge in self.frame)),
            raw.orientation,
            aspect,
            raw.camera,
            self.noise,
            denoise,
        )
