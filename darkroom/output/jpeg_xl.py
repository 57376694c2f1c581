"""JPEG XL out, by imagecodecs, which is an extra: libjxl with 16 bits, which Pillow has not.

EXIF and XMP are put in here, as imagecodecs has no way to. Of the other packages pillow-jxl-plugin
is under the GPL, and pylibjxl 0.5 has 8 bits only, and lossy files six times the size.
Source: ISO/IEC 18181-2:2024, 4 and 9 (boxes); libjxl, JxlEncoderDistanceFromQuality.
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import UsageError
from darkroom.output.metadata import PictureMetadata

NEEDED = "JPEG XL needs imagecodecs: pip install 'darkroom[jxl]', or write AVIF, WebP or PNG"
SIGNATURE_AND_TYPE = 12 + 20
"""Bytes of a file's first two boxes."""
LEVEL_BOX = b"jxll"
"""It comes third, if at all."""
EFFORT, LOSSLESS_EFFORT = 3, 2
"""Of 12 megapixels 0.4 s of one core at quality 92 (3.4 s by its default, 7), and lossless 0.6 s at
8 bits and 1.3 s at 16 (one step further, 2 to 3 % smaller in 1.5 s and 2.6 s)."""


def load_encoder() -> Any:
    """Return imagecodecs' encoder of JPEG XL; raises UsageError where there is none."""
    try:
        import imagecodecs
    except ImportError as error:
        raise UsageError(NEEDED) from error
    if not imagecodecs.JPEGXL.available:
        raise UsageError("this imagecodecs was built without JPEG XL; write AVIF, WebP or PNG")
    return imagecodecs.jpegxl_encode


def encode_jpeg_xl(
    picture: NDArray[np.generic], quality: int, metadata: PictureMetadata | None = None
) -> bytes:
    """Return a picture, (H, W, 3) uint8 or uint16 of sRGB, as a whole file.

    `quality`: 1 to 100, which loses nothing. `metadata`: what it says besides.
    """
    lossless = quality == 100
    encoded: bytes = load_encoder()(
        np.ascontiguousarray(picture),
        lossless=lossless,
        distance=find_distance(quality),
        effort=LOSSLESS_EFFORT if lossless else EFFORT,
        usecontainer=True,
    )
    if metadata is None:
        return encoded
    at = SIGNATURE_AND_TYPE
    if encoded[at + 4 : at + 8] == LEVEL_BOX:
        at += int.from_bytes(encoded[at : at + 4], "big")
    said = _box(b"Exif", bytes(4) + metadata.pack_exif())  # the TIFF structure begins at once
    if metadata.xmp:
        said += _box(b"xml ", metadata.xmp)
    return encoded[:at] + said + encoded[at:]


def find_distance(quality: int) -> float:
    """Return libjxl's distance, in just noticeable differences, of a quality as JPEG counts it."""
    if quality >= 100:
        return 0.0
    if quality >= 30:
        return 0.1 + (100 - quality) * 0.09
    return 53 / 3000 * quality**2 - 23 / 20 * quality + 25


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content
