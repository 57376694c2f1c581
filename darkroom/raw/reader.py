"""Camera files in: whatever LibRaw knows becomes a RawImage. Only this and `header` use rawpy."""

import io
import math
import stat
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import rawpy
from numpy.typing import NDArray

from darkroom.errors import RawError
from darkroom.raw.black_level import with_measured_black
from darkroom.raw.color_matrix import read_color
from darkroom.raw.dng_levels import DngBlack, impossible_white, read_black, read_noise_profile
from darkroom.raw.filter_check import doubt_cfa
from darkroom.raw.image import CFA, Exposure, PhotoMetadata, RawImage
from darkroom.raw.memory_bound import claims_too_much, find_largest_tile
from darkroom.raw.metadata import read_metadata
from darkroom.raw.missing import warn_of_missing, with_missing
from darkroom.raw.optical_black import without_optical_black
from darkroom.raw.quiet_stderr import silence_stderr
from darkroom.raw.scene_black import explain_guess, guess_black, with_darkest_black
from darkroom.raw.tiff_tags import read_camera, read_directories, read_exposure, read_kodak_matrix
from darkroom.raw.unsupported import (
    MONOCHROME,
    TEXT_FILE,
    describe,
    is_text,
    misplaced,
    truncated,
    undecodable,
)
from darkroom.raw.white_check import doubt_white
from darkroom.raw.zeroed_memory import zero_memory

MAX_BYTES = (1 << 31) - 1
"""LibRaw's limit for a buffer; the largest camera files are under 1 GB."""
EMPTY_SHARE, EMPTY_ROWS = 0.02, 16
"""A file whose last rows, this part of them all and so many, are zero throughout lost its end."""
OVERFLOW_SHARE = 1e-5
"""More sites than this above a camera's stated white level refute it (hot pixels are fewer)."""
MAX_ASPECT = 4.0
"""No camera's photosites are longer: the extremes are Nikon D1X (0.5) and Kodak DC120 (1.53)."""
ORIENTATIONS = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}
"""LibRaw's flip (1 mirrors columns, 2 rows, 4 transposes first) to EXIF. Source: dcraw's table."""
SRGB_GAMMA = (2.4, 12.92)
"""The power and the slope of sRGB's curve, as LibRaw wants them. Source: IEC 61966-2-1."""
LIBRAW_ERRORS = (rawpy.LibRawError, rawpy.NotSupportedError, NotImplementedError, OSError)

COPY_AGAIN = "copy it from the card again"
DAMAGED = f"is damaged or truncated; {COPY_AGAIN}"
TOO_LARGE = "is larger than any RAW photo (2 GiB); give a camera's file"
TOO_MUCH_MEMORY = (
    f"needs more memory than there is, or than photos take; close programs, or {COPY_AGAIN}"
)
UNDEVELOPABLE = "cannot be developed by LibRaw, which takes X-Trans photos of 512x512 sites or more"
UNUSUAL = "has an unusual colour filter array; darkroom reads Bayer and X-Trans only"

Levels = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the file's own tags say and LibRaw does not pass on.

    `metadata`: with a warning for each damage. `refusal`: what to answer where LibRaw does not know
    the file. `largest_tile`: in photosites.
    """

    name: str
    camera: str
    refusal: str
    exposure: Exposure | None
    metadata: tuple[PhotoMetadata, tuple[str, ...]]
    dng_black: DngBlack | None
    kodak_matrix: NDArray[np.float64] | None
    noise_profile: tuple[float, float] | None
    largest_tile: int


def read_raw(source: Path | bytes, name: str | None = None) -> RawImage:
    """Read one RAW photo: its sensor values, and all that is needed to develop them.

    `source`: a file's path, or its bytes (from a pipe); `name`: what to call it in messages.
    What was missing or odd is listed in `.warnings`. Raises RawError, in one line with the remedy,
    for anything that is no whole RAW photo with red, green and blue filters.
    """
    name = name or (str(source) if isinstance(source, Path) else "standard input")
    try:
        data = source if isinstance(source, bytes) else _load(source, name)
        facts = _read_facts(data, name, source if isinstance(source, Path) else None)
        with closing(_open(data, facts)) as file:
            del data, source
            return _translate(file, facts)
    except MemoryError as error:
        raise RawError(f"{name}: {TOO_MUCH_MEMORY}") from error


def develop(
    data: bytes,
    gain: float = 1.0,
    curve: tuple[float, float] = SRGB_GAMMA,
    name: str = "a photo to compare with",
) -> NDArray[np.uint16]:
    """Develop a RAW as LibRaw does, without darkroom: (H, W, 3) 16-bit sRGB, not turned upright.

    AHD demosaicing for Bayer, LibRaw's own for X-Trans; the camera's white balance; brightened by
    `gain` in linear light, no denoising. `curve`: the power and the slope of the transfer curve.
    Raises RawError.
    """
    with closing(_open(data, _read_facts(data, name))) as file, silence_stderr():
        try:
            pixels = file.postprocess(
                demosaic_algorithm=rawpy.DemosaicAlgorithm.AHD,
                use_camera_wb=True,
                no_auto_bright=True,
                bright=gain,
                gamma=curve,
                output_color=rawpy.ColorSpace.sRGB,
                output_bps=16,
                user_flip=0,
            )
        except LIBRAW_ERRORS as error:
            raise RawError(f"{name}: {UNDEVELOPABLE}") from error
    return np.asarray(pixels, np.uint16)


def _load(path: Path, name: str) -> bytes:
    """All bytes of a regular file."""
    try:
        state = path.stat()
        if stat.S_ISDIR(state.st_mode):
            raise RawError(f"{name}: is a folder; name a photo in it, or use `darkroom batch`")
        if not stat.S_ISREG(state.st_mode):
            raise RawError(f"{name}: is no regular file; pipe it into `-` instead")
        if state.st_size > MAX_BYTES:
            raise RawError(f"{name}: {TOO_LARGE}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RawError(f"{name}: no such file; check the name") from error
    except PermissionError as error:
        raise RawError(f"{name}: may not be read; change its permissions (chmod +r)") from error
    except (OSError, ValueError) as error:
        raise RawError(f"{name}: cannot be read ({error}); check the name and the disk") from error


def _read_facts(data: bytes, name: str, photo: Path | None = None) -> FileFacts:
    """Look at the tags, and at a photo's sidecars; raises RawError for what is certain to fail."""
    if not data:
        raise RawError(f"{name}: is empty; {COPY_AGAIN}")
    if len(data) > MAX_BYTES:
        raise RawError(f"{name}: {TOO_LARGE}")
    directories = read_directories(data)
    if reason := undecodable(data, directories):
        raise RawError(f"{name}: {reason}")
    if truncated(data, directories):
        raise RawError(f"{name}: is truncated, its end is missing; {COPY_AGAIN}")
    for reason in (misplaced(directories), impossible_white(directories)):
        if reason is not None:
            raise RawError(f"{name}: {reason}; {COPY_AGAIN}, or convert it to DNG anew")
    return FileFacts(
        name=name,
        camera=read_camera(data, directories),
        refusal=describe(data, directories),
        exposure=read_exposure(directories),
        metadata=read_metadata(data, directories, photo),
        dng_black=read_black(directories),
        kodak_matrix=read_kodak_matrix(directories),
        noise_profile=read_noise_profile(directories),
        largest_tile=find_largest_tile(directories),
    )


def _open(data: bytes, facts: FileFacts) -> rawpy.RawPy:
    """Decode with LibRaw; raises RawError in place of all that rawpy raises."""
    file = rawpy.RawPy()
    try:
        with silence_stderr():
            file.open_buffer(io.BytesIO(data))
            sites = max(file.sizes.raw_height * file.sizes.raw_width, facts.largest_tile)
            if reason := claims_too_much(sites, len(data)):
                raise RawError(f"{facts.name}: {reason}; {COPY_AGAIN}")
            with zero_memory():
                file.unpack()
    except rawpy.LibRawFileUnsupportedError as error:
        raise RawError(f"{facts.name}: {facts.refusal}") from error
    except (rawpy.LibRawUnsufficientMemoryError, rawpy.LibRawTooBigError, MemoryError) as error:
        raise RawError(f"{facts.name}: {TOO_MUCH_MEMORY}") from error
    except LIBRAW_ERRORS as error:  # also where a file is too short to be known
        reason = TEXT_FILE if is_text(data) else DAMAGED
        raise RawError(f"{facts.name}: {reason}") from error
    return file


def _translate(file: rawpy.RawPy, facts: FileFacts) -> RawImage:
    """Everything that LibRaw and the tags say, as a RawImage of the visible area."""
    cfa = _read_cfa(file, facts)
    sizes = file.sizes
    mosaic = np.array(file.raw_image_visible)
    last = mosaic[-max(EMPTY_ROWS, int(EMPTY_SHARE * len(mosaic))) :]
    if min(mosaic.shape) < cfa.period or not last.any():
        raise RawError(f"{facts.name}: {DAMAGED}")
    color, warnings = read_color(
        file.camera_whitebalance,
        file.daylight_whitebalance,
        file.color_matrix,
        file.rgb_xyz_matrix,
        facts.kodak_matrix,
    )
    metadata, damaged = facts.metadata
    raw = RawImage(
        mosaic=mosaic,
        cfa=cfa,
        black=_read_black(file, facts, cfa),
        white=_read_white(file, cfa, mosaic),
        color=color,
        exposure=find_exposure(file, facts.exposure),
        orientation=ORIENTATIONS.get(sizes.flip, 1),
        pixel_aspect=_aspect(sizes.pixel_aspect),
        camera=facts.camera,
        lens=file.lens.model.strip() or None,
        time=_read_time(file),
        margins=(sizes.top_margin, sizes.left_margin),
        default_crop=_read_default_crop(sizes, mosaic.shape),
        noise_profile=facts.noise_profile,
        metadata=metadata,
        warnings=(*warnings, *damaged),
    )
    raw = with_missing(raw)
    says = None if facts.dng_black is None else facts.dng_black.damaged
    guessed = raw if says is None else guess_black(raw)
    if guessed is None:
        what = f"states a black level that cannot be (BlackLevel: {says})"
        raise RawError(f"{facts.name}: {what}; convert it to DNG anew")
    by_line = facts.dng_black is not None and facts.dng_black.has_deltas
    raw = with_measured_black(guessed, file.raw_image, by_line)
    raw = raw if says is None else explain_guess(raw, says)
    if not raw.white.min() > raw.black.max():
        raise RawError(f"{facts.name}: states a white level below black; {COPY_AGAIN}")
    if facts.dng_black is not None:
        raw = facts.dng_black.without_deltas(raw)
    raw = with_darkest_black(warn_of_missing(without_optical_black(raw)))
    doubts = (doubt_cfa(raw), doubt_white(raw))
    return replace(raw, warnings=(*raw.warnings, *filter(None, doubts)))


def _read_default_crop(
    sizes: "rawpy.ImageSizes", shape: tuple[int, ...]
) -> tuple[int, int, int, int] | None:
    """Read what the camera shows of the visible area; None where that is all, or cannot be."""
    top, left = sizes.crop_top_margin - sizes.top_margin, sizes.crop_left_margin - sizes.left_margin
    height, width = sizes.crop_height, sizes.crop_width
    inside = top >= 0 and left >= 0 and top + height <= shape[0] and left + width <= shape[1]
    if not (inside and height and width) or (height, width) == shape:
        return None
    return top, left, height, width


def _read_cfa(file: rawpy.RawPy, facts: FileFacts) -> CFA:
    """Read the colour filter array, phase as at the visible area's first site."""
    try:
        pattern = file.raw_pattern
    except NotImplementedError as error:
        raise RawError(f"{facts.name}: {UNUSUAL}") from error
    if pattern is None:
        what = "holds no mosaic (Foveon, sRAW or already demosaiced)"
        raise RawError(f"{facts.name}: {what}; give a full RAW file of a Bayer or X-Trans camera")
    if pattern.shape == (1, 1):
        raise RawError(f"{facts.name}: {MONOCHROME}")
    if pattern.shape not in ((2, 2), (6, 6)):
        raise RawError(f"{facts.name}: {UNUSUAL}")
    letters = file.color_desc.decode("ascii", "replace")
    period = len(pattern)
    found = "".join(letters[site % len(letters)] for site in _read_sites(file, period).flat)
    if set(found) - set("RGB"):
        what = f"has a four-colour filter array ({letters})"
        raise RawError(f"{facts.name}: {what}; darkroom needs red, green and blue")
    diagonal = "G" in (found[0], found[1]) and (found[0] == "G") == (found[-1] == "G")
    if sorted(found) != sorted("RGGB" if period == 2 else "RGB" * 8 + "G" * 12) or (
        period == 2 and not diagonal
    ):
        raise RawError(f"{facts.name}: {UNUSUAL}")
    return CFA(found)


def _read_sites(file: rawpy.RawPy, period: int) -> NDArray[np.intp]:
    """(period, period) LibRaw's channels of the visible area's first sites.

    Site by site: beyond margins of 6, rawpy's own tables begin with remainders of negatives.
    """
    top, left = file.sizes.top_margin, file.sizes.left_margin
    side = range(period)
    return np.array([[file.raw_color(top + y, left + x) for x in side] for y in side], np.intp)


def _read_black(file: rawpy.RawPy, facts: FileFacts, cfa: CFA) -> Levels:
    """Read the stated black level per site: a DNG's own pattern, else LibRaw's per channel."""
    if facts.dng_black is not None:
        margins = file.sizes.top_margin, file.sizes.left_margin
        return facts.dng_black.seen_from(margins, cfa.period)
    return np.array(file.black_level_per_channel, np.float32)[_read_sites(file, cfa.period)]


def _read_white(file: rawpy.RawPy, cfa: CFA, mosaic: NDArray[np.uint16]) -> Levels:
    """White per site: the camera's own where the photo bears it out, else LibRaw's."""
    white = float(file.white_level)
    stated = file.camera_white_level_per_channel
    if stated is not None and all(white / 2 < level < white for level in stated):
        if np.mean(mosaic > max(stated)) <= OVERFLOW_SHARE:
            return np.array(stated, np.float32)[_read_sites(file, cfa.period)]
        white = min(white, float(mosaic.max()))
    return np.full((cfa.period, cfa.period), white, dtype=np.float32)


def find_exposure(file: rawpy.RawPy, tagged: Exposure | None) -> Exposure:
    """Give the exposure as the EXIF tags say, else as LibRaw found it in the maker's notes."""
    try:
        other = file.other
    except (ValueError, OverflowError, OSError):  # an impossible date spoils all of it
        return tagged or Exposure()
    iso = _positive(other.iso_speed)
    if tagged is not None:
        return replace(tagged, iso=tagged.iso or iso)
    return Exposure(_positive(other.shutter_speed), iso, _positive(other.aperture))


def _read_time(file: rawpy.RawPy) -> datetime | None:
    """When the photo was taken, by the camera's clock; None for LibRaw's zero."""
    try:
        time = file.other.timestamp
        return time if time.timestamp() > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def _positive(value: float) -> float | None:
    """None for zero and nonsense, which stand for "not said"."""
    return float(value) if math.isfinite(value) and value > 0 else None


def _aspect(value: float) -> float:
    """Give a photosite's width / height; 1 where the file says nonsense."""
    return float(value) if 1 / MAX_ASPECT <= value <= MAX_ASPECT else 1.0
