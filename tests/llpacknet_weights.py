"""Random weights in the shapes that LLPackNet was published in, and its amplifiers."""

import torch
from torch import Tensor

from darkroom.evaluation.published.llpacknet import LLPackNetForm, make_amplifier, make_weights


def weights(year: int, norm: str = "", seed: int = 3) -> dict[str, Tensor]:
    """`norm`: how weight norm is stored, "" for plain, "weight_g", or "original"."""
    return make_weights(LLPackNetForm(year, norm), seed)  # type: ignore[arg-type]


def histogram_amplifier(sign: float = 1.0) -> dict[str, Tensor]:
    return make_amplifier(11) | {"amplifier.conv_post.1.bias": torch.tensor([sign * 100.0])}


def convolutional_amplifier(side: int) -> dict[str, Tensor]:
    """As in the ablations, beside train.py's."""
    generator = torch.Generator().manual_seed(12)
    shapes = {
        "conv_pre.0": (16, 4, side, side),
        "conv_post.0": (128, 16, 1, 1),
        "conv_post.1": (1, 128, 1, 1),
    }
    state = {}
    for name, shape in shapes.items():
        state[f"amplifier.{name}.weight"] = torch.randn(shape, generator=generator)
        state[f"amplifier.{name}.bias"] = 1 + torch.rand(shape[0], generator=generator)
    state["amplifier.conv_post.1.bias"] += 500
    return state
