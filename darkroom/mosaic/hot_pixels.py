"""Hot and dead photosites: found in the mosaic and replaced, stars and texture left alone.

A defect is one site that stands out by itself. Light never does: any lens spreads a point over the
neighbours, which have other colours, so a site counts as defective only if it stands out of its own
colour *and* its neighbours of other colours show nothing. Mosaics are linear float32, black 0,
white 1, values below black kept, as `darkroom.mosaic.packing.linearise` returns them.

How much noise they have to stand out of is an upper estimate, found in a few milliseconds.
`darkroom.mosaic.noise` looks for the least that explains a photo, for networks. Here that would
make defects of noise: with it five of the tests in tests/mosaic/test_hot_pixels.py fail, those
without read noise, with values clipped at black, and of X-Trans texture; and it takes several times
as long.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

from darkroom.mosaic.linear import LinearMosaic, Mosaic, Places
from darkroom.parallel import LIGHT_BYTES, cut_bands, rows_per_band
from darkroom.raw.image import CFA, RawImage, Sensor

Light = Mosaic | LinearMosaic
"""Read by slices and by places, and written by places."""


# A site has to stand out of the noise by so many standard deviations: below that stars would go.
SIGMAS = 5.0
# And out of its surroundings' own spread by so much: texture is no defect.
SPREADS = 3.0
# Full width at half maximum, in sites, of the sharpest point of light that a lens draws; narrower
# ones would alias in any picture.
POINT_WIDTH = 1.5
# Share of a point's light that the neighbours may show at most; a tinted star shows about half.
POINT_SHARE = 0.25
# A site is repaired only where a point of light is this unlikely, in standard deviations.
POINT_SIGMAS = 2.6
# Surroundings from here on need little amplification, and what sparkles there is a highlight.
BRIGHT = 1 / 8
# Sites of one colour wherever one starts: the candidates' pass looks at these four.
REPEATS = {
    Sensor.BAYER: ((-2, 0), (2, 0), (0, -2), (0, 2)),
    Sensor.XTRANS: ((-3, -3), (3, 3), (-3, 3), (3, -3)),
}
REACH = 3
# Nearest sites of each colour that make the surroundings; X-Trans has no more red ones in reach.
SURROUND = {Sensor.BAYER: 8, Sensor.XTRANS: 6}
# Range of eight normal values in standard deviations: their mean, and what one in twenty exceeds.
# Source: tables of the studentised range (Tippett 1925; Pearson & Hartley 1942).
MEAN_RANGE = 2.85
NOISE_RANGE = 4.29
# The least noise: half a step of 14 bits, in which photos without noise are still rounded.
MIN_NOISE = 0.5 / 2**14

BLOCK = {Sensor.BAYER: 8, Sensor.XTRANS: 6}
MAX_BLOCKS = 64
LEVELS = 8
FLATTEST_PERCENTILE = 20
# What that percentile of the blocks' standard deviations falls short of the true one.
FLATTEST_SHORT = {Sensor.BAYER: 0.725, Sensor.XTRANS: 0.66}


class HotPixels(Enum):
    """What becomes of hot and dead photosites."""

    REPAIR = "repair"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class NoiseBound:
    """At most the noise of one photosite: variance = read_variance + shot * light, white 1."""

    read_variance: float
    shot: float

    def deviation(self, light: Mosaic) -> Mosaic:
        """Return the standard deviation at some light, of its shape."""
        variance = self.read_variance + self.shot * np.maximum(light, 0)
        return np.asarray(np.sqrt(variance), dtype=np.float32)


def repair(
    mosaic: Light,
    cfa: CFA,
    white_balance: NDArray[np.float64] | None = None,
    missing: NDArray[np.bool_] | None = None,
) -> int:
    """Repair hot and dead photosites in place and return how many there were.

    `mosaic`: (H, W). A defective site gets the median of the nearest sites of its colour.
    `white_balance`: (3,) multipliers of R, G, B, by which a white star's colours become equal; None
    takes them as equal. The outermost three rows and columns are left as they are, and so is
    everything in surroundings that are BRIGHT. `missing`: (H, W) sites without a picture, which
    tell nothing of the noise.
    """
    if min(mosaic.shape) < BLOCK[Sensor.BAYER]:  # no surroundings to speak of
        return 0
    noise = bound_noise(mosaic, cfa, missing)
    candidates = _candidates(mosaic, cfa, noise)
    rows, columns, values = _defects(mosaic, cfa, noise, candidates, white_balance)
    if len(rows):
        mosaic[rows, columns] = values
    return len(rows)


def repair_hot_pixels(mosaic: Light, raw: RawImage, warn: Callable[[str], None]) -> None:
    """Repair the hot and dead photosites of a photo's linear mosaic in place, and say how many."""
    count = repair(mosaic, raw.cfa, raw.color.white_balance, raw.missing)
    if count:
        warn(f"repaired {count} hot or dead photosite{'s' * (count > 1)}")


def _candidates(mosaic: Light, cfa: CFA, noise: NoiseBound) -> tuple[Places, Places]:
    """Find the few sites that stand above four of their colour, or are half of one or less.

    The threshold is the chord below the noise's curve from black to white, so it is at most what
    `_defects` asks for.
    """
    dark, bright = sqrt(noise.read_variance), sqrt(noise.read_variance + noise.shot)
    base = np.float32(SIGMAS * dark)
    slope = np.float32(1 + SIGMAS * (bright - dark))
    height, width = mosaic.shape
    inner = width - 2 * REACH

    def work(band: slice) -> Places:
        light = mosaic[band.start : band.stop + 2 * REACH]
        rows = band.stop - band.start
        site = light[REACH : REACH + rows, REACH : width - REACH]
        one, two, three, four = (
            light[REACH + down : REACH + rows + down, REACH + right : width - REACH + right]
            for down, right in REPEATS[cfa.sensor]
        )
        here = np.maximum(one, two)
        np.maximum(here, three, out=here)
        np.maximum(here, four, out=here)
        here *= slope
        here += base
        found = site > here
        np.multiply(site, 2, out=here)
        here += base
        found |= here < one
        return np.asarray(_where(found.ravel()) + (band.start + REACH) * inner)

    step = rows_per_band(4 * width, LIGHT_BYTES)
    places = np.concatenate([work(band) for band in cut_bands(height - 2 * REACH, step)])
    return places // inner, places % inner + REACH


def _where(flags: NDArray[np.bool_]) -> Places:
    """Return the places of the set flags, quickly where they are few: eight at a time."""
    whole = len(flags) // 8 * 8
    eights = np.flatnonzero(flags[:whole].view(np.uint64))
    within = np.flatnonzero(flags[:whole].reshape(-1, 8)[eights])
    rest = np.flatnonzero(flags[whole:]) + whole
    return np.concatenate([eights[within // 8] * 8 + within % 8, rest])


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """Where to look around a site of each phase of the array, as offsets in the flat mosaic.

    `surround`: (phases, 3, n) nearest sites of each colour beyond the eight next to it. `next_to`:
    (8,) these eight, `colors`: (phases, 8) their colours, `own`: (phases,) the site's.
    """

    surround: Places
    next_to: Places
    colors: Places
    own: Places


def _neighbours(cfa: CFA, width: int) -> _Neighbours:
    """Tabulate the neighbours of every phase for a mosaic of some width."""
    reach = range(-REACH, REACH + 1)
    window = sorted(((r, c) for r in reach for c in reach), key=lambda place: np.hypot(*place))
    near = [place for place in window if max(map(abs, place)) == 1]
    ring = [place for place in window if max(map(abs, place)) > 1]
    surround, colors = [], []
    for phase in np.ndindex(cfa.channels.shape):
        here = cfa.shifted(*phase).channels
        color = {place: here[place[0] % cfa.period, place[1] % cfa.period] for place in window}
        colors.append([color[place] for place in near])
        surround.append(
            [
                [r * width + c for r, c in ring if color[r, c] == wanted][: SURROUND[cfa.sensor]]
                for wanted in range(3)
            ]
        )
    return _Neighbours(
        surround=np.array(surround),
        next_to=np.array([r * width + c for r, c in near]),
        colors=np.array(colors),
        own=cfa.channels.ravel(),
    )


def _defects(
    mosaic: Light,
    cfa: CFA,
    noise: NoiseBound,
    candidates: tuple[Places, Places],
    white_balance: NDArray[np.float64] | None,
) -> tuple[Places, Places, Mosaic]:
    """Keep the candidates that are defects: their rows, columns, and values to put there."""
    width = mosaic.shape[1]
    rows, columns = candidates
    around = _neighbours(cfa, width)
    phase = rows % cfa.period * cfa.period + columns % cfa.period
    places = rows * width + columns
    own = around.own[phase]
    value = mosaic[rows, columns]
    same = _read(mosaic, places[:, None] + around.surround[phase, own])  # (n, surround)
    most, least = same.max(axis=1), same.min(axis=1)
    # Most candidates fail already with the least noise that their surroundings may have.
    far = np.flatnonzero(np.maximum(value - most, least - value) > SIGMAS * noise.deviation(least))
    rows, columns, phase, places, own = (
        array[far] for array in (rows, columns, phase, places, own)
    )
    value, same, most, least = value[far], same[far], most[far], least[far]
    middle = np.median(same, axis=1)
    above = value - most
    below = least - value
    excess = np.maximum(above, below)
    deviation = noise.deviation(middle)
    texture = most - least - NOISE_RANGE * deviation
    keep = excess > np.maximum(SIGMAS * deviation, SPREADS * texture)
    keep &= (above > 0) | (value < least / 2)  # darker than its surroundings is not yet dead
    keep &= middle < BRIGHT
    chosen = np.flatnonzero(keep)
    sites = (places[chosen], phase[chosen], value[chosen] - middle[chosen])
    multipliers = np.ones(3) if white_balance is None else white_balance
    chosen = chosen[_is_no_light(mosaic, noise, around, sites, multipliers)]
    return rows[chosen], columns[chosen], middle[chosen]


def _is_no_light(
    mosaic: Light,
    noise: NoiseBound,
    around: _Neighbours,
    sites: tuple[Places, Places, Mosaic],
    multipliers: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Say which sites are neither points of light nor texture, by what other colours show.

    `sites`: places, phases, and how far they stand out. A point of light, white, is fitted to the
    eight neighbours by least squares: 1 is a star, 0 a defect.
    """
    places, phase, amplitude = sites
    surround = _read(mosaic, places[:, None, None] + around.surround[phase])  # (n, 3, surround)
    middle = np.median(surround, axis=2)  # (n, 3)
    spread = surround.max(axis=2) - surround.min(axis=2)
    noisy = noise.deviation(middle)
    deviation = np.maximum(noisy, spread / MEAN_RANGE)
    balance = multipliers / multipliers[around.own[phase]][:, None]  # (n, 3)
    texture = ((spread - NOISE_RANGE * noisy) * balance).max(axis=1)
    colors = around.colors[phase]  # (n, 8)
    expected = _point_light() * amplitude[:, None] / np.take_along_axis(balance, colors, 1)
    beside = _read(mosaic, places[:, None] + around.next_to)
    shown = beside - np.take_along_axis(middle, colors, 1)
    weight = expected / np.take_along_axis(deviation, colors, 1) ** 2
    certainty = (weight * expected).sum(axis=1)
    share = (weight * shown).sum(axis=1) / certainty
    point = np.minimum(POINT_SHARE, 1 - POINT_SIGMAS / np.sqrt(certainty))
    return np.asarray((share < point) & (np.abs(amplitude) > SPREADS * texture))


def _read(mosaic: Light, places: Places) -> Mosaic:
    """Return the light at places in the flat mosaic."""
    rows, columns = np.divmod(places, mosaic.shape[1])
    return mosaic[rows, columns]


def _point_light() -> NDArray[np.float64]:
    """(8,) light of a centred Gaussian point on the neighbours, the four sides first; centre 1."""
    sigma = POINT_WIDTH / sqrt(8 * np.log(2))
    centre = erf(0.5 / sigma / sqrt(2))
    side = (erf(1.5 / sigma / sqrt(2)) - centre) / 2 / centre
    return np.repeat([side, side**2], 4)


def bound_noise(mosaic: Light, cfa: CFA, missing: NDArray[np.bool_] | None = None) -> NoiseBound:
    """Measure read and shot noise of a photo on the greens of small blocks spread over it.

    The flattest blocks of each brightness count, by the upper half of their values only, so that
    texture adds little and values clipped at black take nothing away.
    """
    level, deviation = _blocks(mosaic, cfa, missing)
    order = np.argsort(level)
    bins = [chosen for chosen in np.array_split(order, LEVELS) if len(chosen)]
    light = np.maximum([np.median(level[chosen]) for chosen in bins], 0)
    short = FLATTEST_SHORT[cfa.sensor]
    noise = np.array(
        [np.percentile(deviation[chosen], FLATTEST_PERCENTILE) / short for chosen in bins]
    )
    variance = np.maximum(noise, MIN_NOISE) ** 2
    # Relative errors are alike at all levels, so each equation is divided by its variance.
    design = np.stack([np.ones_like(light), light], axis=1) / variance[:, None]
    read, shot = np.linalg.lstsq(design, np.ones_like(light), rcond=None)[0]
    least = MIN_NOISE**2
    if shot <= 0:
        return NoiseBound(float(variance.mean()), 0.0)
    if read < least:
        return NoiseBound(least, float(np.sum(light / variance) / np.sum((light / variance) ** 2)))
    return NoiseBound(float(read), float(shot))


def _blocks(mosaic: Light, cfa: CFA, missing: NDArray[np.bool_] | None) -> tuple[Mosaic, Mosaic]:
    """(n,) median of the greens of each block, and their standard deviation as far as above it.

    Blocks that were lost in part are left out, unless all were.
    """
    side = BLOCK[cfa.sensor]
    rows, columns = (_starts(size, side) for size in mosaic.shape)
    first = np.arange(mosaic.shape[0])[rows, None], np.arange(mosaic.shape[1])[None, columns]
    greens = np.stack(
        [
            mosaic[first[0] + row, first[1] + column].ravel()
            for row, column in np.ndindex(side, side)
            if cfa.channels[row % cfa.period, column % cfa.period] == 1
        ]
    )
    if missing is not None:
        windows = np.lib.stride_tricks.sliding_window_view(missing, (side, side))
        lost = windows[rows, columns].any(axis=(2, 3)).ravel()
        greens = greens if lost.all() else greens[:, ~lost]
    greens.sort(axis=0)
    count = len(greens)
    median = (greens[(count - 1) // 2] + greens[count // 2]) / 2
    return median, greens[round(0.841 * (count - 1))] - median  # one deviation above the median


def _starts(size: int, side: int) -> slice:
    """First rows (or columns) of up to MAX_BLOCKS blocks, evenly spaced, whole CFA periods."""
    room = size - side
    step = max(-(-room // ((MAX_BLOCKS - 1) * 6)) * 6, side)
    return slice(0, max(room, 0) + 1, step)
