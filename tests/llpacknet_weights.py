"""Random weights in the shapes that LLPackNet was published in."""

import math

import torch
from torch import Tensor

COLOURS = ("RDBr", "RDBg1", "RDBg2", "RDBb")


def layers(end: str) -> dict[str, tuple[int, int, int, bool]]:
    """Name -> outputs, inputs, side, bias; `end` is what a name's convolution has after it."""
    found = {f"{name}{end}": (64, 64, 3, True) for name in COLOURS}
    found[f"before_identity{end}"] = (64, 256, 1, False)
    found[f"after_rdb{end}"] = (64, 192, 1, False)
    for block, width in (("RDB1", 64), ("RDB2", 64), ("RDB3", 64), ("final.1", 16)):
        for i in range(6):
            found[f"{block}.dense_layers.{i}.conv{end}"] = (32, width + 32 * i, 3, False)
        found[f"{block}.conv_1x1{end}"] = (width, width + 192, 1, False)
    found[f"final.2{end}"] = (192, 16, 3, True)
    return found


def weights(end: str, norm: str, seed: int = 3) -> dict[str, Tensor]:
    """Random weights; `norm`: how weight norm is stored, "" for plain, "g", or "original"."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, (out, into, side, bias) in layers(end).items():
        kernel = torch.randn(out, into, side, side, generator=generator)
        kernel *= math.sqrt(1.0 / (into * side**2))
        length = 0.5 + torch.rand(out, 1, 1, 1, generator=generator)
        if norm == "g":
            state |= {f"{name}.weight_g": length, f"{name}.weight_v": 3 * kernel}
        elif norm == "original":
            stem = f"{name}.parametrizations.weight.original"
            state |= {f"{stem}0": length, f"{stem}1": 3 * kernel}
        else:
            state[f"{name}.weight"] = kernel
        if bias:
            state[f"{name}.bias"] = 0.1 * torch.randn(out, generator=generator)
    return state


# --- the amplifier -----------------------------------------------------------------------------


def histogram_amplifier(sign: float = 1.0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(11)
    return {
        "amplifier.conv_post.0.weight": torch.randn(128, 63, generator=generator),
        "amplifier.conv_post.0.bias": torch.randn(128, generator=generator),
        "amplifier.conv_post.1.weight": torch.randn(1, 128, generator=generator),
        "amplifier.conv_post.1.bias": torch.tensor([sign * 100.0]),
    }


def convolutional_amplifier(side: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(12)
    shapes = {
        "conv_pre.0": (16, 4, side, side),
        "conv.0": (128, 16, 1, 1),
        "conv.1": (1, 128, 1, 1),
    }
    state = {}
    for name, shape in shapes.items():
        state[f"amplifier.{name}.weight"] = torch.randn(shape, generator=generator)
        state[f"amplifier.{name}.bias"] = 1 + torch.rand(shape[0], generator=generator)
    state["amplifier.conv.1.bias"] += 500
    return state
