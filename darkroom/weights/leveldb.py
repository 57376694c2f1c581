"""LevelDB tables: sorted keys and their values, in blocks with checksums.

Nothing in a table is trusted: every position, size and checksum is verified before use.

Source: LevelDB doc/table_format.md.
"""

import struct
from collections.abc import Iterator

from google_crc32c import value as crc32c

# Source: doc/table_format.md, "Footer".
_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER_BYTES = 5
# Keys share what they have in common with the one before: a few bytes could be a megabyte each.
MAX_KEY_BYTES = 1024
MAX_ITEMS = 50_000
# Source: doc/log_format.md's masked checksums, util/crc32c.h.
_MASK_DELTA = 0xA282EAD8


class DamagedError(ValueError):
    """Bytes that are not what the format says; the caller adds the file's name."""


def masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C of `data`, masked as LevelDB and TensorFlow store it."""
    checksum: int = crc32c(data)
    return (((checksum >> 15) | (checksum << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Read an unsigned LEB128 number of at most 64 bits; return it and the next position."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise DamagedError("a number runs past the end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 and value < 1 << 64:
            return value, at
    raise DamagedError("a number is longer than 64 bits")


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
    """Read a block's offset and size; return them and the next position."""
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return offset, size, at


def table_items(table: bytes) -> list[tuple[bytes, bytes]]:
    """Return a table's keys and values, in order, all checksums verified."""
    if len(table) < _FOOTER_BYTES:
        raise DamagedError("the table is too short")
    footer = table[-_FOOTER_BYTES:]
    if struct.unpack("<Q", footer[-8:]) != (_MAGIC,):
        raise DamagedError("it does not end in the magic number of a table")
    _, _, at = _handle(footer[:-8], 0)  # the metaindex, which no checkpoint uses
    offset, size, _ = _handle(footer[:-8], at)
    items: list[tuple[bytes, bytes]] = []
    end = 0
    for _, value in _block_items(_block(table, offset, size)):
        offset, size, _ = _handle(value, 0)
        if offset < end:  # blocks that overlap could repeat one block a million times
            raise DamagedError("blocks overlap")
        end = offset + size
        for item in _block_items(_block(table, offset, size)):
            if items and item[0] <= items[-1][0]:
                raise DamagedError("keys are out of order")
            if len(items) == MAX_ITEMS:
                raise DamagedError(f"the table holds more than {MAX_ITEMS:,} items")
            items.append(item)
    return items


def _block(table: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + _TRAILER_BYTES > len(table) - _FOOTER_BYTES:
        raise DamagedError("a block lies outside the table")
    kind, stored = struct.unpack("<BI", table[end : end + _TRAILER_BYTES])
    if masked_crc32c(table[offset : end + 1]) != stored:
        raise DamagedError("a block's checksum is wrong")
    if kind != 0:
        raise DamagedError("a block is compressed, which TensorFlow's own checkpoints never are")
    return table[offset:end]


def _block_items(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Undo the prefix compression of one block's keys."""
    if len(block) < 4:
        raise DamagedError("a block is too short")
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise DamagedError("a block's restart points lie outside it")
    key, at = b"", 0
    while at < end:
        shared, at = varint(block, at)
        fresh, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + fresh + length > end:
            raise DamagedError("a key or value runs past its block")
        if shared + fresh > MAX_KEY_BYTES:
            raise DamagedError(f"a key has {shared + fresh:,} bytes")
        key = key[:shared] + block[at : at + fresh]
        at += fresh
        yield key, block[at : at + length]
        at += length
