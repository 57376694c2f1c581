"""SID, "Learning to See in the Dark": a U-Net from the packed mosaic to finished sRGB.

Source: Chen, Chen, Xu and Koltun, CVPR 2018, section 3.2 and figure 3(b); names and layouts of the
tensors in the authors' TensorFlow checkpoints and in the PyTorch reproductions of them.

All dialects become one module of plain convolutions: TensorFlow's layouts and `depth_to_space`,
SID's clockwise R, G, B, G packing and batch norms between a convolution and its activation fold
into the weights. A batch norm after the activation does not (the next convolution pads with zeros,
not with what the norm makes of zero), so it stays as a scale and a shift.

Of sizes that are no multiple of 16 packed pixels the authors' code pools the last row and column
alone ("SAME") and cuts what the transposed convolution makes beyond the skip connection; so does
this module, and every tile ends where the photo does. Of the PyTorch reproductions some do the
same, the others fail on such sizes. Where X-Trans photos are no multiples of their 6x6 block the
authors' code cuts the rest off (two columns of the X-T2's 6032); darkroom paints it, so near that
edge more is seen than in the original: random weights show differences of 1 % of the largest value
up to 220 photosites from it, and none beyond the reach of 321.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.models.architectures import fold
from darkroom.models.architectures.base import Architecture, Shapes, State, filled, shapes_of
from darkroom.models.architectures.sid_names import (
    BATCH_NORMED,
    BOOKKEEPING,
    NORM_LAST,
    PLAIN,
    SidNaming,
    published_name,
)
from darkroom.raw.image import Sensor

WIDTHS = (32, 64, 128, 256, 512, 256, 128, 64, 32)
"""Channels of the nine levels, down and up again. Source: SID, figure 3(b)."""

SLOPE = 0.2
"""Of every leaky rectifier. Source: SID, section 3.2."""

INPUT_LIMIT = 1.0
"""The amplified input is clipped at black and white. Source: SID's published code, test_Sony.py."""

Value = TypeVar("Value")

_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
_BOTTOM = 4
"""The level that is neither on the way down nor on the way up."""


def _inputs(channels: int) -> tuple[int, ...]:
    """Return the input channels of the nine levels; on the way up half of them are the skip's."""
    return (channels, *WIDTHS[:_BOTTOM], *(2 * width for width in WIDTHS[_BOTTOM + 1 :]))


class Affine(nn.Module):
    """A scale and a shift for each channel: a trained batch norm that could not be folded."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w) -> the same."""
        return torch.addcmul(self.shift.view(-1, 1, 1), x, self.scale.view(-1, 1, 1))


class Level(nn.Module):
    """Two 3x3 convolutions, each with its activation and, in one dialect, an affine after that."""

    def __init__(self, inputs: int, width: int, affine: tuple[bool, bool]) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.first_norm = Affine(width) if affine[0] else nn.Identity()
        self.second_norm = Affine(width) if affine[1] else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, width, h, w)."""
        x = self.first_norm(functional.leaky_relu(self.first(x), SLOPE, inplace=True))
        x = functional.leaky_relu(self.second(x), SLOPE, inplace=True)
        normed: Tensor = self.second_norm(x)
        return normed


class SID(nn.Module):
    """The U-Net, for any size: an odd one is pooled and cropped as TensorFlow's "SAME" does.

    `channels`: 4 for Bayer, 9 for X-Trans. `last`: side of the last convolution, 1 as published or
    3 in the batch-norm reproduction. `affine`: whether levels have an affine after their first
    and after their second activation.
    """

    def __init__(
        self, channels: int, last: int = 1, affine: tuple[bool, bool] = (False, False)
    ) -> None:
        super().__init__()
        self.scale = 2 if channels == 4 else 3
        self.levels = nn.ModuleList(
            Level(into, width, affine)
            for into, width in zip(_inputs(channels), WIDTHS, strict=True)
        )
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, stride=2)
            for coarse, fine in pairwise(WIDTHS[_BOTTOM:])
        )
        self.last = nn.Conv2d(WIDTHS[-1], 3 * self.scale**2, last, padding=last // 2)

    def forward(self, packed: Tensor) -> Tensor:
        """(N, C, h, w) amplified -> (N, 3, s*h, s*w) sRGB, not yet clipped."""
        x = self.levels[0](packed.clamp(0, INPUT_LIMIT))
        skips = []
        for level in self.levels[1 : _BOTTOM + 1]:
            skips.append(x)
            x = level(functional.max_pool2d(x, 2, ceil_mode=True))
        for up, level in zip(self.ups, self.levels[_BOTTOM + 1 :], strict=True):
            skip = skips.pop()
            x = up(x)[..., : skip.shape[-2], : skip.shape[-1]]
            x = level(torch.cat([x, skip], dim=1))
        return functional.pixel_shuffle(self.last(x), self.scale)


@dataclass(frozen=True)
class Dialect:
    """One checkpoint form: the published name of each of our tensors, and the published shapes."""

    naming: SidNaming
    names: Mapping[str, str]
    shapes: Shapes


def _our_shapes(channels: int, naming: SidNaming) -> dict[str, tuple[int, ...]]:
    """Return the shapes under our names, each affine as the four tensors of its batch norm."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (into, width) in enumerate(zip(_inputs(channels), WIDTHS, strict=True)):
        for part, source, norm in zip(
            ("first", "second"), (into, width), naming.norms, strict=True
        ):
            shapes[f"levels.{i}.{part}.weight"] = (width, source, 3, 3)
            shapes[f"levels.{i}.{part}.bias"] = (width,)
            if norm is not None:
                for kind in _NORM_PARTS:
                    shapes[f"levels.{i}.{part}_norm.{kind}"] = (width,)
    for i, (coarse, fine) in enumerate(pairwise(WIDTHS[_BOTTOM:])):
        shapes[f"ups.{i}.weight"] = (coarse, fine, 2, 2)
        if naming.up_bias:
            shapes[f"ups.{i}.bias"] = (fine,)
    out, side = (12 if channels == 4 else 27), naming.last_side
    return shapes | {"last.weight": (out, WIDTHS[-1], side, side), "last.bias": (out,)}


def _dialect(channels: int, naming: SidNaming) -> Dialect:
    """Derive a checkpoint's names and shapes from how its publisher named the layers."""
    ours = _our_shapes(channels, naming)
    names = {name: published_name(naming, name) for name in ours}
    shapes = {
        names[name]: (*shape[2:], shape[1], shape[0])
        if naming.tensorflow and len(shape) == 4
        else shape
        for name, shape in ours.items()
    }
    return Dialect(naming, names, shapes)


def _drop_bookkeeping(named: Mapping[str, Value]) -> dict[str, Value]:
    """Leave out what training keeps beside the weights: optimiser slots and counters."""
    return {name: value for name, value in named.items() if not name.endswith(BOOKKEEPING)}


def _recognise(dialects: tuple[Dialect, ...], shapes: Shapes) -> bool:
    """Say whether these are SID's tensors in one of the dialects."""
    plain = _drop_bookkeeping(shapes)
    return any(plain == dialect.shapes for dialect in dialects)


def _convert(dialects: tuple[Dialect, ...], state: State) -> State:
    """Fold layouts, packing, batch norms and the missing biases into our names."""
    plain = _drop_bookkeeping(state)
    dialect = next(d for d in dialects if d.shapes == shapes_of(plain))
    new = {ours: plain[theirs] for ours, theirs in dialect.names.items()}
    if dialect.naming.tensorflow:
        for name, tensor in new.items():
            if tensor.ndim == 4:
                new[name] = fold.from_tensorflow(tensor)
        order = fold.depth_to_space_order(3, math.isqrt(new["last.bias"].numel() // 3))
        new["last.weight"], new["last.bias"] = new["last.weight"][order], new["last.bias"][order]
    for i in range(len(WIDTHS) - _BOTTOM - 1):
        up = new[f"ups.{i}.weight"]
        new.setdefault(f"ups.{i}.bias", up.new_zeros(up.shape[1]))
    first = new["levels.0.first.weight"]
    if first.shape[1] == len(fold.SID_PACKING):
        new["levels.0.first.weight"] = first[:, fold.SID_PACKING]
    return _without_norms(new, dialect.naming.norm_last)


def _without_norms(state: dict[str, Tensor], norm_last: bool) -> State:
    """Fold every batch norm into its convolution, or keep it as an affine after the activation."""
    new = dict(state)
    for key in state:
        if not key.endswith("_norm.running_mean"):
            continue
        name = key.removesuffix(".running_mean")
        scale, shift = fold.batch_norm(state, name)
        for part in _NORM_PARTS:
            del new[f"{name}.{part}"]
        if norm_last:
            new[f"{name}.scale"], new[f"{name}.shift"] = scale, shift
            continue
        layer = name.removesuffix("_norm")
        new[f"{layer}.weight"] = state[f"{layer}.weight"] * scale.view(-1, 1, 1, 1)
        new[f"{layer}.bias"] = state[f"{layer}.bias"] * scale + shift
    return new


def _build(state: State) -> nn.Module:
    """Build the module for converted tensors."""
    channels = state["levels.0.first.weight"].shape[1]
    side = state["last.weight"].shape[-1]
    affine = ("levels.0.first_norm.scale" in state, "levels.0.second_norm.scale" in state)
    return filled(partial(SID, channels, side, affine), state)


def _architecture(
    name: str, sensor: Sensor, halo: int, namings: tuple[SidNaming, ...]
) -> Architecture:
    """Bind SID's functions to the dialects of one of its variants."""
    channels = 4 if sensor is Sensor.BAYER else 9
    dialects = tuple(_dialect(channels, naming) for naming in namings)
    return Architecture(
        name=name,
        sensor=sensor,
        multiple=16,
        any_size=True,
        halo=halo,
        recognise=partial(_recognise, dialects),
        convert=partial(_convert, dialects),
        build=_build,
        dialects=tuple(dialect.shapes for dialect in dialects),
    )


_HALO = 107
"""3x3 convolutions: 2 + 4 + 8 + 16 + 32 + 16 + 8 + 4 + 2 packed pixels; pooling: 15."""

ARCHITECTURES = (
    _architecture("sid", Sensor.BAYER, _HALO, PLAIN),
    _architecture("sid", Sensor.XTRANS, _HALO, PLAIN),
    _architecture("sid-batch-norm", Sensor.BAYER, _HALO + 1, BATCH_NORMED),
    # Never found by itself where `sid-batch-norm` has the same names: ask for it by its name.
    _architecture("sid-norm-last", Sensor.BAYER, _HALO + 1, NORM_LAST),
)
