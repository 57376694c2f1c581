"""How noisy a photo is, measured on the photo itself.

Noise of a sensor has two parts: shot noise, whose variance grows with the light, and read noise,
which is always there. Both are found on small blocks spread over the photo: what a smooth surface
through each block leaves over is noise, or texture. Texture only adds, so of the blocks that are
equally bright those with the least of it count, and the line through them is a lower envelope.
"""

import math
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.files.sensor import RawImage, Sensor

BLOCK = {Sensor.BAYER: (8, 8), Sensor.XTRANS: (6, 12)}
"""Rows and columns of a block in photosites: the rarest colour has 16 in it."""
MAX_PAIRS = (80, 48)
"""Pairs of blocks down and across the photo, at most (nearly)."""
SURFACE = 5
"""Terms of a quadratic surface besides its mean."""
SATURATED = 0.95
"""Light from which a site may be clipped at white, or bent on its way there."""
CLIPPED_SHARE = 1e-3
"""A sensor's least value is a floor, below which noise is lost, where it is so frequent."""
LEAST_HEIGHT = -1.0
"""Light further below such a floor than this, in stds, is not inferred from what remains."""

BINS_PER_OCTAVE = 3
FEWEST, FLATTEST = 24, 0.25
"""Of a bin's values those of this share of the blocks count that are flattest, but so many."""
TRIM = 0.95
"""Values above this quantile of what noise alone gives are left out of means."""
TEXTURED = 0.25
"""A bin with more than this share of them left out holds texture."""
MODEL_ERROR = 0.05
"""Relative error of a bin's variance beside chance: vignetting, column noise, odd pixels."""
MASKED_ERROR = 0.1
"""Relative error of the masked borders' variance: they lack the photosites' own part."""
NEAR, FLAT_SHARE = 0.3, 0.25
"""Flat patches were found where this share of the bins is so near to the line (of logarithms)."""
AGREEING = math.log(2)
"""The noise that a file states is believed up to a factor of two in variance."""
BELOW, ABOVE = 5.0, 2.0
"""How many stds a bin counts below the line and above it, at most."""
ELECTRONS, ELECTRONS_SPREAD = 3.0, 3.0
"""Typical read noise in electrons, and its geometric spread; decides only where the photo cannot.

Source: Wei et al., CVPR 2020, section 5 and EMVA 1288 reports: 1 to 10 electrons.
"""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a photo: variance(x) = shot * x + read**2.

    x is linear light, black 0, white 1 before amplification, all channels alike and not
    white-balanced. `read` includes the rounding to whole numbers. `reason`: one sentence.
    """

    shot: float
    read: float
    reason: str

    def std(self, light: float) -> float:
        """Return the standard deviation of a photosite that holds so much light."""
        return math.sqrt(self.shot * max(light, 0.0) + self.read**2)

    def amplified(self, gain: float) -> "Noise":
        """Return the noise of the same photo, all its values multiplied by `gain`."""
        return replace(self, shot=self.shot * gain, read=self.read * gain)

    def louder(self, factor: float) -> "Noise":
        """Return noise whose standard deviation is `factor` times as large at every level."""
        return replace(self, shot=self.shot * factor**2, read=self.read * factor)


class _Blocks(NamedTuple):
    """What each channel of each block says; all (blocks, channels), in units of white.

    `mean`; `beside`: the mean of the block next to it, to sort by, since its noise is another;
    `variance` around a quadratic surface, of `freedom` (channels,) degrees; `slope`: the variance
    of that surface. `floor`: (channels,) the value below which noise was cut off, or -inf.
    """

    mean: Values
    beside: Values
    variance: Values
    freedom: Values
    slope: Values
    floor: Values


class _Bins(NamedTuple):
    """The noise at several levels of light: (bins,) each; `error` of the variance is relative."""

    light: Values
    variance: Values
    error: Values
    textured: NDArray[np.bool_]
    patches: int


def measure_noise(raw: RawImage) -> Noise:
    """Measure the noise of a photo; one number of each kind for all of it.

    Never fails: where nothing can be measured, what rounding alone makes is returned.
    """
    least = _step(raw) / math.sqrt(12)
    bins = _binned(_measure(raw))
    masked = _masked(raw)
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
    return Noise(shot, max(read, least), reason)


def _masked(raw: RawImage) -> float | None:
    """Return the read noise of the masked borders, in units of white."""
    if raw.masked_noise is None:
        return None
    return raw.masked_noise / float(np.mean(raw.white - raw.black))


def _is_plausible(profile: tuple[float, float], bins: _Bins, flat: bool) -> bool:
    """Whether the noise that a file states agrees with the photo; texture may only add to it."""
    if not bins.light.size:
        return True
    stated = _variance(profile[0], math.sqrt(profile[1]), bins.light)
    off = float(np.median(np.log(stated / bins.variance)))
    return (-AGREEING if flat else -math.inf) < off < AGREEING


def _variance(shot: float, read: float, light: Values) -> Values:
    """Return the noise model at some levels of light."""
    return np.asarray(shot * light.clip(min=0) + read**2)


# Blocks


def _measure(raw: RawImage) -> _Blocks:
    """Measure blocks that are spread evenly over the photo and not saturated, in pairs."""
    shape, period = BLOCK[raw.cfa.sensor], raw.cfa.period
    sites = _read_blocks(raw, shape)  # (pairs, 2, sites)
    top = min(SATURATED, float(sites.max(initial=0)))
    sites = sites[sites.max(axis=(1, 2), initial=0) < top]
    # Bayer's two greens may differ in level, so each site of its period is a channel.
    colors = np.arange(4).reshape(2, 2) if period == 2 else raw.cfa.channels
    channels = np.tile(colors, (shape[0] // period, shape[1] // period))
    basis, sizes = _basis(channels.astype(np.uint8).tobytes(), shape)
    parts = np.square(sites.reshape(-1, sites.shape[2]) @ basis)
    freedom = np.array(sizes) - SURFACE
    # One row for each column of the basis: 1 where it belongs to a channel's surface, or its rest.
    surface = np.repeat(np.eye(len(sizes)), sizes, axis=0)
    is_rest = np.concatenate([np.arange(size) >= SURFACE for size in sizes])[:, None]
    average = np.hstack([surface * ~is_rest / SURFACE, surface * is_rest / freedom])
    energy = (parts @ average.astype(np.float32)).astype(np.float64)
    mean = _means(sites, channels.ravel(), len(sizes))
    return _Blocks(
        mean=mean.reshape(-1, len(sizes)),
        beside=mean[:, ::-1].reshape(-1, len(sizes)),
        variance=energy[:, len(sizes) :],
        freedom=freedom.astype(np.float64),
        slope=energy[:, : len(sizes)],
        floor=_floors(sites, channels.ravel(), len(sizes)),
    )


def _read_blocks(raw: RawImage, shape: tuple[int, int]) -> NDArray[np.float32]:
    """(pairs, 2, sites) light of pairs of blocks side by side, black 0, white 1.

    Each begins with a period of the colour filter array, each pair with one of the levels.
    """
    down, right = shape[0], 2 * shape[1]
    if raw.mosaic.shape[0] < down or raw.mosaic.shape[1] < right:
        return np.empty((0, 2, shape[0] * shape[1]), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(raw.mosaic, (down, right))
    steps = [
        max(size // most, side, 1) // level * level or level
        for size, most, side, level in zip(
            windows.shape[:2], MAX_PAIRS, (down, right), raw.black.shape, strict=True
        )
    ]
    black, white = (_repeated(level, (down, right)) for level in (raw.black, raw.white))
    pairs = windows[:: steps[0], :: steps[1]].astype(np.float32)
    pairs -= black
    pairs /= white - black
    halves = pairs.reshape(-1, down, 2, shape[1]).swapaxes(1, 2)
    return np.ascontiguousarray(halves).reshape(-1, 2, down * shape[1])


def _repeated(pattern: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Repeat a pattern over a block, from its first site on."""
    repeats = [-(-side // size) for side, size in zip(shape, pattern.shape, strict=True)]
    return np.tile(pattern, repeats)[: shape[0], : shape[1]]


@cache
def _basis(channels: bytes, shape: tuple[int, int]) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """(sites, columns): for each channel SURFACE columns of a quadratic surface, then the rest.

    Orthonormal, and without the mean. `channels`: (rows, columns) of a block, as bytes. Also the
    number of columns of each channel.
    """
    numbers = np.frombuffer(channels, np.uint8).reshape(shape)
    columns, sizes = [], []
    for channel in range(int(numbers.max()) + 1):
        rows, cols = np.nonzero(numbers == channel)
        y, x = rows - rows.mean(), cols - cols.mean()
        terms = np.stack([np.ones(len(x)), x, y, x * y, x**2, y**2], axis=1)
        basis, _ = np.linalg.qr(terms, mode="complete")
        embedded = np.zeros((numbers.size, len(x) - 1), dtype=np.float32)
        embedded[(numbers == channel).ravel()] = basis[:, 1:]
        columns.append(embedded)
        sizes.append(len(x) - 1)
    return np.concatenate(columns, axis=1), tuple(sizes)


def _means(sites: NDArray[np.float32], channels: NDArray[np.intp], count: int) -> Values:
    """(pairs, 2, count) the mean of each channel."""
    member = (channels[:, None] == np.arange(count)).astype(np.float32)
    return np.asarray(sites @ (member / member.sum(axis=0)), dtype=np.float64)


def _floors(sites: NDArray[np.float32], channels: NDArray[np.intp], count: int) -> Values:
    """(count,) the least value of each channel where so many sites have it that it is a floor."""
    floors = np.full(count, -np.inf)
    if not sites.size:
        return floors
    least = sites.min(axis=(0, 1))
    for channel in range(count):
        floor = least[channels == channel].min()
        mine = sites[::3, :, channels == channel]
        if np.count_nonzero(mine == floor) > CLIPPED_SHARE * mine.size:
            floors[channel] = floor
    return floors


def _step(raw: RawImage) -> float:
    """Return the step between neighbouring values, in units of white; 0 where they are no ints."""
    if raw.mosaic.dtype != np.uint16:
        return 0.0
    rows, columns = (max(1, size // 256) for size in raw.mosaic.shape)
    values = np.flatnonzero(np.bincount(raw.mosaic[::rows, ::columns].ravel()))
    whole = int(np.gcd.reduce(values - values[0])) or 1
    return float(whole / np.mean(raw.white - raw.black))


# Bins


def _binned(blocks: _Blocks) -> _Bins:
    """Gather the flattest blocks of each level of light and average their variances."""
    level = _levels(blocks).ravel()
    order = np.argsort(level, kind="stable")
    ends = np.flatnonzero(np.diff(level[order], append=level[order][-1:] + 1)) + 1
    flatness = _flatness(blocks, order, ends).ravel()
    channel = np.tile(np.arange(len(blocks.freedom)), len(blocks.mean))
    found = []
    for start, end in zip(np.append(0, ends), ends, strict=False):
        chosen = order[start:end]
        wanted = max(FEWEST, int(FLATTEST * len(chosen)))
        if len(chosen) < FEWEST:
            continue
        chosen = chosen[np.argpartition(flatness[chosen], wanted - 1)[:wanted]]
        found.append(
            _bin(
                blocks.mean.ravel()[chosen],
                blocks.variance.ravel()[chosen],
                blocks.freedom[channel[chosen]],
                float(blocks.floor[channel[chosen]].max()),
            )
        )
    light, variance, error, textured, count = (
        np.array([one for one in found if one is not None], dtype=np.float64).reshape(-1, 5).T
    )
    return _Bins(light, variance, error, textured > 0, int(count.sum()))


def _levels(blocks: _Blocks) -> NDArray[np.intp]:
    """(blocks, channels) the bin of each: linear within the noise of the dark, octaves above."""
    if not blocks.mean.size:
        return np.empty(blocks.mean.shape, np.intp)
    dark = blocks.beside <= np.percentile(blocks.beside, 20)
    noise = max(math.sqrt(float(np.percentile(blocks.variance[dark], 30))), 1e-7)
    octaves = np.arcsinh(blocks.beside / noise) / math.log(2)
    return np.rint(BINS_PER_OCTAVE * octaves).astype(np.intp)


def _flatness(blocks: _Blocks, order: NDArray[np.intp], ends: NDArray[np.intp]) -> Values:
    """(blocks, channels) less for flatter blocks, judged by what is independent of their noise.

    That is the other channels' variance and all channels' slopes, each compared with what is usual
    at its level. `order`: all sorted by level; `ends`: where each level ends in it.
    """
    variance = blocks.variance.ravel()[order]
    usual = np.empty(variance.shape)
    for start, end in zip(np.append(0, ends), ends, strict=False):
        quarter = (end - start) // 4
        usual[order[start:end]] = np.partition(variance[start:end], quarter)[quarter]
    usual = usual.reshape(blocks.mean.shape).clip(min=1e-16)
    own = blocks.freedom * blocks.variance / usual
    total = (own + SURFACE * blocks.slope / usual).sum(axis=1, keepdims=True)
    return np.asarray(total - own)


def _bin(
    mean: Values, variance: Values, freedom: Values, floor: float
) -> tuple[float, float, float, bool, int] | None:
    """Light, variance, its relative error, whether textured, and how many blocks of a bin count.

    None where too little is left above the `floor`, or nothing varies.
    """
    typical, kept = _trimmed_mean(variance, freedom)
    if not typical > 0:
        return None
    light, left = float(mean[kept].mean()), UNCLIPPED
    if math.isfinite(floor):
        # What is left of noise at a floor has heavier tails, so fewer values may be trimmed.
        left = _left((float(mean.mean()) - floor) / math.sqrt(float(variance.mean())))
        sites = freedom + SURFACE + 1
        typical, kept = _trimmed_mean(variance, 2 / (2 / freedom + left.tails / sites))
        left = _left((float(mean[kept].mean()) - floor) / math.sqrt(typical))
        if left.height < LEAST_HEIGHT:
            return None
        typical /= left.variance
        light = floor + left.height * math.sqrt(typical)
    error = math.hypot(
        math.sqrt(2 / float(freedom[kept].sum())) / left.variance, MODEL_ERROR / left.variance
    )
    return light, typical, error, float(np.mean(~kept)) > TEXTURED, int(kept.sum())


def _trimmed_mean(variance: Values, freedom: Values) -> tuple[float, NDArray[np.bool_]]:
    """Average variances without those that are too large for noise alone; and which were kept."""
    cut, below = _trim(max(round(float(freedom.min())), 1))
    typical = float(np.median(variance))
    for _ in range(3):
        kept = variance <= cut * typical
        weights = freedom[kept]
        typical = float(variance[kept] @ weights / weights.sum()) / below
    return typical, kept


@cache
def _trim(freedom: int) -> tuple[float, float]:
    """Return the TRIM quantile of chi-square by its mean, and the mean of what lies below.

    Source: Wilson & Hilferty, PNAS 17 (1931): its cube root is nearly normal.
    """
    normal, width = NormalDist(), 2 / (9 * freedom)
    shares = (np.arange(200) + 0.5) / 200 * TRIM
    below = [max(1 - width + normal.inv_cdf(p) * math.sqrt(width), 0) ** 3 for p in shares]
    cut = (1 - width + normal.inv_cdf(TRIM) * math.sqrt(width)) ** 3
    return cut, float(np.mean(below))


# What a floor leaves of noise


class _Left(NamedTuple):
    """max(x, 0) where x is normal around `height` with std 1: its variance, excess kurtosis."""

    height: float
    variance: float
    tails: float


UNCLIPPED = _Left(math.inf, 1.0, 0.0)


@cache
def _clipped() -> tuple[Values, Values, Values, Values]:
    """Table of heights, and of mean / std, variance and excess kurtosis of what is left of each."""
    heights = np.linspace(2 * LEAST_HEIGHT, 6, 400)
    normal = NormalDist()
    zeroth = np.array([normal.cdf(h) for h in heights])
    # Moments about 0, each from the two before it by parts.
    first = heights * zeroth + np.array([normal.pdf(h) for h in heights])
    second = heights * first + zeroth
    third = heights * second + 2 * first
    fourth = heights * third + 3 * second
    variance = second - first**2
    central = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    return heights, first / np.sqrt(variance), variance, central / variance**2 - 3


def _left(ratio: float) -> _Left:
    """Find the normal distribution of whose part above 0 mean / std is `ratio`."""
    heights, ratios, *columns = _clipped()
    if ratio >= ratios[-1]:
        return _Left(ratio, 1.0, 0.0)
    return _Left(*(float(np.interp(ratio, ratios, column)) for column in (heights, *columns)))


# The line


def _fit(bins: _Bins, least: float, masked: float | None = None) -> tuple[float, float]:
    """Return shot and read noise of the line that lies best below the bins.

    By a search over a grid that shrinks, since bins above the line count only so much. `masked`:
    the read noise of the masked borders, one more bin.
    """
    if masked is not None:
        bins = _Bins(
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
        shot = _closer(shot, int(row))
        read = _closer(read, int(column))
    return math.exp(shot[len(shot) // 2]), math.exp(read[len(read) // 2])


def _closer(grid: Values, best: int) -> Values:
    """Return a finer grid around the best place of a coarse one."""
    width = 1.5 * (grid[1] - grid[0])
    return np.linspace(grid[best] - width, grid[best] + width, 13)


def _cost(bins: _Bins, light: Values, shot: Values, read: Values) -> Values:
    """Return how badly lines lie below the bins; (shots, reads)."""
    off = np.log(bins.variance / (shot * light + read**2)) / bins.error
    above = np.minimum(off / np.where(bins.textured, 2, 1), ABOVE)
    cost = np.square(np.where(off > 0, above, np.maximum(off, -BELOW))).sum(axis=-1)
    electrons = np.log(read / (ELECTRONS * shot)) / math.log(ELECTRONS_SPREAD)
    return np.asarray(cost + np.square(electrons)[..., 0])
