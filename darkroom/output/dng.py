"""DNG: sensor values out, as other programs open them.

Source of all tags and rules: Adobe, Digital Negative Specification 1.4.0.0, chapters 3-4;
EXIF 2.32.
"""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base
from tifffile import DATATYPE, TiffWriter

from darkroom.errors import OutputError
from darkroom.output.exif import SOFTWARE, TiffTag, embed_directory, shot_tags
from darkroom.raw.image import RawImage, TagValue
from darkroom.raw.tiff_tags import CFA_PATTERN

BYTE, ASCII, SHORT, LONG = DATATYPE.BYTE, DATATYPE.ASCII, DATATYPE.SHORT, DATATYPE.LONG
RATIONAL, SRATIONAL, DOUBLE = DATATYPE.RATIONAL, DATATYPE.SRATIONAL, DATATYPE.DOUBLE
MAX_DENOMINATOR = 1_000_000
"""Of a rational; smaller for numbers above 2000, so that both parts fit 32 bits."""
D65 = 21
"""Source: DNG 1.4, "CalibrationIlluminant1", the EXIF LightSource code of D65."""

TagValues = Sequence[float] | NDArray[np.float64] | str | bytes


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
    try:
        with (
            target.open("wb") if isinstance(target, Path) else nullcontext(target) as stream,
            TiffWriter(stream, byteorder="<") as writer,
        ):
            version = TagValue(DATATYPE.UNDEFINED, 4, b"0232")
            exif = embed_directory(writer, "ExifTag", {Base.ExifVersion: version, **shot_tags(raw)})
            writer.write(
                iter([pixels.astype("<u2").tobytes()]),  # arrays lose what a full disk says
                shape=pixels.shape,
                dtype=np.uint16,
                photometric="cfa",
                subfiletype=0,  # the main picture
                software=SOFTWARE,
                metadata=None,
                extratags=[*_tags(raw, framed=frame is not None), exif],
            )
    except OSError as error:
        if not isinstance(target, Path):
            raise  # the stream's owner knows what it is
        reason = error.strerror or str(error)
        message = f"{target}: cannot be written ({reason}); choose another place"
        raise OutputError(message) from error


def _tags(raw: RawImage, framed: bool) -> list[TiffTag]:
    """Camera, filter array, levels and colours, without what is unknown."""
    make, _, model = raw.camera.partition(" ")
    (top, left), (height, width) = raw.margins, raw.mosaic.shape
    crop = raw.default_crop
    levels, balance = np.asarray(raw.black, np.float64), raw.color.white_balance
    tags: list[tuple[int, DATATYPE, TagValues]] = [
        (Base.Make, ASCII, make),
        (Base.Model, ASCII, model or make),
        (Base.Orientation, SHORT, [raw.orientation]),
        (Base.CFARepeatPatternDim, SHORT, [raw.cfa.period] * 2),
        (CFA_PATTERN, BYTE, bytes(raw.cfa.channels.ravel().tolist())),
        (Base.DNGVersion, BYTE, bytes([1, 4, 0, 0])),
        (Base.DNGBackwardVersion, BYTE, bytes([1, 1, 0, 0])),
        (Base.UniqueCameraModel, ASCII, raw.camera or "unknown"),
        (Base.CFAPlaneColor, BYTE, bytes([0, 1, 2])),
        (Base.CFALayout, SHORT, [1]),  # rectangular
        (Base.BlackLevelRepeatDim, SHORT, levels.shape),
        (Base.BlackLevel, RATIONAL, levels.ravel()),
        (Base.WhiteLevel, LONG, [round(float(np.min(raw.white)))]),
        (Base.DefaultScale, RATIONAL, [raw.pixel_aspect, 1.0]),  # horizontal, vertical
        (Base.ColorMatrix1, SRATIONAL, raw.color.xyz_to_camera.ravel()),
        (Base.AsShotNeutral, RATIONAL, [] if balance is None else 1.0 / np.asarray(balance)),
        (Base.CalibrationIlluminant1, SHORT, [D65]),
        (Base.ActiveArea, LONG, [top, left, top + height, left + width] if framed else []),
        (Base.DefaultCropOrigin, LONG, [] if crop is None else [crop[1], crop[0]]),
        (Base.DefaultCropSize, LONG, [] if crop is None else [crop[3], crop[2]]),
        (Base.NoiseProfile, DOUBLE, raw.noise_profile or []),
    ]
    return [_tag(*tag) for tag in tags if len(tag[2])]


def _tag(code: int, kind: DATATYPE, values: TagValues) -> TiffTag:
    """TagValues as tifffile takes them: text in ASCII, rationals as pairs of whole numbers."""
    if isinstance(values, str):
        values = values.encode("ascii", "replace")
    if kind not in (RATIONAL, SRATIONAL):
        return code, kind, len(values), values, True
    return code, kind, len(values), to_fractions(values), True


def to_fractions(values: Iterable[float]) -> list[int]:
    """Return numbers as pairs of whole ones, numerator and denominator, as rationals hold them."""
    limits = ((n, min(MAX_DENOMINATOR, int(2**31 / max(1, abs(n))) or 1)) for n in values)
    parts = (Fraction(n).limit_denominator(limit) for n, limit in limits)
    return [whole for part in parts for whole in part.as_integer_ratio()]
