"""From a camera's linear RGB to sRGB: white balance, matrix, gamut and curve, all pixel by pixel.

Camera RGB: what the sensor's red, green and blue filters see, linear. White-balanced: scaled so
that neutral surfaces have R = G = B and a saturated sensor is at least 1 in all three. sRGB as of
IEC 61966-2-1. No function looks at a neighbour, so a picture may be rendered in any pieces.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.errors import RawError
from darkroom.files import sensor
from darkroom.files.bands import in_bands
from darkroom.files.sensor import Color
from darkroom.mosaic import BAYER, XTRANS, XTRANS_SITES

SRGB_TO_XYZ = torch.from_numpy(sensor.SRGB_TO_XYZ)

# The sRGB curve. Source: IEC 61966-2-1:1999, section 5.2.
SRGB_KNEE = 0.0031308
SRGB_SLOPE = 12.92
SRGB_OFFSET = 0.055
SRGB_POWER = 2.4

# The BT.709 curve, LibRaw's default "gamma (2.222, 4.5)". Source: ITU-R BT.709-6, item 1.2; alpha
# and beta to seven digits so that its two parts meet, as LibRaw solves them.
BT709_ALPHA = 1.0992968
BT709_BETA = 0.0180540
BT709_SLOPE = 4.5
BT709_POWER = 0.45

# Packed or full picture, by its number of channels: the colour of each, 0 red, 1 green, 2 blue.
COLORS_OF_CHANNELS = {
    3: (0, 1, 2),
    4: tuple(BAYER.channels.ravel().tolist()),
    9: tuple(int(XTRANS.channels[row, column]) for row, column in XTRANS_SITES[:, 0]),
}

# Blocks fit a core's cache, and their tensors are just too small for torch to split each step over
# threads, which would have to meet after every one; whole bands of blocks run side by side instead.
BLOCK_PIXELS = 10000
BLOCKS_PER_BAND = 16
TINY = 1e-7  # keeps 0 / 0 from gray pixels, far below any visible step

GRAY_WORLD_SAMPLES = 1 << 16
GRAY_WORLD_DARKEST = 0.1  # share of the pixels left out: noise more than colour
GRAY_WORLD_CLIPPED = 0.98
GRAY_WORLD_LIMIT = 8.0


# White balance


def white_balanced(light: Tensor, color: Color) -> Tensor:
    """Multiply each channel by its white-balance multiplier, scaled so that the smallest is 1.

    `light`: (..., C, h, w), a packed mosaic (C 4 or 9) or a camera RGB picture (C 3); where the
    white balance is unknown it is returned as it is. No multiplier is below 1, so that where the
    sensor was saturated all three channels reach white: clipped highlights stay neutral.
    """
    if color.white_balance is None:
        return light
    multipliers = (color.white_balance / color.white_balance.min()).tolist()
    chosen = [multipliers[index] for index in COLORS_OF_CHANNELS[light.shape[-3]]]
    scale = torch.tensor(chosen, dtype=light.dtype, device=light.device)
    return light * scale[:, None, None]


def gray_world(light: Tensor) -> NDArray[np.float64]:
    """Measure the white balance that makes a brightened picture gray on average.

    `light`: (C, h, w), packed (C 4 or 9) or camera RGB (C 3), amplified, not white-balanced.
    Returns (3,) float64 multipliers of R, G, B, green 1. Clipped and the darkest pixels are left
    out; each multiplier stays within a factor of GRAY_WORLD_LIMIT; all 1 where nothing is left.
    """
    flat = light.flatten(1)
    samples = flat[:, :: max(1, flat.shape[1] // GRAY_WORLD_SAMPLES)].double()
    floor = torch.quantile(samples.mean(0), GRAY_WORLD_DARKEST)
    usable = (samples.mean(0) > floor) & (samples.amax(0) < GRAY_WORLD_CLIPPED)
    channels = np.array(COLORS_OF_CHANNELS[len(light)])
    means = samples[:, usable].mean(1).cpu().numpy()
    rgb = np.array([means[channels == index].mean() for index in range(3)])
    if not np.all(rgb > 0):
        return np.ones(3)
    return np.asarray(np.clip(rgb[1] / rgb, 1 / GRAY_WORLD_LIMIT, GRAY_WORLD_LIMIT))


# Matrix


def camera_to_srgb(color: Color) -> Tensor:
    """Return the matrix from white-balanced camera RGB to linear sRGB, (3, 3) float64.

    Each row of its inverse sums to 1, so neutral stays neutral whatever the white balance.
    Raises RawError where the photo's matrix cannot be inverted.
    """
    srgb_to_camera = torch.from_numpy(color.xyz_to_camera.astype(np.float64)) @ SRGB_TO_XYZ
    sums = srgb_to_camera.sum(1, keepdim=True)
    srgb_to_camera = srgb_to_camera / sums
    if not bool(torch.isfinite(srgb_to_camera).all()) or abs(torch.det(srgb_to_camera)) < TINY:
        raise RawError(
            "the photo's colour matrix cannot be inverted; convert the photo to DNG and try again"
        )
    return torch.inverse(srgb_to_camera)


# Curves


def srgb_encode(linear: Tensor) -> Tensor:
    """Apply the sRGB curve: linear light to sRGB, 0 to 0 and 1 to 1; negatives go on linearly."""
    power = linear.clamp(min=SRGB_KNEE) ** (1 / SRGB_POWER)
    bent = (1 + SRGB_OFFSET) * power - SRGB_OFFSET
    return torch.where(linear <= SRGB_KNEE, SRGB_SLOPE * linear, bent)


def srgb_decode(encoded: Tensor) -> Tensor:
    """Undo the sRGB curve: sRGB to linear light, 0 to 0 and 1 to 1."""
    knee = SRGB_SLOPE * SRGB_KNEE
    bent = ((encoded.clamp(min=knee) + SRGB_OFFSET) / (1 + SRGB_OFFSET)) ** SRGB_POWER
    return torch.where(encoded <= knee, encoded / SRGB_SLOPE, bent)


def bt709_encode(linear: Tensor) -> Tensor:
    """Apply the curve of ITU-R BT.709, which LibRaw uses by default: 0 to 0 and 1 to 1."""
    bent = BT709_ALPHA * linear.clamp(min=BT709_BETA) ** BT709_POWER - (BT709_ALPHA - 1)
    return torch.where(linear < BT709_BETA, BT709_SLOPE * linear, bent)


def bt709_decode(encoded: Tensor) -> Tensor:
    """Undo the curve of ITU-R BT.709."""
    knee = BT709_SLOPE * BT709_BETA
    bent = ((encoded.clamp(min=knee) + (BT709_ALPHA - 1)) / BT709_ALPHA) ** (1 / BT709_POWER)
    return torch.where(encoded < knee, encoded / BT709_SLOPE, bent)


# Rendering


def render(picture: Tensor, color: Color) -> Tensor:
    """Make an sRGB picture, (3, H, W) float32 in [0, 1], of linear white-balanced camera RGB.

    `picture`: (3, H, W); 1 is white in all three, above it is clipped before the matrix, so that
    clipped highlights stay neutral. Colours that sRGB cannot show lose saturation, not their hue.
    """
    rendered = torch.empty(picture.shape, dtype=torch.float32, device=picture.device)

    def put(rows: slice, linear: Tensor) -> None:
        rendered[:, rows] = _encoded(linear, 1.0).clamp_(0, 1).view(3, -1, picture.shape[2])

    _render(picture, color, put)
    return rendered


def render_codes(picture: Tensor, color: Color, bits: int) -> Tensor:
    """Render as `render` to finished samples: (H, W, 3) uint8 (`bits` 8) or uint16 (16), rounded.

    Saves the float picture and its passes through memory; the codes are `render`'s, rounded.
    """
    dtype, white = (torch.uint8, 255.0) if bits == 8 else (torch.uint16, 65535.0)
    height, width = picture.shape[1:]
    codes = torch.empty((height, width, 3), dtype=dtype, device=picture.device)

    def put(rows: slice, linear: Tensor) -> None:
        rounded = _encoded(linear, white, offset=0.5).to(dtype)
        codes[rows] = rounded.view(3, -1, width).permute(1, 2, 0)

    _render(picture, color, put)
    return codes


def _render(picture: Tensor, color: Color, put: Callable[[slice, Tensor], None]) -> None:
    """Hand the picture to `put`, a few rows at a time, as linear sRGB in gamut, (3, pixels)."""
    matrix = camera_to_srgb(color).to(picture.device, torch.float32)
    height, width = picture.shape[1:]
    step = max(1, BLOCK_PIXELS // width)

    def work(band: slice) -> None:
        for start in range(band.start, band.stop, step):
            rows = slice(start, min(start + step, band.stop))
            camera = picture[:, rows].detach().float().clamp(max=1).flatten(1)
            put(rows, _in_gamut(matrix @ camera))

    for _ in in_bands(work, height, step * BLOCKS_PER_BAND):
        pass


def _in_gamut(rgb: Tensor) -> Tensor:
    """Clip (3, pixels) linear RGB to 0 to 1 without turning its hue; overwrites its argument.

    The largest and the smallest of a pixel's channels are clipped, the middle one keeps its place
    between them, so the hue (as of HSV) stays. Continuous, and gray stays gray.
    """
    low, high = rgb.amin(0), rgb.amax(0)
    new_low = low.clamp(0, 1)
    kept = high.clamp(0, 1).sub_(new_low).div_(high.sub_(low).add_(TINY))
    return torch.addcmul(new_low, rgb.sub_(low), kept)


def _encoded(linear: Tensor, white: float, offset: float = 0.0) -> Tensor:
    """Apply the sRGB curve to light from 0 to 1, scale to `white` and add `offset`.

    Above the knee the straight part is constant, below it the power: their sum is the curve. The
    power is 2**(log2(x) / 2.4), three times as fast as torch's and exact to a 16-bit code.
    """
    height = (1 + SRGB_OFFSET) * white
    start = linear.new_tensor(offset - height * SRGB_KNEE ** (1 / SRGB_POWER))
    straight = torch.add(start, linear.clamp(max=SRGB_KNEE), alpha=SRGB_SLOPE * white)
    power = linear.clamp(SRGB_KNEE, 1).log2_().mul_(1 / SRGB_POWER).exp2_()
    return straight.add_(power, alpha=height)
