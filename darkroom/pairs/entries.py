"""One decoded photo or reference as a file that is read by mapping it into memory.

A safetensors file, so that other programs can open it: the arrays as they are, and what else there
is to know as JSON among its metadata. Own reader and writer, as the library's copy the arrays.
Source of the format: safetensors' read-me, "Format".
"""

import json
import math
import mmap
import struct
import zlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.raw.image import (
    CFA,
    BlackOrigin,
    BlackSource,
    Color,
    Exposure,
    PhotoMetadata,
    RawImage,
    WhiteBalance,
)

FACTS, CHECK = "darkroom", "crc32"
"""Keys of the metadata: the facts, and the header's checksum. Pictures have none: that would be to
read all of a file for a crop."""
MAX_HEADER = 1 << 24
"""Bytes of a header; ours have two thousand."""
KINDS = {"U16": np.uint16, "F32": np.float32, "F64": np.float64, "BOOL": np.bool_}
"""Types of arrays, and what safetensors calls them; the widest come first in a file."""

Facts = dict[str, Any]
Arrays = dict[str, NDArray[Any]]


class DamagedEntryError(Exception):
    """A file is no whole entry; it is to be made again."""


class StoreEntry(NamedTuple):
    """What a file holds: arrays that are maps of it, read-only, and facts."""

    facts: Facts
    arrays: Arrays


def write_entry(stream: BinaryIO, facts: Facts, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write facts (JSON) and arrays of the types in KINDS."""
    names = {np.dtype(kind): name for name, kind in KINDS.items()}
    words = json.dumps(facts)
    table: dict[str, Any] = {}
    ordered = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
    at = 0
    for name, array in ordered:
        place = [at, at + array.nbytes]
        table[name] = {
            "dtype": names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": place,
        }
        at += array.nbytes
    metadata = {FACTS: words, CHECK: _checksum(words, table)}
    text = json.dumps({"__metadata__": metadata} | table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    stream.write(struct.pack("<Q", len(text)) + text)
    for _, array in ordered:
        stream.write(np.ascontiguousarray(array).data)


def read_facts(path: Path) -> Facts:
    """Read what an entry says, and check that it is whole. Raises DamagedEntryError."""
    return _read_header(path)[0]


def map_entry(path: Path) -> StoreEntry:
    """Map an entry into memory: nothing of an array is read before it is used.

    Raises DamagedEntryError where it is not whole; FileNotFoundError.
    """
    facts, header, start = _read_header(path)
    with path.open("rb") as stream:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    arrays = {}
    for name, tensor in header.items():
        shape, at = tensor["shape"], start + tensor["data_offsets"][0]
        kind = KINDS[tensor["dtype"]]
        arrays[name] = np.frombuffer(data, kind, math.prod(shape), at).reshape(shape)
    return StoreEntry(facts, arrays)


def _read_header(path: Path) -> tuple[Facts, dict[str, Any], int]:
    """Facts, what there is of arrays, and where these begin."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(0)
            length = struct.unpack("<Q", stream.read(8))[0]
            if length > min(size, MAX_HEADER):
                raise DamagedEntryError(path)
            header = json.loads(stream.read(length))
            metadata = header.pop("__metadata__")
            facts = json.loads(metadata[FACTS])
            if metadata[CHECK] != _checksum(metadata[FACTS], header):
                raise DamagedEntryError(path)
            ends = [
                tensor["data_offsets"][0]
                + math.prod(tensor["shape"]) * np.dtype(KINDS[tensor["dtype"]]).itemsize
                for tensor in header.values()
            ]
            if ends != [tensor["data_offsets"][1] for tensor in header.values()]:
                raise DamagedEntryError(path)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DamagedEntryError(path) from error
    if not ends or size != 8 + length + max(ends):
        raise DamagedEntryError(path)
    return facts, header, 8 + length


def _checksum(words: str, table: Facts) -> str:
    """Sum up what an entry says of itself, and of its arrays."""
    return f"{zlib.crc32((words + json.dumps(table)).encode()):08x}"


def describe_raw(raw: RawImage) -> tuple[Facts, Arrays]:
    """Take a RAW photo apart: what JSON holds, and its arrays by the names of their fields.

    What the photo says in words is left out: no network and no score asks for it.
    """
    arrays: Arrays = {}
    facts = _describe(replace(raw, metadata=PhotoMetadata()), "", arrays)
    del facts["metadata"]
    return facts, arrays


def _describe(value: Any, name: str, arrays: Arrays) -> Any:
    if is_dataclass(value):
        return {
            field.name: _describe(getattr(value, field.name), f"{name}{field.name}.", arrays)
            for field in fields(value)
        }
    if isinstance(value, np.ndarray):
        arrays[name.removesuffix(".")] = value
        return None
    if isinstance(value, Enum):
        return value.value
    return value.isoformat() if isinstance(value, datetime) else value


def rebuild_raw(entry: StoreEntry) -> RawImage:
    """Put a RAW photo together again, but for its `metadata`; its arrays are those of the entry.

    Raises DamagedEntryError where a field is not there.
    """
    facts = {key: value for key, value in entry.facts.items() if key in RAW_FIELDS}
    own = {key: value for key, value in entry.arrays.items() if "." not in key}
    try:
        color, origin, time = facts["color"], facts["black_origin"], facts["time"]
        profile, crop = facts["noise_profile"], facts["default_crop"]
        return RawImage(
            **facts
            | own
            | {
                "cfa": CFA(**facts["cfa"]),
                "color": Color(
                    **color
                    | _inner(entry.arrays, "color")
                    | {"source": WhiteBalance(color["source"])}
                ),
                "exposure": Exposure(**facts["exposure"]),
                "time": None if time is None else datetime.fromisoformat(time),
                "margins": tuple(facts["margins"]),
                "black_origin": None if origin is None else _rebuild_origin(origin, entry.arrays),
                "default_crop": None if crop is None else tuple(crop),
                "noise_profile": None if profile is None else tuple(profile),
                "warnings": tuple(facts["warnings"]),
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedEntryError(entry) from error


RAW_FIELDS = frozenset(field.name for field in fields(RawImage))


def _inner(arrays: Arrays, name: str) -> Arrays:
    """Arrays of a part of a photo."""
    start = f"{name}."
    return {
        key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)
    }


def _rebuild_origin(facts: Facts, arrays: Arrays) -> BlackOrigin:
    source = facts["source"]
    kind = BlackSource(source) if isinstance(source, str) else source
    return BlackOrigin(**facts | _inner(arrays, "black_origin") | {"source": kind})
