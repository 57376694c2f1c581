"""The networks that darkroom knows; a checkpoint is recognised by its tensors' names and shapes."""

import math
from contextlib import suppress
from operator import attrgetter

import torch

from darkroom.errors import CheckpointError
from darkroom.models.architectures import (
    llpacknet,
    perceptilabs,
    redi,
    redi_group_norm,
    redi_xtrans,
    safelight,
    sid,
)
from darkroom.models.architectures.base import (
    Architecture,
    Shapes,
    State,
    difference,
    shapes_of,
)

ARCHITECTURES: tuple[Architecture, ...] = (
    *safelight.ARCHITECTURES,
    *sid.ARCHITECTURES,
    *perceptilabs.ARCHITECTURES,
    *llpacknet.ARCHITECTURES,
    *redi.ARCHITECTURES,
    *redi_xtrans.ARCHITECTURES,
    *redi_group_norm.ARCHITECTURES,
)
"""Of several that recognise the same tensors, the first is how they are read unless asked."""

SAME = 1e-4
"""Pictures that differ by less of their largest value are one: readings differ by tenths, float32
by a few millionths."""


def find_architectures(name: str) -> tuple[Architecture, ...]:
    """Return the networks of that name, one for each kind of sensor; empty where there is none."""
    return tuple(architecture for architecture in ARCHITECTURES if architecture.name == name)


def identify(
    shapes: Shapes, architectures: tuple[Architecture, ...] = ARCHITECTURES
) -> Architecture:
    """Return the network that tensors of these names and shapes belong to.

    Raises CheckpointError, which names the nearest known network and the keys that differ.
    """
    for architecture in architectures:
        if _fits(shapes, architecture):
            return architecture
    raise CheckpointError(f"no known network: {_nearest(shapes, architectures)}")


def find_other_readings(
    state: State,
    found: Architecture,
    architectures: tuple[Architecture, ...] = ARCHITECTURES,
) -> tuple[Architecture, ...]:
    """Return the networks that tensors fit as well as `found`, and that make another picture.

    Names and shapes are the same; whether their meaning is, a picture of random light tells.
    """
    shapes = shapes_of(state)
    fits = [one for one in architectures if one.name != found.name and _fits(shapes, one)]
    return tuple(other for other in fits if _differ(found, other, state))


def _fits(shapes: Shapes, architecture: Architecture) -> bool:
    """Say whether tensors of these names and shapes may be a network's."""
    with suppress(LookupError):  # of a tensor with fewer dimensions than the network's has
        return architecture.recognise(shapes)
    return False


@torch.inference_mode()
def _differ(one: Architecture, other: Architecture, state: State) -> bool:
    """Say whether a checkpoint's pictures, or how they are come by, differ between two networks."""
    facts = attrgetter("sensor", "output", "gain_rule", "condition", "amplifier")
    if facts(one) != facts(other) or one.condition is not None:
        return True
    try:
        networks = one.load(state), other.load(state)
    except CheckpointError:  # it cannot be the other
        return False
    side = 2 * math.lcm(one.multiple, other.multiple)
    light = torch.rand(1, one.channels, side, side, generator=torch.Generator().manual_seed(0))
    light = 2 * light - 0.2  # below black and above white too
    ours, theirs = (network(light) for network in networks)
    return not bool((ours - theirs).abs().max() <= SAME * ours.abs().max())


def _nearest(shapes: Shapes, architectures: tuple[Architecture, ...]) -> str:
    """Say which dialect shares the largest part of its keys with `shapes`, and what differs."""
    overlap, name, known = 0.0, "", {}
    for architecture in architectures:
        for dialect in architecture.dialects:
            share = len(dialect.keys() & shapes.keys()) / len(dialect.keys() | shapes.keys())
            if share > overlap:
                overlap, name, known = share, architecture.name, dict(dialect)
    if not name:
        names = dict.fromkeys(one.name.partition("-")[0] for one in architectures)
        return f"none of its {len(shapes)} tensors is named as in {', '.join(names)}"
    return f"nearest is {name}, with {difference(shapes, known)}"
