"""What every network has in common: how it is recognised, converted, built and fed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from darkroom.errors import CheckpointError, printable
from darkroom.gain import GainRule
from darkroom.mosaic.noise import Noise
from darkroom.raw.image import Sensor
from darkroom.weights.registry import Output

State = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]

# The least noise that networks are told of: what training knows, and logarithms bear.
MIN_SHOT, MIN_READ = 1e-6, 2e-5


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a network may be told of N photos: their noise after amplification, and more.

    The noise of each is variance(x) = shot * x + read**2, without white balance. `shot`, `read`:
    (N,). `clipped`: (N,) bool, whether values below black are lost. `white_balance`: (N, 3), the
    least of each 1. `black_known`: (N,) bool, as of `darkroom.mosaic.noise.Noise`.
    """

    shot: Tensor
    read: Tensor
    clipped: Tensor
    white_balance: Tensor
    black_known: Tensor

    @classmethod
    def of(cls, noise: Noise, white_balance: NDArray[np.float64]) -> "Conditions":
        """Return the conditions of one photo; `white_balance`: (3,), in any scale."""
        return cls(
            shot=torch.tensor([max(noise.shot, MIN_SHOT)]),
            read=torch.tensor([max(noise.read, MIN_READ)]),
            clipped=torch.tensor([noise.clipped]),
            white_balance=torch.from_numpy(white_balance / white_balance.min()).float()[None],
            black_known=torch.tensor([noise.black_known]),
        )

    def to(self, device: torch.device) -> "Conditions":
        """Return the same on a device."""
        return Conditions(*(getattr(self, name).to(device) for name in self.__slots__))


@dataclass(frozen=True)
class Architecture:
    """One network of the literature: from the tensors of its checkpoint to a module that runs.

    The module maps packed mosaics (N, C, h, w), h and w any multiples of `multiple`, to pictures
    (N, 3, s*h, s*w), s = 2 for Bayer and 3 for X-Trans.

    `multiple`: packed pixels of the network's grid; tiles must start on it. `halo`: packed pixels
    beyond which an input cannot change an output; None where every input changes every output, so
    that a photo runs in one piece. `any_size`: whether h and w may end off the grid, where the
    module does as its authors' code; else photos are continued up to the grid. `recognise`:
    whether tensors of these names and shapes are this network's, in any dialect. `convert`: folds
    a foreign dialect into the names and plain convolutions of our module; it is given float64 and
    returns float64; `dict` leaves all as it is. `build`: the module, its widths taken from the
    shapes of the converted float32 tensors, with these weights. `dialects`: names and shapes of
    each published checkpoint form, to name the nearest one when a file is not recognised.
    `amplifier`: the part of a checkpoint that finds the gain, if there is one: a module from
    (N, C, h, w), not amplified, to (N,) gains. `condition`: makes the module that runs for one
    photo out of the loaded one, where the network is told of the photo's noise; the loaded one
    alone cannot run then. `reading`: in a few words, what it takes tensors to mean that another
    network of the same names and shapes takes otherwise; empty where there is none.
    `photo_statistics`: the same network where batch norms take each photo's own statistics; it
    recognises only checkpoints that have batch norms.
    """

    name: str
    sensor: Sensor
    multiple: int
    halo: int | None
    recognise: Callable[[Shapes], bool]
    build: Callable[[State], nn.Module]
    dialects: tuple[Shapes, ...] = ()
    convert: Callable[[State], State] = dict
    amplifier: Callable[[State], nn.Module | None] = lambda state: None
    output: Output = Output.SRGB
    gain_rule: GainRule = GainRule.REDI
    any_size: bool = False
    condition: Callable[[nn.Module, Conditions], nn.Module] | None = None
    reading: str = ""
    photo_statistics: "Architecture | None" = None

    @property
    def channels(self) -> int:
        """Channels of the packed mosaic: 4 for Bayer, 9 for X-Trans."""
        return 4 if self.sensor is Sensor.BAYER else 9

    @property
    def scale(self) -> int:
        """Picture pixels per packed pixel, along each axis: 2 for Bayer, 3 for X-Trans."""
        return 2 if self.sensor is Sensor.BAYER else 3

    def packed_side(self, photosites: int) -> int:
        """Return the packed pixels that the network runs over for a side of so many photosites."""
        period = 1 if self.sensor is Sensor.BAYER else 2  # packed pixels
        step = period if self.any_size else self.multiple
        return -(-photosites // (step * self.scale)) * step

    def load(self, state: State) -> nn.Module:
        """Return the network, float32, ready to run, for a checkpoint that it recognises.

        Conversion is done in float64, so that folding costs no accuracy. Raises CheckpointError
        when a converted tensor is not finite, or the shapes of several do not fit together.
        """
        exact = {name: tensor.double() for name, tensor in state.items()}
        try:
            folded = {name: tensor.float() for name, tensor in self.convert(exact).items()}
            for name, tensor in folded.items():
                if not tensor.is_meta and not bool(torch.isfinite(tensor).all()):
                    raise CheckpointError(f"{self.name}: {name} is not finite; fetch it again")
            return self.build(folded).eval().requires_grad_(False)
        except (RuntimeError, LookupError, ValueError, ArithmeticError) as error:
            words = printable(str(error))[:100]
            raise CheckpointError(
                f"{self.name}: tensors do not fit together ({words}); fetch the file again"
            ) from error

    def outline(self, shapes: Shapes) -> nn.Module:
        """Return the network for a checkpoint of these names and shapes, without its weights.

        It is on torch's meta device: it has shapes and does no arithmetic.
        """
        return self.load({n: torch.empty(shape, device="meta") for n, shape in shapes.items()})


def shapes_of(state: State) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def filled(make: Callable[[], nn.Module], state: State) -> nn.Module:
    """Return `make()` holding `state`, without initialising weights that are replaced anyway.

    The module is made on torch's meta device, so buffers that are not in its state dict must not
    be created in its constructor. Raises CheckpointError where names or shapes do not fit.
    """
    with torch.device("meta"):
        network = make()
    differs = difference(shapes_of(state), shapes_of(network.state_dict()))
    if differs:
        raise CheckpointError(f"checkpoint does not fit its network: {differs}")
    network.load_state_dict({name: t.contiguous() for name, t in state.items()}, assign=True)
    return network


def difference(found: Shapes, known: Shapes, limit: int = 3) -> str:
    """Say in one line how names and shapes differ; empty where they do not."""
    missing = sorted(known.keys() - found.keys())
    extra = sorted(found.keys() - known.keys())
    other = sorted(key for key in known.keys() & found.keys() if known[key] != found[key])
    parts = [
        f"{len(keys)} {label} ({', '.join(keys[:limit])}{', ...' if len(keys) > limit else ''})"
        for label, keys in (("missing", missing), ("unexpected", extra), ("of other shape", other))
        if keys
    ]
    return "; ".join(parts)
