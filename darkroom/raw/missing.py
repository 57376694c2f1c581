"""Parts of a picture that were never written, or never copied: long runs of one impossible value.

A sensor's noise lets no run of neighbours, of two colours at that, hold one value, unless they are
cut off at black or at white. Of 22 real files of nine cameras the longest such run between the two
has 7 sites; the longest at black 63.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from darkroom.raw.image import RawImage

Places = NDArray[np.intp]

STEP, STEPS = 16, 3
"""Every so many sites are looked at first; this many steps of one value in a row make a run."""
RUN = STEP * STEPS + 1
MIN_SITES = 256
"""Fewer missing sites than a disk's sector holds are a sensor's defects."""
NEAR_BLACK = 2.0
"""Values so near to black, in sensor units, may be cut off there."""
MAX_EQUAL = 0.5
"""Where more neighbours than this are equal, a picture has no noise, and any runs."""
OVER, OVER_SHARE = 1.25, 1e-5
"""So far above white lies nothing where fewer sites than this share are above it at all."""
MIN_GAP, CODES = 8, 4
"""A value is alone where the next one in use is further off than this and those behind it."""

Mosaic = NDArray[np.uint16]


def with_missing(raw: RawImage) -> RawImage:
    """Mark the sites of a photo that hold no picture; nothing is changed else.

    `raw`: uint16, with the black that the file states. Black below which a camera keeps nothing,
    and white, are no damage.
    """
    assert raw.mosaic.dtype == np.uint16, "as LibRaw decodes it"
    mosaic = raw.mosaic.view(np.uint16)
    return replace(
        raw, missing=find_missing(mosaic, float(raw.black.min()), float(raw.white.max()))
    )


def warn_of_missing(raw: RawImage) -> RawImage:
    """Warn of missing sites, once lines that belong to no picture are cut off, or forget them."""
    if raw.missing is None or raw.missing.sum() < MIN_SITES:
        return replace(raw, missing=None)
    share = 100 * float(raw.missing.mean())
    warning = (
        f"{share:.2g} % of the picture hold one impossible value: part of the file was not written "
        "or not copied; copy it from the card again"
    )
    return replace(raw, warnings=(*raw.warnings, warning))


def find_missing(mosaic: Mosaic, black: float, white: float) -> NDArray[np.bool_] | None:
    """(H, W) where sites hold one impossible value in long runs; None where nearly none do."""
    flat = mosaic.ravel()
    starts = _find_runs(flat)
    if not starts.size:
        return None
    values = flat[starts].astype(np.float64)
    codes = np.flatnonzero(np.bincount(flat))
    next_code, later = (codes[_clipped(codes, values, ahead)] for ahead in (1, 1 + CODES))
    is_alone = next_code - values > later - next_code + MIN_GAP
    # No camera that puts black high lets noise reach half of it.
    is_low = (values < black / 2) | (is_alone & (values < white / 2))
    is_over = values > OVER * white
    over = _mark_runs(flat, starts[is_over])
    if np.mean((flat > white) & ~over) > OVER_SHARE:  # the stated white is wrong, or lamps are it
        is_over[:] = False
    floor = codes[np.searchsorted(codes, black / 2)] if codes[-1] >= black / 2 else codes[-1]
    is_between = (values != floor) & (np.abs(values - black) > NEAR_BLACK) & (values < white / 2)
    missing = _mark_runs(flat, starts[is_low | is_over | is_between])
    if not _is_noisy(flat, missing):
        missing = _mark_runs(flat, starts[is_low | is_over])
    return missing.reshape(mosaic.shape) if missing.sum() >= MIN_SITES else None


def _clipped(codes: Places, values: NDArray[np.float64], ahead: int) -> Places:
    """Return the indices of the codes so many further on, the last one at most."""
    return np.minimum(np.searchsorted(codes, values) + ahead, codes.size - 1)


def _find_runs(flat: Mosaic) -> Places:
    """List places from which on `RUN` sites hold one value, every `STEP` sites."""
    grid = flat[::STEP]
    same = grid[1:] == grid[:-1]
    if same.size < STEPS:
        return np.empty(0, np.intp)
    places = np.flatnonzero(same[:-2] & same[1:-1] & same[2:]) * STEP
    for ahead in range(1, RUN):
        if ahead % STEP:
            places = places[flat[places + ahead] == flat[places]]
    return places


def _mark_runs(flat: Mosaic, starts: Places) -> NDArray[np.bool_]:
    """(H * W,) sites of the runs that go through these places, to their ends."""
    missing = np.zeros(flat.size, np.bool_)
    for ahead in range(RUN):
        missing[starts + ahead] = True
    for side, ends in ((-1, starts), (1, starts + RUN - 1)):
        places, values = ends, flat[starts]
        for _ in range(STEP):  # further on there would be another start
            places = places + side
            inside = (places >= 0) & (places < flat.size)
            places, values = places[inside], values[inside]
            equal = flat[places] == values
            places, values = places[equal], values[equal]
            missing[places] = True
    return missing


def _is_noisy(flat: Mosaic, missing: NDArray[np.bool_]) -> bool:
    """Whether neighbours outside of the runs mostly differ, as any sensor's do."""
    left = np.arange(0, flat.size - 1, STEP + 1)
    left = left[~missing[left]]
    return bool(left.size and np.mean(flat[left] == flat[left + 1]) < MAX_EQUAL)
