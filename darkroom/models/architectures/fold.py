"""Foreign conventions folded into convolution weights, exactly, once, when a checkpoint is loaded.

Weights are torch's: a convolution is (out, in, kh, kw), a transposed one (in, out, kh, kw).
Every function returns new tensors of the dtype that it was given; call them in float64.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")

SID_PACKING = [0, 1, 3, 2]
"""Where our R G G B (reading order) lie in SID's R, G, B, G (clockwise); its own inverse.

Source: SID's published code, `pack_raw` of train_Sony.py.
"""


NORM_EPSILON = 1e-5
"""Added to the variance in a batch norm. Source: torch.nn.BatchNorm2d, which all publishers use."""


def weight_norm(v: Tensor, g: Tensor) -> Tensor:
    """Return w = g * v / |v|, the norm over everything but the first axis.

    Source: Salimans and Kingma 2016, equation 2; torch.nn.utils.weight_norm with dim=0.
    """
    axes = tuple(range(1, v.ndim))
    norm = v.square().sum(axes, keepdim=True).sqrt()
    return g.reshape(norm.shape) * v / norm


def weight_norm_pairs(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return, for each weight that is stored as (v, g), its plain name and the names of the two.

    Old: `*.weight_v`, `*.weight_g`. New: `*.parametrizations.weight.original1`, `original0`.
    """
    present = set(names)
    pairs = {}
    for v in sorted(present):
        if v.endswith(".weight_v"):
            plain, g = v.removesuffix("_v"), v.removesuffix("v") + "g"
        else:
            plain, g = v.replace(".parametrizations.weight.original1", ".weight"), v[:-1] + "0"
        if plain != v and g in present:
            pairs[plain] = (v, g)
    return pairs


def without_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state with each weight that is stored as (v, g) made plain."""
    return _join_pairs(state, weight_norm)


def plain_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes that `without_weight_norm` would give."""
    return _join_pairs(shapes, lambda v, g: v)


def _join_pairs(
    named: Mapping[str, Value], join: Callable[[Value, Value], Value]
) -> dict[str, Value]:
    """Put what `join` makes of each pair of weight norm in the place of both."""
    pairs = weight_norm_pairs(named)
    stored = {name for pair in pairs.values() for name in pair}
    joined = {name: join(named[v], named[g]) for name, (v, g) in pairs.items()}
    return joined | {name: value for name, value in named.items() if name not in stored}


def with_weight_norm(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes that torch's weight norm stores for these plain ones."""
    norms = {f"{key}_g": (shape[0], 1, 1, 1) for key, shape in shapes.items() if len(shape) == 4}
    return norms | {f"{key}_v" if len(s) == 4 else key: s for key, s in shapes.items()}


def batch_norm(state: Mapping[str, Tensor], prefix: str) -> tuple[Tensor, Tensor]:
    """Return (scale, shift), (C,) each, of a trained batch norm: y = scale * x + shift.

    Read under torch's names, `prefix` + .weight, .bias, .running_mean, .running_var; its eps too.
    """
    scale = state[f"{prefix}.weight"] / torch.sqrt(state[f"{prefix}.running_var"] + NORM_EPSILON)
    return scale, state[f"{prefix}.bias"] - state[f"{prefix}.running_mean"] * scale


def from_tensorflow(weight: Tensor) -> Tensor:
    """Turn TensorFlow's (kh, kw, in, out) convolution into (out, in, kh, kw).

    So, too, its (kh, kw, out, in) transposed convolution into (in, out, kh, kw).
    """
    return weight.permute(3, 2, 0, 1).contiguous()


def depth_to_space_order(channels: int, factor: int) -> list[int]:
    """Return, for each channel that `pixel_shuffle` expects, its place in TensorFlow's order.

    `pixel_shuffle(x[:, order], factor)` equals `depth_to_space(x, factor)`, whose input holds
    (row, column, channel), slowest first; `channels` counts those of the result.
    """
    sites = factor * factor
    return [site * channels + channel for channel in range(channels) for site in range(sites)]


def polyphase(weight: Tensor, factor: int) -> Tensor:
    """Rewrite a zero-padded odd convolution to work between `pixel_unshuffle` and `pixel_shuffle`.

    (out, in, k, k) becomes (out * f^2, in * f^2, K, K), both in pixel_shuffle's channel order, so
    that `conv(x)` equals `pixel_shuffle(conv'(pixel_unshuffle(x, f)), f)` for sizes that are
    multiples of f. Its bias is the old one with each element repeated f^2 times.
    """
    out, into, size, _ = weight.shape
    reach = size // 2
    blocks = -(-reach // factor)
    # place[p, t, q, b] = 1 where tap t of output phase p falls on phase q of block b.
    place = weight.new_zeros(factor, size, factor, 2 * blocks + 1)
    for phase in range(factor):
        for tap in range(size):
            block, source = divmod(phase + tap - reach, factor)
            place[phase, tap, source, block + blocks] = 1
    wide = torch.einsum("oihw,phrk,qwsl->opqirskl", weight, place, place)
    return wide.reshape(out * factor**2, into * factor**2, 2 * blocks + 1, 2 * blocks + 1)
