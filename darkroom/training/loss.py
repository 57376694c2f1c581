"""What training makes less: how wrong pictures are as the eye sees them."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from darkroom.color.color_space import SRGB_KNEE, SRGB_OFFSET, SRGB_POWER, SRGB_SLOPE
from darkroom.evaluation.metrics import ssim_map
from darkroom.training.scenes import Scenes

ABSOLUTE_WEIGHT = 0.5
SQUARE_WEIGHT = 0.4
LINEAR_WEIGHT = 0.1
AREA_WEIGHT = 0.5
AREAS = (8, 32)
"""Sides, in pixels, of areas whose means are to be right too: their errors are casts and blotches,
which single pixels, as wrong as noise leaves them, hardly show."""
STRUCTURE_WEIGHT = 0.1  # Source: the order of Zhao et al., "Loss Functions", IEEE TCI 2017
STRUCTURE_STRIDE = 3
# A photo's loss around which it begins to count less, so that clean photos are learned too.
TYPICAL_LOSS, MIN_LOSS = 0.03, 0.005


def measure_loss(output: Tensor, scenes: Scenes, structure: bool) -> Tensor:
    """How wrong pictures are as the eye sees them: in sRGB, after the camera's matrix.

    The mean absolute and the root mean square error, the mean absolute error of areas' means, a
    little of the error in linear light, and with `structure` what is missing to a structural
    similarity of 1. Photos with little noise count for more than their small errors. Of light above
    white anything from white to that light is right.
    """
    truth = scenes.camera_rgb
    # What is shown of light above white is white, however far above it the picture is.
    above = torch.minimum(output.detach().clamp(min=1), truth)
    target = torch.where(truth > 1, above, truth)

    def seen(camera_rgb: Tensor) -> Tensor:
        srgb = torch.einsum("nij,njhw->nihw", scenes.camera_to_srgb, camera_rgb)
        encoded: Tensor = _Encoded.apply(srgb)  # type: ignore[no-untyped-call]
        return encoded

    pixels = (output - target).abs().mean((1, 2, 3))
    areas = torch.zeros_like(pixels)
    for side in AREAS:
        found, wanted = (_mean_areas(light, side) for light in (output, target))
        areas = areas + (seen(found) - seen(wanted)).abs().mean((1, 2, 3)) / len(AREAS)
    rest = LINEAR_WEIGHT * pixels + AREA_WEIGHT * areas
    return weigh_errors(seen(output), seen(target), rest, structure)


def weigh_errors(found: Tensor, wanted: Tensor, rest: Tensor, structure: bool) -> Tensor:
    """Return the loss of (N, 3, H, W) pictures as the eye sees them, a scalar.

    `rest`: (N,), what else is wrong with each.
    """
    error, every = found - wanted, (1, 2, 3)
    loss = ABSOLUTE_WEIGHT * error.abs().mean(every)
    loss = loss + SQUARE_WEIGHT * (error.square().mean(every) + 1e-7).sqrt()
    loss = loss + rest
    if structure:
        likeness = ssim_map(found, wanted, STRUCTURE_STRIDE).mean(every)
        loss = loss + STRUCTURE_WEIGHT * (1 - likeness)
    weight = (TYPICAL_LOSS / (loss.detach() + MIN_LOSS)).sqrt()
    return (loss * weight).mean()


def _mean_areas(light: Tensor, side: int) -> Tensor:
    """Return the means of areas that overlap by half, of the whole where that is smaller."""
    side = min(side, *light.shape[2:])
    return functional.avg_pool2d(light, side, max(side // 2, 1))


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
