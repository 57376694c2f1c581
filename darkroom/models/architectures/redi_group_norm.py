"""REDI with group norms: the network of `redi`, run as it is written, in one piece.

No checkpoint of this variant was seen, nor code that makes one. So its form is not taken from a
file: it is what group norms make of the authors' published code, where every layer is a sequence
of a convolution and perhaps an activation. A norm is one more step of such a sequence, in whichever
layers and wherever in them: the numbers in the tensors' names tell its place, as in conv.0 (a norm)
and conv.2 (a convolution, after the activation 1). Weight norm may be there as well, or not.

The number of groups is in no tensor. It is 32, or the next lower power of 2 by which every normed
layer can be divided; where a file has another, say so: redi-group-norm-8=FILE. Every number is
offered that divides all widths which the file has norms for, and no other. Instance norm, and batch
norm without stored statistics, which is the same for one photo, have the same tensors too, one
group a channel: redi-instance-norm=FILE.
Source: Wu and He, "Group Normalization", ECCV 2018, section 4 (32 groups by default).

A group's mean and variance are taken over the whole photo, so every pixel depends on all of it and
no halo makes tiles equal to it: it runs in one piece or not at all. They are taken over what the
network runs over, that is with the reflection that continues a photo up to a multiple of 32
photosites. The authors' code cuts photos to such multiples instead; there both are the same. With
random weights, 8 more photosites of 3000 changed the far half of a 12-MP picture by 0.0003 of white
on average, 0.009 at most.
"""

from functools import cache, partial

from torch import nn

from darkroom.models.architectures import fold
from darkroom.models.architectures.base import Architecture, Shapes, State, filled, shapes_of
from darkroom.models.architectures.redi import KNOWN
from darkroom.models.architectures.redi_layers import (
    LayeredRedi,
    LayerStep,
    convert_layers,
    place_steps,
    read_layers,
)
from darkroom.raw.image import Sensor

_FORMS = tuple(read_layers(known) for known in KNOWN)

_LIKELY = (32, 16, 8, 4, 2, 1)
"""Numbers of groups, in the order in which they are tried."""

_WIDTHS = {width for layer in _FORMS[0] for width in layer.norm_widths}
"""Channels that a norm can have."""

_RARE = sorted(
    {number for width in _WIDTHS for number in range(1, width + 1) if width % number == 0}
    - set(_LIKELY)
)

GROUPS: tuple[int | None, ...] = (*_LIKELY, *_RARE, None)
"""Each is a network of its own name; None is one group for each channel."""


def _recognise(groups: int | None, shapes: Shapes) -> bool:
    """Say whether these are REDI's tensors with norms that have so many groups, or could."""
    widths = [
        shape[0] for name, shape in shapes.items() if name.endswith(".weight") and len(shape) == 1
    ]
    divide = groups is None or all(width % groups == 0 for width in widths)
    return bool(widths) and divide and place_steps(shapes, _FORMS) is not None


def _build(groups: int | None, state: State) -> nn.Module:
    """Build the module for converted tensors."""
    placed = place_steps(shapes_of(state), _FORMS) or {}

    def make() -> nn.Module:
        return LayeredRedi({one.name: one.build(steps, groups) for one, steps in placed.items()})

    return filled(make, state)


@cache  # 430 are asked for at import, of which 43 differ
def _form(normed: str, after: bool) -> dict[str, tuple[int, ...]]:
    """List names and shapes with norms before, or right after, the convolutions of some layers.

    `normed`: part of those layers' names. Before, in front of the activation: where the authors'
    code has room for a norm of its own.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in _FORMS[0]:
        steps = layer.steps
        if normed in layer.name:
            at = steps.index(LayerStep.CONVOLVE) + 1 if after else 0
            steps = (*steps[:at], LayerStep.NORMALISE, *steps[at:])
        shapes |= layer.shapes(steps)
    return shapes


_BEFORE, _AFTER = _form(".dense_layers.", after=False), _form(".dense_layers.", after=True)
_DIALECTS = (fold.with_weight_norm(_BEFORE), _BEFORE, _AFTER)


def _dialects(groups: int | None) -> tuple[Shapes, ...]:
    """Return forms with so many groups: norms in the dense layers, or else in one layer."""
    if groups is None or groups in _LIKELY:
        return _DIALECTS
    places = ((one.name, after) for one in _FORMS[0] for after in (False, True))
    return next(
        (form,) for place in places if _recognise(groups, form := _form(place[0], place[1]))
    )


def _name(groups: int | None) -> str:
    if groups is None:
        return "redi-instance-norm"
    return "redi-group-norm" if groups == GROUPS[0] else f"redi-group-norm-{groups}"


def _architecture(groups: int | None) -> Architecture:
    """Bind the functions to a number of groups."""
    return Architecture(
        name=_name(groups),
        sensor=Sensor.BAYER,
        multiple=16,
        halo=None,
        recognise=partial(_recognise, groups),
        convert=convert_layers,
        build=partial(_build, groups),
        dialects=_dialects(groups),
        reading=f"{groups} groups" if groups == GROUPS[0] else "",  # the others' names say it
    )


# Never found by itself where more groups are possible: ask for it by its name.
ARCHITECTURES = tuple(_architecture(groups) for groups in GROUPS)
