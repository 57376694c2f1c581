"""The plan of a drawing of a network: its blocks by scale, and what flows from one to another.

It is made of what was traced, so it fits any network: a U has one way down and up, REDI three
branches. Layers of a module that has skip connections of its own, as a residual block, are one
block; every other layer with weights is a block by itself. What only joins or resizes is part of
the way to the next block.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from darkroom.models.summary import ModelSummary
from darkroom.models.tracing import RESIZING, Layer


class BlockKind(StrEnum):
    """What a block of a drawing is."""

    INPUT = "input"
    CONVOLUTION = "convolution"
    DECONVOLUTION = "deconvolution"
    MODULE = "block of layers"
    PICTURE = "picture"


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a drawing; `shape`: (C, h, w) of its result, `reduction`: photosites per pixel.

    `layers`: those with weights in it. `joined`: how several inputs meet before it, as in cat.
    `depth`: blocks on the longest way to it.
    """

    name: str
    kind: BlockKind
    shape: tuple[int, ...]
    reduction: int
    layers: tuple[Layer, ...] = ()
    joined: tuple[str, ...] = ()
    depth: int = 0

    @property
    def channels(self) -> int:
        """Channels of its result."""
        return self.shape[0]

    @property
    def parameters(self) -> int:
        """Weights and biases of its layers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def group(self) -> str:
        """What it is drawn with, as in levels.4."""
        return (
            self.layers[0].part if self.kind is not BlockKind.MODULE and self.layers else self.name
        )

    @property
    def words(self) -> str:
        """What its layers are, in few words."""
        if not self.layers:
            return "packed mosaic" if self.kind is BlockKind.INPUT else "result"
        if self.kind is BlockKind.MODULE:
            return f"{len(self.layers)} layers"
        words = (word for layer in self.layers for word in (layer.kind, layer.activation))
        return ", ".join(filter(None, words))


@dataclass(frozen=True, slots=True)
class Arrow:
    """A way from one block to another, by their numbers.

    `skip`: whether the target also reads what was made of the source. `by`: what resizes it.
    """

    source: int
    target: int
    skip: bool
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Diagram:
    """Blocks in the order in which they run, input first and picture last, and their arrows."""

    blocks: tuple[Block, ...]
    arrows: tuple[Arrow, ...]


Ways = dict[int, tuple[str, ...]]
"""By number of a block: what resizes on the way from it."""


def plan_diagram(summary: ModelSummary, scale: int) -> Diagram:
    """Plan the drawing of a network; `scale`: photosites per pixel of its packed mosaic."""
    blocks = [Block("input", BlockKind.INPUT, summary.input, scale)]
    sources: list[Ways] = [{}]
    ways: dict[str, tuple[Ways, tuple[str, ...]]] = {"input": ({0: ()}, ())}
    modules = _find_modules(summary)
    places: dict[str, int] = {}  # of modules

    def read(names: tuple[str, ...]) -> tuple[Ways, tuple[str, ...]]:
        found: Ways = {}
        joined: tuple[str, ...] = ()
        for name in names:
            found |= ways[name][0]
            joined += ways[name][1]
        return found, tuple(dict.fromkeys(joined))

    for layer in summary.layers:
        entry, joined = read(layer.sources)
        module = next((one for one in modules if layer.name.startswith(f"{one}.")), None)
        last = next(iter(entry), 0)
        if module in places:
            number = places[module]
            sources[number] = {**entry, **sources[number]}
            sources[number].pop(number, None)
            layers = blocks[number].layers + ((layer,) if layer.parameters else ())
            blocks[number] = _block(module, layers, layer, blocks[number].joined)
        elif module is not None:
            number = places[module] = len(blocks)
            blocks.append(_block(module, (layer,) if layer.parameters else (), layer, joined))
            sources.append(entry)
        elif layer.parameters and _is_norm(layer) and len(entry) == 1 and blocks[last].layers:
            number = last
            block = blocks[last]
            blocks[last] = _block(None, (*block.layers, layer), layer, block.joined)
        elif layer.parameters:
            number = len(blocks)
            blocks.append(_block(None, (layer,), layer, joined))
            sources.append(entry)
        else:
            resized = layer.kind in RESIZING.values()
            by = (layer.kind,) if resized else ()
            kinds = joined if resized else (*joined, layer.kind)
            ways[layer.name] = {one: (*way, *by) for one, way in entry.items()}, kinds
            continue
        ways[layer.name] = {number: ()}, ()
    entry, joined = read((summary.layers[-1].name,))
    blocks.append(Block("picture", BlockKind.PICTURE, summary.output, 1, (), joined))
    sources.append(entry)
    return _with_depths(blocks, sources)


def _block(
    module: str | None, layers: tuple[Layer, ...], last: Layer, joined: tuple[str, ...]
) -> Block:
    """Make the block of a module, or of a layer and the norms that follow it."""
    kind = BlockKind.MODULE
    if module is None:
        transposed = layers[0].kind.startswith("deconv")
        kind = BlockKind.DECONVOLUTION if transposed else BlockKind.CONVOLUTION
    return Block(module or layers[0].name, kind, last.shape, last.reduction, layers, joined)


def _find_modules(summary: ModelSummary) -> list[str]:
    """List the innermost modules that have skip connections of their own."""
    inside = dict.fromkeys(skip.inside for skip in summary.skips if skip.inside)
    return [one for one in inside if not any(other.startswith(f"{one}.") for other in inside)]


def _is_norm(layer: Layer) -> bool:
    return "norm" in layer.kind or layer.kind == "affine"


def _with_depths(blocks: list[Block], sources: list[Ways]) -> Diagram:
    """Return the diagram, with each block's depth, and which of its arrows are skips."""
    before: list[set[int]] = []
    depths: list[int] = []
    for entry in sources:
        before.append(set(entry).union(*(before[source] for source in entry)))
        depths.append(1 + max((depths[source] for source in entry), default=-1))

    def arrows() -> Iterator[Arrow]:
        for target, entry in enumerate(sources):
            for source, by in entry.items():
                skip = any(source in before[other] for other in entry)
                yield Arrow(source, target, skip, by)

    placed = (replace(one, depth=depth) for one, depth in zip(blocks, depths, strict=True))
    return Diagram(tuple(placed), tuple(arrows()))
