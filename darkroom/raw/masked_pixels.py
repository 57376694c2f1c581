"""Statistics of a sensor's masked borders: levels per site, their errors, noise, row offsets.

All in sensor units. Sites are those of the CFA's period. All limits here were chosen on the frames
of eleven cameras and on simulated ones.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

GUARD = 4
"""Masked lines next to the picture, in sites, that light leaks into."""
MIN_SAMPLES = 200
"""Fewer masked sites than this per site of the CFA's period measure nothing."""
MIN_PERIODS = 2
"""A border that is narrower than this many periods tells nothing of the error of its level."""
OUTLYING = 4.0
"""Values that differ by more stds than this are damage or light, not noise."""
MAX_SITES = 1 << 16
"""Sites of a border that its noise is measured on, in rows spread evenly."""
MAX_PERIODS = 128
"""Periods across a border that its levels are measured on, spread evenly."""
SLOW_ROWS = 32
"""Rows of one kind, over whose mean shading from row to row is measured before the rest."""
SIGNIFICANCE = 3.0
"""Row offsets are real if what two groups of columns share is so many standard errors."""

Values = NDArray[np.float64]


class Strip(NamedTuple):
    """One masked border: row and column of its first site in the full frame, and its values."""

    origin: tuple[int, int]
    values: NDArray[np.uint16]

    @property
    def is_constant(self) -> bool:
        """Whether the camera wrote one value here, and no signal."""
        return bool((self.values == self.values[0, 0]).all())


class Levels(NamedTuple):
    """(period, period) mean levels and their standard errors."""

    means: Values
    errors: Values


class Rows(NamedTuple):
    """(H,) offsets of rows, None where they show none; std of the true ones, before and after."""

    offsets: NDArray[np.float32] | None
    found: float
    left: float


def find_strips(
    frame: NDArray[np.uint16], margins: tuple[int, int], shape: tuple[int, int], period: int
) -> tuple[list[Strip], list[Strip]]:
    """List the borders left and right of the picture, and those above and below it; no corners.

    `frame`: the full frame; `margins`, `shape`: where the visible area begins and its size. Borders
    next to the picture are cut by `GUARD`; narrow ones are left out.
    """
    (top, left), (height, width) = margins, shape
    bottom, right = top + height, left + width
    sides = (
        Strip((top, 0), frame[top:bottom, : max(left - GUARD, 0)]),
        Strip((top, right + GUARD), frame[top:bottom, right + GUARD :]),
    )
    ends = (
        Strip((0, left), frame[: max(top - GUARD, 0), left:right]),
        Strip((bottom + GUARD, left), frame[bottom + GUARD :, left:right]),
    )
    least = MIN_PERIODS * period
    wide = [[strip for strip in pair if min(strip.values.shape) >= least] for pair in (sides, ends)]
    return wide[0], wide[1]


def measure_read_noise(strips: list[Strip], period: int) -> float | None:
    """Return the standard deviation of the masked sites; None where it cannot be told.

    Measured on differences of neighbours of one site of the period in a row, so that shading and
    row offsets do not count.
    """
    found = []
    for _, strip in strips:
        rows = strip[:: strip.size // MAX_SITES | 1].astype(np.int32)  # odd, to see all sites
        found.append((rows[:, period:] - rows[:, :-period]).ravel())
    differences = np.abs(np.concatenate(found)) if found else np.empty(0)
    if differences.size < MIN_SAMPLES or not differences.any():
        return None
    # The median of a normal distribution, less than its std by that; rounding makes it coarse.
    spread = max(float(np.median(differences)) / 0.6745, 1)
    kept = differences[differences <= OUTLYING * spread].astype(np.float64)
    return float(np.sqrt(np.mean(kept**2) / 2)) or None


def measure_levels(strip: Strip, first: tuple[int, int], period: int, noise: float) -> Levels:
    """Measure a border's mean levels, phase as at the site `first` of the full frame.

    Means of the values within `OUTLYING` times `noise` of the median, without rows that stand out.
    The errors count that all sites of a row, or of a column, may be off together.
    """
    rows, columns = (size // period for size in strip.values.shape)
    blocks = strip.values[: rows * period, : columns * period]
    blocks = blocks.reshape(rows, period, columns, period)[:, :, :: -(-columns // MAX_PERIODS)]
    sites = np.ascontiguousarray(blocks.transpose(1, 3, 0, 2))  # (period, period, rows, columns)
    columns = sites.shape[3]
    medians = np.median(sites.reshape(period, period, -1), axis=2)
    deviations, kept = _deviations(sites, medians[..., None, None], noise)
    counts, sums = kept.sum(axis=3), deviations.sum(axis=3, dtype=np.float64)
    by_row = sums / np.maximum(counts, 1)
    by_column = deviations.sum(axis=2) / np.maximum(kept.sum(axis=2), 1)
    typical = _is_typical(by_row, noise / np.sqrt(columns))
    samples = np.maximum((counts * typical).sum(axis=2), 1)
    means = medians + (sums * typical).sum(axis=2) / samples
    own = noise**2 / samples
    of_rows = np.var(by_row, axis=2, where=typical, ddof=1) / typical.sum(axis=2)
    of_columns = np.var(by_column, axis=2, ddof=1) / columns
    errors = np.sqrt(np.maximum(of_rows, own) + np.maximum(of_columns - own, 0))
    shift = [(origin - start) % period for origin, start in zip(strip.origin, first, strict=True)]
    return Levels(*(np.roll(values, shift, axis=(0, 1)) for values in (means, errors)))


def combine(parts: list[Levels]) -> Levels:
    """Average the levels of several borders, each weighted by its certainty.

    What they differ by beyond their errors counts as one more error of each. Source: DerSimonian
    and Laird, Meta-analysis in clinical trials, 1986, the random-effects model.
    """
    means, variances = (np.stack(values) for values in zip(*parts, strict=True))
    variances = variances**2
    if len(parts) > 1:
        between = np.var(means, axis=0, ddof=1) - variances.mean(axis=0)
        variances = variances + np.maximum(between, 0)
    weights = 1 / np.maximum(variances, 1e-12)
    total = weights.sum(axis=0)
    return Levels((weights * means).sum(axis=0) / total, np.sqrt(1 / total))


def measure_rows(
    strips: list[Strip], levels: list[Levels], first: tuple[int, int], period: int, noise: float
) -> Rows:
    """Measure what each row of the picture is off, from the borders beside it.

    Only what two groups of columns (left and right border, else two halves of one) have in common
    counts, so a border's own noise is never taken for the rows'; it is shrunk by its certainty.
    `levels`: each border's own, phase as at `first`, the picture's first site.
    """
    groups = []
    for strip, level in zip(strips, levels, strict=True):
        height, width = strip.values.shape
        shift = [(start - at) % period for at, start in zip(strip.origin, first, strict=True)]
        tile = np.roll(level.means, shift, axis=(0, 1))
        whole = np.tile(tile, (1, -(-width // period)))[:, :width]
        deviations = np.empty((height, width), np.float32)
        kept = np.empty((height, width), bool)
        for row in range(period):
            every = np.s_[row::period]
            deviations[every], kept[every] = _deviations(strip.values[every], whole[row], noise)
        half = width // 2 // period * period
        for part in (np.s_[:],) if len(strips) > 1 else (np.s_[:half], np.s_[half:]):
            count = np.maximum(kept[:, part].sum(axis=1), 1)
            groups.append((deviations[:, part].sum(axis=1, dtype=np.float64) / count, count))
    (one, ones), (other, others) = groups
    floors = noise**2 / float(np.median(ones)), noise**2 / float(np.median(others))
    slow_one, slow_other = _smooth(one, period), _smooth(other, period)
    slow = _shared(slow_one, slow_other, floors, SLOW_ROWS)
    fast = _shared(one - slow_one, other - slow_other, floors, 1)
    found, left = math.hypot(slow.found, fast.found), math.hypot(slow.left, fast.left)
    if not found or slow.offsets is None or fast.offsets is None:
        return Rows(None, 0.0, 0.0)
    offsets = np.clip(slow.offsets + fast.offsets, -OUTLYING * found, OUTLYING * found)
    return Rows(offsets, found, left)


def _deviations(
    values: NDArray[np.uint16], middle: Values, noise: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return values less `middle`, 0 where they are too far off, and which are not."""
    deviations = np.subtract(values, middle, dtype=np.float32)
    # At least one whole step both ways, or fine noise would be cut on one side.
    kept = np.abs(deviations) <= max(OUTLYING * noise, 1.5)
    deviations *= kept
    return deviations, kept


def _is_typical(means: Values, error: float) -> NDArray[np.bool_]:
    """Tell rows (last axis) whose means do not stand out."""
    off = np.abs(means - np.median(means, axis=-1, keepdims=True))
    spread = np.median(off, axis=-1, keepdims=True) / 0.6745
    return np.asarray(off <= OUTLYING * np.maximum(spread, error))


def _smooth(rows: Values, period: int) -> Values:
    """Return running means over `SLOW_ROWS` rows of one kind, fewer at the ends."""
    smooth = np.empty_like(rows)
    for phase in range(period):
        kind = rows[phase::period]
        sums = np.concatenate([[0.0], np.cumsum(kind)])
        places = np.arange(len(kind))
        start = np.maximum(places - SLOW_ROWS // 2, 0)
        stop = np.minimum(places + SLOW_ROWS // 2, len(kind))
        smooth[phase::period] = (sums[stop] - sums[start]) / (stop - start)
    return smooth


def _shared(one: Values, other: Values, floors: tuple[float, float], averaged: int) -> Rows:
    """Estimate what two noisy series share: the posterior mean of normal distributions.

    `floors`: variances of their noise at least, before `averaged` rows were. Where they share
    nothing that is significant, the offsets are 0.
    """
    held_one, held_other = _held(one), _held(other)
    var_one, var_other = float(held_one.var()), float(held_other.var())
    common = float(np.mean(held_one * held_other) - held_one.mean() * held_other.mean())
    independent = len(one) / averaged
    if common <= SIGNIFICANCE * np.sqrt(var_one * var_other / independent):
        return Rows(np.zeros(len(one), np.float32), 0.0, 0.0)
    noise_one = max(var_one - common, floors[0] / averaged)
    noise_other = max(var_other - common, floors[1] / averaged)
    certainty = 1 + common * (1 / noise_one + 1 / noise_other)
    offsets = common / certainty * (one / noise_one + other / noise_other)
    return Rows(
        offsets.astype(np.float32), float(np.sqrt(common)), float(np.sqrt(common / certainty))
    )


def _held(series: Values) -> Values:
    """Hold a series that is around 0 to `OUTLYING` robust stds, so that no row decides alone."""
    limit = OUTLYING * float(np.median(np.abs(series))) / 0.6745
    return np.asarray(np.clip(series, -limit, limit))
