"""How a picture is finished: its colour space, tone and saturation."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.color.color_space import ColorSpace, srgb_to_space
from darkroom.color.transfer import srgb_decode, srgb_encode
from darkroom.errors import UsageError

MIDDLE_GRAY = 0.18
"""Linear light that tones leave as it is, as black and white."""
MAX_SATURATION = 2.0
TINY = 1e-6


class Tone(Enum):
    """How contrasty a picture is; neutral shows light as it is."""

    NEUTRAL = "neutral"
    SOFT = "soft"
    CONTRAST = "contrast"

    @property
    def bend(self) -> float:
        """How strongly the curve bends: `bend_tone`."""
        return {Tone.NEUTRAL: 0.0, Tone.SOFT: -0.8, Tone.CONTRAST: 1.2}[self]


@dataclass(frozen=True, slots=True)
class Finish:
    """What is made of a picture's colours and light.

    `saturation`: chroma so many times, 0 (gray) to MAX_SATURATION. Raises UsageError for one out of
    range.
    """

    space: ColorSpace = ColorSpace.SRGB
    tone: Tone = Tone.NEUTRAL
    saturation: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.saturation <= MAX_SATURATION:
            raise UsageError(
                f"--saturation {self.saturation:g}: must be between 0 (gray) and {MAX_SATURATION:g}"
            )

    @property
    def matrix(self) -> NDArray[np.float64]:
        """From linear sRGB to linear RGB of the space, saturation included: (3, 3).

        Saturation moves colours to and from the gray of their luminance, in linear light.
        """
        gray = np.tile(ColorSpace.SRGB.luminance, (3, 1))
        saturated = self.saturation * np.eye(3) + (1 - self.saturation) * gray
        return np.asarray(srgb_to_space(self.space) @ saturated)


AS_IT_IS = Finish()


def bend_tone(rgb: Tensor, tone: Tone) -> None:
    """Apply a tone's curve to (3, n) linear RGB from 0 to 1, in place; neutral changes nothing.

    The largest channel, as sRGB encodes it, v, becomes v + k v (1 - v) (v - p), where p is middle
    gray and k the tone's bend; the others keep their ratio to it. The slope at middle gray is 0.80
    (soft) or 1.30 (contrast), at black 1.37 or 0.45.
    """
    if tone is Tone.NEUTRAL:
        return
    light = torch.maximum(torch.maximum(rgb[0], rgb[1]), rgb[2]).clamp_(TINY, 1)
    pivot = float(srgb_encode(torch.tensor(MIDDLE_GRAY, dtype=torch.float64)))
    code = srgb_encode(light)
    bent = code + tone.bend * code * (1 - code) * (code - pivot)
    rgb.mul_(srgb_decode(bent).div_(light))
