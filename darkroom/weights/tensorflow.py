"""Read TensorFlow checkpoints (`model.ckpt.index` and its `.data` shards) without TensorFlow.

The index is a LevelDB table whose values are small protocol buffers: where in which shard each
tensor lies. Nothing in the files is trusted: every offset, size and checksum is verified first.

Source: TensorFlow core/protobuf/tensor_bundle.proto and core/util/tensor_bundle.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import CheckpointError
from darkroom.weights.leveldb import DamagedError, masked_crc32c, table_items, varint

# An index holds some hundred bytes a tensor; SID's holds 4 KB in all.
_MAX_INDEX_BYTES = 1 << 22
_MAX_BYTES = 1 << 31  # of all tensors together, as of any other checkpoint
_MAX_SHARDS = 99_999  # five digits in a shard's name
_MAX_DIMENSIONS = 16
_MAX_ELEMENTS = 1 << 40

_BFLOAT16 = 14
_STRING = 7
# Source: TensorFlow core/framework/types.proto.
_DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    4: np.dtype("u1"),
    6: np.dtype("i1"),
    9: np.dtype("<i8"),
    10: np.dtype("?"),
    _BFLOAT16: np.dtype("<u2"),
    19: np.dtype("<f2"),
}

_SHARD_NAME = re.compile(r"\.data-\d{5}-of-\d{5}$")


class _Entry(NamedTuple):
    """Where one tensor lies and what it is."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool


def is_bundle(path: Path) -> bool:
    """Tell whether `path` names a TensorFlow checkpoint: its index, a shard, or their prefix."""
    if not path.name:  # "." and "/" have no files beside them
        return False
    named = path.suffix == ".index" or _SHARD_NAME.search(path.name) or not path.is_file()
    return bool(named) and index_path(path).is_file()


def index_path(path: Path) -> Path:
    """Return the index of the checkpoint that `path` (index, shard or prefix) belongs to."""
    name = _SHARD_NAME.sub("", path.name.removesuffix(".index"))
    return path.with_name(name + ".index")


def read_bundle(path: Path) -> dict[str, NDArray[Any]]:
    """Read every tensor of a TensorFlow checkpoint, by name; layouts stay TensorFlow's own.

    `path` is the index, a shard, or their common prefix. Arrays are fresh and writable; bfloat16
    comes back as float32. Strings are no weights and are left out. Raises CheckpointError if a
    file is missing, damaged, or of a kind that is not read (compressed, big-endian, partitioned).
    """
    index = index_path(path)
    try:
        if not index.is_file():
            raise CheckpointError(
                f"{path}: no {index.name} beside it; a TensorFlow checkpoint needs "
                "both its .index and its .data files"
            )
        if index.stat().st_size > _MAX_INDEX_BYTES:
            raise DamagedError("index is larger than any checkpoint's")
        items = table_items(index.read_bytes())
        shards = _header_shards(items)
        entries = {_name(key): _parse_entry(value) for key, value in items if key}
        return _read_tensors(index, shards, entries)
    except DamagedError as error:
        raise CheckpointError(
            f"{index}: no readable TensorFlow checkpoint ({error}); fetch or copy it again"
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or index}: cannot be read ({error.strerror or error})"
        ) from error


def _name(key: bytes) -> str:
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamagedError("a tensor's name is not text") from error


# --- the protocol buffers ----------------------------------------------------------------------


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Walk over a protocol buffer's fields: number, and value (int, or bytes if delimited).

    As a dict they are what the format means: of a field written twice the last one counts.
    """
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = varint(message, at)
            yield number, value
            continue
        if kind == 2:
            length, at = varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise DamagedError("a field has an unknown type")
        if at + length > len(message):
            raise DamagedError("a field runs past its message")
        chunk = message[at : at + length]
        at += length
        yield number, chunk if kind == 2 else int.from_bytes(chunk, "little")


def _integer(value: int | bytes) -> int:
    """Return a field that must be a number; negative ones come as 64-bit two's complement."""
    if isinstance(value, bytes):
        raise DamagedError("a number was expected where there is text")
    if value >= 1 << 63:
        raise DamagedError("a size or position is negative")
    return value


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise DamagedError("a message was expected where there is a number")
    return value


def _header_shards(items: list[tuple[bytes, bytes]]) -> int:
    """Return the number of shards that the header (the empty key) announces."""
    if not items or items[0][0] != b"":
        raise DamagedError("index has no header")
    header = dict(_fields(items[0][1]))
    if header.get(2, 0) != 0:
        raise DamagedError("written on a big-endian machine")
    if dict(_fields(_message(header.get(3, b"")))).get(2, 0) not in (0, 1):
        raise DamagedError("written in a newer format")
    shards = _integer(header.get(1, 0))
    if not 1 <= shards <= _MAX_SHARDS:
        raise DamagedError(f"index announces {shards} shards")
    return shards


def _parse_entry(message: bytes) -> _Entry:
    fields = dict(_fields(message))  # later versions may add some
    dtype, shard, offset, size, checksum = (_integer(fields.get(n, 0)) for n in (1, 3, 4, 5, 6))
    shape = _parse_shape(_message(fields.get(2, b"")))
    return _Entry(dtype, shape, shard, offset, size, checksum, sliced=7 in fields)


def _parse_shape(message: bytes) -> tuple[int, ...]:
    fields = list(_fields(message))
    if dict(fields).get(3):
        raise DamagedError("a tensor's shape is unknown")
    sizes = [dict(_fields(_message(size))).get(1, 0) for number, size in fields if number == 2]
    shape = tuple(map(_integer, sizes))
    if len(shape) > _MAX_DIMENSIONS or math.prod(size or 1 for size in shape) > _MAX_ELEMENTS:
        raise DamagedError(f"a tensor has the shape {shape[:_MAX_DIMENSIONS]}")
    return shape


# --- the tensors -------------------------------------------------------------------------------


def _read_tensors(index: Path, shards: int, entries: dict[str, _Entry]) -> dict[str, NDArray[Any]]:
    """Read and verify the tensors, one shard after another."""
    prefix = index.name.removesuffix(".index")
    wanted = {name: entry for name, entry in entries.items() if entry.dtype != _STRING}
    tensors, total = {}, 0
    for shard in sorted({entry.shard for entry in wanted.values()}):
        if shard >= shards:
            raise DamagedError(f"a tensor is in shard {shard} of {shards}")
        path = index.with_name(f"{prefix}.data-{shard:05d}-of-{shards:05d}")
        if not path.is_file():
            raise CheckpointError(
                f"{index}: {path.name} is missing; put it beside the index "
                "(a TensorFlow checkpoint is an .index and its .data files)"
            )
        here = {name: entry for name, entry in wanted.items() if entry.shard == shard}
        with path.open("rb") as file:
            _check_bounds(here, path.stat().st_size)
            total += sum(entry.size for entry in here.values())
            if total > _MAX_BYTES:
                raise DamagedError(f"its tensors have more than {_MAX_BYTES:,} bytes")
            for name, entry in here.items():
                tensors[name] = _read_tensor(file, name, entry)
    return {name: tensors[name] for name in wanted}


def _check_bounds(entries: dict[str, _Entry], shard_bytes: int) -> None:
    """Refuse tensors that overlap or lie outside: together they never exceed the file."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].offset, item[1].size)):
        dtype = _DTYPES.get(entry.dtype)
        if dtype is None:
            raise DamagedError(f"{name} has the unknown type {entry.dtype}")
        if entry.sliced:
            raise DamagedError(f"{name} is stored in slices; save it unpartitioned")
        if entry.size != math.prod(entry.shape) * dtype.itemsize:
            raise DamagedError(f"{name}: {entry.size} bytes do not fit its shape {entry.shape}")
        if entry.offset < end or entry.offset + entry.size > shard_bytes:
            raise DamagedError(f"{name} lies outside its shard or over another tensor")
        end = entry.offset + entry.size


def _read_tensor(file: BinaryIO, name: str, entry: _Entry) -> NDArray[Any]:
    file.seek(entry.offset)
    data = file.read(entry.size)
    if masked_crc32c(data) != entry.checksum:
        raise DamagedError(f"{name}: wrong checksum")
    array = np.frombuffer(data, dtype=_DTYPES[entry.dtype]).reshape(entry.shape)
    if entry.dtype == _BFLOAT16:  # bfloat16 is float32 without its lower half
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return array.copy()  # `data` is read-only
