"""What training makes less: how wrong pictures are as the eye sees them."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from darkroom.color.color_space import SRGB_KNEE, SRGB_OFFSET, SRGB_POWER, SRGB_SLOPE
from darkroom.evaluation.metrics import ssim_map
from darkroom.training.scenes import Scenes

ABSOLUTE_WEIGHT = 0.5
SQUARE_WEIGHT = 0.4
LINEAR_WEIGHT = 0.1
STRUCTURE_WEIGHT = 0.1  # Source: the order of Zhao et al., "Loss Functions", IEEE TCI 2017
STRUCTURE_STRIDE = 3
# A photo's loss around which it begins to count less, so that clean photos are learned too.
TYPICAL_LOSS, MIN_LOSS = 0.03, 0.005


def measure_loss(output: Tensor, scenes: Scenes, structure: bool) -> Tensor:
    """How wrong pictures are as the eye sees them: in sRGB, after the camera's matrix.

    The mean absolute and the root mean square error, a little of the error in linear light, and
    with `structure` what is missing to a structural similarity of 1. Photos with little noise
    count for more than their small errors.
    """
    target = scenes.camera_rgb.clamp(max=1)

    def seen(camera_rgb: Tensor) -> Tensor:
        srgb = torch.einsum("nij,njhw->nihw", scenes.camera_to_srgb, camera_rgb)
        encoded: Tensor = _Encoded.apply(srgb)  # type: ignore[no-untyped-call]
        return encoded

    linear = (output - target).abs().mean((1, 2, 3))
    return weigh_errors(seen(output), seen(target), linear, structure)


def weigh_errors(found: Tensor, wanted: Tensor, linear: Tensor, structure: bool) -> Tensor:
    """Return the loss of (N, 3, H, W) pictures as the eye sees them, a scalar.

    `linear`: (N,), the mean absolute error in linear light.
    """
    error, every = found - wanted, (1, 2, 3)
    loss = ABSOLUTE_WEIGHT * error.abs().mean(every)
    loss = loss + SQUARE_WEIGHT * (error.square().mean(every) + 1e-7).sqrt()
    loss = loss + LINEAR_WEIGHT * linear
    if structure:
        likeness = ssim_map(found, wanted, STRUCTURE_STRIDE).mean(every)
        loss = loss + STRUCTURE_WEIGHT * (1 - likeness)
    weight = (TYPICAL_LOSS / (loss.detach() + MIN_LOSS)).sqrt()
    return (loss * weight).mean()


class _Encoded(Function):
    """`darkroom.color.transfer.srgb_encode` in half the time, gradient included."""

    @staticmethod
    def forward(context: Any, linear: Tensor) -> Tensor:
        light = linear.clamp(min=SRGB_KNEE)
        power = light.log().div_(SRGB_POWER).exp_().mul_(1 + SRGB_OFFSET)
        dark = linear < SRGB_KNEE
        slope = (power / light).div_(SRGB_POWER).masked_fill_(dark, SRGB_SLOPE)
        context.save_for_backward(slope)
        return torch.where(dark, SRGB_SLOPE * linear, power.sub_(SRGB_OFFSET))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient.mul(*context.saved_tensors)
