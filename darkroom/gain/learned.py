"""The learned rule, darkroom's default: the exposure that the photographer would have chosen.

A small network looks at the histogram and the channel means of the blocks and says how bright the
scene's key should be. It sees everything relative to that key, so that a photo with half of the
light gets twice the gain, as far as noise lets it see the same. `darkroom.training.gain_rule`
trains it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darkroom.gain.metering import Reading, read_light
from darkroom.gain.percentile import Key, key_of, limited
from darkroom.gain.types import Gain, GainRule
from darkroom.raw.image import Exposure, RawImage

NAMES = ("mean", "scale", "enter.weight", "enter.bias", "leave.weight", "leave.bias")
QUANTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9)
# Least noise against the key that is told apart: 1/512 of it.
QUIET = 2.0**-9

# Scenes that are dark to the eye are wanted darker than a day's: by so many stops at most, from so
# many cd/m2 on, and not at all above so many. Source: SID's references, taken at 0.03 to 5 lux
# (Chen et al., CVPR 2018, section 3), lie 1.1 stops below what this rule learns from photographs;
# offices have 500 lux; a scene that reflects a fifth of them shows 0.06 cd/m2 per lux.
MAX_DIMMING = 1.1
NIGHT = 0.3
OFFICE = 30.0
# Where the file does not say how it was exposed, the darker the photo, the darker its scene.
DIM_FROM = 4.0
DIM_STOPS = 0.25

# Luminance times seconds times ISO over f-number squared that makes a mean of white.
# Source: ISO 12232, saturation-based speed: focal-plane exposure 78 / ISO saturates, and a lens
# passes 0.65 / N^2 of the luminance.
SATURATION = 78 / 0.65

# Photos whose key lies above the first are exposed already, from the second on surely so: they are
# brought to the third at most, however dark a scene they may show, or detail that they have in the
# lights is lost. Source: the daylight files that darkroom was tried on have keys of 0.26 to 0.43.
EXPOSED_FROM, EXPOSED = 0.05, 0.2
EXPOSED_KEY = 0.33

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GainNetwork:
    """A two-layer network from the features of a photo to the key it should have, in stops.

    `tensors`: NAMES; `mean` and `scale` bring the features to a common size.
    """

    tensors: Mapping[str, NDArray[np.float32]]

    def __call__(self, features: Floats) -> float:
        """(F,) features to log2 of the wanted key, in units of white."""
        t = self.tensors
        seen = ((features - t["mean"]) / t["scale"]).clip(-4, 4)  # nothing is far from training
        hidden = np.maximum(t["enter.weight"] @ seen + t["enter.bias"], 0)
        return float(t["leave.weight"] @ hidden + t["leave.bias"])


def learned_gain(raw: RawImage, network: GainNetwork) -> Gain:
    """Bring the scene to the key that photographers give such scenes, as far as noise allows."""
    reading = read_light(raw)
    key = key_of(reading)
    if key.value <= 0:
        return limited(GainRule.LEARNED, 1.0, reading, key)
    stops = network(features(reading, key)) - float(np.log2(key.value))
    stops -= dimming(stops, key, raw.exposure)
    stops = min(stops, -float(np.log2(key.mean)))  # no scene is wanted whiter than white
    stops = hold_back(stops, key)
    return limited(GainRule.LEARNED, 2.0**stops, reading, key)


def hold_back(stops: float, key: Key) -> float:
    """Keep a photo that is exposed already from being brightened beyond what keeps its lights."""
    exposed = np.log2(key.value / EXPOSED_FROM) / np.log2(EXPOSED / EXPOSED_FROM)
    enough = max(float(np.log2(EXPOSED_KEY / key.value)), 0.0)
    return stops - float(np.clip(exposed, 0, 1)) * max(stops - enough, 0.0)


def features(reading: Reading, key: Key) -> Floats:
    """(F,) what the network sees: the histogram, the channels and the noise, against the key.

    All are stops, and the same for any exposure.
    """
    light = reading.light
    noise = max(reading.block_noise, key.value * QUIET)
    levels = np.percentile(light, QUANTILES)
    seen = np.concatenate([levels, reading.rgb.mean(axis=1), [key.mean]])
    against_key = np.log2((np.maximum(seen, 0) + noise) / (key.value + noise))
    return np.append(against_key, np.log2(noise / (key.value + noise)))


def dimming(stops: float, key: Key, exposure: Exposure) -> float:
    """Say how many stops darker a dark scene is wanted than an ordinary one.

    `stops`: those that would make it an ordinary one. How dark the scene is follows from how it
    was exposed, where the file says so.
    """
    seconds, iso, aperture = exposure.seconds, exposure.iso, exposure.aperture
    if seconds and iso and aperture:
        luminance = key.mean * SATURATION * aperture**2 / (seconds * iso)
        dark = np.log2(OFFICE / luminance) / np.log2(OFFICE / NIGHT)
        return MAX_DIMMING * float(np.clip(dark, 0, 1))
    return min(DIM_STOPS * max(stops - DIM_FROM, 0), MAX_DIMMING)
