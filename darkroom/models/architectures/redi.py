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
from torch.overrides import handle_torch_function, has_torch_function

from darkroom.models.architectures import fold
from darkroom.models.architectures.base import Architecture, Shapes, State, filled, shapes_of
from darkroom.raw.image import Sensor

SLOPE = 0.2
"""Of every leaky rectifier. Source: REDI, section 3."""


class RediDenseBlock(nn.Module):
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


class Runs(nn.Module):
    """The first layer, 1024 to 128 channels in 128 groups, straight from the packed mosaic.

    A group holds 8 neighbours of one row of a 16x16 block, so the layer is a product of these runs
    with 9 weights each, one per tap of the 3x3 kernel, and a sum of the shifted products: neither
    the shuffle to 1024 channels nor a convolution of single channels is needed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(128, 8, 3, 3))
        self.bias = nn.Parameter(torch.empty(128))

    def forward(self, packed: Tensor) -> Tensor:
        """(N, 4, h, w) -> (N, 128, h/16, w/16)."""
        return convolve_runs(packed, self.weight, self.bias)


def convolve_runs(packed: Tensor, weight: Tensor, bias: Tensor, above: int = 1) -> Tensor:
    """Return what `Runs` gives; `above`: blocks above and below that are zero, 0 where given."""
    if has_torch_function((packed,)):
        recorded: Tensor = handle_torch_function(convolve_runs, (packed,), packed, weight, bias)
        return recorded
    count, _, height, width = packed.shape
    rows, cols = height // 16, width // 16
    runs = packed.reshape(count, 4, rows, 16, cols, 2, 8).permute(1, 3, 5, 0, 2, 4, 6)
    taps = torch.bmm(runs.reshape(128, -1, 8), weight.flatten(2))
    taps = taps.view(128, count, rows, cols, 9)
    total = taps.new_zeros(128, count, rows + 2, cols + 2)
    for tap in range(9):
        # The product at a block counts for the block that this tap sees it from.
        down, right = 2 - tap // 3, 2 - tap % 3
        total[:, :, down : down + rows, right : right + cols] += taps[..., tap]
    edge = 2 - above
    inner = total[:, :, edge : rows + 2 - edge, 1:-1].transpose(0, 1)
    return inner + bias.view(1, -1, 1, 1)


class Coarse(nn.Module):
    """The branch at 1/32 of the mosaic: (N, 4, h, w) packed to (N, 4, h/4, w/4)."""

    def __init__(self, depths: tuple[int, ...]) -> None:
        super().__init__()
        self.runs = Runs()
        self.enter = nn.Conv2d(128, 64, 3, padding=1)
        self.blocks = nn.ModuleList(RediDenseBlock(layers) for layers in depths)
        self.join = nn.Conv2d(64 * len(depths), 64, 1, bias=False)

    def forward(self, packed: Tensor) -> Tensor:
        """Sizes must be multiples of 16."""
        x = first = self.enter(self.runs(packed))
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return functional.pixel_shuffle(first + self.join(torch.cat(outputs, dim=1)), 4)


class Redi(nn.Module):
    """REDI in plain convolutions; `depths` are the layers of its residual dense blocks."""

    by_rows = True  # see darkroom.models.row_bands

    def __init__(self, depths: tuple[int, ...] = (4, 5, 5)) -> None:
        super().__init__()
        conv3 = partial(nn.Conv2d, kernel_size=3, padding=1)
        self.coarse = Coarse(depths)
        self.coarse_out = conv3(4, 64)
        self.middle = nn.Sequential(conv3(64, 64), nn.LeakyReLU(SLOPE, inplace=True), conv3(64, 64))
        self.middle_in = conv3(128, 32, groups=4)
        self.middle_out = conv3(32, 192)
        self.fine = conv3(16, 48)
        self.last_fine = conv3(48, 48)
        self.last_coarse = conv3(48, 48, bias=False)

    def forward(self, packed: Tensor) -> Tensor:
        """(N, 4, h, w) amplified, not white-balanced -> (N, 3, 2h, 2w) sRGB, clamped to [0, 1].

        Sizes must be multiples of 16. Values below black are clipped, as in the authors' code.
        """
        packed = packed.clamp(min=0)
        quarter = functional.pixel_unshuffle(packed, 2)
        quarter = quarter.contiguous(memory_format=torch.channels_last)
        eighth = functional.pixel_unshuffle(quarter, 2)
        eighth = self.middle(eighth).add_(eighth)
        coarse = self.coarse_out(self.coarse(packed))
        # Each of the four groups sees 16 channels of either branch.
        pairs = zip(eighth.chunk(4, dim=1), coarse.chunk(4, dim=1), strict=True)
        both = self.middle_in(torch.cat([part for pair in pairs for part in pair], dim=1))
        both = functional.leaky_relu(self.middle_out(both), SLOPE, inplace=True)
        both = functional.pixel_shuffle(both, 2)
        # One convolution of both, without the cost of joining them.
        picture = self.last_fine(self.fine(quarter)).add_(self.last_coarse(both))
        return functional.pixel_shuffle(picture.clamp_(0, 1), 4)


def _two_steps(channels: int) -> list[int]:
    """Order `channels` * 16 for a shuffle by 4 that is done as two by 2, either way.

    The result counts (channel, fine row, fine column, coarse row, coarse column).
    """
    old = torch.arange(channels * 16).view(channels, 2, 2, 2, 2)  # c, row (coarse, fine), col
    return old.permute(0, 2, 4, 1, 3).flatten().tolist()


def _one_step(channels: int) -> list[int]:
    """Order (c, fine 2x2, coarse 2x2) as one pixel_shuffle(4) needs it: (c, row, col)."""
    old = torch.arange(channels * 16).view(channels, 2, 2, 2, 2)  # c, fine y x, coarse y x
    return old.permute(0, 3, 1, 4, 2).flatten().tolist()


def _convert(state: State) -> State:
    """Fold the published tensors: weight norm, channel shuffle, pixel shuffles, polyphase."""
    plain = fold.without_weight_norm(state)
    depths = _depths(shapes_of(plain))
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
    """Fold what happens at 1/8 and 1/2 of the mosaic."""
    eighth, both, picture = _two_steps(4), _two_steps(12), _one_step(3)
    # The authors interleave the 64 channels of either branch; we keep them apart in each group.
    apart = [*(2 * i for i in _two_steps(1)), *range(1, 32, 2)]
    last = fold.polyphase(plain["conv_2_8_32.0.weight"], 2)[picture]
    return {
        "middle.0.weight": plain["resblock8x.conv1.0.weight"][:, eighth],
        "middle.0.bias": plain["resblock8x.conv1.0.bias"],
        "middle.2.weight": plain["resblock8x.conv2.0.weight"][eighth],
        "middle.2.bias": plain["resblock8x.conv2.0.bias"][eighth],
        "middle_in.weight": plain["conv32_8_cat.0.0.weight"][:, apart],
        "middle_in.bias": plain["conv32_8_cat.0.0.bias"],
        "middle_out.weight": plain["conv32_8_cat.1.0.weight"][both],
        "middle_out.bias": plain["conv32_8_cat.1.0.bias"][both],
        "fine.weight": fold.polyphase(plain["conv2x.0.weight"], 2),
        "fine.bias": plain["conv2x.0.bias"].repeat_interleave(4),
        "last_fine.weight": last[:, :48],
        "last_fine.bias": plain["conv_2_8_32.0.bias"].repeat_interleave(4)[picture],
        "last_coarse.weight": last[:, 48:],
    }


_PLAIN = {
    "coarse.runs": "conv32x.0.0",
    "coarse.enter": "conv32x.1.0",
    "coarse_out": "conv_rdb8x.0",
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


def published_shapes(
    depths: tuple[int, ...], joined: int, channels: int = 4
) -> dict[str, tuple[int, ...]]:
    """List names and shapes of a checkpoint without weight norm, `joined` of its blocks in use.

    `channels`: of the packed mosaic, 4 or, as `redi_xtrans` has them, 9.
    """
    eighth, picture = 16 * channels, 12 if channels == 4 else 27
    shapes: dict[str, tuple[int, ...]] = {
        "rdball.0.weight": (64, 64 * joined, 1, 1),
        "conv32x.0.0.weight": (128, 2 * channels, 3, 3),
        "conv32x.1.0.weight": (64, 128, 3, 3),
        "conv_rdb8x.0.weight": (64, 4, 3, 3),
        "resblock8x.conv1.0.weight": (eighth, eighth, 3, 3),
        "resblock8x.conv2.0.weight": (eighth, eighth, 3, 3),
        "conv32_8_cat.0.0.weight": (32, (eighth + 64) // 4, 3, 3),
        "conv32_8_cat.1.0.weight": (16 * picture, 32, 3, 3),
        "conv2x.0.weight": (picture, channels, 5, 5),
        "conv_2_8_32.0.weight": (picture, 2 * picture, 5, 5),
    }
    biases = {key.replace("weight", "bias"): shape[:1] for key, shape in shapes.items()}
    del biases["rdball.0.bias"]
    for i, layers in enumerate(depths, start=1):
        for j in range(layers):
            shapes[f"RDB{i}.dense_layers.{j}.conv.{min(j, 1)}.weight"] = (32, 64 + 32 * j, 3, 3)
        shapes[f"RDB{i}.conv_1x1.0.weight"] = (64, 64 + 32 * layers, 1, 1)
    return shapes | biases


VARIANTS = (((4, 5, 5), 3), ((4, 5, 5), 2), ((4, 5), 2))
"""Layers of each block, and blocks in use: the published network; its reduction to two blocks, with
and without the unused third."""

KNOWN = tuple(published_shapes(depths, joined) for depths, joined in VARIANTS)
"""Names and shapes of the variants, without weight norm."""


def _recognise(shapes: Shapes) -> bool:
    """Say whether these are REDI's tensors, with or without weight norm."""
    return fold.plain_shapes(shapes) in KNOWN


ARCHITECTURES = (
    Architecture(
        name="redi",
        sensor=Sensor.BAYER,
        multiple=16,
        # 16 convolutions at 1/16 of the packed size, 3 at 1/4, one of 5x5 at 1, from the last
        # packed pixel of a block whose own block is reached: 571 photosites.
        halo=286,
        recognise=_recognise,
        convert=_convert,
        build=_build,
        dialects=(fold.with_weight_norm(KNOWN[0]), *KNOWN),
    ),
)
