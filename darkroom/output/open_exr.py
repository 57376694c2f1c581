"""OpenEXR out: linear light as floats, by the OpenEXR project's own package, which is an extra.

Source: OpenEXR 3.4, "Standard Attributes" (names, units and signs).
"""

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import GPS, Base

from darkroom.color.color_space import SPACES, ColorSpace
from darkroom.errors import OutputError, UsageError
from darkroom.output.metadata import PictureMetadata
from darkroom.raw.exif_tags import RATIONAL, SHORT, decode_text
from darkroom.raw.image import TagValue

NEEDED = "OpenEXR files need its package: pip install 'darkroom[exr]', or write TIFF with 32 bits"
MAX_HALF = 65504
OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")
TEXTS = {
    "cameraMake": Base.Make,
    "cameraModel": Base.Model,
    "owner": Base.Copyright,
    "comments": Base.ImageDescription,
    "capDate": Base.DateTimeOriginal,
    "cameraSerialNumber": Base.BodySerialNumber,
    "lensMake": Base.LensMake,
    "lensModel": Base.LensModel,
    "lensSerialNumber": Base.LensSerialNumber,
    "software": Base.Software,
}
NUMBERS = {
    "expTime": Base.ExposureTime,
    "aperture": Base.FNumber,
    "isoSpeed": Base.ISOSpeedRatings,
    "nominalFocalLength": Base.FocalLength,
}
AXES = (("latitude", GPS.GPSLatitude, "S"), ("longitude", GPS.GPSLongitude, "W"))


def load_package() -> Any:
    """Return OpenEXR's package; raises UsageError where there is none."""
    try:
        import OpenEXR
    except ImportError as error:
        raise UsageError(NEEDED) from error
    return OpenEXR


def write_exr(
    stream: BinaryIO,
    picture: NDArray[np.float32],
    space: ColorSpace,
    *,
    half: bool,
    metadata: PictureMetadata | None = None,
) -> None:
    """Write linear light, (H, W, 3) of white 1, in the primaries of `space`.

    `half`: as floats of 16 bits, not 32. `metadata`: what it says besides. Raises OutputError where
    the temporary file that the package needs cannot be written.
    """
    package = load_package()
    header = {
        "compression": package.ZIP_COMPRESSION,
        "type": package.scanlineimage,
        "chromaticities": tuple(sum((*SPACES[space][0], space.white), ())),
        **({} if metadata is None else describe(metadata)),
    }
    samples = np.ascontiguousarray(picture)
    if half:
        samples = np.clip(samples, -MAX_HALF, MAX_HALF).astype(np.float16)
    with TemporaryDirectory(prefix="darkroom-") as folder:
        path = Path(folder, "picture.exr")  # the package knows no streams
        try:
            with package.File(header, {"RGB": samples}) as file:
                file.write(str(path))
        except (OSError, RuntimeError) as error:
            raise OutputError(f"{path}: a temporary file cannot be written: {error}") from error
        with path.open("rb") as written:
            shutil.copyfileobj(written, stream)


def describe(metadata: PictureMetadata) -> dict[str, str | float]:
    """Return OpenEXR's standard attributes of what a picture says, and all its XMP as `xmp`."""
    tags = {**metadata.main, **metadata.exif}
    said: dict[str, str | float] = {
        name: text for name, code in TEXTS.items() if (text := decode_text(tags.get(code)))
    }
    for name, code in NUMBERS.items():
        if numbers := _numbers(tags.get(code)):
            said[name] = numbers[0]
    if offset := OFFSET.match(decode_text(tags.get(Base.OffsetTimeOriginal))):
        east = 3600.0 * int(offset[2]) + 60 * int(offset[3])
        said["utcOffset"] = east if offset[1] == "-" else -east  # from local time to UTC
    for name, axis, negative in AXES:
        if len(parts := _numbers(metadata.gps.get(axis))) == 3:
            angle = parts[0] + parts[1] / 60 + parts[2] / 3600
            below = decode_text(metadata.gps.get(axis - 1)) == negative
            said[name] = -angle if below else angle
    if height := _numbers(metadata.gps.get(GPS.GPSAltitude)):
        reference = metadata.gps.get(GPS.GPSAltitudeRef)
        under_sea = reference is not None and reference.data[:1] == b"\1"
        said["altitude"] = -height[0] if under_sea else height[0]
    if metadata.xmp:
        said["xmp"] = metadata.xmp.decode()
    return said


def _numbers(tag: TagValue | None) -> list[float]:
    """Return a tag's whole numbers or rationals; none where it has others, or a zero below."""
    if tag is None or tag.kind not in (SHORT, RATIONAL):
        return []
    values = np.frombuffer(tag.data, "<u2" if tag.kind == SHORT else "<u4").astype(float)
    if tag.kind == RATIONAL:
        above, below = values[::2], values[1::2]
        return [] if not below.all() else (above / below).tolist()
    return list(values.tolist())
