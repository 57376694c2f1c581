"""Before and after at reduced size, as JPEG: the photo as taken, and its finished picture."""

import io
import math
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from darkroom.batch.decoders import Decoders
from darkroom.batch.record import Outcome
from darkroom.color.render import render_codes
from darkroom.color.white_balance import balance_white, with_white_balance
from darkroom.errors import DarkroomError
from darkroom.mosaic.packing import linearise
from darkroom.output.icc import srgb_profile
from darkroom.output.orientation import square, upright
from darkroom.raw.filter_check import with_cfa
from darkroom.raw.image import RawImage

SIDE = 640
"""Pixels of a reduced picture's longer side: sharp at a third of a screen, some 35 kB."""
QUALITY = 80
"""Of the JPEGs in a report."""
OPENING = threading.Lock()
"""Warnings are silenced for all threads at once."""


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """Two JPEGs of one size, (height, width) pixels; None where a file is gone or unreadable."""

    size: tuple[int, int]
    before: bytes | None
    after: bytes | None


def read_before_after(outcome: Outcome, folder: Path, decoders: Decoders) -> BeforeAfter:
    """Read a photo and its picture in `folder` again, and reduce both; safe from many threads."""
    after = _read_finished(folder / outcome.output)
    try:
        with decoders.worker() as worker:
            raw = with_cfa(worker.decode(outcome.input).raw, outcome.options.get("cfa"))
        before: Image.Image | None = Image.fromarray(develop_as_taken(raw, outcome.gain or 1.0))
    except DarkroomError:  # the card is not in any more, say; the report shows what is left
        before = None
    if before is not None:
        before.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        if after is not None:  # their sizes may differ by a pixel, and lie over each other
            before = before.resize(after.size, Image.Resampling.LANCZOS)
    shown = after or before
    width, height = (0, 0) if shown is None else shown.size
    return BeforeAfter((height, width), _encode_jpeg(before), _encode_jpeg(after))


def develop_as_taken(raw: RawImage, gain: float) -> NDArray[np.uint8]:
    """Develop a photo plainly, without any gain: (h, w, 3) uint8 sRGB, upright.

    Each pixel is the mean of a block of photosites, the smallest whose picture's longer side is
    below 2 * SIDE. `gain`: of the picture; with it the white balance is measured where the camera
    gave none. Raises RawError where the photo's colour matrix cannot be inverted.
    """
    light = torch.from_numpy(_bin_mosaic(raw))
    color = with_white_balance(raw.color, light * gain)
    codes = render_codes(balance_white(light, color), color, 8).numpy()
    return np.ascontiguousarray(upright(square(codes, raw.pixel_aspect), raw.orientation))


def _bin_mosaic(raw: RawImage) -> NDArray[np.float32]:
    """Average blocks of photosites by colour: (3, h, w) float32 camera RGB, black 0, white 1."""
    mosaic, period = linearise(raw), raw.cfa.period
    times = max(1, math.ceil(max(mosaic.shape) / (period * 2 * SIDE)))
    block = period * times
    height, width = (size // block for size in mosaic.shape)
    channels = raw.cfa.channels
    light = np.zeros((3, height, width), np.float32)
    for row, col in np.ndindex(period, period):
        sites = mosaic[row : height * block : period, col : width * block : period]
        light[channels[row, col]] += sites.reshape(height, times, width, times).mean((1, 3))
    light /= np.bincount(channels.ravel())[:, None, None]
    return light


def _read_finished(path: Path) -> Image.Image | None:
    """Read a finished picture at reduced size; None where it is gone or no picture any more."""
    try:
        with OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours, just large
            image = Image.open(path)
        with image:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))  # JPEG is decoded at reduced size
            image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _encode_jpeg(image: Image.Image | None) -> bytes | None:
    if image is None:
        return None
    encoded = io.BytesIO()
    profile = image.info.get("icc_profile")
    image.save(
        encoded,
        "JPEG",
        quality=QUALITY,
        optimize=True,
        progressive=True,
        icc_profile=None if profile == srgb_profile() else profile,  # which is what none means
    )
    return encoded.getvalue()
