"""Rendering on processors, by NumPy: what `darkroom.color.render` does with torch on accelerators.

Own code for the same formulas, as NumPy's logarithms take a third of torch's time, and as torch
shares even a few thousand pixels among threads, which then wait for those of other photos: 12
megapixels took 0.25 s of processors' time, and take 0.09 s.
"""

import math

import numpy as np
from numpy.typing import NDArray

from darkroom.color.color_space import LINEAR, TransferCurve
from darkroom.color.gamut import INSIDE, TINY, Luminance
from darkroom.color.tone_curve import Shoulder

Floats = NDArray[np.float32]

UNBOUNDED = np.float32(np.inf)
"""A limit that is none; with one limit alone `clip` takes four times as long."""


class Bands:
    """Scratch for some rows, used again and again: fresh memory costs more than the arithmetic.

    Arrays that are returned are part of it, valid until the next call.
    """

    def __init__(self, pixels: int) -> None:
        """Make scratch for so many pixels at once."""
        self._triples = np.empty((2, 3 * pixels), np.float32)
        self._singles = np.empty((2, pixels), np.float32)
        self._flags = np.empty((2, pixels), np.bool_)

    def multiply(self, light: Floats, matrix: Floats, white: float) -> Floats:
        """Clip camera RGB, (3, rows, W), at white, and bring it through a matrix: (3, n)."""
        pixels = light[0].size
        camera, rgb = (one[: 3 * pixels].reshape(3, pixels) for one in self._triples)
        term = self._singles[0, :pixels]
        np.clip(light, -UNBOUNDED, np.float32(white), out=camera.reshape(light.shape))
        for channel, factors in zip(rgb, matrix, strict=True):  # BLAS would start threads
            np.multiply(camera[0], factors[0], out=channel)
            for other, factor in zip(camera[1:], factors[1:], strict=True):
                channel += np.multiply(other, factor, out=term)
        return rgb

    def bring_in_gamut(self, rgb: Floats, shoulder: Shoulder | None, luminance: Luminance) -> None:
        """Do as `darkroom.color.gamut.bring_in_gamut`, in place; see there."""
        low, high = (one[: rgb.shape[1]] for one in self._singles)
        changed, bright = (one[: rgb.shape[1]] for one in self._flags)
        for extreme, find in ((low, np.minimum), (high, np.maximum)):
            find(rgb[0], rgb[1], out=extreme)
            find(extreme, rgb[2], out=extreme)
        knee = np.float32(1.0 if shoulder is None else shoulder.knee)
        np.greater(high, knee, out=bright)
        high *= np.float32(1 - INSIDE)
        np.less(low, high, out=changed)
        changed |= bright
        places = np.flatnonzero(changed)
        if not len(places):
            return
        chosen = _compressed(np.take(rgb, places, axis=1), luminance)
        high = chosen.max(axis=0)
        above = np.flatnonzero(high > knee)
        light = high[above]
        factors = (np.float32(1) if shoulder is None else _rolled_off(light, shoulder)) / light
        for channel, values in zip(rgb, chosen, strict=True):
            values[above] *= factors
            channel[places] = np.clip(values, 0, 1)

    def encode(self, rgb: Floats, curve: TransferCurve, white: float, offset: float) -> None:
        """Apply a space's curve to light from 0 to 1, in place; white becomes `white`.

        The straight part and the power, held at the knee below it: the lesser is the curve.
        `offset` is added. The power by way of the logarithm to base 2, NumPy's fastest.
        """
        if curve != LINEAR:
            bent = self._triples[0, : rgb.size].reshape(rgb.shape)
            np.clip(rgb, np.float32(curve.knee), np.float32(1), out=bent)
            np.log2(bent, out=bent)
            bent *= np.float32(1 / curve.power)
            np.exp2(bent, out=bent)
            bent *= np.float32((1 + curve.offset) * white)
            bent += np.float32(offset - curve.offset * white)
        rgb *= np.float32(white if curve == LINEAR else curve.slope * white)
        if offset:
            rgb += np.float32(offset)
        if curve != LINEAR:
            np.minimum(rgb, bent, out=rgb)


def _compressed(rgb: Floats, luminance: Luminance) -> Floats:
    """Return (3, n) colours with less chroma where it is above INSIDE of what the space shows."""
    red, green, blue = (np.float32(share) for share in luminance)
    light = np.clip(rgb, 0, UNBOUNDED)
    gray = light[0] * red + light[1] * green + light[2] * blue
    chroma = rgb - gray
    # At most INSIDE of what is shown nothing changes: the factor is 1.
    share = np.clip(-chroma.min(axis=0) / np.clip(gray, TINY, UNBOUNDED), INSIDE, UNBOUNDED)
    room = np.float32(1 - INSIDE)
    shown = np.float32(INSIDE) - room * np.expm1((np.float32(INSIDE) - share) / room)
    chroma *= shown / share
    return np.asarray(gray + chroma)


def _rolled_off(light: Floats, shoulder: Shoulder) -> Floats:
    """Apply a shoulder's curve, as its `curve` does."""
    peak, knee = np.float32(shoulder.peak), np.float32(shoulder.knee)
    above = np.clip(light - knee, 0, peak - knee)
    if shoulder.peak < 1:
        lifted = np.square(above, out=above)
        lifted *= np.float32(shoulder.bend)
        return np.asarray(lifted + np.clip(light, -UNBOUNDED, peak))
    scale = (1 - shoulder.knee) / math.log1p(shoulder.bend * (shoulder.peak - shoulder.knee))
    above *= np.float32(shoulder.bend)
    bent = np.log1p(above, out=above)
    bent *= np.float32(scale)
    bent += knee
    return np.asarray(np.minimum(light, bent, out=bent))
