"""What training begins with: linear demosaicing, or the weights of another safelight."""

import torch
from torch import nn
from torch.nn import functional

from darkroom.errors import UsageError
from darkroom.models.architectures import identify
from darkroom.models.architectures.base import State, shapes_of
from darkroom.models.architectures.safelight import Safelight
from darkroom.models.architectures.safelight_layers import UNSHUFFLE
from darkroom.mosaic.demosaic import demosaic

FEATURES_AT_START = 0.3
SPREAD_AT_START = 0.5


@torch.no_grad()
def begin_as_demosaicing(network: Safelight) -> None:
    """Let the last layer demosaic what the gate lets through, linearly in the bent mosaic.

    Half of what the picture lacks of the mosaic is spread by the same filters, gates open.
    """
    head, sites = network.body.leave, network.body.gate.out_channels
    impulses = functional.pixel_shuffle(torch.eye(9 * sites).view(-1, sites, 3, 3), UNSHUFFLE)
    pictures = demosaic(functional.pad(impulses, (UNSHUFFLE,) * 4))
    middle = slice(2 * network.body.upscale, 3 * network.body.upscale)
    answers = functional.pixel_unshuffle(pictures[:, :, middle, middle], network.body.upscale)
    filters = answers[:, :, 0, 0].T.reshape(-1, sites, 3, 3)
    head.weight[:, -sites:] = filters
    network.body.spread.weight.zero_()[:, :sites] = SPREAD_AT_START * filters
    head.weight[:, :-sites] *= FEATURES_AT_START
    gates = *network.body.gate.parameters(), *network.body.spread_gate.parameters()
    for parameter in (*gates, head.get_parameter("bias")):
        parameter.zero_()  # a gate of 0 lets everything through once


@torch.no_grad()
def begin_with(network: Safelight, state: State) -> None:
    """Take over another safelight's weights: the same one's, a narrower one's, the other sensor's.

    Beside a narrower one's features the new ones are random and change no other yet, so that the
    picture is the same (Source: Chen et al., "Net2Net", ICLR 2016, section 2.1, with zeros for
    copies). Of another sensor's all but the first and the last layers is taken. Older weights
    spread nothing of what the picture lacks; here that begins as without weights. Raises UsageError
    for weights of another kind, and for wider ones.
    """
    known = identify(shapes_of(state)).load(state)
    if not isinstance(known, Safelight):
        raise UsageError("these weights are not safelight's: give some to begin with that are")
    if any(own < old for own, old in zip(network.sizes, known.sizes, strict=True)):
        raise UsageError("these weights are of a wider network than is trained: leave out --begin")
    body, sites = network.body, network.body.gate.out_channels
    same_sensor = known.body.gate.out_channels == sites
    ends = (body.enter, body.leave, body.gate, body.spread, body.spread_gate)
    layers = dict(known.body.named_modules())
    for name, layer in body.named_modules():
        old = layers.get(name)
        convolves = isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        if convolves and old is not None and (same_sensor or layer not in ends):
            _widen(layer, old, sites if layer is body.leave else 0)
    first = known.tuner.state_dict()["0.weight"]
    kept = dict(known.tuner[:-1].state_dict())
    # What the other was not told of changes nothing yet.
    kept["0.weight"] = functional.pad(first, (0, network.facts - first.shape[1]))
    network.tuner[:-1].load_state_dict(kept)
    for own, old in zip(network.tuner[-1].parameters(), known.tuner[-1].parameters(), strict=True):
        for here, there in zip(_rows(network), _rows(known), strict=True):
            if here.stop - here.start >= there.stop - there.start:
                own[here.start : here.start + there.stop - there.start] = old[there]


def _widen(layer: nn.Module, known: nn.Module, last: int) -> None:
    """Copy a layer into one with as many channels or more; the `last` inputs stay the last."""
    swap = int(isinstance(layer, nn.ConvTranspose2d))
    weight = layer.get_parameter("weight").transpose(0, swap)
    old = known.get_parameter("weight").transpose(0, swap)
    outputs, inputs = old.shape[0], old.shape[1] - last
    weight[:outputs] = 0
    weight[:outputs, :inputs] = old[:, :inputs]
    if last:
        weight[:outputs, -last:] = old[:, -last:]
    if getattr(layer, "bias", None) is not None:
        bias = layer.get_parameter("bias").zero_()
        bias[:outputs] = known.get_parameter("bias")


def _rows(network: Safelight) -> list[slice]:
    """Where the tuner's result is each layer's factors, offsets, and those of the head's inputs."""
    sites = network.body.gate.out_channels
    lengths = [length for size in network.sizes for length in (size, size)]
    lengths += [network.ends[0] - sites, sites, network.ends[1]]
    ends = torch.tensor(lengths).cumsum(0).tolist()
    return [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]
