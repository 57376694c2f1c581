"""From camera RGB to finished samples: matrix, gamut, tone and curve in one pass, pixel by pixel.

No function looks at a neighbour, so a picture may be rendered in any
pieces.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.color.color_space import LINEAR, ColorSpace
from darkroom.color.dither import find_thresholds, find_thresholds_on
from darkroom.color.finish import AS_IT_IS, Finish, bend_tone
from darkroom.color.gamut import LUMINANCE, Luminance, bring_in_gamut
from darkroom.color.matrix import camera_to_srgb
from darkroom.color.processor import Bands
from darkroom.color.tone_curve import Shoulder
from darkroom.color.transfer import srgb_decode
from darkroom.raw.image import Color

Samples = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

BLOCK_PIXELS = 1 << 16
"""Rendered at a time on processors, by the calling thread alone: with their scratch they fit its
caches. Two threads took turns at the interpreter, as much time in all and half as much again of
processors' time; blocks of 16,000 pixels take 1.4 times as long."""
DEVICE_PIXELS = 1 << 23
"""Of a block on an accelerator: few enough for 1 GB of scratch, enough to keep it busy."""


def render(picture: Tensor, color: Color, shoulder: Shoulder | None = None) -> Tensor:
    """Make an sRGB picture, (3, H, W) float32 in [0, 1], of linear white-balanced camera RGB.

    `picture`: (3, H, W); 1 is white in all three, above it is clipped before the matrix, so that
    clipped highlights stay neutral. With a `shoulder` only what its `white` is exceeded by is
    clipped so, and the rest is rolled off. Colours that sRGB cannot show lose saturation, not their
    hue.
    """
    scale = Scale(1.0, shoulder=shoulder)
    rendered = torch.empty(picture.shape, dtype=torch.float32, device=picture.device)
    if _on_processor(picture):
        _render_by_bands(picture, color, scale, rendered.permute(1, 2, 0).numpy())
    else:
        for rows, encoded in _render_on_device(picture, color, scale):
            rendered[:, rows] = encoded
    return rendered.clamp_(0, 1)


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

    inside = color is None and finish.saturation <= 1  # every space holds sRGB
    if codes.dtype == np.float32:
        scale = Scale(1.0, 0.0, shoulder, finish, bounded=False)
    elif codes.dtype == np.uint8:
        half = 0.5 if dither is None else 0.0
        scale = Scale(255.0, half, shoulder, finish, inside=inside)
    else:
        scale = Scale(65535.0, 0.5, shoulder, finish, inside=inside)
    if codes.dtype != np.uint8:
        dither = None
    if _on_processor(picture):
        _render_by_bands(picture, color, scale, codes, dither)
        return
    for rows, encoded in _render_on_device(picture, color, scale):
        if dither is not None:
            _, height, width = encoded.shape
            place = dither[0] + rows.start, dither[1]
            encoded += find_thresholds_on(encoded.device, height, width, place)
        _download(encoded, codes[rows])


def _round_into(picture: Tensor, codes: Samples) -> None:
    """Round finished sRGB, (3, H, W) in [0, 1], to codes in an array (H, W, 3) of any layout."""
    white = 255 if codes.dtype == np.uint8 else 65535
    rounded = picture.clamp(0, 1).mul_(white).add_(0.5)
    if not _on_processor(picture):
        return _download(rounded, codes)
    return _put(rounded.numpy(), codes)


def _on_processor(picture: Tensor) -> bool:
    return picture.device.type == "cpu"


def _put(samples: NDArray[np.float32], codes: Samples) -> None:
    """Copy samples, (3, h, W), truncated to codes, to an array (h, W, 3)."""
    for number, channel in enumerate(samples):  # three times as fast as all at once
        codes[..., number] = channel


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


def _matrix(color: Color | None, finish: Finish) -> Tensor:
    """Return what makes camera RGB, or linear sRGB, linear RGB of the finish: (3, 3) float64."""
    matrix = torch.from_numpy(finish.matrix)
    return matrix if color is None else matrix @ camera_to_srgb(color)


def _read(picture: Tensor, rows: slice, color: Color | None) -> Tensor:
    """Return rows of a picture, (3, rows, W), as linear light, float32."""
    light = picture[:, rows].detach().float()
    return light if color is not None else srgb_decode(light.clamp(0, 1))


def _render_by_bands(
    picture: Tensor,
    color: Color | None,
    scale: Scale,
    codes: Samples,
    dither: tuple[int, int] | None = None,
) -> None:
    """Render to an array (H, W, 3) on the processor; see `render_into`."""
    matrix = _matrix(color, scale.finish).numpy().astype(np.float32)
    luminance, white = _luminance(scale.finish.space), _white(scale)
    _, height, width = picture.shape
    step = max(1, min(BLOCK_PIXELS // width, height))
    bands = Bands(step * width)
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        light = _read(picture, rows, color).numpy()
        rgb = bands.multiply(light, matrix, white)
        if scale.inside:
            np.clip(rgb, 0, 1, out=rgb)
        elif scale.bounded:
            bands.bring_in_gamut(rgb, scale.shoulder, luminance)
        if scale.bounded:
            bend_tone(torch.from_numpy(rgb), scale.finish.tone)
            bands.encode(rgb, scale.finish.space.curve, scale.white, scale.offset)
        samples = rgb.reshape(light.shape)
        if dither is not None:
            place = dither[0] + start, dither[1]
            samples += find_thresholds(rows.stop - start, width, place)
        _put(samples, codes[rows])


def _render_on_device(
    picture: Tensor, color: Color | None, scale: Scale
) -> Iterator[tuple[slice, Tensor]]:
    """Yield a picture as samples, some rows at a time, each good until the next: (3, rows, W)."""
    matrix = _matrix(color, scale.finish).float().to(picture.device)
    _, height, width = picture.shape
    step = max(1, min(DEVICE_PIXELS // width, height))
    block = _Block(step, picture)
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        yield rows, block.render(_read(picture, rows, color), matrix, scale)


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
        # In one layout whatever the network's: of pixels side by side mm takes three times as long.
        torch.clamp(rows, max=_white(scale), out=camera.view(3, -1, self._width))
        rgb = torch.mm(matrix, camera.view(3, pixels), out=rgb.view(3, pixels))
        if scale.bounded:
            if scale.inside:
                rgb.clamp_(0, 1)
            else:
                bring_in_gamut(rgb, scale.shoulder, _luminance(scale.finish.space))
            bend_tone(rgb, scale.finish.tone)
            rgb = _encode(rgb, camera.view(3, pixels), scale)
        return rgb.view(3, -1, self._width)


def _white(scale: Scale) -> float:
    """Return the light above which there is none."""
    return 1.0 if scale.shoulder is None else scale.shoulder.white


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
