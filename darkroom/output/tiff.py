"""TIFF out, 8 and 16 bits and floats of 32, compressed without loss as photo editors do it.

Deflate with horizontal differencing: 40 % smaller than plain for 0.2 s at 12 megapixels. tifffile
lays out the file. Floats go without differencing, which few readers know for them. Strips are
compressed here, as its own way takes 15 times as long (28 times at 16 bits).
"""

from functools import partial
from typing import BinaryIO

import numpy as np
from isal import isal_zlib
from PIL.ExifTags import Base

from darkroom.output.exif import SOFTWARE, TiffTag
from darkroom.output.metadata import SCREEN, PictureMetadata
from darkroom.output.orientation import Pixels
from darkroom.output.png import LEVELS
from darkroom.parallel import in_bands, rows_per_band

MAX_BYTES = 2**32 - 2**24
"""What TIFF's 32-bit offsets can reach, less a share for its directories."""
FLOAT_LEVEL = 1
UPRIGHT: list[TiffTag] = [(Base.Orientation, 3, 1, 1, True)]


def write_tiff(
    stream: BinaryIO,
    picture: Pixels,
    *,
    profile: bytes | None = None,
    metadata: PictureMetadata | None = None,
) -> None:
    """Write a TIFF; its bit depth is the picture's.

    `stream`: seekable, at its start. `picture`: (H, W, 3) of any memory layout, not empty, at most
    `MAX_BYTES`. `profile`: an ICC profile of the picture's colours. `metadata`: what it
    says besides.
    """
    from tifffile import TiffWriter  # 15 ms, for those who write TIFFs

    rows = rows_per_band(picture[0].nbytes)
    with TiffWriter(stream, byteorder="<") as writer:
        tags = UPRIGHT if metadata is None else metadata.embed(writer)
        writer.write(
            in_bands(partial(_strip, picture), len(picture), rows),
            shape=picture.shape,
            dtype=picture.dtype,
            photometric="rgb",
            compression="adobe_deflate",
            predictor="none" if picture.dtype == np.float32 else "horizontal",
            rowsperstrip=rows,
            resolution=(SCREEN, SCREEN),
            iccprofile=profile,
            software=SOFTWARE if metadata is None else metadata.software or False,
            metadata=None,
            extratags=tags,
        )


def _strip(picture: Pixels, band: slice) -> bytes:
    """Compress some rows, each pixel but the first as its difference to the one on its left.

    Floats as they are.
    """
    itemsize = picture.dtype.itemsize
    if picture.dtype == np.float32:
        plain: bytes = isal_zlib.compress(np.ascontiguousarray(picture[band], "<f4"), FLOAT_LEVEL)
        return plain
    samples = np.ascontiguousarray(picture[band], dtype=f"<u{itemsize}")
    differences = samples.copy()
    differences[:, 1:] -= samples[:, :-1]
    compressed: bytes = isal_zlib.compress(differences, LEVELS[itemsize])
    return compressed
