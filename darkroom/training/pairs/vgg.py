"""How far apart two pictures are in the features of a network that recognises things."""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.errors import UsageError

LAYERS = 9
"""Of VGG16, up to the second rectifier of its second block. Source: common_classes.py of REDI."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the pictures that VGG16 was trained on. Source: the same."""


def vgg_distance(picture: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference between VGG16's features of (N, 3, H, W) sRGB: a scalar.

    Needs torchvision, which fetches VGG16's weights (528 MB) when they are first asked for. Raises
    UsageError where either is not to be had.
    """
    layers = _load_layers(picture.device)
    mean, std = (picture.new_tensor(x)[:, None, None] for x in (MEAN, STD))
    return functional.l1_loss(layers((picture - mean) / std), layers((target - mean) / std))


@cache
def _load_layers(device: torch.device) -> nn.Module:
    """Load the first layers of VGG16, which learn nothing."""
    try:
        from torchvision.models import VGG16_Weights, vgg16
    except ImportError as error:
        raise UsageError(
            "the VGG term of the loss needs torchvision: pip install 'darkroom[vgg]', or leave it "
            "out as the published recipe does"
        ) from error
    try:
        features = vgg16(weights=VGG16_Weights.IMAGENET1K_V1).features
    except OSError as error:  # urllib's are among them
        raise UsageError(
            f"the VGG term of the loss needs VGG16's weights, which cannot be fetched ({error}); "
            "leave it out, or try again online"
        ) from error
    layers: nn.Module = features[:LAYERS].eval().requires_grad_(False).to(device)
    return layers
