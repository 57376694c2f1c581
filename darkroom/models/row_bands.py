"""Run a network over a photo by bands of rows, each layer once for each row.

A network's operations are recorded on stand-ins for tensors, which have a shape and no values. Then
they run in their order, band after band, each on as many rows as those that it reads are ready for;
rows that a kernel sees from two bands are kept until the second one. So nothing is computed twice,
what a layer gives is still in the processor's caches when the next one reads it, and the memory
needed is that of a band, however large the photo. Layers of a whole photo are hundreds of megabytes
each, and the fresh pages for them alone can cost as much time as the arithmetic.

Operations that mix all rows, as norms over the photo do, cannot be run so.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.models.row_operations import (
    OVERWRITING,
    POINTWISE,
    RULES,
    VIEWS,
    Operation,
    RowRule,
    Shape,
    StandIn,
    call_with_rows,
    split_channels,
)

BAND_BYTES = 6_500_000
"""What the largest layer gives of a band, for each thread: more leaves the caches, and with less
the calls of torch count. Source: measured on two cores, 12 MP: safelight, REDI, LLPackNet and SID
at 32 to 512 rows."""
MIN_STEPS = 4
"""Rows of a network's coarsest layer in a band, at least: fewer are no work for threads."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The operations of a network in their order; the first one gives the photo."""

    operations: list[Operation] = field(default_factory=list)

    @classmethod
    def of(cls, network: nn.Module, shape: Shape) -> "Recording":
        """Record what a network does with a photo of a shape (N, C, h, w).

        Raises NotImplementedError for an operation that has no rule here.
        """
        recording = cls()
        with torch.inference_mode():
            network(recording._append(Operation(lambda packed: packed, (), shape, view=True)))
        return recording

    def add(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Record a call, and return the stand-in for its result, or those for its results."""
        name = func.__name__
        if name == "chunk":
            return tuple(self._append(part) for part in split_channels(*args, **kwargs))
        if name in RULES:
            return self._append(RULES[name](func, *args, **kwargs))
        in_place = name.endswith("_") and not name.endswith("__")
        plain = name.removesuffix("_") if in_place else name
        if plain not in POINTWISE:
            raise NotImplementedError(f"{name}: which rows it reads is not known")
        in_place |= bool(kwargs.pop("inplace", False))
        copying = getattr(Tensor, plain) if name.endswith("_") else func
        sources = tuple(arg.number for arg in args if isinstance(arg, StandIn))
        shape = next(tuple(arg.shape) for arg in args if isinstance(arg, StandIn))
        overwriting = OVERWRITING.get(plain) if isinstance(args[0], StandIn) else None
        operation = Operation(
            partial(call_with_rows, copying, args, kwargs),
            sources,
            shape,
            overwriting=overwriting and partial(call_with_rows, overwriting, args, kwargs),
            view=plain in VIEWS,
        )
        made = self._append(operation)
        if in_place:  # what is read of it from now on is the new result
            args[0].number = made.number
        return args[0] if in_place else made

    def _append(self, operation: Operation) -> StandIn:
        self.operations.append(operation)
        made = torch.empty(1).expand(operation.shape).as_subclass(StandIn)
        made.recording, made.number = self, len(self.operations) - 1
        return made

    def run(self, photo: Callable[[int, int], Tensor], band: int) -> Iterator[Tensor]:
        """Yield the network's result, rows after rows.

        `photo`: gives its rows from the first to before the second, (N, C, rows, w). `band`: the
        rows that are taken of it at once.
        """
        operations, height = self.operations, self.operations[0].shape[2]
        readers: list[list[int]] = [[] for _ in operations]
        for number, operation in enumerate(operations):
            for source in operation.sources:
                readers[source].append(number)
        held = [HeldRows() for _ in operations]
        held[0].shared = True  # with who gave the photo
        for start in range(0, height, band):
            held[0].add(photo(start, min(start + band, height)))
            for number, operation in enumerate(operations[1:], 1):
                first, stop = held[number].stop, self._given(operation, held)
                if stop == first:
                    continue
                if self._may_overwrite(number, stop, held, readers):
                    held[number].add(self._overwrite(operation, first, stop, held))
                else:
                    rows = [
                        self._take(source, operation.rule, first, stop, held)
                        for source in operation.sources
                    ]
                    made = operation.run(*rows)
                    held[number].shared = operation.view and _share_memory(made, rows[0])
                    held[number].add(made)
                for source in operation.sources:
                    held[source].drop(min(self._first_read(one, held) for one in readers[source]))
            if held[-1].parts:
                yield held[-1].take(held[-1].first, held[-1].stop)
                held[-1].drop(held[-1].stop)

    def band(self, multiple: int, item: int) -> int:
        """Return the rows of the photo to take at once, a multiple of `multiple`.

        `item`: bytes of a number.
        """
        size = max(math.prod(operation.shape) for operation in self.operations) * item
        rows = BAND_BYTES * torch.get_num_threads() * self.operations[0].shape[2] // size
        return max(rows // multiple, MIN_STEPS) * multiple

    def _may_overwrite(
        self, number: int, stop: int, held: list["HeldRows"], readers: list[list[int]]
    ) -> bool:
        """Whether an operation may make its rows where its first source's lie.

        It may where nothing reads those any more, and where its result is of the same type.
        """
        operation = self.operations[number]
        if operation.overwriting is None:
            return False
        first, *others = operation.sources
        if held[first].shared or any(
            one != number and (held[one].shared or self._first_read(one, held) < stop)
            for one in readers[first]
        ):
            return False
        own = held[first].parts[0]
        return all(torch.result_type(own, held[other].parts[0]) == own.dtype for other in others)

    def _overwrite(
        self, operation: Operation, first: int, stop: int, held: list["HeldRows"]
    ) -> Tensor:
        """Make rows `first` to `stop` of an operation where those of its first source lie."""
        assert operation.overwriting is not None
        source, *others = (held[one] for one in operation.sources)
        made = source.take(first, stop)
        if len(others) != 1:
            return operation.overwriting(made, *(other.take(first, stop) for other in others))
        top = 0
        for part in others[0].take_parts(first, stop):  # not joined, which would copy them
            operation.overwriting(made[:, :, top : top + part.shape[2]], part)
            top += part.shape[2]
        return made

    def _given(self, operation: Operation, held: list["HeldRows"]) -> int:
        """Return the rows that can be made of what its sources have given."""
        out = operation.shape[2]
        return min(
            out
            if held[source].stop == self.operations[source].shape[2]
            else min(operation.rule.given(held[source].stop), out)
            for source in operation.sources
        )

    def _first_read(self, number: int, held: list["HeldRows"]) -> int:
        """Return the first row of its sources that an operation has still to read."""
        stop = held[number].stop
        return self.operations[number].rule.read(stop, stop + 1)[0]

    def _take(
        self, source: int, rule: RowRule, first: int, stop: int, held: list["HeldRows"]
    ) -> Tensor:
        """Return the rows of a source that are read for rows `first` to `stop`, zeros outside."""
        height = self.operations[source].shape[2]
        start, end = rule.read(first, stop)
        rows = held[source].take(max(start, 0), min(end, height))
        above, below = max(-start, 0), max(end - height, 0) if rule.padding else 0
        return functional.pad(rows, (0, 0, above, below)) if above or below else rows


@dataclass(slots=True)
class HeldRows:
    """Rows of one result that are still to be read: `parts`, from row `first` on, up to `stop`.

    `shared`: whether they lie where rows of another result do.
    """

    parts: deque[Tensor] = field(default_factory=deque)
    first: int = 0
    stop: int = 0
    shared: bool = False

    def add(self, rows: Tensor) -> None:
        """Take the next rows, (N, C, rows, w)."""
        self.parts.append(rows)
        self.stop += rows.shape[2]

    def take(self, start: int, stop: int) -> Tensor:
        """Return rows `start` to `stop`; a view where they lie in one part."""
        found = self.take_parts(start, stop)
        return found[0] if len(found) == 1 else torch.cat(found, dim=2)

    def take_parts(self, start: int, stop: int) -> list[Tensor]:
        """Return rows `start` to `stop`, views of the parts that they lie in."""
        found, top = [], self.first
        for part in self.parts:
            bottom = top + part.shape[2]
            if top < stop and bottom > start:
                found.append(part[:, :, max(start - top, 0) : stop - top])
            top = bottom
        return found

    def drop(self, start: int) -> None:
        """Forget the parts before row `start`."""
        while self.parts and self.first + self.parts[0].shape[2] <= start:
            self.first += self.parts.popleft().shape[2]


def _share_memory(made: Tensor, rows: Tensor) -> bool:
    return made.untyped_storage().data_ptr() == rows.untyped_storage().data_ptr()
