"""TIFF out, 8 and 16 bits and floats of 32, compressed without loss as photo editors do it.

Deflate with horizontal differencing: 40 % smaller than plain for 0.2 s at 12 megapixels. tifffile
lays out the file. Floats go without differencing, which few readers know for them. Strips are
compressed here, as its own way takes 15 times as long (28 times at 16 bits).
"""

from typing import Any, BinaryIO

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL.ExifTags import Base

from darkroom.output.exif import SOFTWARE, TiffTag
from darkroom.output.metadata import SCREEN, PictureMetadata
from darkroom.output.orientation import Pixels
from darkroom.output.png import LEVELS
from darkroom.output.rows import PictureRows, split_rows
from darkroom.parallel import in_order, rows_per_band

MAX_BYTES = 2**32 - 2**24
"""What TIFF's 32-bit offsets can reach, less a share for its directories."""
FLOAT_LEVEL = 1
UPRIGHT: list[TiffTag] = [(Base.Orientation, 3, 1, 1, True)]


def write_tiff(
    stream: BinaryIO,
    picture: Pixels | PictureRows,
    *,
    profile: bytes | None = None,
    metadata: PictureMetadata | None = None,
) -> None:
    """Write a TIFF; its bit depth is the picture's.

    `stream`: seekable, at its start. `picture`: (H, W, 3) of any memory layout, or by rows, not
    empty, at most `MAX_BYTES`. `profile`: an ICC profile of the picture's colours. `metadata`: what
    it says besides.
    """
    from tifffile import TiffWriter  # 15 ms, for those who write TIFFs

    rows = rows_per_band(picture.nbytes // picture.shape[0])
    with TiffWriter(stream, byteorder="<") as writer:
        tags = UPRIGHT if metadata is None else metadata.embed(writer)
        writer.write(
            in_order(_strip, split_rows(picture, rows)),
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


def _strip(rows: NDArray[Any]) -> bytes:
    """Compress some rows, each pixel but the first as its difference to the one on its left.

    Floats as they are.
    """
    itemsize = rows.dtype.itemsize
    if rows.dtype == np.float32:
        plain: bytes = isal_zlib.compress(np.ascontiguousarray(rows, "<f4"), FLOAT_LEVEL)
        return plain
    samples = np.ascontiguousarray(rows, dtype=f"<u{itemsize}")
    differences = samples.copy()
    differences[:, 1:] -= samples[:, :-1]
    compressed: bytes = isal_zlib.compress(differences, LEVELS[itemsize])
    return compressed
