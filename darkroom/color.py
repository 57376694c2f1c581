"""From a camera's linear RGB to sRGB: white balance, matrix, gamut and curve, all pixel by pixel.

Camera RGB: what the sensor's red, green and blue filters see, linear. White-balanced: scaled so
that neutral surfaces have R = G = B and a saturated sensor is at least 1 in all three. sRGB as of
IEC 61966-2-1. No function looks at a neighbour, so a picture may be rendered in any pieces.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.errors import RawError
from darkroom.files import sensor
from darkroom.files.bands import in_bands
from darkroom.files.sensor import Color
from darkroom.mosaic import COLORS_OF_CHANNELS
from darkroom.shoulder import KNEE, Shoulder

SRGB_TO_XYZ = torch.from_numpy(sensor.SRGB_TO_XYZ)

Codes = NDArray[np.uint8] | NDArray[np.uint16]

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

# Blocks with their scratch fit a core's cache, and have few enough steps for threads to share the
# interpreter without waiting for it.
BLOCK_PIXELS = 32000
BLOCKS_PER_BAND = 32
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


def render(picture: Tensor, color: Color, shoulder: Shoulder | None = None) -> Tensor:
    """Make an sRGB picture, (3, H, W) float32 in [0, 1], of linear white-balanced camera RGB.

    `picture`: (3, H, W); 1 is white in all three, above it is clipped before the matrix, so that
    clipped highlights stay neutral. With a `shoulder` only what its `white` is exceeded by is
    clipped so, and the rest is rolled off. Colours that sRGB cannot show lose saturation, not their
    hue.
    """
    rendered = torch.empty(picture.shape, dtype=torch.float32, device=picture.device)

    def put(rows: slice, encoded: Tensor) -> None:
        rendered[:, rows] = encoded.clamp_(0, 1)

    _render(picture, color, Scale(1.0, shoulder=shoulder), put)
    return rendered


def render_codes(picture: Tensor, color: Color, bits: int) -> Tensor:
    """Render as `render` to finished samples: (H, W, 3) uint8 (`bits` 8) or uint16 (16), rounded.

    Saves the float picture and its passes through memory; the codes are `render`'s, rounded.
    """
    codes = np.empty((*picture.shape[1:], 3), np.uint8 if bits == 8 else np.uint16)
    render_into(picture, color, codes)
    return torch.from_numpy(codes)


def render_into(
    picture: Tensor, color: Color, codes: Codes, shoulder: Shoulder | None = None
) -> None:
    """Render as `render` and `render_codes` do, to an array (H, W, 3) of any memory layout."""

    def put(rows: slice, encoded: Tensor) -> None:
        # Whole numbers first, for spreading these over pixels is cheaper than spreading floats.
        samples = encoded.cpu().numpy().astype(codes.dtype)
        for channel, plane in enumerate(samples):
            codes[rows, :, channel] = plane

    _render(picture, color, Scale(float(np.iinfo(codes.dtype).max), 0.5, shoulder), put)


class Scale(NamedTuple):
    """How sRGB from 0 to 1 is handed out: times `white`, plus `offset`; light first rolled off."""

    white: float
    offset: float = 0.0
    shoulder: Shoulder | None = None


def _render(
    picture: Tensor, color: Color, scale: Scale, put: Callable[[slice, Tensor], None]
) -> None:
    """Hand the picture to `put`, a few rows at a time, as sRGB: (3, rows, W), for it to keep."""
    matrix = camera_to_srgb(color).to(picture.device, torch.float32)
    _, height, width = picture.shape
    step = max(1, min(BLOCK_PIXELS // width, height))

    def work(band: slice) -> None:
        block = _Block(step, picture)
        for start in range(band.start, band.stop, step):
            rows = slice(start, min(start + step, band.stop))
            put(rows, block.render(picture[:, rows].detach().float(), matrix, scale))

    for _ in in_bands(work, height, step * BLOCKS_PER_BAND):
        pass


class _Block:
    """Scratch for some rows, used again and again: fresh memory costs more than the arithmetic."""

    def __init__(self, rows: int, picture: Tensor) -> None:
        """Make scratch for so many rows of a picture (3, H, W)."""
        self._width = picture.shape[2]
        self._by_pixels = picture.stride(0) == 1  # as channels-last networks leave it
        pixels = rows * self._width
        self._triples = torch.empty(2, 3 * pixels, device=picture.device)
        self._singles = torch.empty(3, pixels, device=picture.device)

    def render(self, rows: Tensor, matrix: Tensor, scale: Scale) -> Tensor:
        """Return (3, rows, W) of camera RGB as scaled sRGB, valid until the next call."""
        pixels = rows.shape[1] * self._width
        camera, rgb = self._triples[:, : 3 * pixels]
        shoulder = scale.shoulder
        clipped = self._clipped(rows, camera, 1.0 if shoulder is None else shoulder.white)
        rgb = torch.mm(matrix, clipped, out=rgb.view(3, pixels))
        _bring_in_gamut(rgb, self._singles[:, :pixels], shoulder, clipped)
        return _encode(rgb, camera.view(3, pixels), scale).view(3, -1, self._width)

    def _clipped(self, rows: Tensor, out: Tensor, white: float) -> Tensor:
        """Return the rows clipped at white, (3, pixels), in the layout in which they came."""
        if self._by_pixels:
            torch.clamp(rows, max=white, out=out.view(-1, self._width, 3).permute(2, 0, 1))
            return out.view(-1, 3).T
        torch.clamp(rows, max=white, out=out.view(3, -1, self._width))
        return out.view(3, -1)


def _bring_in_gamut(
    rgb: Tensor, scratch: Tensor, shoulder: Shoulder | None, camera: Tensor
) -> None:
    """Clip (3, pixels) linear RGB to 0 to 1 without turning its hue, in place.

    The largest and the smallest of a pixel's channels are clipped, the middle one keeps its place
    between them, so the hue (as of HSV) stays. Continuous, and gray stays gray.
    """
    low, high, kept = scratch
    torch.amin(rgb, 0, out=low)
    torch.amax(rgb, 0, out=high)
    rgb.sub_(low)
    torch.sub(high, low, out=kept).add_(TINY)
    if shoulder is not None and float(high.max()) > KNEE:
        _roll_off(low, high, camera.amax(0), shoulder)
    low.clamp_(0, 1)
    torch.div(high.clamp_(0, 1).sub_(low), kept, out=kept)
    torch.addcmul(low, rgb, kept, out=rgb)


def _roll_off(low: Tensor, high: Tensor, light: Tensor, shoulder: Shoulder) -> None:
    """Bend pixels' largest channels, and the smallest by the same factor, in place.

    So saturation (as of HSV) stays too, until it fades. `light`: the largest in camera RGB.
    """
    bent = shoulder.curve(high)
    fading = shoulder.fading(light, bent)
    low.mul_(torch.where(high > KNEE, bent / high, 1)).clamp_(min=0)
    low.lerp_(bent, fading)
    high.copy_(bent)


def _encode(linear: Tensor, out: Tensor, scale: Scale) -> Tensor:
    """Apply the sRGB curve to light from 0 to 1, into `out`; overwrites both.

    The straight part and the power, held at the knee below it: the lesser is the curve. The power
    is exp(log(x) / 2.4), many times as fast as torch's and exact to a 16-bit code.
    """
    white, offset, _ = scale
    bent = torch.clamp(linear, SRGB_KNEE, 1, out=out).log_().mul_(1 / SRGB_POWER).exp_()
    bent.mul_((1 + SRGB_OFFSET) * white).add_(offset - SRGB_OFFSET * white)
    straight = linear.mul_(SRGB_SLOPE * white).add_(offset)
    return torch.minimum(straight, bent, out=out)
