"""One photo, RAW to picture."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from darkroom.color.highlights import Highlights, with_highlights
from darkroom.color.lens_correction import find_lens_correction
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
from darkroom.models.tiling import Edges, Part, TiledModel
from darkroom.mosaic.hot_pixels import HotPixels, repair_hot_pixels
from darkroom.mosaic.linear import LinearMosaic
from darkroom.mosaic.packed_photo import PackedPhoto
from darkroom.mosaic.packing import align, linearise, pack
from darkroom.mosaic.saturation import measure_saturation
from darkroom.options import Options as Options
from darkroom.options import ResolvedOptions as ResolvedOptions
from darkroom.output.finished import MadePicture
from darkroom.output.finished import Picture as Picture
from darkroom.output.orientation import square, upright
from darkroom.output.resize import fit
from darkroom.output.rows import PictureRows
from darkroom.prepared import PreparedPhoto
from darkroom.raw.black_choice import with_black
from darkroom.raw.black_level import explain_black
from darkroom.raw.filter_check import with_cfa
from darkroom.raw.image import RawImage
from darkroom.weights.registry import Output

SAMPLES = {8: np.uint8, 16: np.uint16, 32: np.float32}
"""Types of samples by their bits."""
HELD_SITES = 1 << 26
"""Photosites up to which a photo is packed whole, 4 bytes each; larger ones by windows, and the
picture by rows: writing it beside the network would cost smaller ones 3 % of time, to save 40 MB of
600. Source: measured, 12 MP on two cores."""


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
        picture = _finish(_begin(raw, model, options), watch)
    if not caught:
        return picture
    release_cache(model.device)
    picture = _finish(_begin(raw, model.on_cpu(), options), watch)
    note = f"{model.device}: out of memory; done on the processor"
    return replace(picture, warnings=(*picture.warnings, note))


def enhance_by_rows(
    raw: RawImage,
    model: Model,
    options: Options = Options(),
    watch: Callable[[float], None] = lambda share: None,
) -> MadePicture:
    """Turn one photo into a picture whose rows are made as they are taken, where they can be.

    Otherwise it is `enhance`'s, whole: of small photos, on accelerators, where all is made again
    when memory runs out, in tiles, and where pixels leave their row. Raises what `enhance` raises.
    """
    model = model.for_sensor(raw.cfa.sensor)
    if model.device.type != "cpu":
        return enhance(raw, model, options, watch)
    begun = _begin(raw, model, options)
    raw, settings, photo, warnings = begun
    moves = raw.orientation not in (1, 2) or raw.pixel_aspect != 1 or settings.lens_correct
    whole = settings.resize is not None or settings.dng is not None
    small = math.prod(photo.shape) <= HELD_SITES
    if small or moves or whole or not photo.runs_by_rows(settings.tile):
        return _finish(begun, watch)
    rows, cols = photo.frame
    shape = rows.stop - rows.start, cols.stop - cols.start, 3
    dtype = np.dtype(SAMPLES[settings.rendered_bits])
    bands = photo.make_rows(settings.tile, dtype, watch)
    pixels = PictureRows(shape, dtype, (upright(band, raw.orientation) for band in bands))
    said, space = tuple(warnings), settings.finish.space
    return MadePicture(pixels, photo.gain, said, explain_black(raw), color_space=space)


class _Begun(NamedTuple):
    """A photo as it was taken, what is wanted of it, all before its network, and what was odd."""

    raw: RawImage
    settings: ResolvedOptions
    photo: PreparedPhoto
    warnings: list[str]


def _begin(raw: RawImage, model: Model, options: Options) -> _Begun:
    """Do all that comes before the network."""
    settings = options.resolve(model)
    raw = take_choices(raw, settings)
    warnings = [*raw.warnings, *model.check(raw), *settings.correction.check(raw)]
    return _Begun(raw, settings, prepare(raw, model, settings, warnings.append), warnings)


def _finish(begun: _Begun, watch: Callable[[float], None]) -> Picture:
    """Run the network, on a device that may run out of memory, and make the picture whole."""
    raw, settings, photo, warnings = begun
    pixels = allocate((*photo.shape, 3), SAMPLES[settings.rendered_bits], photo.network.device)
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
    pixels = square(pixels[photo.frame], raw.pixel_aspect)
    space = settings.finish.space
    pixels, resized = fit(pixels, settings.resize, space.curve, settings.bits)
    picture = Picture(
        upright(pixels, raw.orientation),
        photo.gain,
        tuple(warnings),
        explain_black(raw),
        color_space=space,
        resized=resized,
        lens=None if lens is None else lens.words,
    )
    if light is None or settings.dng is None:
        return picture
    camera = photo.describe_light(light, raw, settings.dng, settings.denoise)
    return replace(picture, camera=camera)


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
