"""One training step of PerceptiLabs' leaky graph, component by component, in plain torch.

Source: SID_Model/SID_U-Net/model.json. Weights are in TensorFlow's layouts, under its names.
"""

import torch
from torch import Tensor
from torch.nn import functional

Weights = dict[str, Tensor]

DOWN = (("2", "3"), ("4", "5"), ("6", "7"), ("8", "9"), ("10", "11"))
UP = (
    ("1", "12", True),
    ("2", "12_1", True),
    ("2_1", "12_1_1", False),
    ("2_1_1", "12_1_1_1", False),
    ("2_1_1_1", "13", False),
)
"""A deconvolution, the convolution after its merge, and whether that has the skip first."""


def finish(w: Weights, scope: str, x: Tensor) -> Tensor:
    x = x + w[f"{scope}/b"].view(1, -1, 1, 1)
    if f"{scope}/batch_normalization/gamma" in w:
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
        gamma, beta = (
            w[f"{scope}/batch_normalization/{part}"].view(1, -1, 1, 1) for part in ("gamma", "beta")
        )
        x = gamma * (x - mean) / torch.sqrt(variance + 1e-3) + beta
    return torch.maximum(0.2 * x, x)


def conv(w: Weights, number: str, x: Tensor) -> Tensor:
    scope = f"DeepLearningConv_Convolution_{number}"
    kernel = w[f"{scope}/W"]
    y = functional.conv2d(x, kernel.permute(3, 2, 0, 1), padding=kernel.shape[0] // 2)
    return finish(w, scope, y)


def deconv(w: Weights, number: str, x: Tensor) -> Tensor:
    scope = f"DeepLearningDeconv_Deconvolution_{number}"
    y = functional.conv_transpose2d(x, w[f"{scope}/W"].permute(3, 2, 0, 1), stride=2)
    return finish(w, scope, y[:, :, :-1, :-1])


def perceptilabs(w: Weights, packed: Tensor) -> Tensor:
    """(N, 4, h, w) R, G, B, G in [0, 1] -> (N, 3, 2h, 2w)."""
    x = conv(w, "1", packed)
    skips = []
    for widen, down in DOWN:
        skips.append(x)
        x = conv(w, down, functional.max_pool2d(conv(w, widen, x), 2))
    for up, join, skip_first in UP:
        both = [deconv(w, up, x), skips.pop()]
        x = conv(w, join, torch.cat(both[::-1] if skip_first else both, 1))
    n, _, h, width = x.shape
    out = x.reshape(n, 2, 2, 3, h, width).permute(0, 3, 4, 1, 5, 2)
    return out.reshape(n, 3, 2 * h, 2 * width)


def quadratic(picture: Tensor, target: Tensor) -> Tensor:
    return torch.mean(torch.square(picture - target))
