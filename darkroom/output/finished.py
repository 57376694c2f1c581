"""A finished picture, and what is known of one whose rows are still to come."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darkroom.color.color_space import ColorSpace
from darkroom.gain import Gain
from darkroom.output.linear_dng import CameraPicture
from darkroom.output.orientation import Pixels
from darkroom.output.rows import PictureRows


@dataclass(frozen=True, slots=True)
class MadePicture:
    """A picture in its colour space, upright, and how it came about.

    `pixels`: (H, W, 3), whole, or rows that are made as they are taken. `black`: which level was
    taken off, as `darkroom.raw.black_level.explain_black` says. `camera`: the same in the camera's
    own colours, where a DNG was asked for. `resized`: whether it is smaller than the photo. `lens`:
    what of it was corrected, as `LensCorrection.words` says; None where that was not asked for.
    """

    pixels: Pixels | PictureRows
    gain: Gain
    warnings: tuple[str, ...]
    black: Mapping[str, Any] | None = None
    camera: CameraPicture | None = None
    color_space: ColorSpace = ColorSpace.SRGB
    resized: bool = False
    lens: str | None = None


@dataclass(frozen=True, slots=True)
class Picture(MadePicture):
    """A finished picture: `pixels` are an array, (H, W, 3)."""

    pixels: Pixels
