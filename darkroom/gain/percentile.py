"""The percentile rule: hand-made, from highlights and mean, and careful with noise."""

import math
from dataclasses import dataclass

import numpy as np

from darkroom.gain.metering import Reading, read_light
from darkroom.gain.types import MAX_GAIN, MIN_GAIN, Gain, GainRule, percent, times
from darkroom.raw.image import RawImage

# Source: fitted for darkroom, see tests/gain/test_gain.py for what it reaches.
PERCENTILE = 99.0
HIGHLIGHT_SHARE = 2 / 3
BRIGHT_KEY = 0.38
DIMMING = 1 / 8
NOISE_LIMIT = 0.05
EMPTY_NOISE_LIMIT = 0.01


@dataclass(frozen=True, slots=True)
class Key:
    """How bright a scene is, in units of white.

    `highlight`: the PERCENTILE of the blocks. `mean`: their mean as the eye weighs it.
    """

    highlight: float
    mean: float

    @property
    def value(self) -> float:
        """One number between mean and highlight."""
        return float(self.highlight**HIGHLIGHT_SHARE * self.mean ** (1 - HIGHLIGHT_SHARE))


def key_of(reading: Reading) -> Key:
    """Measure the brightness of a scene."""
    light = reading.light
    mean = float(np.mean(np.sqrt(light), dtype=np.float64)) ** 2
    return Key(float(np.percentile(light, PERCENTILE)), mean)


def percentile_gain(raw: RawImage) -> Gain:
    """Bring highlights and mean to a good exposure, but no further than the noise allows."""
    reading = read_light(raw)
    key = key_of(reading)
    # A darker photo is more likely a darker scene, so its picture stays a little darker too.
    wanted = (BRIGHT_KEY / key.value) ** (1 - DIMMING) if key.value > 0 else math.inf
    return limited(GainRule.PERCENTILE, wanted, reading, key)


def limited(rule: GainRule, wanted: float, reading: Reading, key: Key) -> Gain:
    """Hold a wanted gain to what the noise allows, and say in one sentence what decided.

    A photo without light gets the least gain.
    """
    details = {"highlight": key.highlight, "mean": key.mean, "noise": reading.noise}
    if key.value <= 0:
        reason = "no light above the black level, so there is nothing to amplify"
        return Gain(MIN_GAIN, rule, reason, details)
    loud = EMPTY_NOISE_LIMIT if reading.empty else NOISE_LIMIT
    quiet = loud / reading.noise if reading.noise > 0 else math.inf
    value = min(max(min(wanted, quiet), MIN_GAIN), MAX_GAIN)
    if reading.empty:
        reason = f"nothing stands out of the noise; more than {times(value)} would only show noise"
    else:
        reason = f"the 99th percentile of the scene is {percent(key.highlight)} of white"
        reason += _decided(value, wanted, key)
    return Gain(value, rule, reason, details)


def _decided(value: float, wanted: float, key: Key) -> str:
    """Say what kept the gain from the wanted one, if anything."""
    if value == wanted:
        return f"; {times(value)} brings it to {percent(key.highlight * value)}"
    if value == MIN_GAIN:
        return ", which is bright enough"
    if value == MAX_GAIN:
        return f"; {times(value)} is the most that is sensible"
    return f", little above the noise; more than {times(value)} would show more of that"
