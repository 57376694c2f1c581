"""How noisy a photo is, measured on the photo itself.

Noise of a sensor has two parts: shot noise, whose variance grows with the light, and read noise,
which is always there. Both are found on small blocks spread over the photo: what a smooth surface
through each block leaves over is noise, or texture. Texture only adds, so of the blocks that are
equally bright those with the least of it count, and the line through them is a lower envelope.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from darkroom.mosaic.noise_bins import Bins, Values, gather, measure_blocks, rounding_step
from darkroom.raw.image import RawImage

NEAR, FLAT_SHARE = 0.3, 0.25
"""Flat patches were found where this share of the bins is so near to the line (of logarithms)."""
AGREEING = math.log(2)
"""The noise that a file states is believed up to a factor of two in variance."""
MASKED_ERROR = 0.1
"""Relative error of the masked borders' variance: they lack the photosites' own part."""
BELOW, ABOVE = 5.0, 2.0
"""How many stds a bin counts below the line and above it, at most."""
ELECTRONS, ELECTRONS_SPREAD = 3.0, 3.0
"""Typical read noise in electrons, and its geometric spread; decides only where the photo cannot.

Source: 2 to 7 were measured so on five cameras of three makers.
"""


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a photo: variance(x) = shot * x + read**2.

    x is linear light, black 0, white 1 before amplification, all channels alike and not
    white-balanced. `read` includes the rounding to whole numbers. `reason`: one sentence.
    `clipped`: whether values below black are lost.
    """

    shot: float
    read: float
    reason: str
    clipped: bool = False

    def std(self, light: float) -> float:
        """Return the standard deviation of a photosite that holds so much light."""
        return math.sqrt(self.shot * max(light, 0.0) + self.read**2)

    def amplified(self, gain: float) -> "Noise":
        """Return the noise of the same photo, all its values multiplied by `gain`."""
        return replace(self, shot=self.shot * gain, read=self.read * gain)

    def louder(self, factor: float) -> "Noise":
        """Return noise whose standard deviation is `factor` times as large at every level."""
        return replace(self, shot=self.shot * factor**2, read=self.read * factor)


def measure_noise(raw: RawImage) -> Noise:
    """Measure the noise of a photo; one number of each kind for all of it.

    Never fails: where nothing can be measured, what rounding alone makes is returned.
    """
    least = rounding_step(raw) / math.sqrt(12)
    blocks = measure_blocks(raw)
    bins = gather(blocks)
    masked = None  # the read noise of the masked borders, in units of white
    if raw.masked_noise is not None:
        masked = raw.masked_noise / float(np.mean(raw.white - raw.black))
    flat = False
    shot, read = 0.0, least
    reason = "nothing in this photo tells noise from the picture"
    if bins.light.size:
        shot, read = _fit(bins, max(least, 1e-9), masked)
        near = np.abs(np.log(bins.variance / _variance(shot, read, bins.light))) < NEAR
        flat = bool(np.mean(near & ~bins.textured) >= FLAT_SHARE)
        reason = f"measured on {bins.patches} flat patches"
        if not flat:
            reason = "no patch of this photo is flat, so the noise may be less"
    elif masked is not None:
        shot, read, reason = masked / ELECTRONS, masked, "nothing but the masked borders tells it"
    if masked is not None and bins.light.size and abs(math.log(masked / read)) < 2 * MASKED_ERROR:
        reason += "; the masked borders agree on the read noise"
    if raw.noise_profile is not None and _is_plausible(raw.noise_profile, bins, flat):
        shot, read = raw.noise_profile[0], math.sqrt(raw.noise_profile[1])
        reason = "the file states it" + (" and flat patches agree" if flat else "")
    read = max(read, least)
    return Noise(shot, read, reason, clipped=bool((blocks.floor > -read).any()))


def _is_plausible(profile: tuple[float, float], bins: Bins, flat: bool) -> bool:
    """Whether the noise that a file states agrees with the photo; texture may only add to it."""
    if not bins.light.size:
        return True
    stated = _variance(profile[0], math.sqrt(profile[1]), bins.light)
    off = float(np.median(np.log(stated / bins.variance)))
    return (-AGREEING if flat else -math.inf) < off < AGREEING


def _variance(shot: float, read: float, light: Values) -> Values:
    """Return the noise model at some levels of light."""
    return np.asarray(shot * light.clip(min=0) + read**2)


def _fit(bins: Bins, least: float, masked: float | None = None) -> tuple[float, float]:
    """Return shot and read noise of the line that lies best below the bins.

    By a search over a grid that shrinks, since bins above the line count only so much. `masked`:
    the read noise of the masked borders, one more bin.
    """
    if masked is not None:
        bins = Bins(
            np.append(bins.light, 0.0),
            np.append(bins.variance, masked**2),
            np.append(bins.error, MASKED_ERROR),
            np.append(bins.textured, False),
            bins.patches,
        )
    light = bins.light.clip(min=0)
    loudest = float(np.sqrt(bins.variance.max()))
    read = np.linspace(math.log(min(least, loudest / 2)), math.log(2 * loudest), 40)
    lit = light > np.sqrt(bins.variance) / 8
    ratios = bins.variance[lit] / light[lit] if lit.any() else np.array([loudest])
    shot = np.linspace(math.log(ratios.min() / 1000), math.log(2 * ratios.max()), 60)
    for _ in range(4):
        cost = _cost(bins, light, np.exp(shot)[:, None, None], np.exp(read)[None, :, None])
        row, column = np.unravel_index(int(cost.argmin()), cost.shape)
        shot = _refine(shot, int(row))
        read = _refine(read, int(column))
    return math.exp(shot[len(shot) // 2]), math.exp(read[len(read) // 2])


def _refine(grid: Values, best: int) -> Values:
    """Return a finer grid around the best place of a coarse one."""
    width = 1.5 * (grid[1] - grid[0])
    return np.linspace(grid[best] - width, grid[best] + width, 13)


def _cost(bins: Bins, light: Values, shot: Values, read: Values) -> Values:
    """Return how badly lines lie below the bins; (shots, reads)."""
    off = np.log(bins.variance / (shot * light + read**2)) / bins.error
    above = np.minimum(off / np.where(bins.textured, 2, 1), ABOVE)
    cost = np.square(np.where(off > 0, above, np.maximum(off, -BELOW))).sum(axis=-1)
    electrons = np.log(read / (ELECTRONS * shot)) / math.log(ELECTRONS_SPREAD)
    return np.asarray(cost + np.square(electrons)[..., 0])
