"""One photo, RAW to picture."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from darkroom.color.color_space import ColorSpace
from darkroom.color.finish import AS_IT_IS, Finish
from darkroom.color.highlights import Highlights, with_highlights
from darkroom.color.lens_correction import find_lens_correction
from darkroom.color.render import render_into
from darkroom.color.tone_curve import Shoulder, roll_off
from darkroom.color.white_balance import with_white_balance, with_white_balance_choice
from darkroom.errors import UsageError
from darkroom.gain import Gain, choose_gain
from darkroom.models.accelerator import (
    allocate,
    caught_out_of_memory,
    on_stream,
    release_cache,
    upload,
)
from darkroom.models.denoise import with_denoise
from darkroom.models.model import Model
from darkroom.models.photo_window import Packed
from darkroom.models.row_noise import may_show, measure_row_offsets
from darkroom.models.tiling import Edges, Part, TiledModel, TileOption, run_tiles
from darkroom.mosaic.hot_pixels import HotPixels, repair_hot_pixels
from darkroom.mosaic.linear import LinearMosaic
from darkroom.mosaic.noise import NO_NOISE, Noise
from darkroom.mosaic.packed_photo import PackedPhoto
from darkroom.mosaic.packing import align, linearise, pack
from darkroom.mosaic.saturation import measure_saturation
from darkroom.options import Options as Options
from darkroom.options import ResolvedOptions as ResolvedOptions
from darkroom.output.linear_dng import CameraPicture, DngKind
from darkroom.output.orientation import Pixels, square, upright
from darkroom.output.resize import fit_size, resize
from darkroom.raw.black_choice import with_black
from darkroom.raw.black_level import explain_black
from darkroom.raw.filter_check import with_cfa
from darkroom.raw.image import CFA, Color, RawImage
from darkroom.weights.registry import Output

SAMPLES = {8: np.uint8, 16: np.uint16, 32: np.float32}
"""Types of samples by their bits."""
HELD_SITES = 1 << 26
"""Photosites up to which a photo is packed whole, 4 bytes each; larger ones by windows."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture: (H, W, 3) in its colour space, upright, and how it came about.

    `black`: which level was taken off, as `darkroom.raw.black_level.explain_black` says. `camera`:
    the same in the camera's own colours, where a DNG was asked for. `resized`: whether it is
    smaller than the photo. `lens`: what of it was corrected, as `LensCorrection.words` says; None
    where that was not asked for.
    """

    pixels: Pixels
    gain: Gain
    warnings: tuple[str, ...]
    black: Mapping[str, Any] | None = None
    camera: CameraPicture | None = None
    color_space: ColorSpace = ColorSpace.SRGB
    resized: bool = False
    lens: str | None = None


def enhance(
    raw: RawImage,
    model: Model,
    options: Options = Options(),
    watch: Callable[[float], None] = lambda share: None,
) -> Picture:
    """Turn one dark RAW photo into a bright picture.

    `watch` is told the share of the picture that is done, 0 to 1. Where the model's device has no
    memory left, halved tiles or not, the processor makes the whole picture, and a warning says so.
    Raises SensorError where the model was made for another kind of sensor, UsageError where it
    cannot do what `options` ask for.
    """
    model = model.for_sensor(raw.cfa.sensor)
    with caught_out_of_memory() as caught, on_stream(model.device):
        picture = _enhance(raw, model, options, watch)
    if not caught:
        return picture
    release_cache(model.device)
    picture = _enhance(raw, model.on_cpu(), options, watch)
    note = f"{model.device}: out of memory; done on the processor"
    return replace(picture, warnings=(*picture.warnings, note))


def _enhance(
    raw: RawImage, model: Model, options: Options, watch: Callable[[float], None]
) -> Picture:
    """Turn one RAW photo into a picture on the model's device, which may run out of memory."""
    settings = options.resolve(model)
    raw = take_choices(raw, settings)
    warnings = [*raw.warnings, *model.check(raw), *settings.correction.check(raw)]
    photo = prepare(raw, model, settings, warnings.append)
    pixels = allocate((*photo.shape, 3), SAMPLES[settings.rendered_bits], model.device)
    light = None if settings.dng is None else np.empty(pixels.shape, np.float32)
    lens = find_lens_correction(raw) if settings.lens_correct else None
    if lens is not None and not lens.is_known:
        warnings.append(f"lens {lens.words}")
    bent = torch.empty(3, *photo.shape) if lens is not None and lens.is_known else None
    for part in photo.run(settings.tile, warnings.append):
        if bent is None:
            photo.finish(part, pixels)
        else:
            photo.keep(part, bent)
        if light is not None:
            photo.keep_light(part, light)
        watch(min(part.rows.stop * part.cols.stop / (photo.shape[0] * photo.shape[1]), 1.0))
    if lens is not None and bent is not None:
        for rows, straight in lens.correct(bent):
            photo.finish(Part(rows, slice(0, photo.shape[1]), straight), pixels)
        del bent
    pixels = pixels[photo.frame]
    pixels, resized = _fit(square(pixels, raw.pixel_aspect), settings)
    pixels, space = upright(pixels, raw.orientation), settings.finish.space
    picture = Picture(
        pixels,
        photo.gain,
        tuple(warnings),
        explain_black(raw),
        color_space=space,
        resized=resized,
        lens=None if lens is None else lens.words,
    )
    if light is None or settings.dng is None:
        return picture
    camera = _camera_picture(light[photo.frame], raw, photo, settings.dng, settings.denoise)
    return replace(picture, camera=camera)


def _camera_picture(
    light: NDArray[np.float32], raw: RawImage, photo: "PreparedPhoto", kind: DngKind, denoise: float
) -> CameraPicture:
    """Describe a photo's camera RGB, (H, W, 3), for a DNG of that kind."""
    aspect = raw.pixel_aspect
    if kind is not DngKind.MOSAIC:  # of which darktable and RawTherapee stretch nothing
        light, aspect = np.asarray(square(light, aspect), np.float32), 1.0
    if kind is DngKind.BRIGHT:
        roll_off(light, photo.multipliers)
    return CameraPicture(
        light,
        kind,
        photo.multipliers,
        raw.color.xyz_to_camera,
        photo.cfa.shifted(*(edge.start for edge in photo.frame)),
        raw.orientation,
        aspect,
        raw.camera,
        photo.noise,
        denoise,
    )


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
    it; `cfa`: its filters, phase as at the picture's first site. `frame`: the rows and columns that
    are shown. `color`: None where the network paints finished sRGB. `shoulder`: None where nothing
    is above white. `white`: light above which there is none that can be told, or that is wanted.
    `wanted`: how it is finished. `noise`: the photo's, amplified, where the network was told.
    """

    shape: tuple[int, ...]
    packed: Packed
    gain: Gain
    network: TiledModel
    cfa: CFA
    frame: tuple[slice, slice]
    color: Color | None = None
    shoulder: Shoulder | None = None
    white: float = 1.0
    wanted: Finish = AS_IT_IS
    noise: Noise = NO_NOISE

    @property
    def multipliers(self) -> NDArray[np.float64]:
        """The white balance, (3,), the smallest 1; all 1 where the network paints finished sRGB."""
        if self.color is None or self.color.white_balance is None:
            return np.ones(3)
        return np.asarray(self.color.white_balance / self.color.white_balance.min())

    def run(self, tile: TileOption, warn: Callable[[str], None]) -> Iterator[Part]:
        """Run the network, part by part; `warn` is told of tiles that do not fit."""
        return run_tiles(self.network, self.packed, tile, warn)

    def finish(self, part: Part, pixels: Pixels) -> None:
        """Put the finished samples of a part in their place in the picture, (H, W, 3).

        At 8 bits they are dithered, but for networks that paint sRGB, which round as published.
        """
        place = pixels[part.rows, part.cols]  # cropped where the mosaic's size is odd
        picture = part.picture[:, : place.shape[0], : place.shape[1]]
        dither = None if self.color is None else (part.rows.start, part.cols.start)
        render_into(picture, self.color, place, self.shoulder, self.wanted, dither)

    def keep(self, part: Part, whole: Tensor) -> None:
        """Put a part's camera RGB in its place in a whole one, (3, H, W)."""
        place = whole[:, part.rows, part.cols]
        place.copy_(part.picture[:, : place.shape[1], : place.shape[2]])

    def keep_light(self, part: Part, light: NDArray[np.float32]) -> None:
        """Put a part's camera RGB, white balance undone, in its place in the picture, (H, W, 3)."""
        place = light[part.rows, part.cols]
        picture = part.picture[:, : place.shape[0], : place.shape[1]].clamp(max=self.white)
        factors = (1 / self.multipliers).astype(np.float32)
        np.multiply(picture.permute(1, 2, 0).cpu().numpy(), factors, out=place)


def prepare(
    raw: RawImage, model: Model, settings: ResolvedOptions, warn: Callable[[str], None]
) -> PreparedPhoto:
    """Do all that comes before the network; `warn` is given one line for each thing that is odd.

    `model`: the one for the photo's kind of sensor. Raises UsageError for a rule of the gain that
    needs what the model does not have, or a photo that cropping leaves nothing of.
    """
    raw = take_choices(raw, settings)
    gain = find_gain(raw, model, settings)
    light = LinearMosaic(raw)
    if known := settings.correction.repair(light, raw):
        warn(f"repaired {known} photosite{'s' * (known > 1)} that are known to be hot")
    if settings.hot_pixels is HotPixels.REPAIR:
        repair_hot_pixels(light, raw, warn)
    packed = PackedPhoto.of(light, raw.cfa)
    cfa = packed.cfa
    if settings.edges is Edges.CROP:
        packed = replace(packed, sites=_crop(packed.sites, model.grid.step(cfa.period)))
    shape = packed.sites
    frame = _find_frame(None if settings.full else raw.default_crop, packed.top, packed.left, shape)
    packed, wanted = replace(packed, gain=gain.value), settings.finish
    if model.output is Output.SRGB:
        ready = _hold(packed, model.device)
        return PreparedPhoto(shape, ready, gain, model, cfa, frame, wanted=wanted)
    color = with_white_balance(raw.color, packed)
    assert color.white_balance is not None, "it has just been found"
    balance = color.white_balance / color.white_balance.min()
    packed = replace(packed, multipliers=balance)
    noise = settings.correction.measure_noise(raw).amplified(gain.value)
    if settings.denoise and may_show(noise):
        full = with_denoise(model, max(settings.denoise, 1.0), noise, color)
        offsets = measure_row_offsets(full, packed, noise, balance)
        if offsets is not None:
            light.take_off_rows(packed.top, offsets / gain.value)
            noise = noise.without(float(offsets.std()))
    network = with_denoise(model, settings.denoise, noise, color)
    ready = _hold(packed, model.device)
    if settings.highlights is Highlights.CLIP:
        return PreparedPhoto(
            shape, ready, gain, network, cfa, frame, color, wanted=wanted, noise=noise
        )

    def dimmed(factor: float) -> TiledModel:
        return with_denoise(model, settings.denoise, noise.amplified(1 / factor), color)

    white = gain.value * measure_saturation(raw) * balance
    network, shoulder = with_highlights(network, dimmed, ready, color, white)
    brightest = max(1.0, float(white.max()))
    return PreparedPhoto(
        shape, ready, gain, network, cfa, frame, color, shoulder, brightest, wanted, noise
    )


def _hold(packed: PackedPhoto, device: torch.device) -> Packed:
    """Pack a photo now where that takes little memory, for its light is looked at repeatedly.

    It is held on the device.
    """
    held = packed.sites[0] * packed.sites[1] <= HELD_SITES
    return upload(packed[:, :, :], device) if held else packed


def _crop(sites: tuple[int, int], step: int) -> tuple[int, int]:
    """Cut off the last rows and columns of an aligned photo that are no whole steps."""
    height, width = (size // step * step for size in sites)
    if not height or not width:
        size = f"{sites[1]}x{sites[0]}"
        raise UsageError(
            f"--edges crop: of {size} photosites nothing is left on this network's grid of {step}; "
            "use --edges reflect"
        )
    return height, width


def _find_frame(
    crop: tuple[int, int, int, int] | None, top: int, left: int, shape: tuple[int, ...]
) -> tuple[slice, slice]:
    """Find a crop's rows and columns in a picture that begins `top` rows, `left` columns later."""
    if crop is None:
        return slice(0, shape[0]), slice(0, shape[1])
    first = max(crop[0] - top, 0), max(crop[1] - left, 0)
    last = min(crop[0] - top + crop[2], shape[0]), min(crop[1] - left + crop[3], shape[1])
    return slice(first[0], last[0]), slice(first[1], last[1])


def take_choices(raw: RawImage, settings: ResolvedOptions) -> RawImage:
    """Take the filters, black and white balance that were decided for a photo; may be repeated.

    Raises UsageError where the photo cannot have them, SensorError where a profile or dark frames
    are of another camera.
    """
    raw = with_black(with_cfa(raw, settings.cfa), settings.black)
    settings.correction.check(raw)
    raw = with_white_balance_choice(raw, settings.white_balance)
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
