"""What a network does when it runs: its layers, and what joins, pools or shuffles between them.

Nothing here knows any network. Each module with weights of its own is one step, whatever happens
inside it; of what happens between such modules, only what joins or resizes is a step.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

RESIZING = {
    "max_pool2d_with_indices": "max pool",
    "pixel_shuffle": "pixel shuffle",
    "pixel_unshuffle": "pixel unshuffle",
}
"""Operations of torch without weights that are steps of their own."""


def trace(network: nn.Module, packed: Tensor) -> tuple[list["Step"], Tensor]:
    """Run a network and return its steps, the first of which is its input, and its result."""
    recorder = _Recorder(packed)
    with torch.no_grad(), recorder.watching(network), recorder:
        picture = network(packed)
    return recorder.steps, picture


@dataclass(slots=True)
class Step:
    """One step: a layer, or what joins or resizes.

    `sources`: numbers of the steps that it reads. `inside`: the module in which it happens, empty
    for the network itself. `shape`: (C, h, w) of its result. `macs`: multiplications.
    """

    name: str
    kind: str
    sources: tuple[int, ...]
    inside: str = ""
    shape: tuple[int, ...] = ()
    parameters: int = 0
    macs: int = 0


@dataclass
class _Trail:
    """Which step made the tensors of each storage, so that views and work in place are followed."""

    makers: dict[int, int] = field(default_factory=dict)
    kept: list[torch.UntypedStorage] = field(default_factory=list)

    def mark(self, values: Any, step: int) -> None:
        """Say that a step made these tensors."""
        for tensor in _tensors(values):
            storage = tensor.untyped_storage()
            self.kept.append(storage)  # else another storage could take its place and number
            self.makers[storage._cdata] = step

    def sources(self, values: Any) -> tuple[int, ...]:
        """Return the steps that made these tensors, each once; weights were made by none."""
        numbers = (tensor.untyped_storage()._cdata for tensor in _tensors(values))
        return tuple(dict.fromkeys(self.makers[key] for key in numbers if key in self.makers))


class _Recorder(TorchDispatchMode):
    """Writes down what a network does."""

    def __init__(self, packed: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps = [Step("input", "input", (), shape=tuple(packed.shape[1:]))]
        self._trail = _Trail()
        self._trail.mark(packed, 0)
        self._layer: Step | None = None
        self._modules = [""]
        self._numbers: Counter[str] = Counter()

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Follow the network into its modules."""
        hooks = []
        for name, module in network.named_modules():
            own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
            enter, leave = self._hooks(name, own)
            hooks.append(module.register_forward_pre_hook(enter))
            hooks.append(module.register_forward_hook(leave))
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()

    def _hooks(self, name: str, parameters: int) -> tuple[Callable[..., None], Callable[..., None]]:
        """Make what is called before and after a module; with parameters it is a layer."""

        def enter(module: nn.Module, inputs: Any) -> None:
            self._modules.append(name)
            if parameters:
                sources = self._trail.sources(inputs)
                self._layer = Step(name, _kind(module), sources, parameters=parameters)

        def leave(module: nn.Module, inputs: Any, result: Tensor) -> None:
            self._modules.pop()
            if self._layer is not None:
                self._add(self._layer, result)
                self._layer = None

        return enter, leave

    def _add(self, step: Step, result: Tensor) -> None:
        step.shape = tuple(result.shape[1:])
        self._trail.mark(result, len(self.steps))
        self.steps.append(step)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        sources = self._trail.sources((args, kwargs))
        result = func(*args, **(kwargs or {}))
        if self._layer is not None:
            self._layer.macs += _macs(func.overloadpacket.__name__, args, result)
            return result
        operation = func.overloadpacket.__name__.removesuffix("_")
        if len(sources) > 1 or operation in RESIZING:
            kind = RESIZING.get(operation, operation)
            place = f"{self._modules[-1]}.{kind.replace(' ', '_')}".removeprefix(".")
            self._numbers[place] += 1
            step = Step(f"{place}.{self._numbers[place]}", kind, sources, self._modules[-1])
            self._add(step, next(_tensors(result)))
        elif sources:
            self._trail.mark(result, sources[0])
        return result


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def _kind(module: nn.Module) -> str:
    """Describe a layer in few words: conv 3x3, deconv 2x2 x2, group norm in 32 groups."""
    if isinstance(module, nn.GroupNorm):
        return f"group norm in {module.num_groups} groups"
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return type(module).__name__.lower()
    transposed = isinstance(module, nn.ConvTranspose2d)
    height, width = module.kernel_size
    words = f"{'deconv' if transposed else 'conv'} {height}x{width}"
    if module.stride[0] > 1:
        words += f" {'x' if transposed else '/'}{module.stride[0]}"
    return words if module.groups == 1 else f"{words} in {module.groups} groups"


def _macs(operation: str, args: Any, result: Any) -> int:
    """Count the multiplications of a convolution or matrix product, those with padding as well."""
    if operation == "convolution":
        values, weight, transposed = args[0], args[1], args[6]
        # (out, in / groups, kh, kw); transposed it is (in, out / groups, kh, kw).
        each = values if transposed else result
        return int(each.numel() * weight[0].numel())
    if operation in ("mm", "bmm"):
        return int(result.numel() * args[0].shape[-1])
    if operation == "addmm":
        return int(result.numel() * args[1].shape[-1])
    return 0
