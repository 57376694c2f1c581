"""REDI: restoring extremely dark images in real time, at three scales side by side.

Source: Lamba and Mitra, "Restoring Extremely Dark Images in Real Time", CVPR 2021, section 3 and
figure 3; names and shapes of the tensors in the authors' published checkpoint.

Most of the work is done at 1/32 of the mosaic's resolution (three residual dense blocks), some at
1/8 (a residual block) and little at 1/2 (two 5x5 convolutions). Here the last of these run at 1/4
as 3x3 convolutions on four times the channels, which is the same arithmetic (`fold.polyphase`).
The channel shuffle and every pixel shuffle but the first and the last are folded into weights.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.files.sensor import Sensor
from darkroom.gain import GainRule
from darkroom.nets import fold
from darkroom.nets.base import Architecture, Shapes, State, filled
from darkroom.weights.kinds import Output

SLOPE = 0.2
"""Of every leaky rectifier. Source: REDI, section 3."""


class DenseBlock(nn.Module):
    """A residual dense block: each layer sees the outputs of all before it.

    Only the middle layers rectify their input, before the convolution.
    """

    def __init__(self, layers: int, width: int = 64, growth: int = 32) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(width + i * growth, growth, 3, padding=1, bias=False) for i in range(layers)
        )
        self.fuse = nn.Conv2d(width + layers * growth, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w) -> the same."""
        seen = x
        for i, layer in enumerate(self.layers):
            middle = 0 < i < len(self.layers) - 1
            entry = functional.leaky_relu(seen, SLOPE) if middle else seen
            seen = torch.cat([seen, layer(entry)], dim=1)
        fused: Tensor = self.fuse(seen)
        return x + fused


class Coarse(nn.Module):
    """The branch at 1/32 of the mosaic: (N, 4, h, w) packed to (N, 4, h/4, w/4)."""

    def __init__(self, depths: tuple[int, ...]) -> None:
        super().__init__()
        self.runs = nn.Conv2d(1024, 128, 3, padding=1, groups=128)
        self.enter = nn.Conv2d(128, 64, 3, padding=1)
        self.blocks = nn.ModuleList(DenseBlock(layers) for layers in depths)
        self.join = nn.Conv2d(64 * len(depths), 64, 1, bias=False)

    def forward(self, packed: Tensor) -> Tensor:
        """Sizes must be multiples of 16."""
        x = first = self.enter(self.runs(functional.pixel_unshuffle(packed, 16)))
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return functional.pixel_shuffle(first + self.join(torch.cat(outputs, dim=1)), 4)


class Redi(nn.Module):
    """REDI in plain convolutions; `depths` are the layers of its residual dense blocks."""

    def __init__(self, depths: tuple[int, ...] = (4, 5, 5)) -> None:
        super().__init__()
        conv3 = partial(nn.Conv2d, kernel_size=3, padding=1)
        self.coarse = Coarse(depths)
        self.coarse_out = conv3(4, 64)
        self.middle = nn.Sequential(conv3(64, 64), nn.LeakyReLU(SLOPE), conv3(64, 64))
        self.middle_in = conv3(128, 32, groups=4)
        self.middle_out = conv3(32, 192)
        self.fine = conv3(16, 48)
        self.last = conv3(96, 48)

    def forward(self, packed: Tensor) -> Tensor:
        """(N, 4, h, w) amplified, not white-balanced -> (N, 3, 2h, 2w) sRGB, clamped to [0, 1].

        Sizes must be multiples of 16. Values below black are clipped, as in the authors' code.
        """
        packed = packed.clamp(min=0)
        eighth = functional.pixel_unshuffle(packed, 4)
        eighth = eighth + self.middle(eighth)
        coarse = self.coarse_out(self.coarse(packed))
        # Each of the four groups sees 16 channels of either branch.
        pairs = zip(eighth.chunk(4, dim=1), coarse.chunk(4, dim=1), strict=True)
        both = self.middle_in(torch.cat([part for pair in pairs for part in pair], dim=1))
        both = functional.leaky_relu(self.middle_out(both), SLOPE)
        quarter = self.fine(functional.pixel_unshuffle(packed, 2))
        quarter = torch.cat([quarter, functional.pixel_shuffle(both, 2)], dim=1)
        return functional.pixel_shuffle(self.last(quarter), 4).clamp(0, 1)


def _shuffle_by_two(channels: int) -> list[int]:
    """Order 16 * channels so that pixel_shuffle(2), of two, does the coarse step of a shuffle by 4.

    What is left are `channels` * 4 channels in the order of a later pixel_shuffle(2).
    """
    old = torch.arange(channels * 16).view(channels, 2, 2, 2, 2)  # c, row (coarse, fine), col
    return old.permute(0, 2, 4, 1, 3).flatten().tolist()


def _shuffle_by_four(channels: int) -> list[int]:
    """Order (c, fine 2x2, coarse 2x2) as one pixel_shuffle(4) needs it: (c, row, col)."""
    old = torch.arange(channels * 16).view(channels, 2, 2, 2, 2)  # c, fine y x, coarse y x
    return old.permute(0, 3, 1, 4, 2).flatten().tolist()


def _convert(state: State) -> State:
    """Fold the published tensors: weight norm, channel shuffle, pixel shuffles, polyphase."""
    plain = fold.without_weight_norm(state)
    depths = _depths({name: tuple(tensor.shape) for name, tensor in plain.items()})
    new: dict[str, Tensor] = {"coarse.join.weight": plain["rdball.0.weight"]}

    def take(name: str, old: str) -> None:
        new[f"{name}.weight"] = plain[f"{old}.weight"]
        if f"{old}.bias" in plain:
            new[f"{name}.bias"] = plain[f"{old}.bias"]

    for i, layers in enumerate(depths):
        for j in range(layers):
            old = f"RDB{i + 1}.dense_layers.{j}.conv.{min(j, 1)}"
            take(f"coarse.blocks.{i}.layers.{j}", old)
        take(f"coarse.blocks.{i}.fuse", f"RDB{i + 1}.conv_1x1.0")
    for name, old in _PLAIN.items():
        take(name, old)
    return new | _middle_and_fine(plain)


def _middle_and_fine(plain: State) -> dict[str, Tensor]:
    """Fold what follows the two branches at 1/8 and 1/2."""
    # The authors interleave the 64 channels of either branch; we keep them apart in each group.
    apart = [*range(0, 32, 2), *range(1, 32, 2)]
    by_two, by_four = _shuffle_by_two(12), _shuffle_by_four(3)
    last, bias = plain["conv_2_8_32.0.weight"], plain["conv_2_8_32.0.bias"]
    return {
        "middle_in.weight": fold.permute_inputs(plain["conv32_8_cat.0.0.weight"], apart),
        "middle_in.bias": plain["conv32_8_cat.0.0.bias"],
        "middle_out.weight": fold.permute_outputs(plain["conv32_8_cat.1.0.weight"], by_two),
        "middle_out.bias": fold.permute_outputs(plain["conv32_8_cat.1.0.bias"], by_two),
        "fine.weight": fold.polyphase(plain["conv2x.0.weight"], 2),
        "fine.bias": plain["conv2x.0.bias"].repeat_interleave(4),
        "last.weight": fold.permute_outputs(fold.polyphase(last, 2), by_four),
        "last.bias": fold.permute_outputs(bias.repeat_interleave(4), by_four),
    }


_PLAIN = {
    "coarse.runs": "conv32x.0.0",
    "coarse.enter": "conv32x.1.0",
    "coarse_out": "conv_rdb8x.0",
    "middle.0": "resblock8x.conv1.0",
    "middle.2": "resblock8x.conv2.0",
}
"""Our layers that are the published ones unchanged."""


def _depths(shapes: Shapes) -> tuple[int, ...]:
    """Return the layers of each dense block in use: as many blocks as the joining layer reads.

    The authors' reduction to two blocks keeps the third in its checkpoint, unused.
    """
    blocks = shapes["rdball.0.weight"][1] // 64
    return tuple(
        sum(f"RDB{i}.dense_layers.{j}.conv.{min(j, 1)}.weight" in shapes for j in range(16))
        for i in range(1, blocks + 1)
    )


def _build(state: State) -> nn.Module:
    """Build the module for converted tensors."""
    blocks = state["coarse.join.weight"].shape[1] // 64
    depths = tuple(
        sum(f"coarse.blocks.{i}.layers.{j}.weight" in state for j in range(16))
        for i in range(blocks)
    )
    return filled(lambda: Redi(depths), state)


def _published(depths: tuple[int, ...], joined: int) -> dict[str, tuple[int, ...]]:
    """List names and shapes of a checkpoint without weight norm, `joined` of its blocks in use."""
    shapes: dict[str, tuple[int, ...]] = {
        "rdball.0.weight": (64, 64 * joined, 1, 1),
        "conv32x.0.0.weight": (128, 8, 3, 3),
        "conv32x.1.0.weight": (64, 128, 3, 3),
        "conv_rdb8x.0.weight": (64, 4, 3, 3),
        "resblock8x.conv1.0.weight": (64, 64, 3, 3),
        "resblock8x.conv2.0.weight": (64, 64, 3, 3),
        "conv32_8_cat.0.0.weight": (32, 32, 3, 3),
        "conv32_8_cat.1.0.weight": (192, 32, 3, 3),
        "conv2x.0.weight": (12, 4, 5, 5),
        "conv_2_8_32.0.weight": (12, 24, 5, 5),
    }
    biases = {key.replace("weight", "bias"): shape[:1] for key, shape in shapes.items()}
    del biases["rdball.0.bias"]
    for i, layers in enumerate(depths, start=1):
        for j in range(layers):
            shapes[f"RDB{i}.dense_layers.{j}.conv.{min(j, 1)}.weight"] = (32, 64 + 32 * j, 3, 3)
        shapes[f"RDB{i}.conv_1x1.0.weight"] = (64, 64 + 32 * layers, 1, 1)
    return shapes | biases


def _with_weight_norm(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes that torch's weight norm stores."""
    norms = {f"{key}_g": (shape[0], 1, 1, 1) for key, shape in shapes.items() if len(shape) == 4}
    return norms | {f"{key}_v" if len(s) == 4 else key: s for key, s in shapes.items()}


_KNOWN = tuple(
    _published(depths, joined) for depths, joined in (((4, 5, 5), 3), ((4, 5, 5), 2), ((4, 5), 2))
)
"""The published network; its reduction to two blocks, with and without the unused third."""


def _recognise(shapes: Shapes) -> bool:
    """Say whether these are REDI's tensors, with or without weight norm."""
    return fold.plain_shapes(shapes) in _KNOWN


ARCHITECTURES = (
    Architecture(
        name="redi",
        sensor=Sensor.BAYER,
        multiple=16,
        # 16 convolutions at 1/16 of the packed size, 3 at 1/4, one of 5x5 at 1, from the last
        # packed pixel of a block whose own block is reached: 571 photosites.
        halo=286,
        output=Output.SRGB,
        gain_rule=GainRule.REDI,
        recognise=_recognise,
        convert=_convert,
        build=_build,
        dialects=(_with_weight_norm(_KNOWN[0]), *_KNOWN),
    ),
)
