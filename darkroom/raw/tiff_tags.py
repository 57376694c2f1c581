"""The tags of a camera file: TIFF directories (DNG, NEF, CR2, ...), and the camera's name.

LibRaw decodes pictures, but hands out neither the camera's name nor DNG's repeating black levels.
Own code, as tifffile's reader interprets every tag of a page: of 14,000 headers with a few wrong
bytes it refused 246 whole, 169 of them with TypeError, IndexError or ValueError.
Source: TIFF 6.0, section 2; Canon CRW: the CIFF specification 1.0, "heap" and "offset table".
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base

from darkroom.errors import printable
from darkroom.raw.image import Exposure

CFA_PATTERN, KODAK_MATRIX = 33422, 37400
"""Tags that Pillow does not name. Source: DNG 1.4, "CFAPattern"; dcraw.c, "case 37400"."""
PHOTOMETRIC_CFA, IEEE_FLOAT = 32803, 3
"""Source: DNG 1.4, "PhotometricInterpretation"; TIFF 6.0, "SampleFormat"."""

MAX_DIRECTORIES = 64
"""More are a loop or damage: camera files have under twenty."""
MAX_ENTRIES = 1024
"""Tags in one directory; camera files have under two hundred."""
MAX_TEXT = 1024
"""Bytes read of a text."""
MAX_HEADER = 1 << 18
"""Where a file does not begin with its tags, they begin within its first 256 KiB."""

TIFF_MAGICS = (42, 85, 0x4F52, 0x5352)
"""TIFF; Panasonic RW2; Olympus ORF in its two spellings."""
EMBEDDED = ((b"CMT1", 4), (b"\x00TTW", 8), (b"Exif\x00\x00", 6))
"""Marks before embedded tags, and how far behind them these begin: CR3, MRW, JPEG (RAF)."""

NUMPY_TYPES = ("B", "B", "H", "I", "2I", "b", "B", "h", "i", "2i", "f", "d", "I")
KINDS = dict(enumerate(map(np.dtype, NUMPY_TYPES), start=1))
"""NumPy's types by TIFF's; rationals are pairs."""
Order = Literal["<", ">"]

CIFF_SUBHEAPS = (0x2800, 0x3000)
CIFF_CAMERA, CIFF_IN_TABLE = 0x080A, 0x4000
"""The record of make and model; the bit of records whose eight bytes stand in the table itself."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the values of one tag stand."""

    kind: int
    count: int
    offset: int


@dataclass(frozen=True, slots=True)
class Directory:
    """One TIFF directory; values are read when asked for. `order`: "<" or ">"."""

    data: memoryview
    order: Order
    entries: dict[int, Entry]

    @property
    def is_mosaic(self) -> bool:
        """Whether its picture is a sensor's, behind a colour filter array."""
        return self.number(Base.PhotometricInterpretation) == PHOTOMETRIC_CFA

    @property
    def is_float(self) -> bool:
        """Whether its picture's samples are floating point."""
        return self.number(Base.SampleFormat) == IEEE_FLOAT

    def numbers(self, code: int, limit: int | None = None) -> NDArray[np.float64]:
        """Give the tag's (first) values, rationals divided; empty unless all there and finite."""
        entry = self.entries.get(code)
        if entry is None or entry.kind not in KINDS:
            return np.empty(0)
        kind = KINDS[entry.kind].newbyteorder(self.order)
        size = min(entry.count, limit or entry.count) * kind.itemsize
        block = self.data[entry.offset : entry.offset + size]
        if len(block) < size:
            return np.empty(0)
        with np.errstate(all="ignore"):
            values = np.frombuffer(block, kind).astype(np.float64)
            values = values[:, 0] / values[:, 1] if values.ndim == 2 else values
        return values if np.isfinite(values).all() else np.empty(0)

    def number(self, code: int) -> int | None:
        """Give the tag's first value as a whole number; None where it is missing or damaged."""
        values = self.numbers(code, limit=1)
        return int(values[0]) if values.size else None

    def text(self, code: int) -> str:
        """Give the tag's text up to its first zero byte, trimmed; empty where it is missing."""
        entry = self.entries.get(code, Entry(0, 0, 0))
        return _text(bytes(self.data[entry.offset : entry.offset + min(entry.count, MAX_TEXT)]))

    def block(self, code: int, limit: int) -> bytes:
        """Give the tag's bytes as they stand; empty unless all there, and `limit` at most."""
        entry = self.entries.get(code, Entry(0, 0, 0))
        size = entry.count * (KINDS[entry.kind].itemsize if entry.kind in KINDS else 1)
        block = bytes(self.data[entry.offset : entry.offset + size]) if size <= limit else b""
        return block if len(block) == size else b""

    def sub_directory(self, code: int) -> "Directory | None":
        """Read the directory that a tag points to; None where there is none."""
        offset = self.number(code)
        if offset is None or not 8 <= offset <= len(self.data) - 2:
            return None
        return _read_directory(self.data, self.order, offset)[0]


def read_directories(data: bytes) -> tuple[Directory, ...]:
    """All TIFF directories: the chain, its sub-directories and EXIF; none where there are none."""
    start = _tags_start(data)
    if start is None:
        return ()
    block = memoryview(data)[start:]
    order: Order = "<" if bytes(block[:2]) == b"II" else ">"
    waiting = [struct.unpack_from(order + "I", block, 4)[0]]
    seen: set[int] = set()
    found: list[Directory] = []
    while waiting and len(found) < MAX_DIRECTORIES:
        offset = waiting.pop(0)
        if offset in seen or not 8 <= offset <= len(block) - 2:
            continue
        seen.add(offset)
        directory, following = _read_directory(block, order, offset)
        found.append(directory)
        waiting.append(following)
        for code in (Base.SubIFDs, Base.ExifOffset):
            waiting.extend(int(n) for n in directory.numbers(code, MAX_DIRECTORIES))
    return tuple(found)


def read_camera(data: bytes, directories: tuple[Directory, ...]) -> str:
    """Read the camera's make and model, the make not said twice; empty where not said."""
    for directory in directories:
        if model := directory.text(Base.Model):
            return _join(directory.text(Base.Make), model)
    for directory in directories:
        if model := directory.text(Base.UniqueCameraModel):
            return model
    for code, block in ciff_entries(data):
        if code == CIFF_CAMERA:
            make, _, model_bytes = bytes(block).partition(b"\x00")
            return _join(_text(make), _text(model_bytes))
    return ""


def read_exposure(directories: tuple[Directory, ...]) -> Exposure | None:
    """Read the exposure as EXIF says it, zeros being "not said"; None where no tag speaks of it."""
    if not any(Base.ExposureTime in directory.entries for directory in directories):
        return None
    codes = (Base.ExposureTime, Base.ISOSpeedRatings, Base.FNumber)
    found = ([n for d in directories for n in d.numbers(code, limit=1) if n > 0] for code in codes)
    return Exposure(*(float(values[0]) if values else None for values in found))


def read_kodak_matrix(directories: tuple[Directory, ...]) -> NDArray[np.float64] | None:
    """Read the (3, 3) camera-to-sRGB matrix of Kodak's early KDC files; None in others.

    Source: dcraw.c, TIFF tag 37400: three rows of an offset and three factors.
    """
    for directory in directories:
        values = directory.numbers(KODAK_MATRIX)
        if values.size == 12:
            return values.reshape(3, 4)[:, 1:]
    return None


def is_ciff(data: bytes) -> bool:
    """Whether this is a Canon CRW file."""
    return data[6:14] == b"HEAPCCDR"


def ciff_is_whole(data: bytes) -> bool:
    """Whether a CRW file's table, which stands at its end, is there."""
    return any(code == CIFF_CAMERA for code, _ in ciff_entries(data))


def _tags_start(data: bytes) -> int | None:
    """Where the TIFF header begins."""
    found = ((data.find(mark, 0, MAX_HEADER), skip) for mark, skip in EMBEDDED)
    for start in chain([0], (at + skip for at, skip in found if at >= 0)):
        head = data[start : start + 8]
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order and len(head) == 8 and struct.unpack(order + "H", head[2:4])[0] in TIFF_MAGICS:
            return start
    return None


def _read_directory(block: memoryview, order: Order, offset: int) -> tuple[Directory, int]:
    """One directory, and where the next one stands (0: nowhere)."""
    count = struct.unpack_from(order + "H", block, offset)[0]
    entries, at = {}, offset + 2
    for _ in range(min(count, MAX_ENTRIES, (len(block) - at) // 12)):
        code, kind, values, place = struct.unpack_from(order + "HHII", block, at)
        size = values * KINDS.get(kind, KINDS[1]).itemsize
        entries[code] = Entry(kind, values, at + 8 if size <= 4 else place)
        at += 12
    following = struct.unpack_from(order + "I", block, at)[0] if at + 4 <= len(block) else 0
    return Directory(block, order, entries), following


def ciff_entries(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """(code, bytes) of a CRW file's heap and its sub-heaps; nothing for any other file."""
    if not is_ciff(data):
        return
    order = "<" if data[:2] == b"II" else ">"
    heaps = [memoryview(data)[struct.unpack_from(order + "I", data, 2)[0] :]]
    for _ in range(MAX_DIRECTORIES):
        if not heaps:
            return
        heap = heaps.pop()
        if len(heap) < 6:
            continue
        table = struct.unpack_from(order + "I", heap, len(heap) - 4)[0]
        if table > len(heap) - 6:
            continue
        count = struct.unpack_from(order + "H", heap, table)[0]
        for at in range(table + 2, min(table + 2 + 10 * count, len(heap) - 9), 10):
            code, size, offset = struct.unpack_from(order + "HII", heap, at)
            if code & CIFF_IN_TABLE:
                yield code & ~CIFF_IN_TABLE, heap[at + 2 : at + 10]
            elif code & 0x3800 in CIFF_SUBHEAPS:
                heaps.append(heap[offset : offset + size])
            else:
                yield code, heap[offset : offset + size]


def _join(make: str, model: str) -> str:
    """Make and model as one name: "Canon", "Canon EOS 5D" is "Canon EOS 5D"."""
    first = model.split(" ")[0].casefold()
    return model if first in make.casefold().split(" ") else f"{make} {model}".strip()


def _text(block: bytes) -> str:
    """Printable text up to the first zero byte, runs of blanks made one."""
    return printable(block.partition(b"\x00")[0].decode("utf-8", "replace"))
