"""One training step of SID and of its batch-norm reproduction, written out in plain torch.

Nothing of darkroom is used: from sensor values to the loss, in the steps and the order of
train_Sony.py, train_Fuji.py (cchen156) and train_Sony.py, unet.py (jhagenus). The layouts are
torch's, and `norms` is single or double for the reproduction.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Weights = dict[str, Tensor]


class Draw(NamedTuple):
    """What chance decided: the crop's corner in packed pixels, and how it is turned."""

    yy: int
    xx: int
    flip_rows: bool
    flip_columns: bool
    transpose: bool


def pack_sony(im: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) -> (H/2, W/2, 4)."""
    im = np.maximum(im - 512, 0) / (16383 - 512)
    return np.stack((im[0::2, 0::2], im[0::2, 1::2], im[1::2, 1::2], im[1::2, 0::2]), axis=2)


def pack_fuji(im: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W), cut to multiples of 6 -> (H/3, W/3, 9)."""
    im = np.maximum(im - 512, 0) / (16383 - 512)
    height, width = im.shape[0] // 6 * 6, im.shape[1] // 6 * 6
    im = im[:height, :width]
    out = np.zeros((height // 3, width // 3, 9), np.float32)
    quarters = (
        ((0, 0), (0, 4), (3, 1), (3, 3)),
        ((0, 2), (0, 5), (3, 2), (3, 5)),
        ((0, 1), (0, 3), (3, 0), (3, 4)),
        ((1, 2), (2, 5), (5, 2), (4, 5)),
        ((2, 2), (1, 5), (4, 2), (5, 5)),
    )
    for channel, sites in enumerate(quarters):
        for place, (row, column) in enumerate(sites):
            out[place // 2 :: 2, place % 2 :: 2, channel] = im[row::6, column::6]
    out[:, :, 5] = im[1::3, 0::3]
    out[:, :, 6] = im[1::3, 1::3]
    out[:, :, 7] = im[2::3, 0::3]
    out[:, :, 8] = im[2::3, 1::3]
    return out


def patches(
    mosaic: NDArray[np.uint16],
    ratio: float,
    gt: NDArray[np.uint16],
    draw: Draw,
    ps: int,
    fuji: bool = False,
) -> tuple[Tensor, Tensor]:
    """Cut and turn as published: (1, C, ps, ps) clipped at 1, and (1, 3, s * ps, s * ps)."""
    scale = 3 if fuji else 2
    packed = (pack_fuji if fuji else pack_sony)(mosaic.astype(np.float32))
    input_full = np.expand_dims(packed, axis=0) * np.float32(min(ratio, 300))
    gt_full = np.expand_dims(np.float32(gt / 65535.0), axis=0)
    yy, xx = draw.yy, draw.xx
    input_patch = input_full[:, yy : yy + ps, xx : xx + ps, :]
    gt_patch = gt_full[
        :, yy * scale : yy * scale + ps * scale, xx * scale : xx * scale + ps * scale, :
    ]
    if draw.flip_rows:
        input_patch, gt_patch = np.flip(input_patch, axis=1), np.flip(gt_patch, axis=1)
    if draw.flip_columns:
        input_patch, gt_patch = np.flip(input_patch, axis=2), np.flip(gt_patch, axis=2)
    if draw.transpose:
        input_patch = np.transpose(input_patch, (0, 2, 1, 3))
        gt_patch = np.transpose(gt_patch, (0, 2, 1, 3))
    input_patch = np.minimum(input_patch, 1.0)
    both = (np.ascontiguousarray(one.transpose(0, 3, 1, 2)) for one in (input_patch, gt_patch))
    first, second = (torch.from_numpy(one).float() for one in both)
    return first, second


def lrelu(x: Tensor) -> Tensor:
    return torch.maximum(x * 0.2, x)


def conv(w: Weights, name: str, x: Tensor) -> Tensor:
    weight = w[f"{name}.weight"]
    return functional.conv2d(x, weight, w[f"{name}.bias"], padding=weight.shape[2] // 2)


def norm(w: Weights, name: str, x: Tensor) -> Tensor:
    """Batch norm in training: the batch's mean and its biased variance."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    scaled = (x - mean) / torch.sqrt(variance + 1e-5)
    return scaled * w[f"{name}.weight"].view(1, -1, 1, 1) + w[f"{name}.bias"].view(1, -1, 1, 1)


def depth_to_space(x: Tensor, side: int) -> Tensor:
    """TensorFlow's: channels count row, column, colour."""
    n, _, h, w = x.shape
    out = x.reshape(n, side, side, 3, h, w).permute(0, 3, 4, 1, 5, 2)
    return out.reshape(n, 3, h * side, w * side)


def sid(w: Weights, x: Tensor) -> Tensor:
    """SID's graph, under cydonia999's names; its up-convolutions have no bias."""
    skips = []
    for level in range(1, 10):
        if level > 5:
            x = functional.conv_transpose2d(x, w[f"up{level}.weight"], stride=2)
            x = torch.cat([x, skips[9 - level]], 1)
        elif level > 1:
            x = functional.max_pool2d(x, 2)
        x = lrelu(conv(w, f"conv{level}_1", x))
        x = lrelu(conv(w, f"conv{level}_2", x))
        skips.append(x)
    x = conv(w, "conv10", x)
    return depth_to_space(x, 2 if x.shape[1] == 12 else 3)


def batch_norm(w: Weights, x: Tensor, norms: str, last: bool = False) -> Tensor:
    """The reproduction's graph: norms none, single or double, before or after the activation."""
    skips = []

    def half(name: str, normed: str, x: Tensor) -> Tensor:
        x = conv(w, name, x)
        if f"{normed}.weight" not in w:
            return lrelu(x)
        return norm(w, normed, lrelu(x)) if last else lrelu(norm(w, normed, x))

    for level in range(1, 10):
        if level > 5:
            x = functional.conv_transpose2d(
                x, w[f"up{level}.weight"], w[f"up{level}.bias"], stride=2
            )
            x = torch.cat([x, skips[9 - level]], 1)
        elif level > 1:
            x = functional.max_pool2d(x, 2)
        after = {"double": (f"bn{level}", f"bn{level}_1"), "single": ("", f"bn{level}")}
        first, second = after.get(norms, ("", ""))
        x = half(f"conv{level}", first, x)
        x = half(f"conv{level}_2", second, x)
        skips.append(x)
    return functional.pixel_shuffle(conv(w, "conv10", x), 2)


def l1(picture: Tensor, gt: Tensor) -> Tensor:
    return torch.mean(torch.abs(picture - gt))
