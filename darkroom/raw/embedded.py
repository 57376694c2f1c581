"""Where containers other than TIFF keep EXIF, XMP and IPTC: Canon CR3 and CRW, Fujifilm RAF, JPEG.

Source: ISO 14496-12, 4.2 (boxes); L. Caminha, "Describing the Canon Raw v3 (CR3) file format";
ITU-T T.81, B.1 (segments); ExifTool, FujiFilm.pm and CanonVRD.pm; Adobe, XMP specification part 3.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from darkroom.raw.iptc import PHOTOSHOP_MARK, find_iptc
from darkroom.raw.tiff_tags import Directory, read_directories

CANON_BOX = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
MAX_BOXES = 256
RAF_MAGIC, RAF_JPEG = b"FUJIFILMCCD-RAW ", 84
"""A RAF begins so; offset and length of its JPEG stand there."""
CANON_TRAILER, XMP_BEGIN, XMP_END = b"CANON OPTIONAL DATA\0", b"<x:xmpmeta", b"</x:xmpmeta>"
XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
MAX_SEGMENTS = 64
MAX_PART = 8 << 20
"""Bytes of one part."""


class Parts(NamedTuple):
    """EXIF's three directories, where there are any, and XMP and IPTC; empty for none."""

    main: Directory | None = None
    exif: Directory | None = None
    gps: Directory | None = None
    xmp: bytes = b""
    iptc: bytes = b""


def find_cr3_parts(data: bytes) -> Parts:
    """Find what a CR3 says in its boxes."""
    parts: dict[str, Directory | None] = {}
    xmp = b""
    for kind, box in _boxes(memoryview(data)):
        if kind == b"uuid" and bytes(box[:16]) == XMP_BOX:
            xmp = bytes(box[16 : 16 + MAX_PART])
        if kind == b"moov":
            inner = (
                one for name, one in _boxes(box) if name == b"uuid" and bytes(one[:16]) == CANON_BOX
            )
            for name, one in (pair for block in inner for pair in _boxes(block[16:])):
                directories = read_directories(bytes(one)) if name[:3] == b"CMT" else ()
                parts[name.decode("latin-1")] = directories[0] if directories else None
    return Parts(parts.get("CMT1"), parts.get("CMT2"), parts.get("CMT4"), xmp)


def find_raf_parts(data: bytes) -> Parts:
    """Find XMP and IPTC in the JPEG of a RAF; its EXIF is found as any file's."""
    start, size = struct.unpack_from(">II", data, RAF_JPEG) if len(data) >= RAF_JPEG + 8 else (0, 0)
    xmp = iptc = b""
    for payload in _segments(memoryview(data)[start : start + size]):
        if payload.startswith(XMP_MARK):
            xmp = xmp or payload[len(XMP_MARK) :]
        elif payload.startswith(PHOTOSHOP_MARK):
            iptc = iptc or find_iptc(payload[len(PHOTOSHOP_MARK) :])
    return Parts(xmp=xmp, iptc=iptc)


def find_crw_parts(data: bytes) -> Parts:
    """Find XMP in what Canon's software and others append to a CRW."""
    start = data.find(CANON_TRAILER, max(0, len(data) - MAX_PART))
    begin = data.find(XMP_BEGIN, start) if start >= 0 else -1
    end = data.find(XMP_END, begin) if begin >= 0 else -1
    return Parts(xmp=data[begin : end + len(XMP_END)] if end >= 0 else b"")


def _boxes(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the kinds and contents of the boxes in a row, as far as they are whole."""
    at = 0
    for _ in range(MAX_BOXES):
        if len(block) < at + 16:
            return
        size, kind = struct.unpack_from(">I4s", block, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", block, at + 8)
            head = 16
        end = at + size if size else len(block)
        if end < at + head or end > len(block):
            return
        yield kind, block[at + head : end]
        at = end


def _segments(jpeg: memoryview) -> Iterator[bytes]:
    """Yield the contents of a JPEG's segments before its picture."""
    at = 2 if bytes(jpeg[:2]) == b"\xff\xd8" else len(jpeg)
    for _ in range(MAX_SEGMENTS):
        if len(jpeg) < at + 4 or jpeg[at] != 0xFF or jpeg[at + 1] == 0xDA:
            return
        (size,) = struct.unpack_from(">H", jpeg, at + 2)
        yield bytes(jpeg[at + 4 : at + 2 + size])
        at += 2 + size
