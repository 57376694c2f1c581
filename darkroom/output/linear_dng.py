"""DNG to go on with in an editor: the finished picture in the camera's own colours, linear.

Each level is black plus what the camera's filter would have seen of the denoised picture, so
editors choose white balance and tones as for any RAW photo. Light above the picture's white stays:
the brightest is what the file's white is, and BaselineExposure says how many stops that is above
the picture's. The file is laid out here, as tifffile writes no JPEG of 16 bits, and of whole
numbers LibRaw, darktable and RawTherapee read no other compression.
Source: Adobe, Digital Negative Specification 1.6.0.0, chapters 3 to 5; TIFF 6.0, section 2.
"""

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from itertools import product
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import IFD, Base

from darkroom.mosaic.noise import NO_NOISE, Noise, measure_noise
from darkroom.mosaic.packing import sample_mosaic
from darkroom.output.dng import D65, to_fractions
from darkroom.output.exif import HEADER, pack_directory
from darkroom.output.light_codes import WHITE, LightLevels, level_table
from darkroom.output.lossless_jpeg import HuffmanTable, Samples, encode
from darkroom.output.metadata import PictureMetadata
from darkroom.output.orientation import Pixels, upright
from darkroom.parallel import in_bands
from darkroom.raw.exif_tags import (
    BYTE,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    encode_numbers,
    encode_text,
)
from darkroom.raw.image import CFA, SRGB_TO_XYZ, Color, RawImage, Tags, TagValue
from darkroom.raw.tiff_tags import CFA_PATTERN

TILE = 256
"""Photosites each way: a tile with its scratch stays in a core's cache."""
SAMPLED = 16
"""One tile of so many tells how often differences come."""
PREVIEW_SIDE, PREVIEW_QUALITY = 1600, 90
VERSION, BACKWARD_VERSION = (1, 6, 0, 0), (1, 1, 0, 0)
"""Differences of 16 bits are as they are here since 1.1."""
LINEAR_RAW, CFA_RAW, YCBCR = 34892, 32803, 6
JPEG, CHUNKY, RECTANGULAR, SRGB, UNCALIBRATED = 7, 1, 1, 2, 65535
"""Source: DNG 1.6, PhotometricInterpretation, Compression, CFALayout, PreviewColorSpace; CIPA
DC-008 (Exif 2.32), ColorSpace."""
INVERSE = {6: 8, 8: 6}
"""Orientations that are not undone by themselves."""
UNMIRRORED = {2: 1, 4: 3, 5: 8, 7: 6}
"""Orientations that mirror, and what they are where columns are in reverse already."""
REMAINS = 0.13
"""Of the noise's standard deviation, what a network leaves in flat places, as blotches of some
pixels that measuring from pixel to pixel misses. Source: simulated flat photos at x10 to x300,
safelight and its like: 0.05 to 0.25, the middle 0.12."""
EQUAL = 1e-3
DOUBLE = 12
"""TIFF's type of floats of 64 bits."""


class DngKind(Enum):
    """What a DNG holds: three colours at each place, or one, as the sensor's filters have it.

    BRIGHT is LINEAR with what is above white rolled off below it, for editors that leave
    BaselineExposure unread.
    """

    LINEAR = "linear"
    BRIGHT = "bright"
    MOSAIC = "mosaic"


@dataclass(frozen=True, slots=True)
class CameraPicture:
    """A picture in the camera's own colours, as its sensor would have seen it.

    `light`: (H, W, 3) float32 linear camera RGB, amplified, not white-balanced, in the sensor's
    orientation; at the picture's white it is 1 in the channel that white balance amplifies least.
    `multipliers`: (3,) what balances its white, the smallest 1. `cfa`: the sensor's, phase as at
    `light[0, 0]`. `xyz_to_camera`: as of Color. `orientation`, `pixel_aspect`, `camera`: as of
    RawImage. `noise`: what the photo had, amplified. `denoise`: as in `darkroom.models.denoise`.
    """

    light: NDArray[np.float32]
    kind: DngKind
    multipliers: NDArray[np.float64]
    xyz_to_camera: NDArray[np.float64]
    cfa: CFA
    orientation: int = 1
    pixel_aspect: float = 1.0
    camera: str = ""
    noise: Noise = NO_NOISE
    denoise: float = 1.0

    @property
    def baseline_exposure(self) -> float:
        """Stops by which the brightest light is above the picture's white, at least 0."""
        return math.log2(max(1.0, float(self.light.max())))


def write_linear_dng(
    stream: BinaryIO, picture: CameraPicture, pixels: Pixels, metadata: PictureMetadata
) -> None:
    """Write a DNG, in order, to a stream that need not go back.

    `pixels`: (H, W, 3) sRGB, upright, of which the preview is made. `metadata`: what it says
    besides; orientation and colour space become the DNG's own.
    """
    picture = _readable(picture)
    # Colours have none below black: networks leave next to none there, and of linear DNGs darktable
    # and RawTherapee take no black off.
    levels = LightLevels.of(picture.light, pedestal=picture.kind is DngKind.MOSAIC)
    layout = _Layout()
    raw = layout.add_directory(_raw_tags(picture, levels) | _add_tiles(layout, picture, levels))
    preview = _add_preview(layout, pixels, picture.orientation)
    main, exif, gps = metadata.tiff_directories()
    space = {Base.ColorSpace: encode_numbers(SHORT, UNCALIBRATED)}
    pointers = {Base.SubIFDs: raw, IFD.Exif: layout.add_directory(dict(exif) | space)}
    if gps:
        pointers[IFD.GPSInfo] = layout.add_directory(gps)
    tags = dict(main) | preview | _color_tags(picture, levels.scale)
    tags |= {code: encode_numbers(LONG, place) for code, place in pointers.items()}
    first = layout.add_directory(tags)
    stream.write(HEADER[:4] + encode_numbers(LONG, first).data)
    for part in layout.parts:
        stream.write(part)


def _readable(picture: CameraPicture) -> CameraPicture:
    """Lay a picture out as all editors read it.

    RawTherapee knows no orientations that mirror, so columns are in reverse for these. Of mosaics
    with an odd number of columns it writes beyond its own memory, so the last is left out there.
    """
    light, cfa, orientation = picture.light, picture.cfa, picture.orientation
    if picture.kind is DngKind.MOSAIC:
        light = light[:, : light.shape[1] // 2 * 2]
    if orientation in UNMIRRORED:
        columns = (light.shape[1] - 1 - np.arange(cfa.period)) % cfa.period
        cfa = CFA("".join("RGB"[channel] for channel in cfa.channels[:, columns].flat))
        light, orientation = light[:, ::-1], UNMIRRORED[orientation]
    return replace(picture, light=light, cfa=cfa, orientation=orientation)


class _Layout:
    """What stands behind a TIFF's header, in order."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._end = len(HEADER)

    def add(self, data: bytes) -> int:
        """Put bytes at the end, and return where they begin: at an even place, as TIFF wants it."""
        place = self._end
        self.parts.append(data + bytes(len(data) % 2))
        self._end += len(self.parts[-1])
        return place

    def add_directory(self, tags: Tags) -> int:
        """Put a directory at the end, and return where it begins."""
        return self.add(pack_directory(tags, self._end))


def _add_tiles(layout: _Layout, picture: CameraPicture, levels: LightLevels) -> dict[int, TagValue]:
    """Put the compressed samples there; returns the tags that say how and where."""
    height, width = picture.light.shape[:2]
    size = _tile_size(picture)
    places = list(product(range(0, height, TILE), range(0, width, TILE)))
    table = HuffmanTable.of(_quantise(picture, levels, *place) for place in places[::SAMPLED])

    def compress(band: slice) -> bytes:
        return encode(_quantise(picture, levels, *places[band.start]), table)

    tiles = list(in_bands(compress, len(places), 1))
    return {
        Base.Compression: encode_numbers(SHORT, JPEG),
        Base.TileWidth: encode_numbers(LONG, size[1]),
        Base.TileLength: encode_numbers(LONG, size[0]),
        Base.TileOffsets: encode_numbers(LONG, *[layout.add(tile) for tile in tiles]),
        Base.TileByteCounts: encode_numbers(LONG, *map(len, tiles)),
    }


def _tile_size(picture: CameraPicture) -> tuple[int, int]:
    """Return rows and columns of a tile: LibRaw reads none that are wider than the picture."""
    height, width = picture.light.shape[:2]
    return min(TILE, height), min(TILE, width)


def _quantise(picture: CameraPicture, levels: LightLevels, top: int, left: int) -> Samples:
    """Return a tile's codes as they are compressed, its last rows and columns repeated to fill it.

    (h, w, 3) for colours; of a mosaic (h, w / 2, 2), so that Bayer's sites are told from those of
    their own colour. But (h, w, 1) where the picture has twice a tile's columns: LibRaw takes that
    for two rows in one.
    """
    height, width = _tile_size(picture)
    light = picture.light[top : top + height, left : left + width]
    missing = [(0, height - light.shape[0]), (0, width - light.shape[1]), (0, 0)]
    light = np.pad(light, missing, mode="edge") if any(map(sum, missing)) else light
    if picture.kind is DngKind.MOSAIC:
        light = sample_mosaic(light, picture.cfa.shifted(top, left))
        light = light.reshape(height, -1, 1 if picture.light.shape[1] == 2 * width else 2)
    return levels.encode(light, (top, left))


def _raw_tags(picture: CameraPicture, levels: LightLevels) -> dict[int, TagValue]:
    """Return what the picture's own directory says of its samples."""
    height, width = picture.light.shape[:2]
    tags: dict[int, TagValue] = {
        Base.NewSubfileType: encode_numbers(LONG, 0),
        Base.ImageWidth: encode_numbers(LONG, width),
        Base.ImageLength: encode_numbers(LONG, height),
        Base.PlanarConfiguration: encode_numbers(SHORT, CHUNKY),
        Base.BlackLevelRepeatDim: encode_numbers(SHORT, 1, 1),
        Base.DefaultScale: _rationals([picture.pixel_aspect, 1.0]),
        Base.DefaultCropOrigin: encode_numbers(LONG, 0, 0),
        Base.DefaultCropSize: encode_numbers(LONG, width, height),
        Base.ActiveArea: encode_numbers(LONG, 0, 0, height, width),
        Base.NoiseReductionApplied: _rationals([min(picture.denoise, 1.0)]),
        Base.NoiseProfile: _noise_profile(picture, levels),
    }
    if levels.has_table:
        tags[Base.LinearizationTable] = encode_numbers(SHORT, *level_table().tolist())
    count = 3
    if picture.kind is DngKind.MOSAIC:
        count, period = 1, picture.cfa.period
        tags |= {
            Base.CFARepeatPatternDim: encode_numbers(SHORT, period, period),
            CFA_PATTERN: encode_numbers(BYTE, *picture.cfa.channels.ravel().tolist()),
            Base.CFAPlaneColor: encode_numbers(BYTE, 0, 1, 2),
            Base.CFALayout: encode_numbers(SHORT, RECTANGULAR),
        }
    return tags | {
        Base.PhotometricInterpretation: encode_numbers(
            SHORT, CFA_RAW if count == 1 else LINEAR_RAW
        ),
        Base.SamplesPerPixel: encode_numbers(SHORT, count),
        Base.BitsPerSample: encode_numbers(SHORT, *[16] * count),
        Base.BlackLevel: encode_numbers(LONG, *[levels.black] * count),
        Base.WhiteLevel: encode_numbers(LONG, *[WHITE] * count),
    }


def _noise_profile(picture: CameraPicture, levels: LightLevels) -> TagValue:
    """Return the noise that is left.

    As measured on the picture as its sensor would have seen it, what the network leaves besides,
    and rounding.
    """
    black = np.zeros_like(picture.cfa.channels, np.float32)
    mosaic, color = sample_mosaic(picture.light, picture.cfa), Color(None, picture.xyz_to_camera)
    white = black + np.float32(levels.scale)
    measured = measure_noise(RawImage(mosaic, picture.cfa, black, white, color))
    left = picture.noise.amplified(1 / levels.scale).louder(REMAINS)
    shot, read = levels.noise()
    shot, read = shot + measured.shot + left.shot, read + measured.read**2 + left.read**2
    values = np.array([shot, read], "<f8")
    return TagValue(DOUBLE, len(values), values.tobytes())


def _color_tags(picture: CameraPicture, scale: float) -> dict[int, TagValue]:
    """Return what the first directory says of camera and colours."""
    neutral, matrix = 1 / picture.multipliers, picture.xyz_to_camera
    white = matrix @ SRGB_TO_XYZ.sum(1)
    if np.ptp(white) < EQUAL * abs(white).max():
        # The scale of its rows is lost, which to editors is the light; so the photo's is D65.
        matrix = matrix * neutral[:, None]
    return {
        Base.Orientation: encode_numbers(SHORT, picture.orientation),
        Base.DNGVersion: encode_numbers(BYTE, *VERSION),
        Base.DNGBackwardVersion: encode_numbers(BYTE, *BACKWARD_VERSION),
        Base.UniqueCameraModel: encode_text(picture.camera or "unknown"),
        Base.ColorMatrix1: _rationals(matrix.ravel().tolist(), SRATIONAL),
        Base.CalibrationIlluminant1: encode_numbers(SHORT, D65),
        Base.AsShotNeutral: _rationals(neutral.tolist()),
        Base.BaselineExposure: _rationals([math.log2(scale)], SRATIONAL),
    }


def _add_preview(layout: _Layout, pixels: Pixels, orientation: int) -> dict[int, TagValue]:
    """Put a small picture there, turned as the sensor was; returns the tags of its directory."""
    whole = pixels if pixels.dtype == np.uint8 else (pixels.astype(np.uint16) >> 8).astype(np.uint8)
    turned = upright(whole, INVERSE.get(orientation, orientation))
    factor = -(-max(turned.shape) // PREVIEW_SIDE)
    small = Image.fromarray(np.ascontiguousarray(turned)).reduce(factor)
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=PREVIEW_QUALITY, subsampling="4:2:0")
    data = encoded.getvalue()
    return {
        Base.NewSubfileType: encode_numbers(LONG, 1),
        Base.ImageWidth: encode_numbers(LONG, small.width),
        Base.ImageLength: encode_numbers(LONG, small.height),
        Base.BitsPerSample: encode_numbers(SHORT, 8, 8, 8),
        Base.Compression: encode_numbers(SHORT, JPEG),
        Base.PhotometricInterpretation: encode_numbers(SHORT, YCBCR),
        Base.StripOffsets: encode_numbers(LONG, layout.add(data)),
        Base.SamplesPerPixel: encode_numbers(SHORT, 3),
        Base.RowsPerStrip: encode_numbers(LONG, small.height),
        Base.StripByteCounts: encode_numbers(LONG, len(data)),
        Base.PlanarConfiguration: encode_numbers(SHORT, CHUNKY),
        Base.YCbCrSubSampling: encode_numbers(SHORT, 2, 2),
        Base.YCbCrPositioning: encode_numbers(SHORT, 1),
        Base.PreviewColorSpace: encode_numbers(LONG, SRGB),
    }


def _rationals(values: Iterable[float], kind: int = RATIONAL) -> TagValue:
    """Return numbers as pairs of whole ones."""
    return encode_numbers(kind, *to_fractions(values))
