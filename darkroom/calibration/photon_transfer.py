"""Photon transfer: how much shot noise a unit of signal has, from pairs of flat frames.

The variance of the difference of two frames of one scene grows by the shot gain with the signal.
Whatever stays (shading, dust, sites of unlike sensitivity) cancels, and light that changed between
the two, or flickers from row to row, is allowed for.
Source: EMVA Standard 1288, release 4.0, section 6.6 (photon transfer method); Janesick, "Photon
Transfer", SPIE 2007, chapter 5.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.calibration.fixed_pattern import Mosaic
from darkroom.calibration.profile import Estimate

BLOCK = 96
"""Photosites along a block, a multiple of both arrays' periods."""
MAX_FILL = 0.7
"""PairBlocks that are fuller than this share of the range do not count.

Source: EMVA 1288, 6.6: the gain is fitted from 0 to 70 % of saturation.
"""
FULL, MAX_FULL_SHARE = 0.9, 0.002
"""... nor do those of which more than such a share of the sites is fuller than this."""
OUTLYING = 6.0
"""Differences of so many stds are no noise."""
MAX_CHANGE = 1.1
"""The light of a pair may change by so much."""
BLOCK_OUTLYING = 4.0
ROUNDS = 4
CURVED = 0.1
"""Shot gains of the darker and the brighter half that differ by more are no straight line."""


class PairBlocks(NamedTuple):
    """(n,) light, variance, what read noise adds in units of its variance, and samples."""

    signal: NDArray[np.float64]
    variance: NDArray[np.float64]
    reads: NDArray[np.float64]
    samples: NDArray[np.float64]


class ShotGain(NamedTuple):
    """The shot gain in sensor units, on how many blocks, and whether it grows with the light.

    `curvature`: gain of the brighter half of the blocks by that of the darker; None if unknown.
    """

    gain: Estimate
    blocks: int
    curvature: float | None


def measure_pair(first: Mosaic, second: Mosaic, period: int, span: float) -> PairBlocks | None:
    """Measure a pair of flat frames, (H, W) each, black taken off; `span`: white less black.

    None where the light changed by more than MAX_CHANGE between them. Blocks near white are left
    out, so none may be left.
    """
    height, width = (max(size // BLOCK, 1) for size in first.shape)
    whole = np.s_[: height * BLOCK, : width * BLOCK]
    first, second = first[whole], second[whole]
    ratio = _find_ratio(first, second, span)
    if not 1 / MAX_CHANGE < ratio < MAX_CHANGE:
        return None
    difference = first - np.float32(ratio) * second
    # Neighbours of one kind share shading and the row's light, so their difference is noise alone.
    across = difference[:, period:] - difference[:, :-period]
    rows, columns = _edges(first.shape[0], height), _edges(across.shape[1], width)
    found = []
    for top, bottom in rows:
        for left, right in columns:
            one, other = first[top:bottom, left:right], second[top:bottom, left:right]
            if not _is_usable(one, span) or not _is_usable(other, span):
                continue
            noise = across[top:bottom, left:right]
            typical = 1.2533 * float(np.abs(noise).mean(dtype=np.float64))  # normal: sqrt(pi / 2)
            kept = np.abs(noise) <= max(OUTLYING * typical, 1.0)
            samples = np.count_nonzero(kept)
            variance = float(np.square(noise).sum(where=kept, dtype=np.float64)) / samples / 2
            light = float(one.mean(dtype=np.float64) + ratio**2 * other.mean(dtype=np.float64))
            found.append((light, variance, 1 + ratio**2, samples / 1.5))  # neighbours overlap
    return PairBlocks(*np.array(found, np.float64).reshape(-1, 4).T)


def fit_shot_gain(pairs: Iterable[PairBlocks], read: Estimate) -> ShotGain | None:
    """Fit the straight line through the dark frames' read noise; None where nothing shows it.

    PairBlocks that lie far off the line are left out. The error is that of their scatter and of the
    read noise, together.
    """
    joined = PairBlocks(*(np.concatenate(column) for column in zip(*pairs, strict=True)))
    lit = joined.signal > 0
    signal, variance, reads, samples = (column[lit] for column in joined)
    if signal.size == 0:
        return None
    shot = variance - reads * read.value**2
    kept = np.ones(signal.size, dtype=np.bool_)
    gain = max(float(np.median(shot / signal)), 0.0)
    for _ in range(ROUNDS):
        expected = np.maximum(gain * signal + reads * read.value**2, 1e-9)
        weight = np.where(kept, samples / (2 * expected**2), 0.0)
        certainty = float(weight @ signal**2)
        if not certainty > 0:
            return None
        gain = float(weight @ (signal * shot)) / certainty
        off = (shot - gain * signal) / expected * np.sqrt(samples / 2)
        spread = max(1.4826 * float(np.median(np.abs(off[kept]))), 1.0)
        kept = np.abs(off) <= BLOCK_OUTLYING * spread
        if not kept.any():
            return None
    scatter = max(float(weight @ (shot - gain * signal) ** 2) / max(kept.sum() - 1, 1), 1.0)
    doubt = 2 * read.value * read.error * float(weight @ (signal * reads)) / certainty
    error = math.hypot(math.sqrt(scatter / certainty), doubt)
    if not gain > 2 * error:
        return None
    return ShotGain(
        Estimate(gain, error), int(kept.sum()), _curvature(signal[kept], shot[kept], weight[kept])
    )


def _curvature(
    signal: NDArray[np.float64], shot: NDArray[np.float64], weight: NDArray[np.float64]
) -> float | None:
    """Gain of the brighter half by that of the darker, where both tell it well."""
    bright = signal > np.median(signal)
    gains = []
    for half in (bright, ~bright):
        certainty = float(weight[half] @ signal[half] ** 2)
        if not certainty > 0:
            return None
        gain = float((weight * signal * shot)[half].sum()) / certainty
        if not gain > 20 / math.sqrt(certainty):  # known to 5 %
            return None
        gains.append(gain)
    return gains[0] / gains[1]


def _find_ratio(first: Mosaic, second: Mosaic, span: float) -> float:
    """Light of the first frame by that of the second, where neither is full."""
    open_sites = np.maximum(first, second) < FULL * span
    sums = (float(one.sum(where=open_sites, dtype=np.float64)) for one in (first, second))
    one, other = sums
    return one / other if other > 0 else math.inf


def _edges(size: int, count: int) -> list[tuple[int, int]]:
    """Begin and end of `count` parts of a side."""
    return [(size * place // count, size * (place + 1) // count) for place in range(count)]


def _is_usable(block: Mosaic, span: float) -> bool:
    """Whether a block is so far below white that its noise is not cut off."""
    full = np.count_nonzero(block > FULL * span)
    dim = float(block.mean()) < MAX_FILL * span
    return dim and bool(full <= MAX_FULL_SHARE * block.size)
