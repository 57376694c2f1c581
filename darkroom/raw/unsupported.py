"""What a file is that cannot be developed, in words a photographer understands."""

import struct

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base

from darkroom.raw.tiff_tags import Directory, ciff_is_whole, is_ciff, read_camera

PHOTOMETRIC_LINEAR = 34892
"""Source: DNG 1.4, "PhotometricInterpretation"."""

STRIPS = (Base.StripOffsets, Base.StripByteCounts)
TILES = (Base.TileOffsets, Base.TileByteCounts)
DNG_COMPRESSIONS = {9: "GoPro GPR (VC-5 wavelets)", 52546: "DNG with JPEG XL"}
DNG_DECODABLE = (1, 7, 34892)
"""None, lossless and lossy JPEG; deflate (8) LibRaw 0.22 decodes for floating point only."""
DEFLATE = (8, 32946)
HEADER = 8
"""Bytes of a TIFF file's header. Source: TIFF 6.0, section 2."""
SHAPE = (Base.ImageWidth, Base.ImageLength, Base.SamplesPerPixel, Base.BitsPerSample)
MAX_PADDING = 1.25
"""Uncompressed strips are at most so much larger than their samples."""

MAGICS = (
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"BM", "a BMP picture"),
    (8, b"WEBP", "a WebP picture"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (4, b"ftyphei", "a HEIF picture"),
    (4, b"ftypmif1", "a HEIF picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyp", "a film"),
)
MONOCHROME = "is from a monochrome sensor; darkroom needs a colour filter array"
CAMERA_FILE = "give the camera's own RAW file"
TEXT_FILE = f"is a text file, not a RAW photo; {CAMERA_FILE}"


def undecodable(data: bytes, directories: tuple[Directory, ...]) -> str | None:
    """Say why a file holds no mosaic that can be decoded, and what to do; None if it may."""
    if data[:4] == b"FOVb":
        return "is from a Foveon sensor, which has no colour filter array; use Sigma's own program"
    if not directories:
        return None
    arrays = [d for d in directories if d.is_mosaic]
    if not any(Base.DNGVersion in d.entries for d in directories):
        if arrays or data[2:4] not in (b"*\0", b"\0*") or read_camera(data, directories):
            return None
        return f"is a TIFF picture, not a RAW photo; {CAMERA_FILE}"
    if arrays:
        methods = [_undecodable_compression(d) for d in arrays]
        if all(methods):
            return f"is a {methods[0]}, which cannot be decoded; convert it to an uncompressed DNG"
        return None
    kinds = {
        (d.number(Base.PhotometricInterpretation), (d.number(Base.SamplesPerPixel) or 1) > 1)
        for d in directories
        if not d.number(Base.NewSubfileType)
    }
    if (PHOTOMETRIC_LINEAR, True) in kinds:
        return f"is a linear DNG, already demosaiced; {CAMERA_FILE}"
    if kinds & {(0, False), (1, False), (PHOTOMETRIC_LINEAR, False)}:
        return MONOCHROME
    return None


def _undecodable_compression(directory: Directory) -> str:
    """Say what kind of DNG this is, where LibRaw cannot decode it; empty where it can."""
    method = directory.number(Base.Compression) or 1
    if method in DNG_DECODABLE or (method in DEFLATE and directory.is_float):
        return ""
    return DNG_COMPRESSIONS.get(method, f"DNG compressed by method {method}")


def truncated(data: bytes, directories: tuple[Directory, ...]) -> bool:
    """Whether picture data that the file's own tables speak of lies beyond its end."""
    if is_ciff(data):
        return not ciff_is_whole(data)
    if data[:8] == b"FUJIFILM":
        return _raf_end(data) > len(data)
    if data[4:11] == b"ftypcrx":
        return _boxes_end(data) > len(data)
    return any(_picture_end(d) > len(d.data) for d in directories if d.is_mosaic)


@np.errstate(all="ignore")  # places that are no numbers lie nowhere
def misplaced(directories: tuple[Directory, ...]) -> str | None:
    """Say which tag puts a mosaic's strips where no picture can be; None where none does.

    LibRaw reads on from any place, and takes uncompressed strips of a DNG for one block.
    """
    is_dng = any(Base.DNGVersion in directory.entries for directory in directories)
    for directory in directories:
        if not directory.is_mosaic:
            continue
        strips, tiles = directory.numbers(Base.StripOffsets), directory.numbers(Base.TileOffsets)
        if is_dng and not strips.size and not tiles.size:
            return "does not say where its picture lies (StripOffsets)"
        name, starts = ("StripOffsets", strips) if strips.size else ("TileOffsets", tiles)
        sizes = directory.numbers(STRIPS[1] if strips.size else TILES[1])
        if starts.min(initial=HEADER) < HEADER or _holds_tags(directory, starts, sizes):
            return f"gives its own header for the picture ({name})"
        if not (is_dng and strips.size and directory.number(Base.Compression) in (None, 1)):
            continue
        if strips.size == sizes.size and (strips[:-1] + sizes[:-1] != strips[1:]).any():
            return "has strips that do not follow one another (StripOffsets)"
        claimed = [1 if (n := directory.number(code)) is None else n for code in SHAPE]
        if sizes.sum() > MAX_PADDING * np.prod(claimed, dtype=np.float64) / 8 > 0:
            return "has more bytes than its size and its BitsPerSample make (StripByteCounts)"
    return None


def _holds_tags(
    directory: Directory, starts: NDArray[np.float64], sizes: NDArray[np.float64]
) -> bool:
    """Whether the tags that describe a picture lie inside one of its strips or tiles."""
    if starts.size != sizes.size:
        return False
    places = np.array([entry.offset for entry in directory.entries.values()])
    after = np.searchsorted(np.sort(places), np.stack([starts, starts + sizes]))
    return bool((after[0] != after[1]).any())


def describe(data: bytes, directories: tuple[Directory, ...]) -> str:
    """Say what a file is that LibRaw does not know, and what to do."""
    for offset, magic, what in MAGICS:
        if data[offset : offset + len(magic)] == magic and data[4:11] != b"ftypcrx":
            return f"is {what}, not a RAW photo; {CAMERA_FILE}"
    if directories:
        what = "is a TIFF file without a RAW photo that can be decoded"
        return f"{what}; {CAMERA_FILE}, or copy it again if it is damaged"
    if is_text(data):
        return TEXT_FILE
    return "is no RAW photo that LibRaw knows; convert it to DNG, or copy it anew if it is damaged"


@np.errstate(all="ignore")
def _picture_end(directory: Directory) -> float:
    """Where the last strip or tile ends."""
    end = 0.0
    for places in (STRIPS, TILES):
        offsets, sizes = map(directory.numbers, places)
        if offsets.size == sizes.size:
            end = (offsets + sizes).max(initial=end)
    return end


def _raf_end(data: bytes) -> int:
    """Where a Fujifilm RAF's sensor data ends: big-endian offset and length in its header."""
    if len(data) < 108:
        return len(data) + 1
    offset, size = struct.unpack_from(">II", data, 100)
    return int(offset + size)


def _boxes_end(data: bytes) -> int:
    """Where the last box of an ISO media file (CR3) ends."""
    at = 0
    while at + 8 <= len(data):
        size = struct.unpack_from(">I", data, at)[0]
        if size == 1 and at + 16 <= len(data):
            size = struct.unpack_from(">Q", data, at + 8)[0]
        if size == 0:
            return len(data)
        at += max(size, 8)
    return at


def is_text(data: bytes) -> bool:
    """Whether a file begins with readable characters only, but for one cut at the end."""
    text = data[:4096].decode("utf-8", "replace")
    return all(c.isprintable() or c in "\t\r\n\f" for c in text) and text.count("\ufffd") <= 1
