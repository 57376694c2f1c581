"""Read a network's tensors from a file that may be anything, without running any of it.

safetensors, torch.save (zip and the older plain pickle; only with `weights_only`, so no code of the
file is ever run) and TensorFlow bundles. Everything is bounded by the file's own size: a file that
claims more than it holds is refused.
"""

import json
import math
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.errors import CheckpointError
from darkroom.weights import tensorflow

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 2**31
"""Of a checkpoint; the largest published network of this field has 35 MB."""

MAX_HEADER = 2**24
"""Bytes of a safetensors header; a thousand tensors take about 100 kB."""

WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net", "network")
"""Keys under which training scripts store the tensors, beside an optimiser's."""

PREFIXES = ("module.", "_orig_mod.")
"""What torch's DataParallel and torch.compile put before every name."""

_UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What torch's reader raises on damaged files: nearly anything."""


def read_checkpoint(path: Path) -> dict[str, "Tensor"]:
    """Return the tensors of a checkpoint by name, on the CPU, unwrapped, without name prefixes.

    `path`: a safetensors or torch file, or any file of a TensorFlow bundle or its common name.
    Raises CheckpointError where the file is damaged, unsafe, or holds no finite tensors.
    """
    if tensorflow.is_bundle(path):
        import torch

        arrays = tensorflow.read_bundle(path)
        return _check_tensors(path, {key: torch.from_numpy(arrays[key]) for key in arrays})
    size = _size(path)
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"PK\x03\x04"):
        return _check_tensors(path, _read_torch_zip(path, size))
    if start.startswith(b"\x80"):
        return _check_tensors(path, _load_torch(path))
    if start[8:9] == b"{":
        return _check_tensors(path, _read_safetensors(path, size))
    if start.lstrip()[:1] == b"<":
        raise CheckpointError(f"{path} is a web page, not a checkpoint; fetch the file again")
    raise CheckpointError(f"{path} is no checkpoint: expected safetensors, torch or TensorFlow")


def _size(path: Path) -> int:
    """Return a file's size; raises CheckpointError where it cannot be a checkpoint."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; give the checkpoint itself")
    if size == 0:
        raise CheckpointError(f"{path} is empty; fetch the file again")
    if size > MAX_BYTES:
        raise CheckpointError(f"{path} has {size} bytes, more than a checkpoint can need; refused")
    return size


def _read_safetensors(path: Path, size: int) -> Mapping[str, Any]:
    """Read safetensors; the library checks that offsets, shapes and the file's size agree."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(MAX_HEADER, size - 8):
            raise CheckpointError(f"{path}: header of {length} bytes in {size}; fetch it again")
        try:
            json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: header is no JSON; fetch the file again") from error
    try:
        return dict(load_file(path, device="cpu"))
    except (SafetensorError, *_UNREADABLE) as error:
        raise CheckpointError(f"{path} is damaged ({_line(error)}); fetch it again") from error


def _read_torch_zip(path: Path, size: int) -> Mapping[str, Any]:
    """Read what torch.save writes: a zip archive whose entries are all stored uncompressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except _UNREADABLE as error:
        raise CheckpointError(f"{path} is damaged or cut off; fetch the file again") from error
    squeezed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if squeezed or sum(entry.file_size for entry in entries) > size:
        raise CheckpointError(f"{path} is a compressed archive, no torch checkpoint; unpack it")
    return _load_torch(path)


def _load_torch(path: Path) -> Mapping[str, Any]:
    """Let torch read its own format, tensors and plain values only."""
    import torch

    try:
        with warnings.catch_warnings():
            # About torch's own old storage classes; of no use to anyone here.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        if isinstance(error, pickle.UnpicklingError) and "global" in str(error).lower():
            raise CheckpointError(
                f"{path} holds more than tensors and could run code; refused: ask for a state dict"
            ) from error
        raise CheckpointError(f"{path} is damaged ({_line(error)}); fetch it again") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not named tensors")
    return content


def _check_tensors(path: Path, content: Mapping[str, Any]) -> dict[str, "Tensor"]:
    """Unwrap, drop what is no tensor, strip prefixes, and refuse what cannot be weights."""
    import torch

    tensors = {
        name: value.detach()
        for name, value in _unwrap(content).items()
        if isinstance(name, str) and isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors; is it a network's checkpoint?")
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex():
            raise CheckpointError(f"{path}: {name} is no plain tensor; save a plain state dict")
        # A tensor of a few bytes can pretend to any shape by strides of zero.
        if math.prod(tensor.shape) * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{path}: {name} claims more than is stored; refused")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; these weights are broken")
    return _strip_prefixes(tensors)


def _unwrap(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow the keys under which training scripts store the tensors."""
    for key in WRAPPERS:
        inner = content.get(key)
        if isinstance(inner, Mapping) and inner:
            return _unwrap(inner)
    return content


def _strip_prefixes(tensors: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Strip what wrappers put before every name, as often as they did."""
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            return _strip_prefixes({k.removeprefix(prefix): v for k, v in tensors.items()})
    return tensors


def _line(error: BaseException) -> str:
    """Return the first line of a foreign error, short enough for one of ours."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:100]
