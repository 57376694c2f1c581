"""REDI as it is written: a sequence of steps for each layer, named as in the authors' checkpoint.

Slower than `redi`, whose folding is for Bayer mosaics and for layers without norms, and as exact.
Source: as for `redi`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.models.architectures import fold
from darkroom.models.architectures.base import Shapes, State
from darkroom.models.architectures.redi import SLOPE

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

    @property
    def norm_widths(self) -> tuple[int, int]:
        """Channels that a norm would have before and after its convolution."""
        return self.weight[1] * self.split, self.weight[0]

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

    def build(self, steps: Steps, groups: int | None = None) -> nn.Sequential:
        """Make the layer with these steps; `groups` are those of its norm, None: one a channel."""
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
                made.append(nn.GroupNorm(groups or width, width))
            else:
                made.append(nn.LeakyReLU(SLOPE if step is LayerStep.RECTIFY else 1.0))
        return nn.Sequential(*made)


def read_layers(known: Shapes) -> tuple[PublishedLayer, ...]:
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


def place_steps(
    shapes: Shapes, forms: tuple[tuple[PublishedLayer, ...], ...]
) -> Mapping[PublishedLayer, Steps] | None:
    """Return the layers of the form with these tensors, and their steps; None where none has."""
    plain = fold.plain_shapes(shapes)
    for layers in forms:
        found: dict[PublishedLayer, Steps] = {}
        left = dict(plain)
        for layer in layers:
            own = {key: left.pop(key) for key in plain if key.startswith(f"{layer.name}.")}
            found.update((layer, steps) for steps in layer.variants() if layer.shapes(steps) == own)
        if len(found) == len(layers) and not left:
            return found
    return None


def convert_layers(state: State) -> State:
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


class LayeredRedi(nn.Module):
    """REDI from its layers, by published name; for X-Trans mosaics where they take 9 channels."""

    by_rows = True  # see darkroom.models.row_bands

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
        """(N, C, h, w) amplified, not white-balanced -> (N, 3, s*h, s*w) sRGB, clamped to [0, 1].

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
        # The channels of the first half and of the second take turns.
        both = functional.channel_shuffle(torch.cat([eighth, coarse], dim=1), 2)
        both = functional.pixel_shuffle(self.conv32_8_cat(both), 4)
        picture = self.conv_2_8_32(torch.cat([self.conv2x(packed), both], dim=1))
        return functional.pixel_shuffle(picture, math.isqrt(picture.shape[1] // 3)).clamp(0, 1)
