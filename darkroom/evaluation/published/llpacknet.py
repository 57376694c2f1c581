"""LLPackNet as its authors' code of 2020 and 2022 has it, one step after another.

Source: Lamba, Balaji and Mitra, "Towards Fast and Light-Weight Restoration of Dark Images", BMVC
2020; train.py and test.py of 2020, ablations/ beside them, network.py of 2022.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from darkroom.evaluation.published import Mosaic, Picture, Published, paint_exactly
from darkroom.raw.image import Sensor

COLOURS = {"RDBr": (0, 0), "RDBg1": (0, 1), "RDBg2": (1, 0), "RDBb": (1, 1)}
"""The layers that read one colour each, and its row and column in the 2x2 block."""

GRID = 16
"""Photosites that sides must be multiples of; the authors' code fails on others."""


@dataclass(frozen=True, slots=True)
class LLPackNetForm:
    """One form of the network and of its checkpoint.

    `year`: 2022 has each convolution in a sequence, and ends in a sigmoid; 2020 ends in a
    rectifier. `weight_norm` is stored as the authors' torch did, as today's does, or not at all.
    `unpack`: whether UnPack makes the picture, else PixelShuffle, as in the ablation. `amplifier`:
    whether the checkpoint has the one of train.py, which finds a gain and paints nothing.
    """

    year: int
    weight_norm: Literal["weight_g", "original", ""] = ""
    unpack: bool = True
    amplifier: bool = False

    @property
    def end(self) -> str:
        """What a layer's name has after it, before its tensors' names."""
        return ".0" if self.year == 2022 else ""


def list_layers() -> dict[str, tuple[int, int, int, bool]]:
    """Return the outputs, inputs and side of each convolution, and whether it has a bias."""
    found = dict.fromkeys(COLOURS, (64, 64, 3, True))
    found["before_identity"] = (64, 256, 1, False)
    found["after_rdb"] = (64, 192, 1, False)
    for block, width in (("RDB1", 64), ("RDB2", 64), ("RDB3", 64), ("final.1", 16)):
        for i in range(6):
            found[f"{block}.dense_layers.{i}.conv"] = (32, width + 32 * i, 3, False)
        found[f"{block}.conv_1x1"] = (width, width + 192, 1, False)
    found["final.2"] = (192, 16, 3, True)
    return found


def make_weights(form: LLPackNetForm, seed: int) -> dict[str, Tensor]:
    """Return random weights as the form's checkpoints have them."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for layer, (out, into, side, bias) in list_layers().items():
        name = layer + form.end
        kernel = torch.randn(out, into, side, side, generator=generator)
        kernel *= math.sqrt(1.0 / (into * side**2))
        length = 0.5 + torch.rand(out, 1, 1, 1, generator=generator)
        if form.weight_norm == "weight_g":
            state |= {f"{name}.weight_g": length, f"{name}.weight_v": 3 * kernel}
        elif form.weight_norm == "original":
            stem = f"{name}.parametrizations.weight.original"
            state |= {f"{stem}0": length, f"{stem}1": 3 * kernel}
        else:
            state[f"{name}.weight"] = kernel
        if bias:
            state[f"{name}.bias"] = 0.1 * torch.randn(out, generator=generator)
    return state | (make_amplifier(seed) if form.amplifier else {})


def make_amplifier(seed: int) -> dict[str, Tensor]:
    """Return random weights of train.py's amplifier: two layers on a histogram of 63 bins."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "amplifier.conv_post.0.weight": torch.randn(128, 63, generator=generator),
        "amplifier.conv_post.0.bias": torch.randn(128, generator=generator),
        "amplifier.conv_post.1.weight": torch.randn(1, 128, generator=generator),
        "amplifier.conv_post.1.bias": torch.tensor([100.0]),
    }


def load(
    form: LLPackNetForm, state: Mapping[str, Tensor], like: Tensor
) -> Callable[[Mosaic], Picture]:
    """Make the authors' code, for amplified mosaics, which are cropped to its grid."""
    own = {name: tensor.to(like) for name, tensor in state.items()}

    @torch.inference_mode()
    def paint(mosaic: Mosaic) -> Picture:
        height, width = (side // GRID * GRID for side in mosaic.shape)
        light = torch.from_numpy(mosaic[:height, :width]).to(like).clamp(min=0)
        x = _run_layers(form, own, light)
        picture = unpack(x) if form.unpack else functional.pixel_shuffle(x, 8)[0]
        picture = torch.sigmoid(picture) if form.year == 2022 else torch.relu(picture)
        return picture.permute(1, 2, 0).float().cpu().numpy()

    return paint


def unpack(x: Tensor) -> Tensor:
    """(1, 192, h, w) -> (3, 8h, 8w): UnPack, as the loop in the README of 2020."""
    _, _, height, width = x.shape
    picture = x.new_zeros(3, 8 * height, 8 * width)
    count = 0
    for row in range(8):
        for col in range(8):
            picture[:, row::8, col::8] = x[0, count : count + 3]
            count += 3
    return picture


def _run_layers(form: LLPackNetForm, state: Mapping[str, Tensor], light: Tensor) -> Tensor:
    """(H, W) -> the (1, 192, H/8, W/8) channels of the last convolution."""

    def conv(x: Tensor, layer: str) -> Tensor:
        name = layer + form.end
        weight, bias = _kernel(state, name), state.get(f"{name}.bias")
        return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def dense(x: Tensor, name: str) -> Tensor:
        seen = x
        for i in range(6):
            new = torch.relu(conv(seen, f"{name}.dense_layers.{i}.conv"))
            seen = torch.cat([seen, new], dim=1)
        return conv(seen, f"{name}.conv_1x1") + x

    branches = []
    for name, (row, col) in COLOURS.items():
        colour = light[row::2, col::2]
        pack8 = torch.stack([colour[i::8, j::8] for i in range(8) for j in range(8)])[None]
        branches.append(torch.relu(conv(pack8, name)))
    start = conv(torch.cat(branches, dim=1), "before_identity")
    first = dense(start, "RDB1")
    second = dense(first, "RDB2")
    third = dense(second, "RDB3")
    x = conv(torch.cat([first, second, third], dim=1), "after_rdb") + start
    return conv(dense(functional.pixel_shuffle(x, 2), "final.1"), "final.2")


def _kernel(state: Mapping[str, Tensor], name: str) -> Tensor:
    """Return a convolution's weights, weight norm worked out."""
    if f"{name}.weight" in state:
        return state[f"{name}.weight"]
    stem = f"{name}.parametrizations.weight.original"
    v = state[f"{name}.weight_v" if f"{name}.weight_v" in state else f"{stem}1"]
    g = state[f"{name}.weight_g" if f"{name}.weight_g" in state else f"{stem}0"]
    kernel: Tensor = g * v / torch.linalg.vector_norm(v, dim=(1, 2, 3), keepdim=True)
    return kernel


def _published(network: str, dialect: str, form: LLPackNetForm) -> Published:
    """Bind the functions to a form; UnPack and PixelShuffle of 2020 have the same tensors."""
    own = partial(load, form)
    return Published(
        network,
        dialect,
        Sensor.BAYER,
        weights=partial(make_weights, form),
        picture=partial(paint_exactly, own),
        ambiguous=form.year == 2020,
        load=own,
    )


PUBLISHED = (
    _published("llpacknet", "2022, weight norm, as published", LLPackNetForm(2022, "weight_g")),
    _published("llpacknet", "2022, weight norm, of today's torch", LLPackNetForm(2022, "original")),
    _published("llpacknet", "2022, folded", LLPackNetForm(2022)),
    _published("llpacknet-2020", "2020, with its amplifier", LLPackNetForm(2020, amplifier=True)),
    _published("llpacknet-2020", "2020, without", LLPackNetForm(2020)),
    _published("llpacknet-2020", "2020, weight norm", LLPackNetForm(2020, "weight_g")),
    _published(
        "llpacknet-2020-pixel-shuffle",
        "ablation of 2020, with its amplifier",
        LLPackNetForm(2020, unpack=False, amplifier=True),
    ),
    _published(
        "llpacknet-2020-pixel-shuffle", "ablation of 2020", LLPackNetForm(2020, unpack=False)
    ),
)
"""LLPackNet in the forms of its checkpoints."""
