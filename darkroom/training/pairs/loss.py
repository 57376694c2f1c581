"""How far pictures are from their references, as the papers' training measures it.

Pictures and targets are (N, 3, H, W), targets in [0, 1]; a loss is a scalar.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.color.transfer import bt709_decode
from darkroom.errors import UsageError
from darkroom.training.loss import LINEAR_WEIGHT, weigh_errors
from darkroom.training.pairs.ms_ssim import ms_ssim
from darkroom.training.pairs.vgg import vgg_distance

Loss = Callable[[Tensor, Tensor, nn.Module, int], Tensor]
"""Of pictures, targets, the network that made the pictures, and the steps taken before."""

REDI_STRUCTURE = 0.2
"""Of 1 - MS-SSIM beside the mean absolute error. Source: train.py of REDI."""

VGG_WEIGHT = 0.01
"""Of the VGG term where it is asked for: ours, for the published code has the term switched off and
no weight for it."""

LLPACKNET_SWITCH = 20_000
"""Steps after which LLPackNet's loss changes its weights. Source: train.py of LLPackNet, as are the
next three."""

LLPACKNET_SMOOTH, LLPACKNET_BLUR = (1000.0, 400.0), (10.0, 1.0)
"""Weights of total variation and of the blurred difference, before and after the switch."""

LLPACKNET_DECAY = 1e-6
"""Of the sum of all parameters' absolute values, the amplifier's too."""

LLPACKNET_TAPS = (
    (0.03797616, 0.044863533, 0.03797616),
    (0.044863533, 0.053, 0.044863533),
    (0.03797616, 0.044863533, 0.03797616),
)
"""The blur, which keeps 38 % of the light."""


def redi_loss(picture: Tensor, target: Tensor, vgg: float = 0.0) -> Tensor:
    """REDI's: mean absolute error, and a fifth of what is missing to a structural likeness of 1.

    `vgg`: weight of the distance between VGG16's features, off in the published code. Raises
    UsageError for crops that are too small for MS-SSIM.
    """
    loss = functional.l1_loss(picture, target) + REDI_STRUCTURE * (1 - ms_ssim(picture, target))
    return loss + vgg * vgg_distance(picture, target) if vgg else loss


def llpacknet_loss(picture: Tensor, target: Tensor, network: nn.Module, step: int) -> Tensor:
    """LLPackNet's: mean absolute error, total variation, a blurred difference, small parameters.

    The published code adds features of VGG19 too, but computes them
    without a gradient, so that they change the number and nothing else: left out.
    """
    late = step >= LLPACKNET_SWITCH
    loss = functional.l1_loss(picture, target)
    loss = (
        loss
        + LLPACKNET_DECAY * torch.stack([one.abs().sum() for one in network.parameters()]).sum()
    )
    loss = loss + LLPACKNET_SMOOTH[late] * total_variation(picture)
    taps = picture.new_tensor(LLPACKNET_TAPS).expand(3, 1, 3, 3)
    found, wanted = (functional.conv2d(x, taps, groups=3) for x in (picture, target))
    return loss + LLPACKNET_BLUR[late] * functional.mse_loss(found, wanted)


def safelight_loss(picture: Tensor, target: Tensor, network: nn.Module, step: int) -> Tensor:
    """Return the loss of safelight's own training, on the curve of BT.709 in the place of sRGB's.

    Where a reference is white or black it says no more than that: what goes on beyond is right.
    """
    picture = torch.where(target >= 1, torch.minimum(picture, target), picture)
    picture = torch.where(target <= 0, torch.maximum(picture, target), picture)
    linear = (bt709_decode(picture) - bt709_decode(target)).abs().mean((1, 2, 3))
    return weigh_errors(picture, target, LINEAR_WEIGHT * linear, structure=True)


def total_variation(picture: Tensor) -> Tensor:
    """Twice the mean squared step to the next pixel, down and across, per sample of a picture.

    Divided by the samples twice, as LLPackNet's code does, so that it is nearly nothing.
    """
    down, right = picture.diff(dim=2).square().mean(), picture.diff(dim=3).square().mean()
    return 2 * (down + right) / picture[0].numel()


LOSSES: dict[str, Loss] = {
    "l1": lambda picture, target, network, step: functional.l1_loss(picture, target),
    "l2": lambda picture, target, network, step: functional.mse_loss(picture, target),
    "redi": lambda picture, target, network, step: redi_loss(picture, target),
    "redi-vgg": lambda picture, target, network, step: redi_loss(picture, target, VGG_WEIGHT),
    "llpacknet": llpacknet_loss,
    "safelight": safelight_loss,
}


def find_loss(name: str) -> Loss:
    """Return the loss of a name. Raises UsageError, which lists the names, where there is none."""
    if name not in LOSSES:
        raise UsageError(f"--loss {name}: unknown; give one of {', '.join(LOSSES)}")
    return LOSSES[name]
