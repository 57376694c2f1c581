"""Whether a Bayer photo's own values agree with the colour filters that its file states."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import UsageError
from darkroom.raw.image import CFA, RawImage, Sensor

BAYER_PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")

SIDE = 16
"""Rows and columns of a block in photosites."""
MAX_BLOCKS = 64
"""Blocks down and across the photo, at most (nearly)."""
MIN_BLOCKS, BRIGHTEST_SHARE = 64, 0.25
"""Of the blocks this share counts that is brightest, but so many."""
SATURATED = 0.9
"""Light from which a site may be clipped at white."""
APART, TIMES = 0.03, 4.0
"""Two sites are not both green where they differ by more than APART of their sum and more than
TIMES what the other two do (medians).

Measured on eight cameras: greens differ by 0.001 to 0.027, the most where they hold 3 units of
light; red and blue differ by 0.02 to 0.37, at least 6 times as much.
"""


def with_cfa(raw: RawImage, pattern: str | None) -> RawImage:
    """Take a photo's filters as the user says, not as its file does; None leaves them.

    `pattern`: one of BAYER_PATTERNS, as at the picture's first site. May be repeated. Raises
    UsageError for another pattern, and where the sensor is no Bayer sensor.
    """
    if pattern is None:
        return raw
    if pattern not in BAYER_PATTERNS:
        raise UsageError(f"--cfa {pattern}: give one of {', '.join(BAYER_PATTERNS)}")
    if raw.cfa.sensor is not Sensor.BAYER:
        raise UsageError(f"--cfa {pattern}: this photo is from an X-Trans sensor; leave --cfa out")
    doubt = doubt_cfa(raw)
    warnings = tuple(line for line in raw.warnings if line != doubt)
    if pattern != raw.cfa.pattern:
        note = f"filters are taken as {pattern}, as asked for; the file states {raw.cfa.pattern}"
        warnings = (*warnings, note)
    return replace(raw, cfa=CFA(pattern), warnings=warnings)


def doubt_cfa(raw: RawImage) -> str | None:
    """Say that the two sites which agree like greens are not those that the file calls green.

    None where they are, where nothing can be told (too dark, all colours alike), and for X-Trans.
    """
    if raw.cfa.sensor is not Sensor.BAYER:
        return None
    light = _read_blocks(raw)  # (blocks, 4)
    if len(light) < MIN_BLOCKS:
        return None
    wanted = max(MIN_BLOCKS, int(BRIGHTEST_SHARE * len(light)))
    light = light[np.argpartition(light.min(axis=1), -wanted)[-wanted:]]
    greens = raw.cfa.channels.ravel() == 1
    stated, others = (_difference(light[:, sites]) for sites in (greens, ~greens))
    if stated < max(APART, TIMES * others):
        return None
    one, other = (pattern for pattern in BAYER_PATTERNS if (pattern[0] == "G") != greens[0])
    return (
        f"the file states {raw.cfa.pattern} filters, but the sites that agree as two greens do are "
        f"those of {one} and {other}; if colours are wrong, give --cfa {one} or --cfa {other}"
    )


def _read_blocks(raw: RawImage) -> NDArray[np.float32]:
    """(blocks, 4) mean light of the sites of each block, lit and not saturated ones only."""
    if min(raw.mosaic.shape) < SIDE:
        return np.empty((0, 4), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(raw.mosaic, (SIDE, SIDE))
    down, across = (max(size // MAX_BLOCKS, SIDE) // 2 * 2 for size in windows.shape[:2])
    blocks = windows[::down, ::across].reshape(-1, SIDE // 2, 2, SIDE // 2, 2)
    black, white = raw.black[:2, :2], raw.white[:2, :2]
    brightest = blocks.max(axis=(1, 3)) - black
    light = blocks.mean(axis=(1, 3), dtype=np.float32) - black
    kept = (light > 0) & (brightest < SATURATED * (white - black))
    return np.asarray(light.reshape(-1, 4)[kept.all(axis=(1, 2))], np.float32)


def _difference(pairs: NDArray[np.float32]) -> float:
    """Median of the differences of (n, 2) against their sums."""
    return float(np.median(np.abs(pairs[:, 0] - pairs[:, 1]) / pairs.sum(axis=1)))
