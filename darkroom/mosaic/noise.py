"""How noisy a photo is, measured on the photo itself.

Noise of a sensor has two parts: shot noise, whose variance grows with the light, and read noise,
which is always there. Both are found on small blocks spread over the photo: what a smooth surface
through each block leaves over is noise, or texture. Texture only adds, so of the blocks that are
equally bright those with the least of it count, and the line through them is a lower envelope.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from darkroom.mosaic.noise_bins import Bins, gather
from darkroom.mosaic.noise_blocks import measure_blocks, rounding_step
from darkroom.mosaic.noise_fit import ELECTRONS, MASKED_ERROR, fit_noise, variance_at
from darkroom.raw.image import RawImage

NEAR, FLAT_SHARE = 0.3, 0.25
"""Flat patches were found where this share of the bins is so near to the line (of logarithms)."""
AGREEING = math.log(2)
"""The noise that a file states is believed up to a factor of two in variance."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a photo: variance(x) = shot * x + read**2.

    x is linear light, black 0, white 1 before amplification, all channels alike and not
    white-balanced. `read` includes the rounding to whole numbers. `reason`: one sentence.
    `clipped`: whether values below black are lost. `black_known`: whether black was measured where
    no light falls, or is what the file states, which tends to lie above the real one.
    """

    shot: float
    read: float
    reason: str
    clipped: bool = False
    black_known: bool = False

    def std(self, light: float) -> float:
        """Return the standard deviation of a photosite that holds so much light."""
        return math.sqrt(self.shot * max(light, 0.0) + self.read**2)

    def amplified(self, gain: float) -> "Noise":
        """Return the noise of the same photo, all its values multiplied by `gain`."""
        return replace(self, shot=self.shot * gain, read=self.read * gain)

    def louder(self, factor: float) -> "Noise":
        """Return noise whose standard deviation is `factor` times as large at every level."""
        return replace(self, shot=self.shot * factor**2, read=self.read * factor)

    def without(self, read: float) -> "Noise":
        """Return what is left where a part of the read noise, `read` its std, was taken off."""
        return replace(self, read=math.sqrt(max(self.read**2 - read**2, 0.0)))


NO_NOISE = Noise(0.0, 0.0, "none is known")


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
        shot, read = fit_noise(bins, max(least, 1e-9), masked)
        near = np.abs(np.log(bins.variance / variance_at(shot, read, bins.light))) < NEAR
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
    clipped = bool((blocks.floor > -read).any())
    return Noise(shot, read, reason, clipped, raw.black_known)


def _is_plausible(profile: tuple[float, float], bins: Bins, flat: bool) -> bool:
    """Whether the noise that a file states agrees with the photo; texture may only add to it."""
    if not bins.light.size:
        return True
    stated = variance_at(profile[0], math.sqrt(profile[1]), bins.light)
    off = float(np.median(np.log(stated / bins.variance)))
    return (-AGREEING if flat else -math.inf) < off < AGREEING
