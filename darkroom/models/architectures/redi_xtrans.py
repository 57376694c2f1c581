"""REDI for X-Trans: the network of `redi` over nine channels a third of the mosaic's size.

What is published: REDI's paper reports results on SID's Fuji photos (table 1: 26.60 dB). Its
repository has Bayer code alone, and does not say how the network reads an X-Trans mosaic; the work
that the table states for X-Trans, 119 GMACs, is Bayer's network at 24 MP.

What is inferred: the mosaic is packed as in SID, whose photos these are (`train_Fuji.py`, nine
channels at 1/3), where Bayer's network packs four at 1/2. The scales are 1/3, 1/12 and 1/48 in the
place of 1/2, 1/8 and 1/32. Layers that read the mosaic are as wide as it asks for, and all others
stay as they are, which is also how others fed this network twelve channels: 18 instead of 8
channels in each of the first layer's 128 groups, a residual block of 144 channels, four groups of
52 for it and the 64 of the coarse branch, taking turns as two halves; 27 channels, three colours of
3x3 pixels, where Bayer's 2x2 have 12. Names are those of `redi`; the shapes tell the two apart.

Photos off the grid of 48 photosites are continued up to it, where the authors' code crops.
"""

from torch import nn

from darkroom.models.architectures import fold
from darkroom.models.architectures.base import Architecture, Shapes, State, filled, shapes_of
from darkroom.models.architectures.redi import VARIANTS, published_shapes
from darkroom.models.architectures.redi_layers import (
    LayeredRedi,
    convert_layers,
    place_steps,
    read_layers,
)
from darkroom.raw.image import Sensor

_KNOWN = tuple(published_shapes(depths, joined, channels=9) for depths, joined in VARIANTS)
_FORMS = tuple(read_layers(known) for known in _KNOWN)


def _recognise(shapes: Shapes) -> bool:
    """Say whether these are the tensors of X-Trans's REDI, with or without weight norm."""
    return fold.plain_shapes(shapes) in _KNOWN


def _build(state: State) -> nn.Module:
    """Build the module for converted tensors."""
    placed = place_steps(shapes_of(state), _FORMS) or {}
    return filled(
        lambda: LayeredRedi({one.name: one.build(steps) for one, steps in placed.items()}), state
    )


ARCHITECTURES = (
    Architecture(
        name="redi-xtrans",
        sensor=Sensor.XTRANS,
        multiple=16,
        halo=286,  # that of `redi`, whose convolutions these are, in packed pixels of 3x3
        recognise=_recognise,
        convert=convert_layers,
        build=_build,
        dialects=(fold.with_weight_norm(_KNOWN[0]), *_KNOWN),
    ),
)
