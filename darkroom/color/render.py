"""From camera RGB to finished sRGB: matrix, gamut and curve in one pass, pixel by pixel.

sRGB as of IEC 61966-2-1. No function looks at a neighbour, so a picture may be rendered in any
pieces.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.color.gamut import bring_in_gamut
from darkroom.color.matrix import camera_to_srgb
from darkroom.color.tone_curve import Shoulder
from darkroom.color.transfer import SRGB_KNEE, SRGB_OFFSET, SRGB_POWER, SRGB_SLOPE
from darkroom.parallel import in_bands
from darkroom.raw.image import Color

Codes = NDArray[np.uint8] | NDArray[np.uint16]

# Blocks with their scratch fit a core's cache, and have few enough steps for threads to share the
# interpreter without waiting for it.
BLOCK_PIXELS = 32000
BLOCKS_PER_BAND = 32


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


def round_into(picture: Tensor, codes: Codes) -> None:
    """Round finished sRGB, (3, H, W) in [0, 1], to codes in an array (H, W, 3) of any layout."""
    white, dtype = (255, torch.uint8) if codes.dtype == np.uint8 else (65535, torch.uint16)
    rounded = picture.clamp(0, 1).mul_(white).add_(0.5).to(dtype)
    codes[...] = rounded.permute(1, 2, 0).numpy()


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

    def render(self, rows: Tensor, matrix: Tensor, scale: Scale) -> Tensor:
        """Return (3, rows, W) of camera RGB as scaled sRGB, valid until the next call."""
        pixels = rows.shape[1] * self._width
        camera, rgb = self._triples[:, : 3 * pixels]
        shoulder = scale.shoulder
        clipped = self._clipped(rows, camera, 1.0 if shoulder is None else shoulder.white)
        rgb = torch.mm(matrix, clipped, out=rgb.view(3, pixels))
        bring_in_gamut(rgb, shoulder)
        return _encode(rgb, camera.view(3, pixels), scale).view(3, -1, self._width)

    def _clipped(self, rows: Tensor, out: Tensor, white: float) -> Tensor:
        """Return the rows clipped at white, (3, pixels), in the layout in which they came."""
        if self._by_pixels:
            torch.clamp(rows, max=white, out=out.view(-1, self._width, 3).permute(2, 0, 1))
            return out.view(-1, 3).T
        torch.clamp(rows, max=white, out=out.view(3, -1, self._width))
        return out.view(3, -1)


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
