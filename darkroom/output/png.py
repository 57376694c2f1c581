"""PNG out, 8 and 16 bits, several times faster than the usual encoders at about their size.

Own code, as a 12-MP photo takes OpenCV 2.6 times and Pillow 26 times as long at 8 bits, and OpenCV
5.4 times at 16 bits (two cores; 4 % smaller, 9 % smaller, 2 % larger).
Rows are filtered by NumPy and compressed by ISA-L, in bands that are independent deflate blocks, so
several threads work at once and memory stays at a few bands however large the picture is.
Source of the format: W3C, Portable Network Graphics Specification, third edition (2025).
"""

import struct
import zlib
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from darkroom.output.exif import SOFTWARE
from darkroom.output.metadata import PictureMetadata
from darkroom.output.orientation import Pixels
from darkroom.output.rows import PictureRows, split_rows
from darkroom.parallel import in_order, rows_per_band

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TRUECOLOR = 2
AVERAGE = 3
"""Filter type: predict the mean of left and above. On photographs 2-5 % smaller than Up, and Paeth,
2 % smaller still, takes four times as long."""
LEVELS = {1: 2, 2: 1}
"""ISA-L's compression level by bytes per sample; the next higher one saves under 0.5 %."""
RAW_DEFLATE = -15
ZLIB_HEADER = b"\x78\x01"
"""Deflate with a 32 KiB window, fastest compression. Source: RFC 1950, section 2.2."""
LAST_BLOCK = b"\x03\x00"
"""An empty final block. Source: RFC 1951, section 3.2.3."""
XMP_KEYWORD = b"XML:com.adobe.xmp"
"""Source: Adobe, XMP specification part 3, 1.1.5."""
ADLER_BASE = 65521
"""Source: RFC 1950, section 9."""


class _Band(NamedTuple):
    """Some rows, filtered and compressed: `length` and `adler` are those of the filtered bytes."""

    data: bytes
    length: int
    adler: int


def write_png(
    stream: BinaryIO,
    picture: Pixels | PictureRows,
    *,
    profile: bytes | None = None,
    metadata: PictureMetadata | None = None,
) -> None:
    """Write a PNG; its bit depth is the picture's.

    `picture`: (H, W, 3) of any memory layout, or by rows, not empty. `profile`: an ICC profile of
    the picture's colours. `metadata`: what it says besides. The stream is only written to, never
    sought. The bytes depend neither on the number of threads nor on how rows come.
    """
    height, width, _ = picture.shape
    depth = 8 * picture.dtype.itemsize
    stream.write(SIGNATURE)
    _chunk(stream, b"IHDR", struct.pack(">IIBBBBB", width, height, depth, TRUECOLOR, 0, 0, 0))
    if profile is not None:
        _chunk(stream, b"iCCP", b"ICC profile\0\0" + zlib.compress(profile, 9))
    software = SOFTWARE if metadata is None else metadata.software
    if software is not None:
        _chunk(stream, b"tEXt", b"Software\0" + software.encode("latin-1"))
    if metadata is not None:
        _write_metadata(stream, metadata)
    adler, start = 1, ZLIB_HEADER
    rows = rows_per_band(picture.nbytes // height)
    for band in in_order(_band, split_rows(picture, rows, above=True)):
        _chunk(stream, b"IDAT", start, band.data)
        adler, start = _joined_adler(adler, band.adler, band.length), b""
    _chunk(stream, b"IDAT", LAST_BLOCK, struct.pack(">I", adler))
    _chunk(stream, b"IEND")


def _write_metadata(stream: BinaryIO, metadata: PictureMetadata) -> None:
    """Write EXIF, XMP and IPTC; the last as ImageMagick does, as PNG has no place of its own."""
    _chunk(stream, b"eXIf", metadata.pack_exif())
    if metadata.xmp:
        _chunk(stream, b"iTXt", XMP_KEYWORD + bytes(5), metadata.xmp)  # plain, of no language
    if metadata.iptc:
        digits = metadata.iptc.hex()
        lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
        text = "\n".join(["", "iptc", f"{len(metadata.iptc):8}", *lines, ""])
        packed = zlib.compress(text.encode("ascii"), 9)
        _chunk(stream, b"zTXt", b"Raw profile type iptc\0\0" + packed)


def _band(rows: NDArray[Any]) -> _Band:
    """Filter and compress some rows; the first is the one above them."""
    itemsize = rows.dtype.itemsize
    samples = np.ascontiguousarray(rows, dtype=f">u{itemsize}")
    lines = samples.view(np.uint8).reshape(len(samples), -1)
    filtered = _filtered(lines, 3 * itemsize)
    compressor = isal_zlib.compressobj(LEVELS[itemsize], isal_zlib.DEFLATED, RAW_DEFLATE)
    data = compressor.compress(filtered) + compressor.flush(isal_zlib.Z_FULL_FLUSH)
    return _Band(data, filtered.nbytes, isal_zlib.adler32(filtered))


def _filtered(lines: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Apply the Average filter to all lines but the first, which only predicts the second.

    `lines`: (n + 1, bytes); `step`: bytes of a pixel. Returns (n, 1 + bytes), the filter type
    first in each line.
    """
    filtered = np.empty((len(lines) - 1, lines.shape[1] + 1), np.uint8)
    filtered[:, 0] = AVERAGE
    line, above, result = lines[1:], lines[:-1], filtered[:, 1:]
    np.subtract(line[:, :step], above[:, :step] >> 1, out=result[:, :step])
    # floor((a + b) / 2) without leaving 8 bits: the common bits plus half of those that differ
    mean = line[:, :-step] ^ above[:, step:]
    mean >>= 1
    mean += line[:, :-step] & above[:, step:]
    np.subtract(line[:, step:], mean, out=result[:, step:])
    return filtered


def _joined_adler(first: int, second: int, length: int) -> int:
    """Adler-32 of two pieces in a row from those of each; `length`: bytes of the second."""
    low = (first & 0xFFFF) - 1
    high = (first >> 16) + (second >> 16) + length * low
    return (high % ADLER_BASE) << 16 | (low + (second & 0xFFFF)) % ADLER_BASE


def _chunk(stream: BinaryIO, kind: bytes, *parts: bytes) -> None:
    """Write one chunk whose data is the parts in a row."""
    checksum = isal_zlib.crc32(kind)
    for part in parts:
        checksum = isal_zlib.crc32(part, checksum)
    stream.write(struct.pack(">I", sum(map(len, parts))) + kind)
    for part in parts:
        stream.write(part)
    stream.write(struct.pack(">I", checksum))
