"""One photo, RAW to picture."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from darkroom.calibration.correction import Correction
from darkroom.calibration.dark_reference import DarkReference
from darkroom.calibration.profile import CameraProfile
from darkroom.color.color_space import ColorSpace
from darkroom.color.finish import AS_IT_IS, Finish, Tone
from darkroom.color.highlights import Highlights, with_highlights
from darkroom.color.render import render_into
from darkroom.color.tone_curve import Shoulder
from darkroom.color.white_balance import (
    balance_white,
    choose_white_balance,
    find_illuminant,
    with_white_balance,
)
from darkroom.errors import UsageError
from darkroom.gain import Gain, GainRule, choose_gain, find_m
from darkroom.models.denoise import check_range, with_denoise
from darkroom.models.model import Model
from darkroom.models.tiling import Edges, Part, TiledModel, TileOption, run_tiles
from darkroom.mosaic.hot_pixels import HotPixels, repair_hot_pixels
from darkroom.mosaic.packing import Mosaic, align, linearise, pack
from darkroom.mosaic.saturation import measure_saturation
from darkroom.output.orientation import Pixels, square, upright
from darkroom.output.resize import fit_size, resize
from darkroom.raw.black_choice import default_black, with_black
from darkroom.raw.black_level import explain_black
from darkroom.raw.filter_check import with_cfa
from darkroom.raw.image import Black, Color, RawImage, WhiteBalance
from darkroom.weights.registry import Output

SAMPLES = {8: np.uint8, 16: np.uint16, 32: np.float32}
"""Types of samples by their bits."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may decide about one photo; the defaults decide by themselves.

    `gain`: the user's own, or None to measure it by `rule` (None: the model's) and, for REDI's
    rules, `brightness` 1 to 9 (None: the rule's own). `ev`: stops on top. `tile`: as in
    `darkroom.models.tiling`. `bits`: 8 or 16 per sample of the picture, or 32 for floats: linear
    light, white 1, in which nothing is bent or clipped but what the sensor clipped. `hot_pixels`:
    None repairs them for networks of camera RGB, and keeps them for those that are run as
    published. `denoise`: 0 demosaicing alone, 1 the network's result, between them a blend, up to 2
    stronger (`darkroom.models.denoise`). `highlights`: None rolls them off for networks of camera
    RGB, and clips them for others. `edges`: whether a photo that ends off the network's grid is
    continued or cropped. `black`: None is what the file states for networks that are run as
    published, and measured for those of camera RGB (`darkroom.raw.black_choice`). `cfa`: a Bayer
    pattern such as RGGB in place of the file's; None keeps that. `profile`: the camera's, for its
    black, noise and hot pixels; `dark`: frames to take off. A `black` of one's own goes before
    theirs. `color_space`, `tone` and `saturation`: as in `darkroom.color.finish`. `resize`: pixels
    that the picture's longer side has at most; None keeps its size. `white_balance`: the photo's
    own, another, or kelvin. Raises UsageError for a `denoise`, `saturation`, `resize` or
    temperature out of range.
    """

    gain: Gain | None = None
    rule: GainRule | None = None
    brightness: float | None = None
    ev: float = 0.0
    tile: TileOption = "auto"
    bits: int = 8
    hot_pixels: HotPixels | None = None
    denoise: float = 1.0
    highlights: Highlights | None = None
    edges: Edges = Edges.REFLECT
    black: Black | None = None
    cfa: str | None = None
    profile: CameraProfile | None = None
    dark: DarkReference | None = None
    color_space: ColorSpace = ColorSpace.SRGB
    tone: Tone = Tone.NEUTRAL
    saturation: float = 1.0
    resize: int | None = None
    white_balance: WhiteBalance | float = WhiteBalance.AS_SHOT

    def __post_init__(self) -> None:
        check_range(self.denoise)
        Finish(saturation=self.saturation)
        if not isinstance(self.white_balance, WhiteBalance):
            find_illuminant(self.white_balance)
        if self.resize is not None and self.resize < 1:
            raise UsageError(
                f"--resize {self.resize}: give pixels of the longer side, such as 2048"
            )

    def resolve(self, model: Model) -> "ResolvedOptions":
        """Decide every default, for photos that this model enhances; the one place that does.

        Raises UsageError where the model cannot do what was asked for.
        """
        paints = model.output is Output.SRGB
        if paints and self.denoise != 1:
            raise UsageError(
                f"--denoise {self.denoise:g}: {model.name} denoises, demosaics and colours in one; "
                "leave --denoise out, or take --model safelight"
            )
        if paints and self.highlights is Highlights.ROLL:
            raise UsageError(
                f"--highlights roll: {model.name} paints finished pictures, which end at white; "
                "take --highlights clip, or --model safelight"
            )
        if paints and self.white_balance is not WhiteBalance.AS_SHOT:
            raise UsageError(
                f"--wb: {model.name} paints the colours it learned; leave --wb out, or take "
                "--model safelight"
            )
        if self.color_space is ColorSpace.LINEAR and self.bits == 8:
            raise UsageError("--color-space linear: 8 bits are too few for it; add --bits 16")
        if self.bits == 32 and self.tone is not Tone.NEUTRAL:
            raise UsageError(f"--tone {self.tone.value}: 32 bits hold light as it is; use 8 or 16")
        if self.dark is not None and self.black is not None:
            raise UsageError("--dark and --black both decide the black level; give one of them")
        rule = self.rule or model.gain_rule
        linear = self.bits == 32 and self.color_space is ColorSpace.SRGB
        space = ColorSpace.LINEAR if linear else self.color_space
        return ResolvedOptions(
            gain=self.gain,
            rule=rule,
            brightness=find_m(rule, self.brightness),
            ev=self.ev,
            tile=self.tile,
            bits=self.bits,
            hot_pixels=self.hot_pixels or (HotPixels.KEEP if paints else HotPixels.REPAIR),
            denoise=self.denoise,
            highlights=self.highlights or (Highlights.CLIP if paints else Highlights.ROLL),
            edges=self.edges,
            black=default_black(paints) if self.black is None else self.black,
            cfa=self.cfa,
            correction=Correction(
                self.profile,
                self.dark,
                black=self.black is None,
                hot_pixels=self.hot_pixels is not HotPixels.KEEP,
            ),
            finish=Finish(space, self.tone, self.saturation),
            resize=self.resize,
            white_balance=self.white_balance,
        )


@dataclass(frozen=True, slots=True)
class ResolvedOptions:
    """What is done to a photo: `Options` with nothing left open but the gain that it needs."""

    gain: Gain | None
    rule: GainRule
    brightness: float | None
    ev: float
    tile: TileOption
    bits: int
    hot_pixels: HotPixels
    denoise: float
    highlights: Highlights
    edges: Edges
    black: Black
    cfa: str | None
    correction: Correction
    finish: Finish
    resize: int | None
    white_balance: WhiteBalance | float

    @property
    def rendered_bits(self) -> int:
        """Bits at which the picture is rendered: 16 at least where it is made smaller yet."""
        return self.bits if self.resize is None else max(self.bits, 16)


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture: (H, W, 3) in its colour space, upright, and how it came about.

    `black`: which level was taken off, as `darkroom.raw.black_level.explain_black` says. `resized`:
    whether it is smaller than the photo.
    """

    pixels: Pixels
    gain: Gain
    warnings: tuple[str, ...]
    black: Mapping[str, Any] | None = None
    color_space: ColorSpace = ColorSpace.SRGB
    resized: bool = False


def enhance(
    raw: RawImage,
    model: Model,
    options: Options = Options(),
    watch: Callable[[float], None] = lambda share: None,
) -> Picture:
    """Turn one dark RAW photo into a bright picture.

    `watch` is told the share of the picture that is done, 0 to 1. Raises SensorError where the
    model was made for another kind of sensor, UsageError where it cannot do what `options` ask for.
    """
    model = model.for_sensor(raw.cfa.sensor)
    settings = options.resolve(model)
    raw = take_choices(raw, settings)
    warnings = [*raw.warnings, *model.check(raw), *settings.correction.check(raw)]
    photo = prepare(raw, model, settings, warnings.append)
    pixels = np.empty((*photo.shape, 3), SAMPLES[settings.rendered_bits])
    for part in photo.run(settings.tile, warnings.append):
        photo.finish(part, pixels)
        watch(min(part.rows.stop * part.cols.stop / (photo.shape[0] * photo.shape[1]), 1.0))
    pixels, resized = _fit(square(pixels, raw.pixel_aspect), settings)
    pixels, space = upright(pixels, raw.orientation), settings.finish.space
    return Picture(pixels, photo.gain, tuple(warnings), explain_black(raw), space, resized)


def _fit(pixels: Pixels, settings: ResolvedOptions) -> tuple[Pixels, bool]:
    """Make a picture as small as was asked for; and say whether it was larger."""
    if settings.resize is None:
        return pixels, False
    size = fit_size(pixels.shape, settings.resize)
    small = resize(pixels, size, settings.finish.space.curve, settings.bits)
    return small, size != pixels.shape[:2]


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """A photo that is ready for its network, and what its picture is finished with.

    `shape`: rows and columns of the picture. `packed`: (C, h, w), amplified, as the network takes
    it. `color`: None where the network paints finished sRGB. `shoulder`: None where nothing is
    above white. `wanted`: how it is finished.
    """

    shape: tuple[int, ...]
    packed: Tensor
    gain: Gain
    network: TiledModel
    color: Color | None = None
    shoulder: Shoulder | None = None
    wanted: Finish = AS_IT_IS

    def run(self, tile: TileOption, warn: Callable[[str], None]) -> Iterator[Part]:
        """Run the network, part by part; `warn` is told of tiles that do not fit."""
        return run_tiles(self.network, self.packed, tile, warn)

    def finish(self, part: Part, pixels: Pixels) -> None:
        """Put the finished samples of a part in their place in the picture, (H, W, 3)."""
        place = pixels[part.rows, part.cols]  # cropped where the mosaic's size is odd
        picture = part.picture[:, : place.shape[0], : place.shape[1]]
        render_into(picture, self.color, place, self.shoulder, self.wanted)


def prepare(
    raw: RawImage, model: Model, settings: ResolvedOptions, warn: Callable[[str], None]
) -> PreparedPhoto:
    """Do all that comes before the network; `warn` is given one line for each thing that is odd.

    `model`: the one for the photo's kind of sensor. Raises UsageError for a rule of the gain that
    needs what the model does not have, or a photo that cropping leaves nothing of.
    """
    raw = take_choices(raw, settings)
    gain = find_gain(raw, model, settings)
    mosaic = linearise(raw)
    if known := settings.correction.repair(mosaic, raw):
        warn(f"repaired {known} photosite{'s' * (known > 1)} that are known to be hot")
    if settings.hot_pixels is HotPixels.REPAIR:
        repair_hot_pixels(mosaic, raw, warn)
    mosaic, cfa, _, _ = align(mosaic, raw.cfa)
    if settings.edges is Edges.CROP:
        mosaic = _crop(mosaic, model.grid.step(cfa.period))
    shape = mosaic.shape
    packed = torch.from_numpy(pack(mosaic, cfa)).mul_(gain.value)
    del mosaic  # the largest thing in memory, and packed holds the same
    if model.output is Output.SRGB:
        return PreparedPhoto(shape, packed, gain, model, wanted=settings.finish)
    color = with_white_balance(raw.color, packed)
    packed = balance_white(packed, color)
    noise = settings.correction.measure_noise(raw).amplified(gain.value)
    network = with_denoise(model, settings.denoise, noise, color)
    if settings.highlights is Highlights.CLIP:
        return PreparedPhoto(shape, packed, gain, network, color, wanted=settings.finish)
    assert color.white_balance is not None, "it has just been found"

    def dimmed(factor: float) -> TiledModel:
        return with_denoise(model, settings.denoise, noise.amplified(1 / factor), color)

    balance = color.white_balance / color.white_balance.min()
    white = gain.value * measure_saturation(raw) * balance
    network, shoulder = with_highlights(network, dimmed, packed, color, white)
    return PreparedPhoto(shape, packed, gain, network, color, shoulder, settings.finish)


def _crop(mosaic: Mosaic, step: int) -> Mosaic:
    """Cut off the last rows and columns of an aligned mosaic that are no whole steps; a view."""
    height, width = (size // step * step for size in mosaic.shape)
    if not height or not width:
        size = f"{mosaic.shape[1]}x{mosaic.shape[0]}"
        raise UsageError(
            f"--edges crop: of {size} photosites nothing is left on this network's grid of {step}; "
            "use --edges reflect"
        )
    return mosaic[:height, :width]


def take_choices(raw: RawImage, settings: ResolvedOptions) -> RawImage:
    """Take the filters, black and white balance that were decided for a photo; may be repeated.

    Raises UsageError where the photo cannot have them, SensorError where a profile or dark frames
    are of another camera.
    """
    raw = with_black(with_cfa(raw, settings.cfa), settings.black)
    settings.correction.check(raw)
    raw = replace(raw, color=choose_white_balance(raw.color, settings.white_balance))
    return settings.correction.correct_black(raw)


def find_gain(raw: RawImage, model: Model, settings: ResolvedOptions) -> Gain:
    """Return the user's gain, or measure the photo's, above the black that its network gets.

    Raises UsageError for a rule that needs weights which the model does not have.
    """
    raw = take_choices(raw, settings)
    amplifier = None if model.amplifier is None else partial(_amplification, model.amplifier)
    found = settings.gain or choose_gain(
        raw, settings.rule, settings.brightness, network=model.gain_network, amplifier=amplifier
    )
    return found.brightened(settings.ev)


@torch.inference_mode()
def _amplification(amplifier: nn.Module, raw: RawImage) -> float:
    """Return what a trained amplifier finds for a photo."""
    mosaic, cfa, _, _ = align(linearise(raw), raw.cfa)
    return float(amplifier(torch.from_numpy(pack(mosaic, cfa))[None]))
