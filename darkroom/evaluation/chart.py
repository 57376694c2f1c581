"""A test chart drawn by rule, and its photograph by a simulated sensor: a scene of known truth."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from darkroom.color.transfer import srgb_decode
from darkroom.mosaic.packing import BAYER
from darkroom.raw.image import CFA, SRGB_TO_XYZ, BlackOrigin, Color, RawImage

Panel = NDArray[np.float32]
"""(h, w, 3) linear sRGB; lengths inside follow the panel's height."""

HEIGHT, WIDTH = 1200, 1800
SAMPLES = 2
"""Drawn this many times larger each way and averaged in linear light, against jagged edges."""
BACKGROUND = 0.012

PATCHES = (
    "735244 c29682 627a9d 576c43 8580b1 67bdaa "
    "d67e2c 505ba6 c15a63 5e3c6c 9dbc40 e0a32e "
    "383d96 469449 af363c e7c71f bb5695 0885a1 "
    "f3f3f2 c8c8c8 a0a0a0 7a7a79 555555 343434"
)
"""sRGB codes of a ColorChecker's 24 patches. Source: X-Rite, "Colorimetric values for ColorChecker
family of targets" (sRGB, D50); the target: McCamy, Marcus, Davidson, 1976."""
EDGE_ANGLE = np.radians(5)
EDGE_CONTRASTS = ((0.60, 0.15), (0.80, 0.02))
"""Low contrast is 4:1. Source: ISO 12233:2014, section 6.2 and annex C."""
STAR_CYCLES = 48
TEXT = (
    (0.168, "darkroom"),
    (0.083, "RAW in, picture out"),
    (0.066, "Sphinx of black quartz,"),
    (0.066, "judge my vow."),
    (0.050, "The quick brown fox jumps"),
    (0.050, "over the lazy dog."),
    (0.039, "0123456789   f/1.4   1/30 s   ISO 25600"),
    (0.030, "Pack my box with five dozen liquor jugs."),
    (0.024, "How vexingly quick daft zebras jump!"),
    (0.019, "Jackdaws love my big sphinx of quartz."),
)
"""Size as a share of the panel's width, and the line."""
PAPER, INK = np.array([0.74, 0.70, 0.60]), np.array([0.03, 0.028, 0.026])


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

BLACK, WHITE = 512, 16383
WHITE_BALANCE = np.array([2.1, 1.0, 1.7])
XYZ_TO_CAMERA = np.array(
    [[0.5838, -0.1430, -0.0246], [-0.3498, 1.1477, 0.2297], [-0.0748, 0.1884, 0.5779]]
)
"""Of the Sony ILCE-7SM2 for D65. Source: Adobe DNG Converter, as LibRaw's colour table has it."""
COLOR = Color(WHITE_BALANCE, XYZ_TO_CAMERA)
"""The one camera's colours, in daylight."""
ELECTRONS_PER_STEP = 1.0
READ_NOISE = 2.5
ROW_NOISE = 0.6
"""Sensor steps (DN), about those of a full-frame camera at its higher ISO settings."""


def draw_chart(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> NDArray[np.float32]:
    """Draw the chart: (height, width, 3) linear sRGB, black 0, white 1; only the lamp is brighter.

    Sides of at least 120. The same arguments give the same picture.
    """
    chart = np.full((height, width, 3), BACKGROUND, np.float32)
    random = np.random.default_rng(seed)
    for draw, (left, top, right, bottom) in PANELS:
        rows = slice(round(top / HEIGHT * height), round(bottom / HEIGHT * height))
        columns = slice(round(left / WIDTH * width), round(right / WIDTH * width))
        size = (rows.stop - rows.start, columns.stop - columns.start)
        panel = draw(size[0] * SAMPLES, size[1] * SAMPLES, random)
        chart[rows, columns] = panel.reshape(size[0], SAMPLES, size[1], SAMPLES, 3).mean((1, 3))
    return chart


def photograph_chart(
    chart: NDArray[np.float32], *, exposure: float = 1 / 300, seed: int = 0
) -> RawImage:
    """Take the chart with a simulated Bayer sensor: 14 bits, RGGB, all noise but no lens.

    `chart`: (H, W, 3) linear sRGB. `exposure`: the light, where 1 lets the chart's white just fill
    the green photosites. Noise: Poisson for the light, Gaussian for the read-out, rows, and
    rounding to whole steps. The same arguments give the same photo.
    """
    random = np.random.default_rng(seed)
    light = sample_light(chart, BAYER)
    electrons = light * (exposure * (WHITE - BLACK) * ELECTRONS_PER_STEP)
    steps = random.poisson(electrons) / ELECTRONS_PER_STEP + BLACK
    steps += random.normal(0, READ_NOISE, steps.shape)
    steps += random.normal(0, ROW_NOISE, (len(steps), 1))
    mosaic = np.clip(np.rint(steps), 0, WHITE).astype(np.uint16)
    return describe_photo(mosaic, BAYER, "darkroom chart")


def sample_light(
    picture: NDArray[np.floating[Any]], cfa: CFA, color: Color = COLOR
) -> NDArray[np.floating[Any]]:
    """Return the light on each photosite, (H, W), of linear sRGB (H, W, 3); 1 fills it.

    `color`: the camera's, its white balance known; white stays white once it is balanced.
    """
    assert color.white_balance is not None, "a simulated camera knows its white balance"
    srgb_to_camera = color.xyz_to_camera @ SRGB_TO_XYZ
    srgb_to_camera /= srgb_to_camera.sum(1, keepdims=True)
    to_sensor = (srgb_to_camera / color.white_balance[:, None]).astype(picture.dtype)
    light = np.empty(picture.shape[:2], picture.dtype)
    for row, column in np.ndindex(cfa.channels.shape):
        sites = slice(row, None, cfa.period), slice(column, None, cfa.period)
        light[sites] = picture[sites] @ to_sensor[cfa.channels[row, column]]
    return np.maximum(light, 0)


def describe_photo(
    mosaic: NDArray[np.uint16] | NDArray[np.float32], cfa: CFA, camera: str, color: Color = COLOR
) -> RawImage:
    """Return the photo of a simulated sensor, (H, W) in its steps, with its levels and colours.

    Its black is known, as where a camera's masked pixels tell it; as a file it is merely stated.
    """
    black, white = (np.full((cfa.period, cfa.period), at, np.float32) for at in (BLACK, WHITE))
    origin = BlackOrigin(black, "the sensor is simulated", known=True)
    return RawImage(mosaic, cfa, black, white, color, camera=camera, black_origin=origin)


def _foliage(height: int, width: int, random: np.random.Generator) -> Panel:
    """Draw leaves that cover each other, from the oldest to the newest."""
    panel = np.full((height, width, 3), 0.01, np.float32)
    low, high = LEAF_RADII
    spread = random.random(LEAVES)
    # inverse of the distribution function of r^-3 between the two radii
    for length in height / np.sqrt(low**-2 - spread * (low**-2 - high**-2)):
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


def _night(height: int, width: int, random: np.random.Generator) -> Panel:
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


def _patches(height: int, width: int, _: np.random.Generator) -> Panel:
    """Four rows of six colours with dark gaps."""
    panel = np.full((height, width, 3), BACKGROUND, np.float32)
    codes = np.array([list(bytes.fromhex(code)) for code in PATCHES.split()]).reshape(4, 6, 3)
    colors = srgb_decode(torch.from_numpy(codes / 255)).numpy()
    gap = height / 28
    for row, column in np.ndindex(4, 6):
        top, bottom = (round(edge / 4 * (height + gap)) for edge in (row, row + 1))
        left, right = (round(edge / 6 * (width + gap)) for edge in (column, column + 1))
        cell = panel[top : bottom - round(gap), left : right - round(gap)]
        cell[:] = colors[row, column]
    return panel


def _ramp(height: int, width: int, _: np.random.Generator) -> Panel:
    """Ramp from black to white, smooth over sixteen steps, even in sRGB codes."""
    codes = np.linspace(0, 1, width)
    steps = np.minimum(np.floor(codes * 16), 15) / 15
    rows = np.where(np.arange(height)[:, None] < height / 2, codes, steps)
    return srgb_decode(torch.from_numpy(rows)).float()[..., None].expand(-1, -1, 3).numpy()


def _edges(height: int, width: int, _: np.random.Generator) -> Panel:
    """Two squares turned by five degrees, one above the other, on fields of another gray."""
    panel = np.empty((height, width, 3), np.float32)
    half = height // 2
    for field, (light, dark) in zip((panel[:half], panel[half:]), EDGE_CONTRASTS, strict=True):
        y, x = np.mgrid[: field.shape[0], :width].astype(np.float32)
        y, x = y - field.shape[0] / 2, x - width / 2
        along = np.abs(x * np.cos(EDGE_ANGLE) + y * np.sin(EDGE_ANGLE))
        across = np.abs(y * np.cos(EDGE_ANGLE) - x * np.sin(EDGE_ANGLE))
        inside = np.maximum(along, across) < 0.30 * min(field.shape[:2])
        field[:] = np.where(inside, dark, light)[..., None]
    return panel


def _siemens_star(height: int, width: int, _: np.random.Generator) -> Panel:
    """Spokes whose light follows a sine, so that the finest detail stands near the middle."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    radius = np.hypot(x, y) / (min(height, width) / 2)
    wave = 0.40 + 0.36 * np.cos(STAR_CYCLES * np.arctan2(y, x))
    gray = np.where((radius > 0.06) & (radius < 0.94), wave, 0.40)
    gray[radius < 0.06] = 0.04
    return np.repeat(gray.astype(np.float32)[..., None], 3, axis=2)


def _text(height: int, width: int, _: np.random.Generator) -> Panel:
    """Lines of text from large to small, ink on warm paper."""
    image = Image.new("L", (width, height))
    pen = ImageDraw.Draw(image)
    left, top = 0.07 * width, 0.03 * height
    for share, line in TEXT:
        pen.text((left, top), line, fill=255, font=ImageFont.load_default(share * width))
        top += 1.55 * share * width
    ink = np.asarray(image, np.float32)[..., None] / 255
    panel: Panel = (ink * INK + (1 - ink) * PAPER).astype(np.float32)
    return panel


PANELS: tuple[tuple[Callable[..., Panel], tuple[int, int, int, int]], ...] = (
    (_night, (40, 40, 900, 580)),
    (_patches, (924, 40, 1760, 580)),
    (_foliage, (40, 604, 640, 1044)),
    (_siemens_star, (664, 604, 1104, 1044)),
    (_edges, (1128, 604, 1348, 1044)),
    (_text, (1372, 604, 1760, 1044)),
    (_ramp, (40, 1068, 1760, 1160)),
)
"""What the chart shows, and where: left, top, right, bottom on a chart of 1800 x 1200."""
