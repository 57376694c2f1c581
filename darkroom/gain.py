"""How much to amplify: one number per photo, with the reason for it in words.

A gain multiplies linear sensor values (black 0, white 1). It is measured once on the whole photo,
never per tile. White is the sensor's white level; "light" is what a photosite holds above black.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import UsageError
from darkroom.files.sensor import RawImage, Sensor

MIN_GAIN = 1.0
MAX_GAIN = 300.0  # Source: the largest exposure ratio of SID (Chen et al., CVPR 2018, section 3).
MAX_RATIO = 1000.0

# REDI's histogram rule. Source: Lamba & Mitra, CVPR 2021, section 3.3, and the published demo.
REDI_BRIGHTNESS = (1, 5, 8)
REDI_BINS = 127
REDI_STOPS = 8
REDI_DECADES = 5
REDI_CROP = 32

# The percentile rule. Source: fitted for darkroom, see tests/test_gain.py for what it reaches.
PERCENTILE = 99.0
BRIGHTEST = 99.9
HIGHLIGHT_SHARE = 2 / 3
BRIGHT_KEY = 0.38
DIMMING = 1 / 8
NOISE_LIMIT = 0.05
EMPTY_NOISE_LIMIT = 0.01
EMPTY_SIGMAS = 4.5
BLOCK = {Sensor.BAYER: 8, Sensor.XTRANS: 6}
MAX_BLOCKS = 96
BORDER = 1 / 32


class GainRule(Enum):
    """The rules that find a gain from the photo; llpacknet needs a network's amplifier for it."""

    REDI = "redi"
    PERCENTILE = "percentile"
    LLPACKNET = "llpacknet"


@dataclass(frozen=True, slots=True)
class Gain:
    """A gain and where it comes from.

    `value`: the factor on linear, black-subtracted sensor values. `rule`: None where the user gave
    the number. `reason`: one sentence for people. `details`: the measured numbers behind it.
    """

    value: float
    rule: GainRule | None
    reason: str
    details: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def brightened(self, stops: float) -> "Gain":
        """Add `stops` of exposure (negative darkens); the result stays within 1 and MAX_RATIO.

        Raises UsageError where `stops` is no finite number.
        """
        if not math.isfinite(stops):
            raise UsageError(f"--ev {stops}: not a number of stops; give one such as 0.5 or -1")
        if stops == 0:
            return self
        wanted = self.value * 2.0**stops if abs(stops) < 64 else math.copysign(math.inf, stops)
        value = min(max(wanted, MIN_GAIN), MAX_RATIO)
        held = "" if value == wanted else ", as far as a gain goes"
        reason = f"{self.reason}; {stops:+g} EV makes it {_times(value)}{held}"
        return replace(self, value=value, reason=reason, details={**self.details, "ev": stops})


def given_gain(ratio: float) -> Gain:
    """Take the user's own exposure ratio as the gain; UsageError unless it is 1 to 1000."""
    if not MIN_GAIN <= ratio <= MAX_RATIO:
        raise UsageError(f"--ratio {ratio:g}: must be between 1 and {MAX_RATIO:g}")
    return Gain(float(ratio), None, f"{_times(ratio)} was asked for")


def choose_gain(
    raw: RawImage,
    rule: GainRule,
    m: int = 1,
    amplifier: Callable[[RawImage], float] | None = None,
) -> Gain:
    """Find the gain of a photo from its own values, within MIN_GAIN and MAX_GAIN.

    `m`: REDI's choice of brightness, one of REDI_BRIGHTNESS. `amplifier`: the network's own,
    for the rule llpacknet. Raises UsageError for another `m`, and for that rule without one.
    """
    if rule is GainRule.REDI:
        return _redi_gain(raw, m)
    if m != 1:
        raise UsageError(f"m = {m}: only the rule redi has a choice of brightness; leave m out")
    if rule is GainRule.LLPACKNET:
        return _learned_gain(raw, amplifier)
    return _percentile_gain(raw)


# REDI's histogram rule


def _redi_gain(raw: RawImage, m: int) -> Gain:
    """Bring the weighted mean of the pixels, dark ones counting most, to m % of white."""
    if m not in REDI_BRIGHTNESS:
        choices = ", ".join(map(str, REDI_BRIGHTNESS))
        raise UsageError(f"m = {m}: REDI's brightness is one of {choices}")
    mean = _weighted_mean(raw)
    wanted = 0.01 * m / mean if mean > 0 else math.inf
    value = min(max(wanted, MIN_GAIN), MAX_GAIN)
    reason = f"the photo's mean, dark pixels counting most, is {_percent(mean)} of white"
    if value == wanted:
        reason += f"; {_times(value)} brings it to {m} %"
    else:
        reason += f"; {_times(value)} is the {'most' if value == MAX_GAIN else 'least'} there is"
    return Gain(value, GainRule.REDI, reason, {"m": float(m), "weighted_mean": mean})


def _weighted_mean(raw: RawImage) -> float:
    """Mean light weighted by REDI's histogram weights; inf where every pixel is saturated."""
    edges = (2.0 ** np.linspace(0, REDI_STOPS, REDI_BINS + 1) - 1).astype(np.float32)
    edges /= np.float32(2**REDI_STOPS - 1)
    decades = np.linspace(0, REDI_DECADES, REDI_BINS)
    weights = np.append(10.0**-decades, 0).astype(np.float32)  # the last: saturated pixels
    height, width = (size // REDI_CROP * REDI_CROP or size for size in raw.mosaic.shape)
    down, right = raw.black.shape
    weight_sum = light_sum = 0.0
    for row, column in np.ndindex(raw.black.shape):
        sites = raw.mosaic[row:height:down, column:width:right]
        values, counts = _histogram(sites)
        black, white = raw.black[row, column], raw.white[row, column]
        light = np.maximum(values.astype(np.float32) - black, 0) / (white - black)
        weight = weights[np.searchsorted(edges, light, side="right") - 1]
        weight_sum += float(np.sum(weight * counts, dtype=np.float64))
        light_sum += float(np.sum((weight * light).astype(np.float64) * counts))
    return light_sum / weight_sum if weight_sum > 0 else math.inf


def _histogram(
    sites: NDArray[np.uint16] | NDArray[np.float32],
) -> tuple[NDArray[np.uint16] | NDArray[np.float32] | NDArray[np.intp], NDArray[np.float64]]:
    """Values and how often each occurs; counting whole numbers is exact and much faster."""
    if sites.dtype == np.uint16:
        counts = np.bincount(sites.ravel())
        return np.arange(len(counts)), counts.astype(np.float64)
    return sites.ravel(), np.ones(sites.size)


# LLPackNet's rule


def _learned_gain(raw: RawImage, amplifier: Callable[[RawImage], float] | None) -> Gain:
    """Take what a trained amplifier finds, as far as a gain goes."""
    if amplifier is None:
        raise UsageError(
            "the rule llpacknet needs weights with an amplifier (--model, LLPackNet of 2020); "
            "use percentile or redi"
        )
    found = amplifier(raw)
    value = min(max(found, MIN_GAIN), MAX_GAIN)
    reason = f"the amplifier that was trained with the network finds {_times(found)}"
    if value != found:
        reason += f"; {_times(value)} is the {'most' if value == MAX_GAIN else 'least'} there is"
    return Gain(value, GainRule.LLPACKNET, reason, {"amplifier": found})


# The percentile rule


@dataclass(frozen=True, slots=True)
class _Light:
    """The light of a photo, measured on blocks: all in units of white.

    `highlight`: the PERCENTILE of the blocks. `mean`: their mean as the eye weighs it. `noise`:
    standard deviation of one green photosite in the photo's flattest blocks. `empty`: not even
    the brightest blocks stand out of that noise.
    """

    highlight: float
    mean: float
    noise: float
    empty: bool

    @property
    def key(self) -> float:
        """One number for the brightness of the scene, between mean and highlight."""
        return float(self.highlight**HIGHLIGHT_SHARE * self.mean ** (1 - HIGHLIGHT_SHARE))


def _percentile_gain(raw: RawImage) -> Gain:
    """Bring highlights and mean to a good exposure, but no further than the noise allows."""
    light = _measure(raw)
    details = {"highlight": light.highlight, "mean": light.mean, "noise": light.noise}
    if light.key <= 0:
        reason = "no light above the black level, so there is nothing to amplify"
        return Gain(MIN_GAIN, GainRule.PERCENTILE, reason, details)
    # A darker photo is more likely a darker scene, so its picture stays a little darker too.
    wanted = (BRIGHT_KEY / light.key) ** (1 - DIMMING)
    loud = EMPTY_NOISE_LIMIT if light.empty else NOISE_LIMIT
    quiet = loud / light.noise if light.noise > 0 else math.inf
    value = min(max(min(wanted, quiet), MIN_GAIN), MAX_GAIN)
    return Gain(value, GainRule.PERCENTILE, _percentile_reason(light, value, wanted), details)


def _percentile_reason(light: _Light, value: float, wanted: float) -> str:
    """Say in one sentence what was seen and what kept the gain from the wanted one, if anything."""
    if light.empty:
        return f"nothing stands out of the noise; more than {_times(value)} would only show noise"
    seen = f"the 99th percentile of the scene is {_percent(light.highlight)} of white"
    if value == wanted:
        return f"{seen}; {_times(value)} brings it to {_percent(light.highlight * value)}"
    if value == MIN_GAIN:
        return f"{seen}, which is bright enough"
    if value == MAX_GAIN:
        return f"{seen}; {_times(value)} is the most that is sensible"
    return f"{seen}, little above the noise; more than {_times(value)} would show more of that"


def _measure(raw: RawImage) -> _Light:
    """Measure the light on up to MAX_BLOCKS x MAX_BLOCKS small blocks spread over the photo.

    Blocks average the noise out; the brightest and darkest photosite of each colour are left out of
    every block (hot and dead pixels), and so is a border (optical black). The light of a block
    is its brightest channel after white balance, because that is the one that clips.
    """
    period = raw.cfa.period
    block = max(min(BLOCK[raw.cfa.sensor], *raw.mosaic.shape) // period, 1) * period
    rows, columns = (_block_starts(size, block, period) for size in raw.mosaic.shape)
    sites = _read_blocks(raw, rows, columns, block)  # (blocks, block * block)
    channels = np.tile(raw.cfa.channels, (block // period, block // period)).ravel()
    balance = raw.color.white_balance
    multipliers = np.ones(3) if balance is None else balance / balance.min()
    light = np.zeros(len(sites), dtype=np.float32)
    for channel, multiplier in enumerate(multipliers):
        chosen = sites[:, channels == channel]
        np.maximum(light, np.float32(multiplier) * _trimmed_mean(chosen), out=light)
    np.minimum(light, 1, out=light)
    noise = float(np.percentile(sites[:, channels == 1].std(axis=1), 10))
    block_noise = noise * float(np.max(multipliers / np.sqrt(np.bincount(channels))))
    highlight, brightest = np.percentile(light, [PERCENTILE, BRIGHTEST])
    return _Light(
        highlight=float(highlight),
        mean=float(np.mean(np.sqrt(light), dtype=np.float64)) ** 2,
        noise=noise,
        empty=bool(brightest <= EMPTY_SIGMAS * block_noise),
    )


def _block_starts(size: int, block: int, period: int) -> NDArray[np.intp]:
    """First rows (or columns) of the blocks: whole CFA periods, evenly spread inside the border."""
    border = int(size * BORDER)
    room = size - 2 * border
    if room < block:
        border, room = 0, size
    count = min(MAX_BLOCKS, max(room // block, 1))
    starts = border + np.linspace(0, max(room - block, 0), count)
    return (starts // period).astype(np.intp) * period


def _read_blocks(
    raw: RawImage, rows: NDArray[np.intp], columns: NDArray[np.intp], block: int
) -> NDArray[np.float32]:
    """(blocks, block * block) float32 light of the blocks that start there, black 0, white 1."""
    inside = np.arange(block)
    down = (rows[:, None] + inside).ravel()
    right = (columns[:, None] + inside).ravel()
    black = raw.black[np.ix_(down % raw.black.shape[0], right % raw.black.shape[1])]
    white = raw.white[np.ix_(down % raw.white.shape[0], right % raw.white.shape[1])]
    light = raw.mosaic[np.ix_(down, right)] - black
    light /= white - black
    blocks = light.reshape(len(rows), block, len(columns), block).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(blocks).reshape(-1, block * block)


def _trimmed_mean(sites: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of each row without its largest and smallest value, where it has at least four."""
    total = sites.sum(axis=1)
    count = sites.shape[1]
    if count < 4:
        return np.asarray(total / count, dtype=np.float32)
    extremes = sites.max(axis=1) + sites.min(axis=1)
    return np.asarray((total - extremes) / (count - 2), dtype=np.float32)


def _times(value: float) -> str:
    """Write a gain for people: x1.3, x96."""
    return f"x{value:.0f}" if value >= 10 else f"x{value:.2g}"


def _percent(value: float) -> str:
    """Write a share for people: 0.08 %, 75 %."""
    return f"{100 * value:.2g} %" if value < 0.995 else f"{100 * value:.0f} %"
