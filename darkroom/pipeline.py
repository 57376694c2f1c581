"""One photo, RAW to picture."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn

from darkroom.color.highlights import Highlights, chosen, extended, find_shoulder
from darkroom.color.render import render_into
from darkroom.color.tone_curve import Shoulder
from darkroom.color.white_balance import gray_world, white_balanced
from darkroom.gain import Gain, GainRule, choose_gain
from darkroom.models.denoise import check, check_range, steered
from darkroom.models.model import Model
from darkroom.models.tiling import Part, Runner, TileOption, tiles
from darkroom.mosaic.hot_pixels import HotPixels, repair
from darkroom.mosaic.noise import measure_noise
from darkroom.mosaic.packing import Mosaic, align, linearise, pack
from darkroom.output.orientation import Pixels, square, upright
from darkroom.raw.image import Color, RawImage
from darkroom.weights.registry import Output


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may decide about one photo; the defaults decide by themselves.

    `gain`: the user's own, or None to measure it by `rule` (None: the model's) and, for REDI's
    rule, `brightness` 1, 5 or 8. `ev`: stops on top. `tile`: as in `darkroom.models.tiling`.
    `bits`: 8 or 16 per sample of the picture. `hot_pixels`: None repairs them for networks of
    camera RGB, and keeps them for those that are run as published. `denoise`: 0 demosaicing alone,
    1 the network's result, between them a blend, up to 2 stronger (`darkroom.models.denoise`).
    Raises UsageError for another number there. `highlights`: None rolls them off for networks of
    camera RGB, and clips them for others.
    """

    gain: Gain | None = None
    rule: GainRule | None = None
    brightness: int = 1
    ev: float = 0.0
    tile: TileOption = "auto"
    bits: int = 8
    hot_pixels: HotPixels | None = None
    denoise: float = 1.0
    highlights: Highlights | None = None

    def __post_init__(self) -> None:
        check_range(self.denoise)


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture: (H, W, 3) sRGB, upright, and how it came about."""

    pixels: Pixels
    gain: Gain
    warnings: tuple[str, ...]


def enhance(
    raw: RawImage,
    model: Model,
    options: Options = Options(),
    watch: Callable[[float], None] = lambda share: None,
) -> Picture:
    """Turn one dark RAW photo into a bright picture.

    `watch` is told the share of the picture that is done, 0 to 1. Raises SensorError where the
    model was made for another kind of sensor, UsageError where it cannot denoise so much or little,
    or cannot roll off highlights.
    """
    notes = list(raw.warnings)
    photo = prepare(raw, model, options, notes.append)
    height, width = photo.shape
    pixels = np.empty((height, width, 3), np.uint8 if options.bits == 8 else np.uint16)
    for part in photo.parts(options.tile, notes.append):
        photo.finish(part, pixels)
        watch(min(part.rows.stop * part.cols.stop / (height * width), 1.0))
    turned = upright(square(pixels, raw.pixel_aspect), raw.orientation)
    return Picture(turned, photo.gain, tuple(notes))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A photo that is ready for its network, and what its picture is finished with.

    `shape`: rows and columns of the picture. `packed`: amplified, as the network takes it.
    """

    shape: tuple[int, int]
    packed: Tensor
    gain: Gain
    runner: Runner
    output: Output
    color: Color
    shoulder: Shoulder | None

    def parts(self, tile: TileOption, tell: Callable[[str], None]) -> Iterator[Part]:
        """Run the network, part by part; `tell` learns of tiles that do not fit."""
        return tiles(self.runner, self.packed, tile, tell)

    def finish(self, part: Part, pixels: Pixels) -> None:
        """Put the finished samples of a part in their place in the picture, (H, W, 3)."""
        place = pixels[part.rows, part.cols]  # cropped where the mosaic's size is odd
        picture = part.picture[:, : place.shape[0], : place.shape[1]]
        finish(picture, self.output, self.color, place, self.shoulder)


def prepare(raw: RawImage, model: Model, options: Options, tell: Callable[[str], None]) -> Prepared:
    """Do what comes before the network; `tell` is given one line for each thing that is odd.

    Raises as `enhance` does.
    """
    model = model.for_sensor(raw.cfa.sensor)
    check(model, options.denoise)
    highlights = chosen(model, options.highlights)
    for note in model.check(raw):
        tell(note)
    gain = find_gain(raw, model, options)
    linear = repaired(linearise(raw), raw, model, options, tell)
    mosaic, cfa, _, _ = align(linear, raw.cfa)
    del linear
    shape = mosaic.shape
    packed = torch.from_numpy(pack(mosaic, cfa)).mul_(gain.value)
    del mosaic  # the largest thing in memory, and packed holds the same
    color = balanced(raw.color, packed)
    if model.output is Output.CAMERA:
        packed = white_balanced(packed, color)
    measure = cache(lambda: measure_noise(raw).amplified(gain.value))
    runner: Runner = steered(model, options.denoise, color, measure)
    shoulder = None
    if highlights is Highlights.ROLL:
        shoulder = find_shoulder(packed, color, gain.value)
    if shoulder is not None:
        runner = extended(runner, measure(), color, gain.value)
    return Prepared(shape, packed, gain, runner, model.output, color, shoulder)


def repaired(
    linear: Mosaic, raw: RawImage, model: Model, options: Options, tell: Callable[[str], None]
) -> Mosaic:
    """Repair a photo's hot pixels in place where that is wanted; `tell` learns how many."""
    default = HotPixels.REPAIR if model.output is Output.CAMERA else HotPixels.KEEP
    if (options.hot_pixels or default) is HotPixels.REPAIR:
        count = repair(linear, raw.cfa, raw.color.white_balance)
        if count:
            tell(f"repaired {count} hot or dead photosite{'s' * (count > 1)}")
    return linear


def find_gain(raw: RawImage, model: Model, options: Options) -> Gain:
    """Return the user's gain, or measure the photo's; one number per photo.

    Raises UsageError for a rule that needs an amplifier where the model has none.
    """
    rule = options.rule or model.gain_rule
    amplifier = None if model.amplifier is None else partial(_amplification, model.amplifier)
    found = options.gain or choose_gain(raw, rule, options.brightness, amplifier)
    return found.brightened(options.ev)


@torch.inference_mode()
def _amplification(amplifier: nn.Module, raw: RawImage) -> float:
    """Return what a trained amplifier finds for a photo."""
    mosaic, cfa, _, _ = align(linearise(raw), raw.cfa)
    return float(amplifier(torch.from_numpy(pack(mosaic, cfa))[None]))


def balanced(color: Color, packed: Tensor) -> Color:
    """Return the photo's colours with a white balance, measured on the picture if there is none."""
    if color.white_balance is not None:
        return color
    return replace(color, white_balance=gray_world(packed))


def finish(
    picture: Tensor,
    output: Output,
    color: Color,
    pixels: Pixels,
    shoulder: Shoulder | None = None,
) -> None:
    """Turn a network's (3, H, W) picture into finished samples, sRGB, in `pixels` (H, W, 3)."""
    if output is Output.CAMERA:
        render_into(picture, color, pixels, shoulder)
        return
    white, dtype = (255, torch.uint8) if pixels.dtype == np.uint8 else (65535, torch.uint16)
    codes = picture.clamp(0, 1).mul_(white).add_(0.5).to(dtype)
    pixels[...] = codes.permute(1, 2, 0).numpy()


def finished(picture: Tensor, output: Output, color: Color, bits: int) -> Pixels:
    """Return finished samples: (H, W, 3) uint8 or uint16 sRGB (`bits` 8 or 16)."""
    pixels = np.empty((*picture.shape[1:], 3), np.uint8 if bits == 8 else np.uint16)
    finish(picture, output, color, pixels)
    return pixels
