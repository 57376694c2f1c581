"""Files of torch.save, zip or the older kind, and pickles of numpy arrays: read without torch.

A file's pickle says where in the file each tensor lies. All of that is checked against the file
before anything is allocated, and only the tensors that are asked for are read.
"""

import math
import mmap
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import CheckpointError
from darkroom.weights.leveldb import DamagedError
from darkroom.weights.pickles import (
    PickledArray,
    Storage,
    StridedTensor,
    UnfinishedArray,
    read_pickle,
)

# Source: torch/serialization.py, the same since its first version.
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

_BFLOAT16 = "BFloat16Storage"
# Source: torch's storage classes; numpy's type codes.
_STORAGES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    _BFLOAT16: "u2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "ComplexFloatStorage": "c8",
    "ComplexDoubleStorage": "c16",
}
_ARRAYS = frozenset(("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1", "c8", "c16"))

_ZIP_ENTRY = rb"PK\x01\x02"  # Source: PKWARE's APPNOTE, 4.3.12
MAX_ENTRIES = 20_000
"""Files in an archive, a storage each; counted first, as zipfile takes ten times their bytes."""

MAX_SHARING = 2
"""A file's tensors may take so many times its bytes: one may go by two names, bfloat16 doubles."""

MAX_ELEMENTS = 1 << 40
"""Of a shape with its zeros left out: what numpy can still multiply."""

Choose = Callable[[Any], Mapping[str, Any]]
"""From what a pickle holds, the values by name of which the tensors are to be read."""


def read_zip(path: Path, size: int, choose: Choose) -> dict[str, NDArray[Any]]:
    """Read what torch.save writes: a zip archive whose entries are all stored uncompressed.

    `size`: the file's, in bytes. Arrays are fresh, in C order; bfloat16 comes back as float32.
    Raises UnsafeError, DamagedError, what zipfile does, or CheckpointError for other archives.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = sum(1 for _ in islice(re.finditer(_ZIP_ENTRY, data), MAX_ENTRIES + 1))
    if found > MAX_ENTRIES:
        raise DamagedError(f"an archive of more than {MAX_ENTRIES:,} files")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = {entry.filename for entry in entries}
        pickled = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if not pickled:
            raise CheckpointError(
                f"{path} is an archive, but not of torch.save; unpack it, or save a state dict so"
            )
        squeezed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if squeezed or sum(entry.file_size for entry in entries) > size:
            raise DamagedError("a compressed archive, no torch checkpoint: unpack it")
        if len(pickled) != 1 or len(names) != len(entries):
            raise DamagedError("an archive without the one data.pkl of a torch checkpoint")
        folder = pickled[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise DamagedError("written on a big-endian machine")
        content, _ = read_pickle(BytesIO(archive.read(pickled[0])))
        return _read_arrays(
            choose(content), size, lambda storage: archive.read(f"{folder}data/{storage.key}")
        )


def read_plain(path: Path, size: int, choose: Choose) -> dict[str, NDArray[Any]]:
    """Read torch's older format, or a pickle of numpy arrays, as `read_zip` does."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        content, _ = read_pickle(data)
        places: dict[str, slice] = {}
        if content == _MAGIC:
            content, places = _read_older(data)

        def load(storage: Storage) -> bytes:
            return data[places[storage.key]]

        return _read_arrays(choose(content), size, load)


def _read_older(data: mmap.mmap) -> tuple[Any, dict[str, slice]]:
    """Return what torch's older format holds behind its magic number, and where storages lie."""
    protocol, _ = read_pickle(data)
    system, _ = read_pickle(data)
    if protocol != _PROTOCOL or not isinstance(system, dict):
        raise DamagedError("torch's older format, but not as it is known")
    if not system.get("little_endian", True):
        raise DamagedError("written on a big-endian machine")
    content, storages = read_pickle(data)
    keys, _ = read_pickle(data)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise DamagedError("no list of storages")
    places = {}
    for key in keys:
        (count,) = struct.unpack("<q", data.read(8))
        if count != storages[key].size:
            raise DamagedError("a storage of another size than stated")
        start, length = data.tell(), count * _dtype(storages[key]).itemsize
        data.seek(start + length)  # ValueError beyond the end
        places[key] = slice(start, start + length)
    return content, places


def _read_arrays(
    chosen: Mapping[str, Any], size: int, load: Callable[[Storage], bytes]
) -> dict[str, NDArray[Any]]:
    """Read the tensors and arrays among some values; `load` returns the bytes of a storage."""
    found: dict[str, StridedTensor | PickledArray] = {}
    total = 0
    for name, value in chosen.items():
        tensor = value.array if isinstance(value, UnfinishedArray) else value
        if isinstance(tensor, StridedTensor | PickledArray):
            found[name] = tensor
            elements = math.prod(tensor.shape)
            total += elements * _itemsize(tensor)
            huge = math.prod(side or 1 for side in tensor.shape) > MAX_ELEMENTS
            over = isinstance(tensor, StridedTensor) and elements > tensor.storage.size
            if huge or over or total > MAX_SHARING * size:
                raise DamagedError(f"{name} claims more than is stored")
    storages: dict[str, NDArray[Any]] = {}
    arrays = {}
    for name, tensor in found.items():
        if isinstance(tensor, PickledArray):
            arrays[name] = _decode_array(tensor)
            continue
        key = tensor.storage.key
        if key not in storages:
            storages[key] = np.frombuffer(load(tensor.storage), _dtype(tensor.storage))
        arrays[name] = _view_storage(name, tensor, storages[key])
    return arrays


def _view_storage(name: str, tensor: StridedTensor, elements: NDArray[Any]) -> NDArray[Any]:
    """Copy a tensor out of its storage."""
    steps = list(zip(tensor.shape, tensor.strides, strict=True))
    last = tensor.offset + sum((size - 1) * stride for size, stride in steps)
    empty = 0 in tensor.shape
    kept = len(elements) == tensor.storage.size and elements.dtype == _dtype(tensor.storage)
    if not kept or tensor.offset < 0 or (last >= len(elements) and not empty):
        raise DamagedError(f"{name} claims more than is stored")
    strides = [stride * elements.itemsize if size > 1 else 0 for size, stride in steps]
    start = elements[:0] if empty else elements[tensor.offset :]
    view = np.lib.stride_tricks.as_strided(
        start, tensor.shape, [0] * len(steps) if empty else strides
    )
    if tensor.storage.kind == _BFLOAT16:  # float32 without its lower half
        return (view.astype("<u4", order="C") << np.uint32(16)).view("<f4")
    return np.array(view, order="C")


def _decode_array(array: PickledArray) -> NDArray[Any]:
    """Return a numpy array; raises DamagedError where its bytes do not fit its shape."""
    data = array.data.encode("latin-1") if isinstance(array.data, str) else array.data
    dtype = np.dtype(array.dtype.code).newbyteorder(array.dtype.order)  # type: ignore[arg-type]
    if len(data) != math.prod(array.shape) * dtype.itemsize:
        raise DamagedError("an array whose bytes do not fit its shape")
    order = "F" if array.fortran else "C"
    found = np.frombuffer(data, dtype).reshape(array.shape, order=order)  # type: ignore[call-overload]
    return np.array(found, dtype.newbyteorder("="), order="C")


def _itemsize(tensor: StridedTensor | PickledArray) -> int:
    """Return the bytes of one number as it is read."""
    if isinstance(tensor, PickledArray):
        if tensor.dtype.code not in _ARRAYS:
            raise DamagedError("an array of what is no number")
        return np.dtype(tensor.dtype.code).itemsize
    return 4 if tensor.storage.kind == _BFLOAT16 else _dtype(tensor.storage).itemsize


def _dtype(storage: Storage) -> np.dtype[Any]:
    if storage.kind not in _STORAGES:
        raise DamagedError("a storage of a kind that is not read")
    return np.dtype(_STORAGES[storage.kind]).newbyteorder("<")
