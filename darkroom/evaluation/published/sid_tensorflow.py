"""SID as its authors publish it, in TensorFlow: packing, graph and layout of the weights.

Source: cchen156/Learning-to-See-in-the-Dark, train_Sony.py, test_Sony.py, train_Fuji.py and
test_Fuji.py.

Random weights keep a signal's size from layer to layer and end near 0.5, so that an error is one of
a picture. All is computed in float64.
"""

import math
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from darkroom.evaluation.published import Mosaic

WIDTHS = {1: 32, 2: 64, 3: 128, 4: 256, 5: 512, 6: 256, 7: 128, 8: 64, 9: 32}
"""Channels of each level."""


def pack_bayer(raw: Mosaic) -> Mosaic:
    """Pack whole 2x2 blocks, clockwise: (4, H/2, W/2) R, G, B, G."""
    raw = raw[: raw.shape[0] // 2 * 2, : raw.shape[1] // 2 * 2]
    return np.stack((raw[0::2, 0::2], raw[0::2, 1::2], raw[1::2, 1::2], raw[1::2, 0::2]))


def pack_xtrans(raw: Mosaic) -> Mosaic:
    """Pack whole 6x6 blocks, the rest is cut off: (9, H/3, W/3), in SID's two halves."""
    height, width = (size // 6 * 6 for size in raw.shape)
    raw = raw[:height, :width]
    packed = np.zeros((9, height // 3, width // 3), raw.dtype)
    sites = {
        0: ((0, 0), (0, 4), (3, 1), (3, 3)),
        1: ((0, 2), (0, 5), (3, 2), (3, 5)),
        2: ((0, 1), (0, 3), (3, 0), (3, 4)),
        3: ((1, 2), (2, 5), (5, 2), (4, 5)),
        4: ((2, 2), (1, 5), (4, 2), (5, 5)),
    }
    for channel, four in sites.items():
        for (down, right), (row, col) in zip(((0, 0), (0, 1), (1, 0), (1, 1)), four, strict=True):
            packed[channel, down::2, right::2] = raw[row::6, col::6]
    for channel, (row, col) in enumerate(((1, 0), (1, 1), (2, 0), (2, 1)), start=5):
        packed[channel] = raw[row::3, col::3]
    return packed


@cache
def _pool(seed: int) -> Tensor:
    return torch.randn(8_000_000, generator=torch.Generator().manual_seed(seed))


class Weights(dict[str, Tensor]):
    """Random tensors under a publisher's names, each from its own place in a pool of numbers."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._pool, self._used = _pool(seed), 0

    def add(self, name: str, *shape: int, spread: float = 0.1, mean: float = 0.0) -> None:
        """Add a tensor of this spread and mean."""
        size = math.prod(shape)
        values = self._pool[self._used : self._used + size].reshape(shape)
        self[name] = values * spread + mean
        self._used += size

    def add_kernel(self, name: str, *shape: int, fan: int) -> None:
        """Add a kernel of `fan` inputs that keeps the signal's size."""
        self.add(name, *shape, spread=math.sqrt(1.9 / fan))


def lrelu(x: Tensor) -> Tensor:
    """Rectify, with the slope 0.2."""
    return torch.maximum(0.2 * x, x)


def unet(
    x: Tensor,
    block: Callable[[int, Tensor], Tensor],
    up: Callable[[int, Tensor, Tensor], Tensor],
    pool: Callable[[Tensor], Tensor],
    axis: int,
) -> Tensor:
    """Wire nine levels; `up` is given the skip connection for its size, `axis` is the channels'."""
    skips = []
    for i in range(1, 6):
        x = block(i, x)
        if i < 5:
            skips.append(x)
            x = pool(x)
    for i in range(6, 10):
        skip = skips.pop()
        x = block(i, torch.cat([up(i, x, skip), skip], dim=axis))
    return x


def _variable(i: int) -> str:
    """Name the up-convolution of a level: they have none of their own, so TensorFlow counts."""
    return "Variable" + (f"_{i - 6}" if i > 6 else "")


def tensorflow_weights(channels: int, seed: int) -> Weights:
    """Draw weights in TensorFlow's layout, (rows, columns, in, out)."""
    weights, into = Weights(seed), channels
    for i, width in WIDTHS.items():
        if i > 5:
            weights.add_kernel(_variable(i), 2, 2, width, 2 * width, fan=2 * width)
            into = 2 * width
        for j, inputs in ((1, into), (2, width)):
            weights.add_kernel(f"g_conv{i}_{j}/weights", 3, 3, inputs, width, fan=9 * inputs)
            weights.add(f"g_conv{i}_{j}/biases", width)
        into = width
    out = 12 if channels == 4 else 27
    weights.add("g_conv10/weights", 1, 1, 32, out, spread=0.015)
    weights.add("g_conv10/biases", out, mean=0.5)
    return weights


def tensorflow_network(w: Mapping[str, Tensor], packed: Tensor) -> Tensor:
    """Run the graph: (C, h, w) of any size -> (3, H, W); (N, h, w, C) within."""

    def conv(x: Tensor, name: str) -> Tensor:
        kernel = w[f"{name}/weights"]
        reach = kernel.shape[0] // 2
        padded = functional.pad(x, (0, 0, reach, reach, reach, reach))
        height, width = x.shape[1:3]
        total = w[f"{name}/biases"]
        for row in range(kernel.shape[0]):
            for col in range(kernel.shape[1]):
                part = padded[:, row : row + height, col : col + width]
                total = total + part @ kernel[row, col]
        return total

    def up(i: int, x: Tensor, skip: Tensor) -> Tensor:
        spread = torch.einsum("nhwc,abdc->nhawbd", x, w[_variable(i)])
        n, height, _, width, _, depth = spread.shape
        full = spread.reshape(n, 2 * height, 2 * width, depth)
        return full[:, : skip.shape[1], : skip.shape[2]]

    def pool(x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        x = functional.pad(x, (0, 0, 0, width % 2, 0, height % 2), value=-math.inf)
        rows = torch.maximum(x[:, 0::2], x[:, 1::2])
        return torch.maximum(rows[:, :, 0::2], rows[:, :, 1::2])

    def block(i: int, x: Tensor) -> Tensor:
        return lrelu(conv(lrelu(conv(x, f"g_conv{i}_1")), f"g_conv{i}_2"))

    x = packed.permute(1, 2, 0)[None]
    x = conv(unet(x, block, up, pool, axis=3), "g_conv10")
    return depth_to_space(x.permute(0, 3, 1, 2))[0]


def depth_to_space(x: Tensor) -> Tensor:
    """(N, C, h, w) -> (N, 3, s*h, s*w); the channels count row, column, colour, slowest first."""
    n, depth, height, width = x.shape
    side = math.isqrt(depth // 3)
    x = x.reshape(n, side, side, 3, height, width).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, 3, height * side, width * side)
