"""Read a network's tensors from a file that may be anything, without running any of it.

safetensors, torch.save (zip and the older plain pickle), pickled dictionaries of numpy arrays, and
TensorFlow bundles. Everything is bounded by the file's own size: a file that claims more than it
holds is refused.
"""

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.errors import CheckpointError
from darkroom.weights import tensorflow
from darkroom.weights.pickles import Opaque, UnsafeError
from darkroom.weights.torch_files import read_plain, read_zip

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 2**31
"""Of a checkpoint; the largest published network of this field has 35 MB."""

MAX_HEADER = 2**22
"""Bytes of a safetensors header; a thousand tensors take about 100 kB."""

ARCHITECTURE = "architecture"
"""Key of a safetensors file's metadata under which training says what the tensors are of."""

WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net", "network")
"""Keys under which training scripts store the tensors, beside an optimiser's."""

PREFIXES = ("module.", "_orig_mod.")
"""What torch's DataParallel and torch.compile put before every name."""

MAX_NAME = 200
"""Characters of a tensor's name; the longest of a published network here has 51."""

MAX_TENSORS = 10_000

MAX_WRAPPERS = 8
"""Keys to follow one after another; training scripts use one or two."""

_UNREADABLE = (
    zipfile.BadZipFile,
    struct.error,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)
"""What the readers raise on damaged files."""


def read_checkpoint(path: Path) -> dict[str, "Tensor"]:
    """Return the tensors of a checkpoint by name, on the CPU, unwrapped, without name prefixes.

    `path`: a safetensors or torch file, or any file of a TensorFlow bundle or its common name.
    Raises CheckpointError where the file is damaged, unsafe, or holds no finite tensors of
    floating point; counters (integers of no dimension, as batch norm has) may be among them.
    """
    if tensorflow.is_bundle(path):
        import torch

        arrays = tensorflow.read_bundle(path)
        return _check_tensors(path, {key: torch.from_numpy(arrays[key]) for key in arrays})
    size = _size(path)
    with path.open("rb") as file:
        start = file.read(16)
    pickled = _is_pickled(start)
    if pickled or start.startswith(b"PK\x03\x04"):
        return _check_tensors(path, _read_torch(path, size, zipped=not pickled))
    if start[8:9] == b"{":
        return _check_tensors(path, _read_safetensors(path, size))
    if start.lstrip()[:1] == b"<":
        raise CheckpointError(f"{path} is a web page, not a checkpoint; fetch the file again")
    raise CheckpointError(
        f"{path} is no checkpoint: expected safetensors, torch, TensorFlow, or numpy arrays "
        "pickled with protocol 2 or later"
    )


def _is_pickled(start: bytes) -> bool:
    """Tell a pickle by its first bytes; the length of a safetensors header may begin as one."""
    return start[:1] == b"\x80" and start[4:9] != b"\0\0\0\0{"


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


def read_architecture(path: Path) -> str | None:
    """Return which network a safetensors file says that it is of; None where it does not.

    Other files say nothing. Raises CheckpointError where the header is damaged.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] != b"{" or _is_pickled(start):
        return None
    facts = _read_header(path, _size(path)).get("__metadata__")
    name = facts.get(ARCHITECTURE) if isinstance(facts, dict) else None
    return name if isinstance(name, str) else None


def _read_header(path: Path, size: int) -> dict[str, Any]:
    """Read what a safetensors file says of its tensors and of itself."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(MAX_HEADER, size - 8):
            raise CheckpointError(f"{path}: header of {length} bytes in {size}; fetch it again")
        try:
            header = json.loads(file.read(length), object_pairs_hook=_refuse_duplicates)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: header is no JSON; fetch the file again") from error
    return header if isinstance(header, dict) else {}


def _read_safetensors(path: Path, size: int) -> dict[str, "Tensor"]:
    """Read safetensors; the library checks that offsets, shapes and the file's size agree."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _read_header(path, size)
    try:
        return dict(load_file(path, device="cpu"))
    except (SafetensorError, *_UNREADABLE) as error:
        raise CheckpointError(f"{path} is damaged ({_line(error)}); fetch it again") from error


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; raises ValueError where two of its members have one name."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _read_torch(path: Path, size: int, zipped: bool) -> dict[str, "Tensor"]:
    """Read what torch.save wrote, or a pickle of numpy arrays; nothing of it is run."""
    import torch

    def choose(content: Any) -> Mapping[str, Any]:
        if not isinstance(content, dict):
            plain = isinstance(content, list | tuple | str | bytes | int | float)
            kind = type(content).__name__ if plain else "single value"
            raise CheckpointError(f"{path} holds a {kind}, not named tensors")
        named = _unwrap(content)
        _check_names(path, named)
        for name, value in named.items():
            if isinstance(value, Opaque) and "_rebuild_" in value.name:
                raise CheckpointError(f"{path}: {name} is no plain tensor; save a plain state dict")
        return named

    try:
        arrays = (read_zip if zipped else read_plain)(path, size, choose)
    except UnsafeError as error:
        raise CheckpointError(
            f"{path} holds more than tensors ({_line(error)}) and could run code; refused: "
            "ask for a state dict"
        ) from error
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{path} is damaged or cut off ({_line(error)}); fetch it again"
        ) from error
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _check_names(path: Path, tensors: Mapping[str, Any]) -> None:
    """Refuse more tensors, or longer names, than any network has."""
    if len(tensors) > MAX_TENSORS:
        raise CheckpointError(f"{path} holds {len(tensors):,} tensors, more than any network has")
    longest = max(map(len, tensors), default=0)
    if longest > MAX_NAME:
        raise CheckpointError(f"{path}: a tensor's name has {longest:,} characters; refused")


def _check_tensors(path: Path, tensors: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Strip prefixes, and refuse what cannot be weights."""
    import torch

    if not tensors:
        raise CheckpointError(f"{path} holds no tensors; is it a network's checkpoint?")
    _check_names(path, tensors)
    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    counters = (torch.int32, torch.int64)
    for name, tensor in tensors.items():
        if tensor.dtype not in floats and (tensor.ndim or tensor.dtype not in counters):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{path}: {name} holds {kind}, no floating-point weights; save it as float32"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: {name} holds NaN or infinity; these weights are broken")
    return _strip_prefixes(tensors)


def _unwrap(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow the keys under which training scripts store the tensors; not for ever."""
    for _ in range(MAX_WRAPPERS):
        inner = (content.get(key) for key in WRAPPERS)
        content = next((one for one in inner if isinstance(one, dict) and one), content)
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
