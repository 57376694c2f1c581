"""DNG: sensor values out, as other programs open them.

Source of all tags and rules: Adobe, Digital Negative Specification 1.4.0.0, chapters 3-4;
EXIF 2.32.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base
from tifffile import DATATYPE, TiffWriter

from darkroom.errors import OutputError
from darkroom.output.exif import SOFTWARE, shot_details
from darkroom.output.tiff import Tag, embed_exif
from darkroom.raw.image import RawImage
from darkroom.raw.tiff_tags import CFA_PATTERN

BYTE, ASCII, SHORT, LONG = DATATYPE.BYTE, DATATYPE.ASCII, DATATYPE.SHORT, DATATYPE.LONG
RATIONAL, SRATIONAL, DOUBLE = DATATYPE.RATIONAL, DATATYPE.SRATIONAL, DATATYPE.DOUBLE
MAX_DENOMINATOR = 1_000_000
"""Of a rational; smaller for numbers above 2000, so that both parts fit 32 bits."""
D65 = 21
"""Source: DNG 1.4, "CalibrationIlluminant1", the EXIF LightSource code of D65."""


def write_dng(
    target: Path | BinaryIO, raw: RawImage, *, frame: NDArray[np.uint16] | None = None
) -> None:
    """Write a RAW photo as a DNG that `read_raw` reads back the same.

    `target`: a path, written in place (whole-or-not-at-all is the caller's part), or a seekable
    binary stream. `frame`: the sensor's full frame, masked borders included, in which `raw.mosaic`
    begins at `raw.margins`; without it only the visible area is written. Float mosaics are rounded
    to whole numbers and clipped to 16 bits. DNG knows one white level per colour plane, so the
    smallest of `raw.white` is written. Raises OutputError where a path cannot be written.
    """
    pixels = raw.mosaic if frame is None else frame
    if pixels.dtype != np.uint16:
        pixels = np.clip(np.rint(pixels), 0, np.iinfo(np.uint16).max)
    tags = [*_sensor_tags(raw), *_color_tags(raw), *_photo_tags(raw)]
    if frame is not None:
        (top, left), (height, width) = raw.margins, raw.mosaic.shape
        tags.append(_tag(Base.ActiveArea, LONG, [top, left, top + height, left + width]))
    try:
        with (
            target.open("wb") if isinstance(target, Path) else nullcontext(target) as stream,
            TiffWriter(stream, byteorder="<") as writer,
        ):
            exif = embed_exif(writer, {Base.ExifVersion: b"0232", **shot_details(raw)})
            writer.write(
                iter([pixels.astype("<u2").tobytes()]),  # arrays lose what a full disk says
                shape=pixels.shape,
                dtype=np.uint16,
                photometric="cfa",
                subfiletype=0,  # the main picture
                software=SOFTWARE,
                metadata=None,
                extratags=[*tags, exif],
            )
    except OSError as error:
        if not isinstance(target, Path):
            raise  # the stream's owner knows what it is
        reason = error.strerror or str(error)
        message = f"{target}: cannot be written ({reason}); choose another place"
        raise OutputError(message) from error


def _tag(code: int, kind: DATATYPE, values: Sequence[float] | str | bytes) -> Tag:
    """Values as tifffile takes them: text in ASCII, rationals as pairs of whole numbers."""
    if isinstance(values, str):
        values = values.encode("ascii", "replace")
    if kind not in (RATIONAL, SRATIONAL):
        return code, kind, len(values), values, True
    limits = [min(MAX_DENOMINATOR, max(1, int(2**31 / max(1, abs(n))))) for n in values]
    parts = [Fraction(n).limit_denominator(m) for n, m in zip(values, limits, strict=True)]
    pairs = [whole for part in parts for whole in part.as_integer_ratio()]
    return code, kind, len(parts), pairs, True


def _sensor_tags(raw: RawImage) -> list[Tag]:
    """Colour filter array, levels and noise."""
    levels = np.asarray(raw.black, dtype=np.float64)
    whole = bool(np.all(levels == np.rint(levels)))
    black = [round(n) for n in levels.flat] if whole else levels.ravel().tolist()
    tags = [
        _tag(Base.CFARepeatPatternDim, SHORT, [raw.cfa.period] * 2),
        _tag(CFA_PATTERN, BYTE, bytes(raw.cfa.channels.ravel().tolist())),
        _tag(Base.DNGVersion, BYTE, bytes([1, 4, 0, 0])),
        _tag(Base.DNGBackwardVersion, BYTE, bytes([1, 1, 0, 0])),
        _tag(Base.CFAPlaneColor, BYTE, bytes([0, 1, 2])),
        _tag(Base.CFALayout, SHORT, [1]),  # rectangular
        _tag(Base.BlackLevelRepeatDim, SHORT, levels.shape),
        _tag(Base.BlackLevel, LONG if whole else RATIONAL, black),
        _tag(Base.WhiteLevel, LONG, [round(float(np.min(raw.white)))]),
        _tag(Base.DefaultScale, RATIONAL, [raw.pixel_aspect, 1.0]),  # horizontal, vertical
    ]
    if raw.noise_profile is not None:
        tags.append(_tag(Base.NoiseProfile, DOUBLE, raw.noise_profile))
    return tags


def _color_tags(raw: RawImage) -> list[Tag]:
    """Colour matrix for D65 and, where the white balance is known, the neutral of the shot."""
    tags = [
        _tag(Base.ColorMatrix1, SRATIONAL, raw.color.xyz_to_camera.ravel().tolist()),
        _tag(Base.CalibrationIlluminant1, SHORT, [D65]),
    ]
    if raw.color.white_balance is not None:
        neutral = 1.0 / np.asarray(raw.color.white_balance)
        tags.append(_tag(Base.AsShotNeutral, RATIONAL, neutral.tolist()))
    return tags


def _photo_tags(raw: RawImage) -> list[Tag]:
    """Orientation and camera."""
    make, _, model = raw.camera.partition(" ")
    names = {Base.Make: make, Base.Model: model or make} if make else {}
    names[Base.UniqueCameraModel] = raw.camera or "unknown"
    texts = [_tag(code, ASCII, name) for code, name in names.items()]
    return [*texts, _tag(Base.Orientation, SHORT, [raw.orientation])]
