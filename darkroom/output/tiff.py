"""TIFF out, 8 and 16 bits, compressed without loss as photo editors do it.

Deflate with horizontal differencing: 40 % smaller than plain for 0.2 s at 12 megapixels. Pillow
and tifffile are slower at that, and tifffile cannot hold EXIF.
Source of tag numbers: TIFF 6.0; Adobe, TIFF Technical Notes (2002); EXIF 2.32, section 4.6.
"""

import struct
from functools import partial
from typing import BinaryIO

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from darkroom.parallel import in_bands, rows_per_band

LEVELS = {1: 2, 2: 1}
"""ISA-L's compression level by bytes per sample; the next higher one saves under 0.5 %."""
MAX_BYTES = 2**32 - 2**24
"""What TIFF's 32-bit offsets can reach, less a share for its directories."""
LITTLE_ENDIAN = b"II*\0"
ADOBE_DEFLATE, DIFFERENCES, RGB, CHUNKY, UPRIGHT = 8, 2, 2, 1, 1
KEPT = (271, 272, 306, 315, 33432)
"""Make, Model, DateTime, Artist, Copyright: what EXIF keeps outside its own directory."""
EXIF = 34665
ASCII, SHORT, LONG, UNDEFINED = 2, 3, 4, 7
ITEMSIZES = {SHORT: 2, LONG: 4}

Entry = tuple[int, int, list[int] | str | bytes]
"""Code, type and values of one tag."""


def write_tiff(
    stream: BinaryIO,
    picture: NDArray[np.uint8] | NDArray[np.uint16],
    *,
    profile: bytes | None = None,
    exif: bytes | None = None,
) -> None:
    """Write a TIFF; its bit depth is the picture's.

    `stream`: seekable, at its start. `picture`: (H, W, 3) of any memory layout, not empty, at most
    `MAX_BYTES`. `profile`: an ICC profile of the picture's colours. `exif`: EXIF as a TIFF
    structure, without the "Exif" mark of JPEG.
    """
    rows = rows_per_band(picture[0].nbytes)
    stream.write(LITTLE_ENDIAN + bytes(4))
    sizes = [stream.write(s) for s in in_bands(partial(_strip, picture), len(picture), rows)]
    end = 8 + sum(sizes)
    entries = _entries(picture, rows, sizes)
    if profile is not None:
        entries.append((34675, UNDEFINED, profile))
    if exif is not None:
        known = Image.Exif()
        known.load(exif)
        entries += [(code, ASCII, str(known[code])) for code in KEPT if code in known]
        end += stream.write(bytes(end % 2))  # directories begin on a word
        entries.append((EXIF, LONG, [end]))
        end += stream.write(_exif_directory(known, end))
    end += stream.write(bytes(end % 2))
    stream.write(_directory(entries, end))
    stream.seek(len(LITTLE_ENDIAN))
    stream.write(struct.pack("<I", end))
    stream.seek(0, 2)


def _strip(picture: NDArray[np.uint8] | NDArray[np.uint16], band: slice) -> bytes:
    """Compress some rows, each pixel but the first as its difference to the one on its left."""
    itemsize = picture.dtype.itemsize
    samples = np.ascontiguousarray(picture[band], dtype=f"<u{itemsize}")
    differences = samples.copy()
    differences[:, 1:] -= samples[:, :-1]
    compressed: bytes = isal_zlib.compress(differences, LEVELS[itemsize])
    return compressed


def _entries(
    picture: NDArray[np.uint8] | NDArray[np.uint16], rows: int, sizes: list[int]
) -> list[Entry]:
    """Describe the picture, whose strips of `rows` rows and `sizes` bytes follow the header."""
    height, width, samples = picture.shape
    return [
        (256, LONG, [width]),
        (257, LONG, [height]),
        (258, SHORT, [8 * picture.dtype.itemsize] * samples),
        (259, SHORT, [ADOBE_DEFLATE]),
        (262, SHORT, [RGB]),
        (273, LONG, np.cumsum([8, *sizes[:-1]]).tolist()),  # StripOffsets
        (274, SHORT, [UPRIGHT]),
        (277, SHORT, [samples]),
        (278, LONG, [rows]),
        (279, LONG, sizes),  # StripByteCounts
        (284, SHORT, [CHUNKY]),
        (305, ASCII, "darkroom"),
        (317, SHORT, [DIFFERENCES]),
    ]


def _directory(entries: list[Entry], start: int) -> bytes:
    """Lay out a directory at `start`: sorted entries, then the values longer than four bytes."""
    table = struct.pack("<H", len(entries))
    values = b""
    for code, kind, content in sorted(entries):
        match content:
            case str():
                data, count = content.encode("ascii", "replace") + b"\0", len(content) + 1
            case bytes():
                data, count = content, len(content)
            case _:
                data, count = np.array(content, f"<u{ITEMSIZES[kind]}").tobytes(), len(content)
        if len(data) > 4:
            place = start + 2 + 12 * len(entries) + 4 + len(values)
            values += data + bytes(len(data) % 2)
            data = struct.pack("<I", place)
        table += struct.pack("<HHI", code, kind, count) + data.ljust(4, b"\0")
    return table + bytes(4) + values


def _exif_directory(known: Image.Exif, start: int) -> bytes:
    directory = ImageFileDirectory_v2(LITTLE_ENDIAN + bytes(4))
    for code, value in known.get_ifd(EXIF).items():
        directory[code] = value
    return directory.tobytes(start)
