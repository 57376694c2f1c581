"""SID, "Learning to See in the Dark": a U-Net from the packed mosaic to finished sRGB.

Source: Chen, Chen, Xu and Koltun, CVPR 2018, section 3.2 and figure 3(b); names and layouts of the
tensors in the authors' TensorFlow checkpoints and in the PyTorch reproductions of them.

All dialects become one module of plain convolutions: TensorFlow's layouts and `depth_to_space`,
SID's clockwise R, G, B, G packing and batch norms between a convolution and its activation fold
into the weights. A batch norm after the activation does not (the next convolution pads with zeros,
not with what the norm makes of zero), so it stays as a scale and a shift. Where batch norms take
the photo's own statistics none of them folds, and the photo runs in one piece.

What tensors cannot tell are networks of their own: `sid-rggb` is SID as REDI's repository trains
it, under lavi's names, with mosaics packed R G G B and nothing clipped at white;
`sid-depth-to-space` has the order of TensorFlow in its last layer; `sid-norm-last` its norms after
the activation.

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
from dataclasses import dataclass, replace
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
    DEPTH_TO_SPACE,
    NORM_LAST,
    PLAIN,
    READING_ORDER,
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


class PhotoNorm(nn.Module):
    """A batch norm that takes mean and variance of each photo itself, as in training.

    The variance is the biased one. A photo of one pixel gives the bias alone.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w) -> the same, each of the N by itself."""
        # Not torch.nn.functional's, which refuses a single pixel.
        return torch.instance_norm(
            x, self.weight, self.bias, None, None, True, 0.0, fold.NORM_EPSILON, True
        )


Norms = Mapping[str, type[Affine] | type[PhotoNorm]]
"""What levels have besides convolutions: `first_norm` and `second_norm` stand before the activation
of that convolution, `first_last` and `second_last` after it."""

NORM_PLACES = ("first_norm", "first_last", "second_norm", "second_last")


class Level(nn.Module):
    """Two 3x3 convolutions, each with its activation and perhaps a norm before or after that."""

    def __init__(self, inputs: int, width: int, norms: Norms) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.first_norm, self.first_last, self.second_norm, self.second_last = (
            norms[place](width) if place in norms else nn.Identity() for place in NORM_PLACES
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, width, h, w)."""
        x = functional.leaky_relu(self.first_norm(self.first(x)), SLOPE, inplace=True)
        x = self.second(self.first_last(x))
        x = functional.leaky_relu(self.second_norm(x), SLOPE, inplace=True)
        normed: Tensor = self.second_last(x)
        return normed


class SID(nn.Module):
    """The U-Net, for any size: an odd one is pooled and cropped as TensorFlow's "SAME" does.

    `channels`: 4 for Bayer, 9 for X-Trans. `last`: side of the last convolution, 1 as published or
    3 in the batch-norm reproduction. `norms`: what all levels have. `limit`: where the amplified
    input is clipped.
    """

    by_rows = True  # see darkroom.models.row_bands

    def __init__(
        self, channels: int, last: int = 1, norms: Norms | None = None, limit: float = INPUT_LIMIT
    ) -> None:
        super().__init__()
        self.limit = limit
        self.scale = 2 if channels == 4 else 3
        self.levels = nn.ModuleList(
            Level(into, width, norms or {})
            for into, width in zip(_inputs(channels), WIDTHS, strict=True)
        )
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, stride=2)
            for coarse, fine in pairwise(WIDTHS[_BOTTOM:])
        )
        self.last = nn.Conv2d(WIDTHS[-1], 3 * self.scale**2, last, padding=last // 2)

    def forward(self, packed: Tensor) -> Tensor:
        """(N, C, h, w) amplified -> (N, 3, s*h, s*w) sRGB, not yet clipped."""
        x = self.levels[0](packed.clamp(0.0, self.limit))
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


def _convert(dialects: tuple[Dialect, ...], photo: bool, state: State) -> State:
    """Fold layouts, packing, batch norms and the missing biases into our names.

    `photo`: batch norms take the photo's statistics, so they stay.
    """
    plain = _drop_bookkeeping(state)
    dialect = next(d for d in dialects if d.shapes == shapes_of(plain))
    new = {ours: plain[theirs] for ours, theirs in dialect.names.items()}
    if dialect.naming.tensorflow:
        for name, tensor in new.items():
            if tensor.ndim == 4:
                new[name] = fold.from_tensorflow(tensor)
    if dialect.naming.depth_to_space:
        order = fold.depth_to_space_order(3, math.isqrt(new["last.bias"].numel() // 3))
        new["last.weight"], new["last.bias"] = new["last.weight"][order], new["last.bias"][order]
    for i in range(len(WIDTHS) - _BOTTOM - 1):
        up = new[f"ups.{i}.weight"]
        new.setdefault(f"ups.{i}.bias", up.new_zeros(up.shape[1]))
    first = new["levels.0.first.weight"]
    if first.shape[1] == len(fold.SID_PACKING) and not dialect.naming.reading_order:
        new["levels.0.first.weight"] = first[:, fold.SID_PACKING]
    return _place_norms(new, dialect.naming.norm_last, photo)


def _place_norms(state: dict[str, Tensor], norm_last: bool, photo: bool) -> State:
    """Fold every batch norm into its convolution, or keep what cannot be folded in its place."""
    new = dict(state)
    for key in state:
        if not key.endswith("_norm.running_mean"):
            continue
        name = key.removesuffix(".running_mean")
        layer = name.removesuffix("_norm")
        place = f"{layer}_last" if norm_last else name
        for part in _NORM_PARTS:
            del new[f"{name}.{part}"]
        if photo:
            new |= {f"{place}.{part}": state[f"{name}.{part}"] for part in ("weight", "bias")}
            continue
        scale, shift = fold.batch_norm(state, name)
        if norm_last:
            new[f"{place}.scale"], new[f"{place}.shift"] = scale, shift
            continue
        new[f"{layer}.weight"] = state[f"{layer}.weight"] * scale.view(-1, 1, 1, 1)
        new[f"{layer}.bias"] = state[f"{layer}.bias"] * scale + shift
    return new


def _build(limit: float, state: State) -> nn.Module:
    """Build the module for converted tensors."""
    channels = state["levels.0.first.weight"].shape[1]
    side = state["last.weight"].shape[-1]
    kinds: Norms = {"scale": Affine, "weight": PhotoNorm}
    norms: Norms = {
        place: kind
        for place in NORM_PLACES
        for part, kind in kinds.items()
        if f"levels.0.{place}.{part}" in state
    }
    return filled(partial(SID, channels, side, norms, limit), state)


def _architecture(
    name: str,
    sensor: Sensor,
    namings: tuple[SidNaming, ...],
    reading: str,
    limit: float = INPUT_LIMIT,
) -> Architecture:
    """Bind SID's functions to the dialects of one of its variants."""
    channels = 4 if sensor is Sensor.BAYER else 9
    dialects = tuple(_dialect(channels, naming) for naming in namings)
    stored = Architecture(
        name=name,
        sensor=sensor,
        multiple=16,
        # REDI's code, which clips nothing, also cuts photos to the grid.
        any_size=math.isfinite(limit),
        halo=_HALO + max(naming.last_side for naming in namings) // 2,
        recognise=partial(_recognise, dialects),
        convert=partial(_convert, dialects, False),
        build=partial(_build, limit),
        dialects=tuple(dialect.shapes for dialect in dialects),
        reading=reading,
    )
    normed = tuple(dialect for dialect in dialects if any(dialect.naming.norms))
    if not normed:
        return stored
    photo = replace(
        stored,
        halo=None,
        recognise=partial(_recognise, normed),
        convert=partial(_convert, normed, True),
    )
    return replace(stored, photo_statistics=photo)


_HALO = 107
"""3x3 convolutions: 2 + 4 + 8 + 16 + 32 + 16 + 8 + 4 + 2 packed pixels; pooling: 15."""

_PLAIN = "packed R G B G, its last layer in PixelShuffle's order"
_ORDER = "its last layer in the order of depth_to_space"

# Of several that recognise the same tensors the first is taken; the others are asked for by name.
ARCHITECTURES = (
    _architecture("sid", Sensor.BAYER, PLAIN, _PLAIN),
    _architecture("sid", Sensor.XTRANS, PLAIN, "its last layer in PixelShuffle's order"),
    _architecture(
        "sid-rggb", Sensor.BAYER, READING_ORDER, "packed R G G B, not clipped at white", math.inf
    ),
    _architecture("sid-depth-to-space", Sensor.BAYER, DEPTH_TO_SPACE, _ORDER),
    _architecture("sid-depth-to-space", Sensor.XTRANS, DEPTH_TO_SPACE, _ORDER),
    _architecture("sid-batch-norm", Sensor.BAYER, BATCH_NORMED, "batch norm before the activation"),
    _architecture("sid-norm-last", Sensor.BAYER, NORM_LAST, "batch norm after the activation"),
)
