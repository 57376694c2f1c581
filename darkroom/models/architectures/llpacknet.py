"""LLPackNet: nearly all work at 1/16 of the mosaic's resolution, then one large UnPack.

Source: Lamba, Balaji and Mitra, "Towards Fast and Light-Weight Restoration of Dark Images", BMVC
2020, section 3, and the authors' published code of 2020 (train.py, test.py) and 2022 (network.py).

Weight norm, the four colours' separate convolutions (one grouped convolution here) and the order
of UnPack's channels fold into the weights. UnPack's order is the same in 2020 and 2022 for one
photo: row, column, colour. The two differ in their names, in weight norm and in what ends them, a
rectifier in 2020 and a sigmoid in 2022, and 2020 has an amplifier that finds the gain.

Beside them lies an ablation with PixelShuffle instead of UnPack (ablations/ of 2020), whose order
is colour, row, column: the same tensors, another picture. No tensor tells, so a file is UnPack's
unless it is asked for as llpacknet-2020-pixel-shuffle=FILE. The other notebook there,
LLPackNet.ipynb, is the network of 2020 with a convolutional amplifier and without the last
rectifier, whose work clipping does.
"""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.errors import CheckpointError
from darkroom.models.architectures import fold
from darkroom.models.architectures.base import Architecture, Shapes, State, filled
from darkroom.models.architectures.redi import RediDenseBlock
from darkroom.raw.image import Sensor

PACK = 8
"""Sites per side that Pack turns into channels. Source: section 3.1."""

MIN_AMPLIFICATION = 1e-4
"""What the amplifier gives instead of a gain that is not positive. Source: train.py."""

HISTOGRAM_BINS = 63
"""Between the 64 edges (2^(8 i / 63) - 1) / 255 of white. Source: train.py."""

_AMPLIFIER = "amplifier."
_COLOURS = ("RDBr", "RDBg1", "RDBg2", "RDBb")
_BLOCKS = ("RDB1", "RDB2", "RDB3")
_LAYERS = 6
_GROWTH = 32


class LLPackDenseBlock(RediDenseBlock):
    """A residual dense block as REDI's, but every layer rectifies its output."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w) -> the same."""
        seen = x
        for layer in self.layers:
            seen = torch.cat([seen, functional.relu(layer(seen), inplace=True)], dim=1)
        fused: Tensor = self.fuse(seen)
        return x + fused


class LLPackNet(nn.Module):
    """The network; `sigmoid` says what ends it, else a rectifier."""

    by_rows = True  # see darkroom.models.row_bands

    def __init__(self, sigmoid: bool) -> None:
        super().__init__()
        sites = PACK**2
        self.sigmoid = sigmoid
        self.enter = nn.Conv2d(4 * sites, 4 * 64, 3, padding=1, groups=4)
        self.mix = nn.Conv2d(4 * 64, 64, 1, bias=False)
        self.blocks = nn.ModuleList(LLPackDenseBlock(_LAYERS, 64, _GROWTH) for _ in _BLOCKS)
        self.fuse = nn.Conv2d(len(_BLOCKS) * 64, 64, 1, bias=False)
        self.fine = LLPackDenseBlock(_LAYERS, 16, _GROWTH)
        self.last = nn.Conv2d(16, 3 * sites, 3, padding=1)

    def forward(self, packed: Tensor) -> Tensor:
        """(N, 4, h, w) amplified -> (N, 3, 2h, 2w) sRGB; h and w multiples of 8."""
        x = functional.pixel_unshuffle(packed.clamp(min=0), PACK)
        start = x = self.mix(functional.relu(self.enter(x), inplace=True))
        seen = []
        for block in self.blocks:
            x = block(x)
            seen.append(x)
        x = start + self.fuse(torch.cat(seen, dim=1))
        x = self.last(self.fine(functional.pixel_shuffle(x, 2)))
        x = functional.pixel_shuffle(x, PACK)
        return torch.sigmoid(x) if self.sigmoid else functional.relu(x)


class Amplifier(nn.Module):
    """The amplifier of 2020 in its convolutional form: a mean of 16 features, then two layers.

    There is no activation in it but the threshold at the end. `side`: of its first convolution.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(4, 16, side, padding=side // 2)
        self.hidden = nn.Conv2d(16, 128, 1)
        self.out = nn.Conv2d(128, 1, 1)

    def forward(self, packed: Tensor) -> Tensor:
        """(N, 4, h, w), black 0 and white 1, not amplified -> (N,) gains."""
        mean = self.enter(packed.clamp(min=0)).mean((2, 3), keepdim=True)
        return _thresholded(self.out(self.hidden(mean)))


class HistogramAmplifier(nn.Module):
    """The amplifier of 2020 as in train.py: two layers on a logarithmic histogram."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(HISTOGRAM_BINS, 128)
        self.out = nn.Linear(128, 1)

    def forward(self, packed: Tensor) -> Tensor:
        """(N, 4, h, w), black 0 and white 1, not amplified -> (N,) gains."""
        edges = (torch.logspace(0, 8, HISTOGRAM_BINS + 1, 2.0, dtype=torch.float64) - 1) / 255
        counts = [torch.histogram(one.clamp(min=0).double().cpu(), edges)[0] for one in packed]
        shares = torch.stack(counts) / packed[0].numel()
        return _thresholded(self.out(self.hidden(shares.to(self.out.weight))))


def _thresholded(gain: Tensor) -> Tensor:
    """Replace what is not positive by the least gain."""
    return functional.threshold(gain.flatten(), 0, MIN_AMPLIFICATION)


_AMPLIFIERS: tuple[tuple[Callable[[int], nn.Module], dict[tuple[int, ...], str]], ...] = (
    (Amplifier, {(16, 4): "enter", (128, 16): "hidden", (1, 128): "out"}),
    (lambda _: HistogramAmplifier(), {(128, HISTOGRAM_BINS): "hidden", (1, 128): "out"}),
)
"""The forms, and the name of each layer by its outputs and inputs."""


def amplifier(state: State) -> nn.Module | None:
    """Return the amplifier in a checkpoint of 2020, float32, or None where there is none.

    It maps packed mosaics (N, 4, h, w), black 0 and white 1, not amplified, to (N,) gains of at
    least 1e-4. `state`: the whole checkpoint; which form its amplifier has is told by shapes.
    Raises CheckpointError for an amplifier of no known form.
    """
    shapes = {n: tuple(t.shape) for n, t in state.items() if n.startswith(_AMPLIFIER)}
    if not shapes:
        return None
    weights = {shape[:2]: name for name, shape in shapes.items() if len(shape) > 1}
    for make, layers in _AMPLIFIERS:
        if sorted(weights) != sorted(layers):
            continue
        new: dict[str, Tensor] = {}
        for layer, key in layers.items():
            name = weights[layer].removesuffix("weight")
            present = [part for part in ("weight", "bias") if name + part in shapes]
            new |= {f"{key}.{part}": state[name + part].float() for part in present}
        side = state[weights[next(iter(layers))]].shape[-1]
        return filled(partial(make, side), new).eval().requires_grad_(False)
    raise CheckpointError("its amplifier has no known form: use the authors' file, unchanged")


def _published(sequenced: bool) -> dict[str, tuple[int, ...]]:
    """List names and shapes as published, without weight norm.

    `sequenced`: whether each convolution sits first in a sequence, as in 2022.
    """
    end = ".0" if sequenced else ""
    shapes: dict[str, tuple[int, ...]] = {
        f"before_identity{end}.weight": (64, 4 * 64, 1, 1),
        f"after_rdb{end}.weight": (64, len(_BLOCKS) * 64, 1, 1),
        f"final.2{end}.weight": (3 * PACK**2, 16, 3, 3),
        f"final.2{end}.bias": (3 * PACK**2,),
    }
    for name in _COLOURS:
        shapes[f"{name}{end}.weight"] = (64, PACK**2, 3, 3)
        shapes[f"{name}{end}.bias"] = (64,)
    for name in (*_BLOCKS, "final.1"):
        width = 64 if name in _BLOCKS else 16
        for i in range(_LAYERS):
            key = f"{name}.dense_layers.{i}.conv{end}.weight"
            shapes[key] = (_GROWTH, width + i * _GROWTH, 3, 3)
        shapes[f"{name}.conv_1x1{end}.weight"] = (width, width + _LAYERS * _GROWTH, 1, 1)
    return shapes


_FORMS = {True: _published(sequenced=True), False: _published(sequenced=False)}


def _network(names: Iterable[str]) -> list[str]:
    """Leave out the amplifier, which finds a gain and paints nothing."""
    return [name for name in names if not name.startswith(_AMPLIFIER)]


def _recognise(sequenced: bool, shapes: Shapes) -> bool:
    """Say whether these are LLPackNet's tensors, with or without weight norm and amplifier."""
    named = {name: shapes[name] for name in _network(shapes)}
    pairs = fold.weight_norm_pairs(named).values()
    norms_fit = all(named[g] == (named[v][0], 1, 1, 1) for v, g in pairs)
    return norms_fit and fold.plain_shapes(named) == _FORMS[sequenced]


def _convert(sequenced: bool, unpack: bool, state: State) -> State:
    """Fold weight norm, the four colours' convolutions and UnPack's order into our names."""
    plain = fold.without_weight_norm({name: state[name] for name in _network(state)})
    end = ".0" if sequenced else ""
    order = fold.depth_to_space_order(3, PACK) if unpack else slice(None)
    new = {
        "enter.weight": torch.cat([plain[f"{name}{end}.weight"] for name in _COLOURS]),
        "enter.bias": torch.cat([plain[f"{name}{end}.bias"] for name in _COLOURS]),
        "mix.weight": plain[f"before_identity{end}.weight"],
        "fuse.weight": plain[f"after_rdb{end}.weight"],
        "last.weight": plain[f"final.2{end}.weight"][order],
        "last.bias": plain[f"final.2{end}.bias"][order],
    }
    ours = [f"blocks.{i}" for i in range(len(_BLOCKS))]
    for name, theirs in zip((*ours, "fine"), (*_BLOCKS, "final.1"), strict=True):
        for i in range(_LAYERS):
            key = f"{theirs}.dense_layers.{i}.conv{end}.weight"
            new[f"{name}.layers.{i}.weight"] = plain[key]
        new[f"{name}.fuse.weight"] = plain[f"{theirs}.conv_1x1{end}.weight"]
    return new


def _architecture(name: str, sequenced: bool, *dialects: Shapes, unpack: bool) -> Architecture:
    """Bind LLPackNet's functions to the names of one year, and to UnPack or PixelShuffle."""
    return Architecture(
        name=name,
        sensor=Sensor.BAYER,
        multiple=8,
        # 1 + 18 convolutions at 1/8 of the packed size, 7 at 1/4; 7 to the end of the cell.
        halo=187,
        recognise=partial(_recognise, sequenced),
        convert=partial(_convert, sequenced, unpack),
        build=partial(filled, partial(LLPackNet, sequenced)),
        dialects=dialects,
        amplifier=amplifier,
    )


_2022 = (fold.with_weight_norm(_FORMS[True]), _FORMS[True])
_2020 = (_FORMS[False], fold.with_weight_norm(_FORMS[False]))

ARCHITECTURES = (
    _architecture("llpacknet", True, *_2022, unpack=True),
    _architecture("llpacknet-2020", False, *_2020, unpack=True),
    _architecture("llpacknet-2020-pixel-shuffle", False, *_2020, unpack=False),
)
