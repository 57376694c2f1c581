"""Which rows operations of torch read for those they give, to run on a few rows of a photo."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SHAPE = Tensor.shape.__get__  # type: ignore[attr-defined]

Run = Callable[..., Tensor]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowRule:
    """Which rows an operation reads for those that it gives.

    For each `rise` rows it reads `kernel` rows, each time `stride` rows further on, the first time
    from `padding` rows of zeros above the top on.
    """

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    rise: int = 1

    def given(self, rows: int) -> int:
        """Return how many rows the first `rows` suffice for."""
        return max((rows + self.padding - self.kernel) // self.stride + 1, 0) * self.rise

    def read(self, first: int, stop: int) -> tuple[int, int]:
        """Return the first row read for rows `first` to `stop`, and where they stop."""
        last = -(-stop // self.rise) - 1
        start = first // self.rise * self.stride - self.padding
        return start, last * self.stride - self.padding + self.kernel


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a network: `run` makes rows of those of `sources`, operations by their number.

    `shape`: of the whole result, (N, C, h, w). `overwriting`: the same as `run`, made where the
    rows of the first source lie. `view`: whether the result may share memory with its source.
    """

    run: Run
    sources: tuple[int, ...]
    shape: Shape
    rule: RowRule = RowRule()
    overwriting: Run | None = None
    view: bool = False


class StandIn(Tensor):
    """A tensor with a shape and no values: what is done with it is recorded, not done."""

    recording: Any
    number: int

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Record a call of torch, and return the stand-in for its result."""
        if func == SHAPE:
            return _undisturbed(func, *args)
        parts = args[0] if func.__name__ == "cat" else args
        first = next(part for part in parts if isinstance(part, cls))
        return first.recording.add(func, args, dict(kwargs or {}))


PLANES = 4
"""Channels, up to which they are laid out one after another."""

POINTWISE = frozenset(
    {
        *("abs", "add", "addcmul", "channel_shuffle", "clamp", "contiguous", "leaky_relu", "mul"),
        *("native_channel_shuffle", "relu", "sigmoid", "sqrt", "sub", "to"),
    }
)
"""Operations of torch that make each row of the same row of all that they read."""

OVERWRITING: Mapping[str, Run] = {
    **{
        name: getattr(Tensor, f"{name}_")
        for name in ("abs", "add", "clamp", "mul", "relu", "sigmoid", "sqrt", "sub")
    },
    "leaky_relu": partial(functional.leaky_relu, inplace=True),
}
"""Those that can be made where the rows of their first argument lie."""

VIEWS = frozenset(("contiguous", "to"))
"""Those that may return what they are given."""


def call_with_rows(func: Any, args: Any, kwargs: Mapping[str, Any], *rows: Tensor) -> Tensor:
    """Call an operation with rows in the place of stand-ins."""
    given = iter(rows)
    made: Tensor = func(*(next(given) if isinstance(a, StandIn) else a for a in args), **kwargs)
    return made


def _convolve(
    func: Any,
    x: StandIn,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Operation:
    """Describe a convolution: its rows are padded beforehand, where the photo ends."""
    (down, right), (above, beside) = _pair(stride), _pair(padding)
    count, _, height, width = x.shape
    high, wide = weight.shape[2:]
    shape = (
        count,
        len(weight),
        (height + 2 * above - high) // down + 1,
        (width + 2 * beside - wide) // right + 1,
    )

    def run(rows: Tensor) -> Tensor:
        made: Tensor = func(rows, weight, bias, stride, (0, beside), dilation, groups)
        return made

    return Operation(run, (x.number,), shape, RowRule(high, down, above))


def _deconvolve(func: Any, x: StandIn, weight: Tensor, bias: Tensor, *args: Any) -> Operation:
    """Describe a transposed convolution whose kernel is its stride."""
    count, _, height, width = x.shape
    _, out, high, wide = weight.shape
    if _pair(args[0]) != (high, wide) or any(map(any, map(_pair, args[1:3]))):
        raise NotImplementedError("a transposed convolution whose results overlap")
    shape = (count, out, height * high, width * wide)
    return Operation(
        lambda rows: func(rows, weight, bias, *args), (x.number,), shape, RowRule(rise=high)
    )


def _pool(func: Any, x: StandIn, side: int, *args: Any, **kwargs: Any) -> Operation:
    """Describe pooling of squares, of incomplete ones too at the bottom and right."""
    count, channels, height, width = x.shape
    shape = (count, channels, -(-height // side), -(-width // side))
    return Operation(
        lambda rows: functional.max_pool2d(rows, side, ceil_mode=True),
        (x.number,),
        shape,
        RowRule(side, side),
    )


def _join(func: Any, parts: Any, dim: int) -> Operation:
    """Describe joining of channels."""
    count, _, height, width = parts[0].shape
    shape = (count, sum(part.shape[1] for part in parts), height, width)
    return Operation(lambda *rows: func(rows, dim), tuple(part.number for part in parts), shape)


def _shuffle(func: Any, x: StandIn, factor: int) -> Operation:
    """Describe channels that become pixels: of a picture's few channels, plane by plane."""
    count, channels, height, width = x.shape
    shape = (count, channels // factor**2, height * factor, width * factor)
    run = _shuffle_to_planes if shape[1] <= PLANES else func
    return Operation(lambda rows: run(rows, factor), (x.number,), shape, RowRule(rise=factor))


WORDS = {16: torch.complex128, 8: torch.complex64, 4: torch.float32, 2: torch.float16}
"""Types to copy so many bytes at once by."""


def _shuffle_to_planes(rows: Tensor, factor: int) -> Tensor:
    """Do as pixel_shuffle: from channels last to planes two (by 6) to nine times (by 2) as fast.

    Pixels that stay neighbours are copied as one.
    """
    count, channels, height, width = rows.shape
    out = channels // factor**2
    made = rows.new_empty(count, out, height * factor, width * factor)
    run = factor * rows.element_size()
    word = WORDS[next(size for size in WORDS if run % size == 0)]
    beside = run // word.itemsize
    parts = rows.permute(0, 2, 3, 1).contiguous().view(word)
    parts = parts.view(count, height, width, out, factor, beside)
    places = made.view(word).view(count, out, height, factor, width, beside)
    places.copy_(parts.permute(0, 3, 1, 4, 2, 5))
    return made


def _unshuffle(func: Any, x: StandIn, factor: int) -> Operation:
    """Describe pixels that become channels."""
    count, channels, height, width = x.shape
    shape = (count, channels * factor**2, height // factor, width // factor)
    return Operation(lambda rows: func(rows, factor), (x.number,), shape, RowRule(factor, factor))


def _convolve_runs(func: Any, x: StandIn, weight: Tensor, bias: Tensor) -> Operation:
    """Describe the first layer of REDI, whose pixels are blocks of the mosaic."""
    count, _, height, width = x.shape
    shape = (count, len(weight), height // 16, width // 16)

    def run(rows: Tensor) -> Tensor:
        made: Tensor = func(rows, weight, bias, above=0)
        return made

    return Operation(run, (x.number,), shape, RowRule(48, 16, 16))


def _crop(func: Any, x: StandIn, index: Any) -> Operation:
    """Describe cutting off rows at the bottom and columns at the right."""
    shape = tuple(_undisturbed(func, x, index).shape)
    if any(cut.start or cut.step for cut in index[1:]) or index[0] is not ... or len(index) != 3:
        raise NotImplementedError("a slice that is not [..., :rows, :columns]")
    return Operation(lambda rows: rows[..., : shape[3]], (x.number,), shape, view=True)


def split_channels(x: StandIn, count: int, dim: int = 0) -> Iterator[Operation]:
    """Describe each part of the channels."""
    if dim != 1:
        raise NotImplementedError("parts that are not of the channels")
    parts = _undisturbed(torch.chunk, x, count, dim)
    start = 0
    for part in parts:
        channels = slice(start, start + part.shape[1])
        yield Operation(partial(_channels, channels), (x.number,), tuple(part.shape), view=True)
        start = channels.stop


def _channels(channels: slice, rows: Tensor) -> Tensor:
    return rows[:, channels]


def _undisturbed(func: Any, *args: Any) -> Any:
    """Call an operation on stand-ins without recording it."""
    with torch._C.DisableTorchFunctionSubclass():
        return func(*args)


def _pair(size: Any) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


RULES: Mapping[str, Callable[..., Operation]] = {
    "__getitem__": _crop,
    "cat": _join,
    "conv2d": _convolve,
    "convolve_runs": _convolve_runs,
    "conv_transpose2d": _deconvolve,
    "max_pool2d": _pool,
    "pixel_shuffle": _shuffle,
    "pixel_unshuffle": _unshuffle,
}
"""How operations of torch that are not for each row by itself are described, by their name."""
