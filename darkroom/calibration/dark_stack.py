"""Dark frames, one after the other: black, read noise and its shape, noise of rows and columns.

Only sums are kept: two halves of the frames and the last one, whatever their number. Noise is what
differs between one frame and the next, so nothing that stays counts.
Source: EMVA Standard 1288, release 4.0, sections 6 and 8 (dark noise, spatial nonuniformity).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.calibration.fixed_pattern import (
    MAX_SAMPLES,
    Mosaic,
    Pattern,
    Values,
    measure_pattern,
    measure_spread,
    tile,
)
from darkroom.calibration.noise_shape import find_lambda, without_rounding
from darkroom.calibration.profile import Estimate

HOT = 8.0
"""Sites that stand so many stds above black in two frames are hot; their noise is their own."""
FAR = 12.0
"""Differences of so many stds are hot pixels that flicker or particles, not read noise."""
BANDS = 16
"""Bands of rows, whose scatter is the error of the noise's shape."""
OUTLYING = 6.0
"""Sites that far from their kind's median, in stds, do not count for black."""


class FrameNoise(NamedTuple):
    """Noise of one difference of frames, as of one frame.

    `variance`, `row_variance`, `column_variance`: of single sites, and of the offsets that rows and
    columns have in common. `kurtosis`: excess, of each of `BANDS` bands.
    """

    variance: float
    row_variance: float
    column_variance: float
    kurtosis: Values


class DarkNoise(NamedTuple):
    """The noise of dark frames, each number with its standard error; as in `IsoProfile`."""

    read: Estimate
    kurtosis: Estimate
    shape: Estimate
    row: Estimate
    column: Estimate


class DarkStack:
    """Dark frames of one camera and ISO, added one by one."""

    def __init__(self, period: int) -> None:
        """Begin with none; `period`: that of the colour filters."""
        self._period = period
        self._sums: list[Mosaic] = []
        self._counts = [0, 0]
        self._last: Mosaic | None = None
        self._levels: list[Values] = []
        self._noise: list[FrameNoise] = []

    @property
    def count(self) -> int:
        """How many frames there are."""
        return sum(self._counts)

    def add(self, mosaic: NDArray[np.uint16] | Mosaic) -> None:
        """Add a frame, (H, W) sensor values, all of one size."""
        levels = measure_levels(mosaic, self._period)
        values = mosaic - tile(levels, mosaic.shape)
        half = self.count % 2
        if half == len(self._sums):
            self._sums.append(values.copy())
        else:
            self._sums[half] += values
        self._counts[half] += 1
        self._levels.append(levels)
        if self._last is not None:
            limit = HOT * max(measure_spread(values), 0.5)
            hot = (values > limit) & (self._last > limit)
            self._noise.append(measure_difference(values - self._last, hot))
        self._last = values

    def measure_black(self) -> tuple[Values, Values]:
        """Return the (period, period) black levels and their standard errors."""
        levels = np.array(self._levels)
        assert self._last is not None, "a frame was added"
        own = self.measure_noise().read.value / math.sqrt(self._last.size * self.count)
        drift = levels.std(axis=0, ddof=1) / math.sqrt(self.count) if self.count > 1 else 0.0
        return levels.mean(axis=0), np.hypot(drift, own * self._period)

    def measure_noise(self) -> DarkNoise:
        """Measure the noise; of a single frame what it shows within, rows and columns not known."""
        assert self._last is not None, "a frame was added"
        alone = not self._noise
        found = [measure_alone(self._last, self._period)] if alone else self._noise
        height, width = self._last.shape
        variance = float(np.mean([one.variance for one in found]))
        read = math.sqrt(variance)
        bands = np.array([one.kurtosis for one in found]).mean(axis=0)
        kurtosis = without_rounding(float(bands.mean()), variance)
        error = float(bands.std(ddof=1)) / math.sqrt(len(bands))
        tails = max(float(bands.mean()), -1.9) + 2
        # Differences of neighbouring frames share one: what they tell is a third less.
        samples = len(found) / (1 if len(found) == 1 else 1.5)
        slope = abs(find_lambda(kurtosis + error) - find_lambda(kurtosis - error)) / 2

        def lines(variances: list[float], count: int, others: int) -> Estimate:
            value = float(np.mean(variances))
            doubt = math.sqrt(2 / (count * samples)) * (max(value, 0) + variance / others)
            root = math.sqrt(max(value, 0.0))
            return Estimate(root, min(doubt / (2 * root) if root else math.inf, math.sqrt(doubt)))

        return DarkNoise(
            Estimate(read, read * math.sqrt(tails / (4 * height * width * samples))),
            Estimate(kurtosis, error),
            Estimate(find_lambda(kurtosis), slope),
            lines([one.row_variance for one in found], height, width),
            lines([one.column_variance for one in found], width, height),
        )

    def measure_pattern(self) -> Pattern:
        """Measure what all frames have; the last thing to ask for, for it uses up the sums."""
        halves, self._sums = self._sums, []
        counts = self._counts[: len(halves)]
        for half, count in zip(halves, counts, strict=True):
            half /= count
        return measure_pattern(halves, counts, self.measure_noise().read.value)


def measure_levels(mosaic: NDArray[np.uint16] | Mosaic, period: int) -> Values:
    """(period, period) mean levels of a frame's sites, without those that stand out."""
    levels = np.empty((period, period))
    for place in np.ndindex(period, period):
        sites = mosaic[place[0] :: period, place[1] :: period].astype(np.float32)
        middle = np.median(sites.ravel()[:: sites.size // MAX_SAMPLES | 1])
        limit = max(OUTLYING * measure_spread(sites), 2.0)  # of whole numbers, one each way counts
        kept = np.abs(sites - middle) <= limit
        levels[place] = float(np.mean(sites - middle, where=kept, dtype=np.float64)) + middle
    return levels


def measure_difference(difference: Mosaic, hot: NDArray[np.bool_]) -> FrameNoise:
    """Measure noise on the difference of two frames, (H, W), which is changed; not on `hot`."""
    height, width = difference.shape
    kept = np.abs(difference) <= FAR * max(measure_spread(difference), 0.5)
    kept &= ~hot
    rows = difference.mean(axis=1, where=kept, dtype=np.float64)
    difference -= rows[:, None].astype(np.float32)
    columns = difference.mean(axis=0, where=kept, dtype=np.float64)
    difference -= columns[None].astype(np.float32)
    variance, kurtosis = _measure_moments(difference, kept)
    variance *= height * width / ((height - 1) * (width - 1))
    return FrameNoise(
        variance,
        float(rows.var(ddof=1)) / 2 - variance / width,
        float(columns.var(ddof=1)) / 2 - variance / height,
        kurtosis,
    )


def measure_alone(frame: Mosaic, period: int) -> FrameNoise:
    """Measure noise on one dark frame, by neighbours of one kind in each row."""
    difference = frame[:, period:] - frame[:, :-period]
    limit = HOT * max(measure_spread(frame), 0.5)
    kept = np.maximum(frame[:, period:], frame[:, :-period]) <= limit
    kept &= np.abs(difference) <= FAR * max(measure_spread(difference), 0.5)
    variance, kurtosis = _measure_moments(difference, kept)
    return FrameNoise(variance, 0.0, 0.0, kurtosis)


def _measure_moments(difference: Mosaic, kept: NDArray[np.bool_]) -> tuple[float, Values]:
    """Variance of one of two frames whose difference this is, and excess kurtosis of bands.

    Fourth cumulants of two frames add, as variances do.
    """
    squares = np.where(kept, difference, 0) ** 2
    bands = np.array_split(np.arange(len(squares)), min(BANDS, len(squares)))
    sums = [
        (
            np.count_nonzero(kept[band]),
            squares[band].sum(dtype=np.float64),
            (squares[band] ** 2).sum(dtype=np.float64),
        )
        for band in (slice(band[0], band[-1] + 1) for band in bands)
    ]
    counts, seconds, fourths = (np.array(column, np.float64) for column in zip(*sums, strict=True))
    counts = np.maximum(counts, 1)
    variance = float(seconds.sum() / counts.sum())
    excess = fourths / counts / max(variance, 1e-12) ** 2 - 3
    return variance / 2, 2 * excess
