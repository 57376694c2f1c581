"""The two natural parts of the test chart: leaves, and a night sky over a lamp.

Panels are (h, w, 3) float32, linear sRGB; lengths inside follow the panel's height.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Panel = NDArray[np.float32]


class Ridge(NamedTuple):
    """A row of hills: how far below the horizon, its own light, the lamp's, and its grass."""

    below: float
    light: float
    lit: float
    grain: float
    color: tuple[float, float, float]


LEAVES = 2600
LEAF_RADII = (0.02, 0.18)
"""Shortest and longest half length, in panel heights; the density falls with the cube, which
gives textures the statistics of natural ones. Source: Lee, Mumford, Huang, "Occlusion Models for
Natural Images", 2001, section 2."""
LEAF_COLORS = ((0.05, 0.16, 0.02), (0.11, 0.30, 0.03), (0.02, 0.09, 0.03), (0.30, 0.28, 0.03))
AUTUMN = (0.42, 0.12, 0.02)
AUTUMN_SHARE = 0.06

STARS = 900
STAR_SIGMA = 0.0011
STAR_LIGHT = (0.01, 1.8)
STAR_COLORS = ((0.62, 0.75, 1.0), (1.0, 1.0, 1.0), (1.0, 0.82, 0.6))
HORIZON = 0.74
RIDGES = (
    Ridge(0.00, 0.008, 0.0002, 0.0, (0.9, 1.0, 1.4)),
    Ridge(0.06, 0.005, 0.0010, 0.1, (1.1, 1.0, 0.7)),
    Ridge(0.14, 0.006, 0.0080, 0.3, (1.1, 1.1, 0.5)),
)
LAMP = (0.79, 0.40)
"""Place of the lamp: share of the width, share of the height."""
LAMP_RADIUS = 0.028
LAMP_LIGHT = np.array([8.0, 5.2, 2.6], np.float32)
"""Eight times white: whatever brightens the picture must let it clip to a neutral."""
GLOW = np.array([0.30, 0.15, 0.05], np.float32)


def foliage(height: int, width: int, random: np.random.Generator) -> Panel:
    """Draw leaves that cover each other, from the oldest to the newest."""
    panel = np.full((height, width, 3), 0.01, np.float32)
    low, high = LEAF_RADII
    spread = random.random(LEAVES)
    # inverse of the distribution function of r^-3 between the two radii
    lengths = height / np.sqrt(low**-2 - spread * (low**-2 - high**-2))
    for length in lengths:
        center = random.random(2) * (height, width)
        _leaf(panel, center, float(length), random)
    return panel


def _leaf(
    panel: Panel, center: NDArray[np.float64], length: float, random: np.random.Generator
) -> None:
    """Paint one leaf: a pointed lens with a midrib and lateral veins, lit from above."""
    angle, light = random.uniform(0, 2 * np.pi), random.uniform(0.35, 1.25)
    color = np.array(LEAF_COLORS)[random.integers(len(LEAF_COLORS))]
    if random.random() < AUTUMN_SHARE:
        color = np.array(AUTUMN)
    breadth = random.uniform(0.28, 0.5)
    rows, columns = (
        slice(max(0, int(middle - length)), max(0, int(middle + length) + 1)) for middle in center
    )
    window = panel[rows, columns]
    y, x = np.ogrid[: window.shape[0], : window.shape[1]]
    y, x = (y + rows.start - center[0]) / length, (x + columns.start - center[1]) / length
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    half = breadth * (1 - along**2)
    inside = np.abs(across) < half
    shade = light * (1 + 0.5 * across / breadth * np.cos(angle)) * (0.8 + 0.2 * along)
    veins = 1 + 0.18 * np.sin(38 * (along - 0.9 * np.abs(across)))
    rib = 1 + 0.9 * np.exp(-((across / 0.025) ** 2))
    painted = np.maximum(shade * veins * rib, 0.02)[..., None] * color
    window[inside] = painted[inside]


def night(height: int, width: int, random: np.random.Generator) -> Panel:
    """Draw stars on black, a band of fainter ones, hills, and a lamp that outshines them."""
    y, x = np.mgrid[:height, :width].astype(np.float32) / height
    depth = np.clip(y / HORIZON, 0, 1)[..., None]
    panel: Panel = np.float32(0.0015) + depth**3 * np.array([0.012, 0.016, 0.030], np.float32)
    band = np.exp(-(((y - 0.62 + 0.38 * x) / 0.11) ** 2))[..., None]
    panel += band * np.array([0.010, 0.0105, 0.0150], np.float32)
    _add_stars(panel, random)
    distance = np.hypot(x - LAMP[0] * width / height, y - LAMP[1])
    for ridge in RIDGES[:-1]:
        _add_ridge(panel, ridge, distance, random)
    post = (np.abs(x - LAMP[0] * width / height) < 0.006) & (y > LAMP[1])
    panel[post] = (0.004, 0.003, 0.002)
    _add_ridge(panel, RIDGES[-1], distance, random)  # the post stands behind it
    panel += (1 + (distance / 0.05) ** 2)[..., None] ** -1.25 * GLOW
    panel[distance < LAMP_RADIUS] = LAMP_LIGHT
    return panel


def _add_stars(panel: Panel, random: np.random.Generator) -> None:
    """Add points of light, blurred as a lens does; the faint are many and the bright are few."""
    height, width, _ = panel.shape
    low, high = STAR_LIGHT
    sigma = max(STAR_SIGMA * height, 0.8)
    reach = int(4 * sigma) + 1
    for _ in range(STARS):
        row, column = random.random() * height * HORIZON, random.random() * width
        light = low * (high / low) ** (random.random() ** 3.2)
        color = np.array(STAR_COLORS, np.float32)[random.integers(len(STAR_COLORS))]
        top, left = max(0, int(row) - reach), max(0, int(column) - reach)
        window = panel[top : int(row) + reach + 1, left : int(column) + reach + 1]
        y, x = np.ogrid[: window.shape[0], : window.shape[1]]
        squares = (y + top - row) ** 2 + (x + left - column) ** 2
        width_of_star = sigma * (1 + 0.5 * light)
        window += (light * np.exp(-squares / (2 * width_of_star**2)))[..., None] * color


def _add_ridge(
    panel: Panel, ridge: Ridge, distance: NDArray[np.float32], random: np.random.Generator
) -> None:
    """Put a wavy ridge before what is there; the lamp lights it by the square of its distance."""
    height, width, _ = panel.shape
    x = np.arange(width) / height
    line = np.full(width, HORIZON + ridge.below)
    for octave in range(6):
        line += 0.05 / 2**octave * np.sin(x * 2.1 * 2**octave + random.uniform(0, 2 * np.pi))
    light = ridge.light + ridge.lit / (0.05 + distance**2)
    light = light * (1 + ridge.grain * random.uniform(-1, 1, (height, width)))
    hidden = np.arange(height)[:, None] / height > line
    panel[hidden] = (light[..., None] * ridge.color)[hidden]
