"""From camera RGB to finished samples: matrix, gamut, tone and curve in one pass, pixel by pixel.

No function looks at a neighbour, so a picture may be rendered in any
pieces.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.color.color_space import LINEAR, ColorSpace
from darkroom.color.dither import find_thresholds_on
from darkroom.color.finish import AS_IT_IS, Finish, bend_tone
from darkroom.color.gamut import LUMINANCE, Luminance, bring_in_gamut
from darkroom.color.matrix import camera_to_srgb
from darkroom.color.tone_curve import Shoulder
from darkroom.color.transfer import srgb_decode
from darkroom.raw.image import Color

Samples = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

BLOCK_PIXELS = 1 << 17
"""Rendered at a time: with their scratch they fit a processor's last cache.

torch shares each step among its threads. Threads of our own would each start as many, which wait
for each other: 12 megapixels took 0.24 s so, and take 0.11 s (two cores). Blocks of 32,000 pixels
take 0.14 s."""
DEVICE_PIXELS = 1 << 23
"""Of a block on an accelerator: few enough for 1 GB of scratch, enough to keep it busy."""


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
    picture: Tensor,
    color: Color | None,
    codes: Samples,
    shoulder: Shoulder | None = None,
    finish: Finish = AS_IT_IS,
    dither: tuple[int, int] | None = None,
) -> None:
    """Render to an array (H, W, 3) of any memory layout, in the colours and tone of a finish.

    All is done where the picture is, and only finished samples leave an accelerator.

    `picture`: as `render` takes it; finished sRGB, (3, H, W) in [0, 1], where `color` is None.
    `codes`: uint8 or uint16, as `render_codes` gives them; or float32 for linear light, white 1, in
    which nothing is bent: what is above white goes on up to the shoulder's, and colours that the
    space cannot show have values below 0. `dither`: rows and columns of the whole picture that are
    above and left of this piece, which is then dithered at 8 bits; None rounds.
    """
    if color is None and finish == AS_IT_IS and dither is None and codes.dtype != np.float32:
        _round_into(picture, codes)
        return

    on_processor, target = _on_processor(picture), torch.from_numpy(codes).permute(2, 0, 1)

    def put(rows: slice, encoded: Tensor) -> None:
        if dither is not None and codes.dtype == np.uint8:
            _, height, width = encoded.shape
            place = dither[0] + rows.start, dither[1]
            encoded += find_thresholds_on(encoded.device, height, width, place)
        if on_processor:
            target[:, rows] = encoded
        else:
            _download(encoded, codes[rows])

    inside = color is None and finish.saturation <= 1  # every space holds sRGB
    if codes.dtype == np.float32:
        scale = Scale(1.0, 0.0, shoulder, finish, bounded=False)
    elif codes.dtype == np.uint8:
        half = 0.5 if dither is None else 0.0
        scale = Scale(255.0, half, shoulder, finish, inside=inside)
    else:
        scale = Scale(65535.0, 0.5, shoulder, finish, inside=inside)
    _render(picture, color, scale, put)


def _round_into(picture: Tensor, codes: Samples) -> None:
    """Round finished sRGB, (3, H, W) in [0, 1], to codes in an array (H, W, 3) of any layout."""
    white, dtype = (255, torch.uint8) if codes.dtype == np.uint8 else (65535, torch.uint16)
    rounded = picture.clamp(0, 1).mul_(white).add_(0.5)
    if not _on_processor(picture):
        return _download(rounded, codes)
    codes[...] = rounded.to(dtype).permute(1, 2, 0).numpy()
    return None


def _on_processor(picture: Tensor) -> bool:
    return picture.device.type == "cpu"


def _download(samples: Tensor, codes: Samples) -> None:
    """Copy samples, (3, h, W), truncated to codes, from an accelerator to an array (h, W, 3).

    They are put in the array's order before, so that page-locked memory is written straight away.
    """
    target = torch.from_numpy(codes)
    target.copy_(samples.to(target.dtype).permute(1, 2, 0).contiguous())


class Scale(NamedTuple):
    """How samples are handed out: from 0 to 1 times `white`, plus `offset`; light first rolled off.

    `bounded`: whether colours and light are brought into 0 to 1, and encoded. `inside`: whether
    they are there already.
    """

    white: float
    offset: float = 0.0
    shoulder: Shoulder | None = None
    finish: Finish = AS_IT_IS
    bounded: bool = True
    inside: bool = False


def _render(
    picture: Tensor, color: Color | None, scale: Scale, put: Callable[[slice, Tensor], None]
) -> None:
    """Hand the picture to `put`, a few rows at a time, as samples: (3, rows, W), for it to keep."""
    exact = torch.from_numpy(scale.finish.matrix)
    if color is not None:
        exact = exact @ camera_to_srgb(color)
    matrix = exact.float().to(picture.device)
    _, height, width = picture.shape
    pixels = BLOCK_PIXELS if _on_processor(picture) else DEVICE_PIXELS
    step = max(1, min(pixels // width, height))

    block = _Block(step, picture)
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        light = picture[:, rows].detach().float()
        if color is None:
            light = srgb_decode(light.clamp(0, 1))
        put(rows, block.render(light, matrix, scale))


class _Block:
    """Scratch for some rows, used again and again: fresh memory costs more than the arithmetic."""

    def __init__(self, rows: int, picture: Tensor) -> None:
        """Make scratch for so many rows of a picture (3, H, W)."""
        self._width = picture.shape[2]
        self._triples = torch.empty(2, 3 * rows * self._width, device=picture.device)

    def render(self, rows: Tensor, matrix: Tensor, scale: Scale) -> Tensor:
        """Return (3, rows, W) of camera RGB as scaled sRGB, valid until the next call."""
        pixels = rows.shape[1] * self._width
        camera, rgb = self._triples[:, : 3 * pixels]
        shoulder = scale.shoulder
        white = 1.0 if shoulder is None else shoulder.white
        # In one layout whatever the network's: of pixels side by side mm takes three times as long.
        torch.clamp(rows, max=white, out=camera.view(3, -1, self._width))
        rgb = torch.mm(matrix, camera.view(3, pixels), out=rgb.view(3, pixels))
        if scale.bounded:
            if scale.inside:
                rgb.clamp_(0, 1)
            else:
                bring_in_gamut(rgb, shoulder, _luminance(scale.finish.space))
            bend_tone(rgb, scale.finish.tone)
            rgb = _encode(rgb, camera.view(3, pixels), scale)
        return rgb.view(3, -1, self._width)


def _luminance(space: ColorSpace) -> Luminance:
    """Return what the gamut's gray is made of; for sRGB's primaries as the standard rounds it."""
    return LUMINANCE if space in (ColorSpace.SRGB, ColorSpace.LINEAR) else space.luminance


def _encode(linear: Tensor, out: Tensor, scale: Scale) -> Tensor:
    """Apply the space's curve to light from 0 to 1, into `out`; overwrites both.

    The straight part and the power, held at the knee below it: the lesser is the curve. The power
    is exp(log(x) / 2.4), many times as fast as torch's and exact to a 16-bit code.
    """
    curve, white, offset = scale.finish.space.curve, scale.white, scale.offset
    if curve == LINEAR:
        return torch.mul(linear, white, out=out).add_(offset)
    bent = torch.clamp(linear, curve.knee, 1, out=out).log_().mul_(1 / curve.power).exp_()
    bent.mul_((1 + curve.offset) * white).add_(offset - curve.offset * white)
    straight = linear.mul_(curve.slope * white).add_(offset)
    return torch.minimum(straight, bent, out=out)
