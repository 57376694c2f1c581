"""Pickles of tensors read as plain values: nothing that they name is imported or called.

Our own on pickletools, as the standard unpickler runs what a file names, and torch's with
`weights_only` still allocates what a file claims (35 bytes took 20 GiB) and ends in errors of any
kind. What comes out here is in proportion to the file: references, never copies.
"""

import pickletools
import re
from dataclasses import dataclass
from mmap import mmap
from typing import Any, BinaryIO

from darkroom.weights.leveldb import DamagedError

MAX_STEPS = 500_000
"""Operations of a pickle; a checkpoint takes about 30 a tensor, an optimiser's state included."""

MAX_ARGUMENTS = 16
MAX_DIMENSIONS = 16

_HARMLESS = re.compile(
    r"torch\.(\w+Storage|Size|Tensor|device|strided|sparse_\w+|per_\w+|bool|b?float\w+|c?double"
    r"|half|u?int\d+|long|short|complex\w+|quint\w+|qint\w+|storage\.\w+Storage|_utils\._rebuild_\w+"
    r"|serialization\._get_layout|nn\.parameter\.\w+)"
    r"|collections\.(OrderedDict|defaultdict|Counter)|_codecs\.encode"
    r"|(builtins|__builtin__)\.(bytes|set|frozenset|complex|dict|list|int|float)"
    r"|numpy\.(ndarray|dtype|_?core\.(multiarray\.(_reconstruct|scalar)|numeric\._frombuffer))"
)
"""What tensors and the plain values beside them name; files that name anything else are refused."""

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = frozenset(
    one.name
    for one in pickletools.opcodes
    if re.fullmatch(
        r"BININT[12]?|LONG1|BINFLOAT|(SHORT_)?BIN(UNICODE|STRING|BYTES)8?|BYTEARRAY8", one.name
    )
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


Readable = BinaryIO | mmap


class UnsafeError(ValueError):
    """A pickle that names what no tensor needs, and so could run code; says what."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """Something that is named in a pickle, or made by it, but is no tensor: never looked into."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers kept beside the pickle: torch's name of their type, their key, and how many."""

    kind: str
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class StridedTensor:
    """A tensor as torch saves it: a view of a storage; positions and strides in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(slots=True)
class PickledType:
    """A numpy dtype: its code, as in f4, and byte order."""

    code: str
    order: str = "<"


@dataclass(frozen=True, slots=True)
class PickledArray:
    """A numpy array; `data` as text is Latin-1, as Python 2 and protocol 2 have it."""

    dtype: PickledType
    shape: tuple[int, ...]
    fortran: bool
    data: bytes | bytearray | str


@dataclass(slots=True)
class UnfinishedArray:
    """A numpy array whose state comes only after its name."""

    array: PickledArray | None = None


def read_pickle(file: Readable) -> tuple[Any, dict[str, Storage]]:
    """Return what the next pickle of a file holds, and the storages it names; ends up behind it.

    What it holds is dictionaries (only entries whose key is text), lists, tuples, numbers, text,
    bytes, and the classes above. Raises UnsafeError where it names anything that could run code,
    DamagedError where it is no whole pickle of protocol 2 to 5, or does more than tensors need.
    """
    reader = _Reader()
    return reader.read(file), reader.storages


class _Reader:
    """The stack machine that a pickle is a program for."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._steps = 0
        self.storages: dict[str, Storage] = {}

    def read(self, file: Readable) -> Any:
        try:
            for operation, argument, _ in pickletools.genops(file):  # type: ignore[arg-type]
                self._count(1)
                self._step(operation.name, argument)
            return self._stack.pop()
        except UnsafeError:
            raise
        except (ValueError, LookupError, TypeError, OverflowError) as error:
            raise DamagedError(str(error)) from error

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise DamagedError(f"more than {MAX_STEPS:,} operations")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            items = tuple(self._pop() for _ in range(_TUPLES[name]))
            stack.append(items[::-1])
        elif name == "MARK":
            self._marked.append(stack)
            self._stack = []
        elif name in ("PROTO", "FRAME", "STOP"):
            pass
        else:
            self._build(name, argument)

    def _build(self, name: str, argument: Any) -> None:
        """Do the operations that make or fill something."""
        match name:
            case "EMPTY_DICT":
                self._stack.append({})
            case "EMPTY_LIST":
                self._stack.append([])
            case "EMPTY_SET":
                self._stack.append(Opaque("set"))
            case "TUPLE":
                items = tuple(self._pop_marked())
                self._stack.append(items)
            case "FROZENSET" | "ADDITEMS":
                self._pop_marked()
                if name == "FROZENSET":
                    self._stack.append(Opaque("frozenset"))
            case "APPEND":
                self._fill_list([self._pop()])
            case "APPENDS":
                self._fill_list(self._pop_marked())
            case "SETITEM":
                value, key = self._pop(), self._pop()
                self._fill_dict([key, value])
            case "SETITEMS":
                self._fill_dict(self._pop_marked())
            case "GLOBAL":
                self._stack.append(_name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                attribute, module = self._pop(), self._pop()
                self._stack.append(_name(module, attribute))
            case "BINPERSID":
                storage = _storage(self._pop())
                self._stack.append(self.storages.setdefault(storage.key, storage))
            case "REDUCE":
                arguments, function = self._pop(), self._pop()
                self._stack.append(self._call(function, arguments))
            case "BUILD":
                state = self._pop()
                _fill(self._stack[-1], state)
            case _:
                raise DamagedError(f"{name} is no operation that tensors need")

    def _pop(self) -> Any:
        return self._stack.pop()

    def _pop_marked(self) -> list[Any]:
        """Return what was pushed since the last mark, and go on below it."""
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _fill_list(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise DamagedError("items for what is no list")
        target.extend(items)

    def _fill_dict(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict:
            raise DamagedError("entries for what is no dictionary")
        # Other keys, as optimisers have, are of no use here, and hashing them could take for ever.
        pairs = zip(items[::2], items[1::2], strict=True)
        target.update((key, value) for key, value in pairs if isinstance(key, str))

    def _call(self, function: Any, arguments: Any) -> Any:
        """Return what torch or numpy would make: a description of it, or something opaque."""
        if type(function) is not Opaque or type(arguments) is not tuple:
            raise DamagedError("a call of what is no function")
        if len(arguments) > MAX_ARGUMENTS:
            raise DamagedError("a call with more than tensors need")
        match function.name.rpartition(".")[2], arguments:
            case "OrderedDict", ([*pairs],):  # as Python 2 wrote it
                self._count(len(pairs))
                return {key: value for key, value in pairs if isinstance(key, str)}
            case "OrderedDict" | "defaultdict" | "Counter" | "dict", _:
                return {}
            case "_rebuild_tensor" | "_rebuild_tensor_v2", (
                Storage() as storage,
                int(offset),
                *rest,
            ):
                metadata = rest[4:]  # of views that are conjugated or negative
                if metadata and metadata[0]:
                    return Opaque(function.name)
                return StridedTensor(storage, offset, _sizes(rest[0]), _sizes(rest[1]))
            case "_rebuild_parameter" | "_rebuild_parameter_with_state", (tensor, *_):
                return tensor
            case "Size", (sizes,):
                return _sizes(sizes)
            case "encode", (str(text), *_):  # bytes as protocol 2 has them: Latin-1
                return text
            case "bytes", ():  # none of them, as protocol 2 has it
                return b""
            case "_reconstruct", _:
                return UnfinishedArray()
            case "dtype", (str(code), *_):
                return PickledType(code)
            case "_frombuffer", (data, dtype, shape, order):
                return _array(dtype, shape, order == "F", data)
        return Opaque(function.name)


def _name(module: Any, attribute: Any) -> Opaque:
    """Return a name that means no harm; raises UnsafeError for any other."""
    name = f"{module:.100}.{attribute:.100}"
    if not _HARMLESS.fullmatch(name):
        raise UnsafeError(name)
    return Opaque(name)


def _storage(key: Any) -> Storage:
    """Return the storage that a persistent id means."""
    match key:
        case ("storage", Opaque(name), str(place), str(), int(size)) if size >= 0:
            return Storage(name.rpartition(".")[2], place, size)
        # The last is a view of another storage, as only the first versions of torch had.
        case ("storage", Opaque(name), str(place), str(), int(size), None) if size >= 0:
            return Storage(name.rpartition(".")[2], place, size)
    raise DamagedError("a reference to what is no storage")


def _fill(target: Any, state: Any) -> None:
    """Give an object its state; that of dictionaries (state_dict's metadata) is of no use here."""
    match target, state:
        case UnfinishedArray(), (_, shape, dtype, fortran, data):
            target.array = _array(dtype, shape, bool(fortran), data)
        case PickledType(), (_, str(order), None, None, None, *_):
            target.order = order
        case ((dict() | Opaque()), _):
            pass
        case _:
            raise DamagedError("a state of what has none")


def _array(dtype: Any, shape: Any, fortran: bool, data: Any) -> PickledArray:
    if type(dtype) is not PickledType or not isinstance(data, bytes | bytearray | str):
        raise DamagedError("an array of objects")
    return PickledArray(dtype, _sizes(shape), fortran, data)


def _sizes(sizes: Any) -> tuple[int, ...]:
    """Return a shape, strides or the like: some whole numbers, none negative."""
    if not isinstance(sizes, tuple | list) or len(sizes) > MAX_DIMENSIONS:
        raise DamagedError("a shape that is none")
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise DamagedError("a shape with negative sizes")
    return tuple(sizes)
