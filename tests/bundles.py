"""A tiny writer of TensorFlow checkpoints, written from the format's description, for tests."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

NUMBERS = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19, "bfloat16": 14}


def remainder(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


REMAINDERS = [remainder(byte) for byte in range(256)]


def slow_crc32c(data: bytes) -> int:
    """CRC-32C one byte at a time, as RFC 3720 describes it; only for small data."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ REMAINDERS[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def mask(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def entry(
    dtype: int, shape: tuple[int, ...], shard: int, offset: int, size: int, checksum: int
) -> bytes:
    """A BundleEntryProto; fields that are zero are left out, as protocol buffers do."""
    dims = b"".join(field(2, field(1, n) if n else b"") for n in shape)
    parts = [field(1, dtype), field(2, dims)]
    parts += [field(n, v) for n, v in ((3, shard), (4, offset), (5, size)) if v]
    return b"".join(parts) + varint(6 << 3 | 5) + struct.pack("<I", checksum)


def block(items: list[tuple[bytes, bytes]], interval: int = 16) -> bytes:
    """A table's block, keys sharing prefixes with the one before, but for restart points."""
    out, restarts, last = bytearray(), [], b""
    for i, (key, value) in enumerate(items):
        shared = 0
        if i % interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    restarts = restarts or [0]
    return bytes(out) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table(items: list[tuple[bytes, bytes]], block_items: int = 20, kind: int = 0) -> bytes:
    """A whole table of sorted items; `kind` is the compression byte that blocks claim."""
    out = bytearray()

    def store(content: bytes) -> bytes:
        handle = varint(len(out)) + varint(len(content))
        trailer = bytes([kind])
        out.extend(content + trailer + struct.pack("<I", mask(slow_crc32c(content + trailer))))
        return handle

    index = []
    for i in range(0, len(items), block_items):
        part = items[i : i + block_items]
        index.append((part[-1][0] + b"\x00", store(block(part))))
    handles = store(block([])) + store(block(index, interval=1))
    magic = struct.pack("<Q", 0xDB4775248B80FB57)
    return bytes(out) + handles.ljust(40, b"\0") + magic


def header(shards: int = 1) -> bytes:
    return field(1, shards) + field(3, field(1, 1))


def write_bundle(
    prefix: Path, tensors: Mapping[str, NDArray[Any]], shards: int = 1, fast: bool = False
) -> Path:
    """Write `prefix`.index and its shards, tensors dealt to them in turn; returns the index.

    `fast` takes the library's checksum for the tensors: for megabytes, where that is not at test.
    """
    contents = [bytearray() for _ in range(shards)]
    items = [(b"", header(shards))]
    for i, name in enumerate(sorted(tensors, key=str.encode)):
        data = tensors[name].astype(tensors[name].dtype.newbyteorder("<")).tobytes()
        number = NUMBERS[tensors[name].dtype.name]
        check = mask(google_crc32c.value(data) if fast else slow_crc32c(data))
        content = contents[i % shards]
        where = (i % shards, len(content), len(data))
        items.append((name.encode(), entry(number, tensors[name].shape, *where, check)))
        content += data
    for i, content in enumerate(contents):
        prefix.with_name(f"{prefix.name}.data-{i:05d}-of-{shards:05d}").write_bytes(content)
    index = prefix.with_name(prefix.name + ".index")
    index.write_bytes(table(items))
    return index


def some_tensors(seed: int = 0) -> dict[str, NDArray[Any]]:
    """A few small tensors under names with common prefixes, of several types and shapes."""
    random = np.random.default_rng(seed)
    names = [f"g_conv{i}_{j}/{kind}" for i in (1, 2, 10) for j in (1, 2) for kind in ("w", "b")]
    tensors: dict[str, NDArray[Any]] = {
        name: random.normal(size=(2, 3, i + 1)).astype(np.float32) for i, name in enumerate(names)
    }
    tensors["step"] = np.array(400_000, dtype=np.int64)
    tensors["half"] = random.normal(size=5).astype(np.float16)
    tensors["wide"] = random.normal(size=(3, 1)).astype(np.float64)
    tensors["none"] = np.zeros((0, 4), dtype=np.float32)
    return tensors
