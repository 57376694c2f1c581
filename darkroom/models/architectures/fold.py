"""Foreign conventions folded into convolution weights, exactly, once, when a checkpoint is loaded.

Weights are torch's: a convolution is (out, in, kh, kw), a transposed one (in, out, kh, kw).
Every function returns new tensors of the dtype that it was given; call them in float64.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SID_PACKING = (0, 1, 3, 2)
"""Where our R G G B (reading order) lie in SID's R, G, B, G (clockwise); its own inverse.

Source: SID's published code, `pack_raw` of train_Sony.py.
"""


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
    pairs = weight_norm_pairs(state)
    stored = {name for pair in pairs.values() for name in pair}
    folded = {name: weight_norm(state[v], state[g]) for name, (v, g) in pairs.items()}
    return folded | {name: tensor for name, tensor in state.items() if name not in stored}


def plain_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes that `without_weight_norm` would give."""
    pairs = weight_norm_pairs(shapes)
    stored = {name for pair in pairs.values() for name in pair}
    folded = {name: shapes[v] for name, (v, _) in pairs.items()}
    return folded | {name: shape for name, shape in shapes.items() if name not in stored}


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """A trained batch norm: (C,) each; y = (x - mean) / sqrt(variance + eps) * gamma + beta."""

    gamma: Tensor
    beta: Tensor
    mean: Tensor
    variance: Tensor
    eps: float = 1e-5

    @classmethod
    def of(cls, state: Mapping[str, Tensor], prefix: str, eps: float = 1e-5) -> "BatchNorm":
        """Read torch's names, `prefix` + .weight, .bias, .running_mean, .running_var."""
        mean, variance = state[f"{prefix}.running_mean"], state[f"{prefix}.running_var"]
        return cls(state[f"{prefix}.weight"], state[f"{prefix}.bias"], mean, variance, eps)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return (scale, shift), (C,) each: y = scale * x + shift."""
        scale = self.gamma / torch.sqrt(self.variance + self.eps)
        return scale, self.beta - self.mean * scale


def batch_norm(
    weight: Tensor, bias: Tensor | None, norm: BatchNorm, *, transposed: bool = False
) -> tuple[Tensor, Tensor]:
    """Fold a batch norm that directly follows a convolution; returns its new weight and bias."""
    scale, shift = norm.affine()
    shape = (1, -1, 1, 1) if transposed else (-1, 1, 1, 1)
    return weight * scale.view(shape), shift if bias is None else bias * scale + shift


def from_hwio(weight: Tensor) -> Tensor:
    """Turn TensorFlow's (kh, kw, in, out) convolution into (out, in, kh, kw)."""
    return weight.permute(3, 2, 0, 1).contiguous()


def from_hwoi(weight: Tensor) -> Tensor:
    """Turn TensorFlow's (kh, kw, out, in) transposed convolution into (in, out, kh, kw)."""
    return weight.permute(3, 2, 0, 1).contiguous()


def depth_to_space_order(channels: int, factor: int) -> list[int]:
    """Return, for each channel that `pixel_shuffle` expects, its place in TensorFlow's order.

    `pixel_shuffle(x[:, order], factor)` equals `depth_to_space(x, factor)`, whose input holds
    (row, column, channel), slowest first; `channels` counts those of the result.
    """
    sites = factor * factor
    return [site * channels + channel for channel in range(channels) for site in range(sites)]


def permute_outputs(weight: Tensor, order: Sequence[int]) -> Tensor:
    """Return a convolution (or bias) whose output channel i is the old `order[i]`."""
    return weight[list(order)]


def permute_inputs(weight: Tensor, order: Sequence[int]) -> Tensor:
    """Return an ungrouped convolution for an input whose channel i is the old `order[i]`."""
    return weight[:, list(order)]


def dense(weight: Tensor, groups: int) -> Tensor:
    """Write a grouped convolution (out, in / groups, kh, kw) as an ungrouped one."""
    out, part, height, width = weight.shape
    full = weight.new_zeros(out, part * groups, height, width)
    for group, rows in enumerate(torch.arange(out).chunk(groups)):
        full[rows, group * part : (group + 1) * part] = weight[rows]
    return full


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
