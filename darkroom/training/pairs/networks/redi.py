"""REDI to train: its authors' layers, weight norm and first weights; its two reductions, X-Trans.

Source: network.py and train.py of the authors' published code (CVPR 2021). The layers are those
that `darkroom.models.architectures.redi_layers` loads, each convolution under weight norm.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn
from torch.nn.utils import parametrizations

from darkroom.models.architectures.redi import SLOPE, published_shapes
from darkroom.models.architectures.redi_layers import (
    LayeredRedi,
    LayerStep,
    PublishedLayer,
    read_layers,
)
from darkroom.raw.image import Sensor
from darkroom.training.pairs.networks.base import TrainableNetwork
from darkroom.training.pairs.recipes import PairRecipe

RECIPE = PairRecipe(
    loss="redi",
    rate=1e-4,
    rate_after=1e-5,
    drop_at=0.5,
    epochs=1,
    steps=1_000_000,
    batch=8,
    crop=512,
    flip_rows=0.2,
    flip_columns=0.5,
    flip_sites=True,
)
"""Source: train.py and common_classes.py, whose flips have probabilities of 20/101 and 50/101."""

XTRANS_RECIPE = replace(RECIPE, crop=528, flip_sites=False)
"""X-Trans was not published: the next crop on its grid of 48 photosites, and flips
as SID has them, for those of the mosaic have no place in its packed form."""

DEPTHS = (4, 5, 5)
"""Layers of the residual dense blocks. Source: network.py."""

TWO_BLOCKS = (4, 5)
"""Of the reduction to two blocks."""

GROUPS = 32
"""Groups of a norm. Source: Wu and He, "Group Normalization", ECCV 2018, section 4."""


def make_redi(
    channels: int = 4, depths: tuple[int, ...] = DEPTHS, groups: int | None = None
) -> LayeredRedi:
    """Make the network with its authors' first weights, drawn from torch's generator.

    `channels`: 4 for Bayer, 9 for X-Trans, whose form `redi_xtrans` infers. `depths`: (4, 5) is the
    reduction to two blocks. `groups`: of group norms ahead of the dense layers, where the authors'
    code has room for a norm; None for none.
    """
    layers = read_layers(published_shapes(depths, len(depths), channels))
    return LayeredRedi({layer.name: _make_layer(layer, groups) for layer in layers})


def _make_layer(layer: PublishedLayer, groups: int | None) -> nn.Sequential:
    """Make a layer: its convolution under weight norm, He's first weights for its activation."""
    dense = ".dense_layers." in layer.name
    normed = (LayerStep.NORMALISE,) if dense and groups is not None else ()
    made = layer.build((*normed, *layer.steps), groups)
    # The first layer of a dense block has no activation, and yet the slope of one.
    first = layer.name.endswith(".dense_layers.0.conv")
    slope = SLOPE if first or LayerStep.RECTIFY in layer.steps else 1.0
    for step in made:
        if isinstance(step, nn.Conv2d):
            nn.init.kaiming_normal_(step.weight, a=slope)
            parametrizations.weight_norm(step)
    return made


def _bind(
    name: str, architecture: str, sensor: Sensor = Sensor.BAYER, **form: Any
) -> TrainableNetwork:
    """Bind a form of the network to its recipe."""
    channels = 4 if sensor is Sensor.BAYER else 9
    recipe = RECIPE if sensor is Sensor.BAYER else XTRANS_RECIPE
    return TrainableNetwork(
        name, sensor, partial(make_redi, channels, **form), architecture, recipe
    )


NETWORKS = (
    _bind("redi", "redi"),
    _bind("redi", "redi-xtrans", Sensor.XTRANS),
    _bind("redi-two-blocks", "redi", depths=TWO_BLOCKS),
    _bind("redi-two-blocks", "redi-xtrans", Sensor.XTRANS, depths=TWO_BLOCKS),
    _bind("redi-group-norm", "redi-group-norm", groups=GROUPS),
)
