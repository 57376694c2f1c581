"""What a network does, written down while it runs: its layers, and what each of them reads.

A network is run once on torch's meta device, where tensors have shapes and no values, and what it
does is written down. Each module with weights of its own is one layer, whatever happens inside it;
of what happens between such modules, only what joins or resizes is a layer, and activations are
told with the layer that they follow, or precede.

Torch's own counter counts the work. Its graphs are not used: `torch.fx` cannot trace safelight and
REDI, whose code asks for sizes, and it loses work in place on views.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

RESIZING = {
    "max_pool2d_with_indices": "max pool",
    "pixel_shuffle": "pixel shuffle",
    "pixel_unshuffle": "pixel unshuffle",
}
"""Operations of torch without weights that are layers of their own."""


ACTIVATIONS = {
    "relu": "relu",
    "leaky_relu": "leaky relu",
    "sigmoid": "sigmoid",
    "clamp": "clip",
}
"""Operations of torch that bend or bound what a layer gives."""

DEFAULT_SLOPE = 0.01
"""Of a leaky rectifier that is not told any. Source: torch.nn.functional.leaky_relu."""

Bends = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One step of a network: a module with weights, or what joins or resizes.

    `name`: the module's; joins and shuffles are numbered in their module. `shape`: (C, h, w) of
    its result. `reduction`: photosites per pixel of that, along each axis. `macs`: multiplications,
    each with an addition. `sources`: the names of the layers that it reads, or input.
    `activation`: what is made of its result by all that read it, as in leaky relu 0.2; `before`:
    what it alone makes of what it reads; both empty where there is none.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    reduction: int
    parameters: int
    macs: int
    sources: tuple[str, ...]
    activation: str = ""
    before: str = ""

    @property
    def part(self) -> str:
        """The branch or level that it belongs to, as in coarse or levels.4."""
        found = re.match(r"[^.]+(\.\d+)?", self.name)
        return found[0] if found else self.name


@dataclass(frozen=True, slots=True)
class Skip:
    """A connection past some layers: `source` meets in `join` what was made of it.

    `inside`: the module that has all of it, empty for the network itself.
    """

    source: str
    join: str
    kind: str
    shape: tuple[int, ...]
    inside: str


def trace_layers(
    network: nn.Module, packed: Tensor, scale: int
) -> tuple[tuple[Layer, ...], Tensor]:
    """Run a network and return its layers in order, and its result.

    `packed`: (1, C, h, w), each pixel `scale` photosites along each axis.
    """
    recorder, counter = _Recorder(packed, scale), FlopCounterMode(display=False)
    with torch.no_grad(), recorder.watching(network), counter, recorder:
        picture = network(packed)
    counts = counter.get_flop_counts().items()  # two per multiplication; by class and then by name
    macs = {name.partition(".")[2]: sum(flops.values()) // 2 for name, flops in counts}
    layers = recorder.with_activations(picture)
    return tuple(replace(one, macs=macs.get(one.name, 0)) for one in layers), picture


@contextmanager
def record_activations(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Watch what layers give while the network runs inside; filled in at the end, as `names` go.

    Each is (C, h, w) float32 on the processor, as the next layer saw it.
    """
    found: dict[str, Tensor] = {}
    maps: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: Any, result: Tensor) -> None:
        found[name] = result

    modules = dict(network.named_modules())
    hooks = [modules[name].register_forward_hook(partial(keep, name)) for name in names]
    try:
        yield maps
    finally:
        for handle in hooks:
            handle.remove()
    # Copied only now: activations change the layers' results in place.
    maps.update({name: found[name][0].to("cpu", torch.float32) for name in names})


class _Recorder(TorchDispatchMode):
    """Writes down the layers of a network while it runs, but not their work."""

    def __init__(self, packed: Tensor, scale: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers: list[Layer] = []
        self._scale, self._photosites = scale, packed.shape[-2] * scale
        # Which layer made each storage, so that views and work in place are followed. Storages are
        # kept, or another could take the place and the number of one that is gone.
        self._makers: dict[int, str] = {}
        self._bends: dict[int, Bends] = {}
        self._reads: dict[str, dict[str, Bends]] = {}  # by reader and by maker
        self._kept: list[torch.UntypedStorage] = []
        self._modules = [""]
        self._running: tuple[str, tuple[str, ...]] | None = None  # a layer and its sources
        self._numbers: Counter[str] = Counter()
        self._mark(packed, "input")

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Follow the network into its modules."""
        hooks = []
        for name, module in network.named_modules():
            hooks.append(module.register_forward_pre_hook(partial(self._enter, name)))
            hooks.append(module.register_forward_hook(partial(self._leave, name)))
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()

    def _enter(self, name: str, module: nn.Module, inputs: Any) -> None:
        self._modules.append(name)
        if next(module.parameters(recurse=False), None) is not None:
            self._reads[name] = self._read(inputs)
            self._running = name, tuple(self._reads[name])

    def _leave(self, name: str, module: nn.Module, inputs: Any, result: Tensor) -> None:
        self._modules.pop()
        if self._running is not None and self._running[0] == name:
            parameters = sum(parameter.numel() for parameter in module.parameters(recurse=False))
            self._add(name, _describe(module), result, self._running[1], parameters)
            self._running = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reads = self._read((args, kwargs))
        sources = tuple(reads)
        result = func(*args, **(kwargs or {}))
        if self._running is not None:
            return result
        operation = func.overloadpacket.__name__.removesuffix("_")
        if len(sources) > 1 or operation in RESIZING:
            kind = RESIZING.get(operation, operation)
            place = f"{self._modules[-1]}.{kind.replace(' ', '_')}".removeprefix(".")
            self._numbers[place] += 1
            name = f"{place}.{self._numbers[place]}"
            self._reads[name] = reads
            self._add(name, kind, next(_tensors(result)), sources)
        elif sources:
            self._mark(result, sources[0], reads[sources[0]] + _find_activation(operation, args))
        return result

    def with_activations(self, picture: Tensor) -> Iterator[Layer]:
        """Yield the layers, told what is made of their results up to the network's own."""
        readers = {**self._reads, "": self._read(picture)}
        shared = {}
        for layer in self.layers:
            seen = {reads[layer.name] for reads in readers.values() if layer.name in reads}
            shared[layer.name] = next(iter(seen)) if len(seen) == 1 else ()
        for layer in self.layers:
            own = [
                bends[len(shared[maker]) :]
                for maker, bends in self._reads[layer.name].items()
                if maker in shared
            ]
            before = next(filter(None, own), ())
            after = ", ".join(shared[layer.name])
            yield replace(layer, activation=after, before=", ".join(before))

    def _add(
        self, name: str, kind: str, result: Tensor, sources: tuple[str, ...], parameters: int = 0
    ) -> None:
        reduction, scale = self._photosites / result.shape[-2], self._scale
        if reduction != 1:  # halves of odd sizes are rounded up, so the nearest halving
            reduction = scale * 2 ** round(math.log2(reduction / scale))
        shape = tuple(result.shape[1:])
        self.layers.append(Layer(name, kind, shape, int(reduction), parameters, 0, sources))
        self._mark(result, name)

    def _mark(self, values: Any, maker: str, bends: Bends = ()) -> None:
        """Say which layer made these tensors, and what was made of them since."""
        for tensor in _tensors(values):
            self._kept.append(tensor.untyped_storage())
            key = self._kept[-1]._cdata
            self._makers[key], self._bends[key] = maker, bends

    def _read(self, values: Any) -> dict[str, Bends]:
        """Return which layers made these tensors, each once, and what was made of them since.

        Weights were made by none.
        """
        keys = (tensor.untyped_storage()._cdata for tensor in _tensors(values))
        return {self._makers[key]: self._bends[key] for key in keys if key in self._makers}


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def _find_activation(operation: str, args: Any) -> Bends:
    """Name an operation where it is an activation that changes anything."""
    if operation not in ACTIVATIONS:
        return ()
    if operation != "leaky_relu":
        return (ACTIVATIONS[operation],)
    slope = args[1] if len(args) > 1 else DEFAULT_SLOPE
    return () if slope == 1 else (f"{ACTIVATIONS[operation]} {slope:g}",)


def _describe(module: nn.Module) -> str:
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


def find_skips(layers: Sequence[Layer], packed: tuple[int, ...]) -> Iterator[Skip]:
    """List the connections by which a join reads a layer and also something made of it."""
    before: dict[str, set[str]] = {"input": set()}
    shapes = {"input": packed} | {layer.name: layer.shape for layer in layers}
    for layer in layers:
        name, sources = layer.name, layer.sources
        before[name] = set(sources).union(*(before[source] for source in sources))
        inside = "" if layer.parameters or name.count(".") < 2 else name.rsplit(".", 2)[0]
        for source in sources:
            if any(source in before[other] for other in sources):
                yield Skip(source, name, layer.kind, shapes[source], inside)
