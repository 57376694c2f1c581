"""The shoulder of a tone curve: light far above white, brought below it."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.parallel import in_bands

KNEE = 0.8
"""Light up to here stays as it is, where there is light above white."""
LIFTED = 0.5
"""Where the sensor is saturated below white, the share of that light from which on it is lifted."""
ROWS = 64
"""Rolled off at once."""
BISECTIONS = 60
MAX_BEND = 1e6


class Shoulder(NamedTuple):
    """A curve that leaves light below its knee as it is and brings `peak` to 1.

    Down from above 1, where the knee is `KNEE`, it is a logarithm of light, so that each stop gets
    nearly its equal share of what is left. Up from below 1, where a sensor is saturated, a
    parabola from a stop below on. Value and slope are continuous. `peak`: the photo's brightest
    light. `white`: light of the saturated channel that holds most, above which there is nothing
    but noise. `bend`: from `of`.
    """

    peak: float
    white: float
    bend: float

    @classmethod
    def of(cls, peak: float, white: float) -> "Shoulder":
        """Return the curve for a photo."""
        if peak < 1:
            return cls(peak, white, (1 - peak) / (LIFTED * peak) ** 2)
        room, reach = 1 - KNEE, peak - KNEE
        # Slope 1 at the knee: room * bend / log(1 + bend * reach) = 1, which grows with bend.
        low, high = 0.0, MAX_BEND
        for _ in range(BISECTIONS):
            bend = (low + high) / 2
            if room * bend < math.log1p(bend * reach):
                low = bend
            else:
                high = bend
        return cls(peak, white, high)

    @property
    def knee(self) -> float:
        """Light up to here stays as it is."""
        return KNEE if self.peak >= 1 else (1 - LIFTED) * self.peak

    def curve(self, light: Tensor) -> Tensor:
        """Apply the curve: light of any shape to at most 1; beyond the peak it stays 1."""
        above = (light - self.knee).clamp_(0, self.peak - self.knee)
        if self.peak < 1:
            return above.square().mul_(self.bend).add_(light.clamp(max=self.peak))
        scale = (1 - KNEE) / math.log1p(self.bend * (self.peak - KNEE))
        bent = above.mul_(self.bend).log1p_().mul_(scale).add_(KNEE)
        return torch.minimum(light, bent)


def roll_off(light: NDArray[np.float32], multipliers: NDArray[np.float64]) -> None:
    """Bring camera RGB, (H, W, 3), below white in place, by a shoulder of its own; hues stay.

    `multipliers`: (3,) what balances its white, which then is 1 in all three.
    """
    balance = multipliers.astype(np.float32)
    peak = float((light.max(axis=(0, 1)) * balance).max())
    if peak <= 1:
        return
    shoulder = Shoulder.of(peak, peak)

    def work(band: slice) -> None:
        rows = light[band]
        brightest = (rows * balance).max(axis=2)
        places = brightest > KNEE
        above = brightest[places]
        bent = shoulder.curve(torch.from_numpy(above)).numpy()
        rows[places] *= (bent / above)[:, None]

    for _ in in_bands(work, len(light), ROWS):
        pass
