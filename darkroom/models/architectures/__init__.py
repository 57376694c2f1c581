"""The networks that darkroom knows; a checkpoint is recognised by its tensors' names and shapes."""

from contextlib import suppress

from darkroom.errors import CheckpointError
from darkroom.models.architectures import (
    llpacknet,
    perceptilabs,
    redi,
    redi_group_norm,
    safelight,
    sid,
)
from darkroom.models.architectures.base import Architecture, Shapes, difference

ARCHITECTURES: tuple[Architecture, ...] = (
    *safelight.ARCHITECTURES,
    *sid.ARCHITECTURES,
    *perceptilabs.ARCHITECTURES,
    *llpacknet.ARCHITECTURES,
    *redi.ARCHITECTURES,
    *redi_group_norm.ARCHITECTURES,
)


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
        with suppress(LookupError):  # of a tensor with fewer dimensions than the network's has
            if architecture.recognise(shapes):
                return architecture
    raise CheckpointError(f"no known network: {_nearest(shapes, architectures)}")


def _nearest(shapes: Shapes, architectures: tuple[Architecture, ...]) -> str:
    """Say which dialect shares the largest part of its keys with `shapes`, and what differs."""
    overlap, name, known = 0.0, "", {}
    for architecture in architectures:
        for dialect in architecture.dialects:
            share = len(dialect.keys() & shapes.keys()) / len(dialect.keys() | shapes.keys())
            if share > overlap:
                overlap, name, known = share, architecture.name, dict(dialect)
    if not name:
        names = dict.fromkeys(architecture.name for architecture in architectures)
        return f"none of its {len(shapes)} tensors is named as in {', '.join(names)}"
    return f"nearest is {name}, with {difference(shapes, known)}"
