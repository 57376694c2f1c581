"""REDI with group norms: the network of `redi`, run as it is written, in one piece.

No checkpoint of this variant was seen, nor code that makes one. So its form is not taken from a
file: it is what group norms make of the authors' published code, where every layer is a sequence
of a convolution and perhaps an activation. A norm is one more step of such a sequence, in whichever
layers and wherever in them: the numbers in the tensors' names tell its place, as in conv.0 (a norm)
and conv.2 (a convolution, after the activation 1). Weight norm may be there as well, or not.

The number of groups is in no tensor. It is 32, or the next lower power of 2 by which every normed
layer can be divided; where a file has another, say so: redi-group-norm-8=FILE.
Source: Wu and He, "Group Normalization", ECCV 2018, section 4 (32 groups by default).

A group's mean and variance are taken over the whole photo, so every pixel depends on all of it and
no halo makes tiles equal to it: it runs in one piece or not at all. They are taken over what the
network runs over, that is with the reflection that continues a photo up to a multiple of 32
photosites. The authors' code cuts photos to such multiples instead; there both are the same. With
random weights, 8 more photosites of 3000 changed the far half of a 12-MP picture by 0.0003 of white
on average, 0.009 at most.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.models.architectures import fold
from darkroom.models.architectures.base import Architecture, Shapes, State, filled, shapes_of
from darkroom.models.architectures.redi import KNOWN, SLOPE
from darkroom.raw.image import Sensor

GROUPS = (32, 16, 8, 4, 2, 1)
"""Numbers of groups, in the order in which they are tried; each is a network of its own name."""

_SPLIT = {"conv32x.0": 128, "conv32_8_cat.0": 4}
"""Groups of the convolutions that have them. Source: as for `redi`."""

_RECTIFIED_AFTER = ("resblock8x.conv1", "conv32_8_cat.1")
"""Layers whose activation follows the convolution. Source: as for `redi`."""

_BLOCK_WIDTH = 64


class LayerStep(Enum):
    """What a layer does, one after another; PASS is an activation of slope 1."""

    CONVOLVE = "convolve"
    RECTIFY = "rectify"
    PASS = "pass"
    NORMALISE = "normalise"


Steps = tuple[LayerStep, ...]


@dataclass(frozen=True, slots=True)
class PublishedLayer:
    """One layer as published, without norms: the shape of its weight, and its steps."""

    name: str
    weight: tuple[int, ...]
    bias: bool
    steps: Steps

    @property
    def split(self) -> int:
        """Groups of its convolution."""
        return _SPLIT.get(self.name, 1)

    def variants(self) -> Iterator[Steps]:
        """List its steps without a norm, then with one in each place."""
        yield self.steps
        for place in range(len(self.steps) + 1):
            yield (*self.steps[:place], LayerStep.NORMALISE, *self.steps[place:])

    def shapes(self, steps: Steps) -> dict[str, tuple[int, ...]]:
        """Return names and shapes of its tensors when its steps are these."""
        shapes: dict[str, tuple[int, ...]] = {}
        width = self.weight[1] * self.split
        for number, step in enumerate(steps):
            key = f"{self.name}.{number}"
            if step is LayerStep.CONVOLVE:
                width = self.weight[0]
                shapes[f"{key}.weight"] = self.weight
            elif step is LayerStep.NORMALISE:
                shapes[f"{key}.weight"] = (width,)
            if step is LayerStep.NORMALISE or (step is LayerStep.CONVOLVE and self.bias):
                shapes[f"{key}.bias"] = (width,)
        return shapes

    def build(self, steps: Steps, groups: int) -> nn.Sequential:
        """Make the layer with these steps; `groups` are those of its norm."""
        out, part, side, _ = self.weight
        width, pad = part * self.split, side // 2
        made: list[nn.Module] = []
        for step in steps:
            if step is LayerStep.CONVOLVE:
                made.append(
                    nn.Conv2d(width, out, side, padding=pad, groups=self.split, bias=self.bias)
                )
                width = out
            elif step is LayerStep.NORMALISE:
                made.append(nn.GroupNorm(groups, width))
            else:
                made.append(nn.LeakyReLU(SLOPE if step is LayerStep.RECTIFY else 1.0))
        return nn.Sequential(*made)


def _layers(known: Shapes) -> tuple[PublishedLayer, ...]:
    """Read the layers off the names and shapes of a published form without weight norm."""
    layers = []
    for key, shape in known.items():
        name, _, kind = key.rpartition(".")
        name, _, place = name.rpartition(".")
        if kind != "weight":
            continue
        steps: Steps = (LayerStep.CONVOLVE,)
        if name in _RECTIFIED_AFTER:
            steps = (LayerStep.CONVOLVE, LayerStep.RECTIFY)
        elif place == "1":
            last = _next_layer(name) not in known
            steps = (LayerStep.PASS if last else LayerStep.RECTIFY, LayerStep.CONVOLVE)
        layers.append(PublishedLayer(name, shape, f"{name}.{place}.bias" in known, steps))
    return tuple(layers)


def _next_layer(name: str) -> str:
    """Return the name of the weight after that of a dense layer, RDB1.dense_layers.1.conv."""
    block, dense, number, conv = name.split(".")
    return f"{block}.{dense}.{int(number) + 1}.{conv}.1.weight"


_FORMS = tuple(_layers(known) for known in KNOWN)


def _placed(shapes: Shapes) -> Mapping[PublishedLayer, Steps] | None:
    """Return the layers that have these tensors, and their steps; None where none do."""
    plain = fold.plain_shapes(shapes)
    for layers in _FORMS:
        found: dict[PublishedLayer, Steps] = {}
        left = dict(plain)
        for layer in layers:
            own = {key: left.pop(key) for key in plain if key.startswith(f"{layer.name}.")}
            found.update((layer, steps) for steps in layer.variants() if layer.shapes(steps) == own)
        if len(found) == len(layers) and not left:
            return found
    return None


def _recognise(groups: int, shapes: Shapes) -> bool:
    """Say whether these are REDI's tensors with norms that have so many groups, or could."""
    widths = [
        shape[0] for name, shape in shapes.items() if name.endswith(".weight") and len(shape) == 1
    ]
    divide = all(width % groups == 0 for width in widths)
    return bool(widths) and divide and _placed(shapes) is not None


def _convert(state: State) -> State:
    """Fold weight norm and drop blocks that nothing reads; the names stay the published ones."""
    plain = fold.without_weight_norm(state)
    joining = next(t for name, t in plain.items() if name.startswith("rdball.") and t.ndim == 4)
    used = joining.shape[1] // _BLOCK_WIDTH
    unused = tuple(f"RDB{number}." for number in range(used + 1, used + len(plain)))
    return {name: tensor for name, tensor in plain.items() if not name.startswith(unused)}


class NormedDenseBlock(nn.Module):
    """A residual dense block: each layer sees the outputs of all before it."""

    def __init__(self, dense: list[nn.Sequential], fuse: nn.Sequential) -> None:
        super().__init__()
        self.dense_layers = nn.ModuleList(nn.ModuleDict({"conv": one}) for one in dense)
        self.conv_1x1 = fuse

    def forward(self, x: Tensor) -> Tensor:
        """(N, 64, h, w) -> the same."""
        seen = x
        for layer in self.dense_layers:
            seen = torch.cat([seen, layer.get_submodule("conv")(seen)], dim=1)
        fused: Tensor = self.conv_1x1(seen)
        return x + fused


class GroupNormedRedi(nn.Module):
    """REDI from its layers, by published name."""

    def __init__(self, layers: Mapping[str, nn.Sequential]) -> None:
        super().__init__()
        self.conv32x = nn.Sequential(layers["conv32x.0"], layers["conv32x.1"])
        for number in range(1, 4):
            dense = [layer for name, layer in layers.items() if name.startswith(f"RDB{number}.d")]
            if dense:
                self.add_module(
                    f"RDB{number}", NormedDenseBlock(dense, layers[f"RDB{number}.conv_1x1"])
                )
        self.rdball = layers["rdball"]
        self.conv_rdb8x = layers["conv_rdb8x"]
        names = ("conv1", "conv2")
        self.resblock8x = nn.ModuleDict({name: layers[f"resblock8x.{name}"] for name in names})
        self.conv32_8_cat = nn.Sequential(layers["conv32_8_cat.0"], layers["conv32_8_cat.1"])
        self.conv2x = layers["conv2x"]
        self.conv_2_8_32 = layers["conv_2_8_32"]

    def forward(self, packed: Tensor) -> Tensor:
        """(N, 4, h, w) amplified, not white-balanced -> (N, 3, 2h, 2w) sRGB, clamped to [0, 1].

        Sizes must be multiples of 16. Values below black are clipped, as in the authors' code.
        """
        packed = packed.clamp(min=0)
        x = first = self.conv32x(functional.pixel_unshuffle(packed, 16))
        outputs = []
        for block in self.children():
            if isinstance(block, NormedDenseBlock):
                x = block(x)
                outputs.append(x)
        coarse = functional.pixel_shuffle(first + self.rdball(torch.cat(outputs, dim=1)), 4)
        coarse = self.conv_rdb8x(coarse)
        eighth = functional.pixel_unshuffle(packed, 4)
        eighth = eighth + self.resblock8x["conv2"](self.resblock8x["conv1"](eighth))
        both = torch.stack([eighth, coarse], dim=2).flatten(1, 2)  # the channels take turns
        both = functional.pixel_shuffle(self.conv32_8_cat(both), 4)
        picture = self.conv_2_8_32(torch.cat([self.conv2x(packed), both], dim=1))
        return functional.pixel_shuffle(picture, 2).clamp(0, 1)


def _build(groups: int, state: State) -> nn.Module:
    """Build the module for converted tensors."""
    placed = _placed(shapes_of(state)) or {}

    def make() -> nn.Module:
        return GroupNormedRedi(
            {one.name: one.build(steps, groups) for one, steps in placed.items()}
        )

    return filled(make, state)


def _form(after: bool) -> dict[str, tuple[int, ...]]:
    """List names and shapes with norms before, or right after, the convolutions of dense layers.

    Before, in front of the activation: where the authors' code has room for a norm of its own.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in _FORMS[0]:
        steps = layer.steps
        if ".dense_layers." in layer.name:
            steps = (*steps, LayerStep.NORMALISE) if after else (LayerStep.NORMALISE, *steps)
        shapes |= layer.shapes(steps)
    return shapes


_DIALECTS = (fold.with_weight_norm(_form(after=False)), _form(after=False), _form(after=True))


def _architecture(groups: int) -> Architecture:
    """Bind the functions to a number of groups."""
    return Architecture(
        name="redi-group-norm" if groups == GROUPS[0] else f"redi-group-norm-{groups}",
        sensor=Sensor.BAYER,
        multiple=16,
        halo=None,
        recognise=partial(_recognise, groups),
        convert=_convert,
        build=partial(_build, groups),
        dialects=_DIALECTS,
    )


# Never found by itself where more groups are possible: ask for it by its name.
ARCHITECTURES = tuple(_architecture(groups) for groups in GROUPS)
