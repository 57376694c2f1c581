"""safelight, darkroom's own network: white-balanced mosaic in, clean camera RGB out, any camera.

It learns only what all cameras share, removing sensor noise and demosaicing; colours are made
afterwards from the photo's own metadata (`darkroom.color.render`). Plain 3x3 convolutions and leaky
ReLU throughout, at a quarter of the mosaic's resolution and below, because those run near the
processor's matrix rate on CPU and GPU alike; depthwise convolutions and normalisation do not.

It works on the square root of the light, where noise is alike at all levels, edges are as steep in
shadows as in highlights and errors count about as the eye sees them, and squares what comes out.

It is told how noisy the photo is (`Conditions`): a small network turns that into one factor and one
offset for features all over the large one. They are the same for the whole photo, so they fold into
its convolutions (`condition`) and cost a photo nothing.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.gain import GainRule
from darkroom.models.architectures.base import (
    Architecture,
    Conditions,
    Shapes,
    State,
    filled,
    shapes_of,
)
from darkroom.models.architectures.safelight_layers import (
    LEAK,
    UNSHUFFLE,
    Film,
    Leave,
    ResidualBlock,
    ResidualInterpolation,
)
from darkroom.raw.image import Sensor
from darkroom.weights.registry import Output

# Amplified, white-balanced values above this say no more than "clipped": the target's white is 1.
INPUT_LIMIT = 2.0

WIDTHS = (48, 64, 96, 128)
LARGE_WIDTHS = (104, 144, 208, 288)

# In so many ways, each gated by itself, what the picture lacks of the mosaic is spread over it.
SPREADS = 2
# Std of the noise in the root of the light at which only a quarter is spread: Wiener's share of the
# signal, squared. Source: measured on simulated photos at ratio 1, 10 and 100, where 0.5, 0.21 and
# 0.01 of what Malvar's filters spread is best.
SPREAD_NOISE = 0.0105

HIDDEN = 64
# Where the logarithms of shot noise, read noise and white balance lie in training, and how far.
SHOT_CENTER, SHOT_SPREAD = -9.0, 3.0
READ_CENTER, READ_SPREAD = -7.0, 3.0
BALANCE_CENTER = 0.9
# Read noise in electrons, beyond which no sensor of the training lies: such photos are told more
# of the other noise than they have, which smooths them a little too much.
MIN_ELECTRONS, MAX_ELECTRONS = 0.6, 12.0
FACTS = 6

# Keeps the bent input's slope finite where there is no read noise.
MIN_OFFSET = 1e-5


class Modulation(NamedTuple):
    """What the conditions make of a run.

    `films`: one for each of the body's `modulated` layers. `head`: (N, C, 1, 1), factors on what
    the last layer reads; `spread`: on what `Body.spread` does, no channels where there is none.
    `offset`: (N, 1, 1, 1), added before the square root.
    """

    films: list[Film]
    head: Tensor
    spread: Tensor
    offset: Tensor


class Body(nn.Module):
    """A residual U-Net over the pixel-unshuffled mosaic.

    `channels` of the packed form: 4 (Bayer) or 9 (X-Trans). The head sees the bent mosaic once more
    beside the features, so that detail has a short way through, gated by the features. What the
    picture then lacks of the mosaic is spread over it, in `spreads` ways, gated each.
    """

    offset: Tensor
    exact = ("leave",)
    """What stays in float32 where the rest runs in half precision, as the input does.

    Of the last layer only the features' part is not. On six dark crops of SID at x100 bfloat16 is
    0.06 codes of 255 off float32 on average so, and 0.47 at the 99.9th percentile; all of the last
    layer in float32 0.05 and 0.30 and a tenth more time, none of it 0.32 and 1.21.
    """

    by_rows = True  # see darkroom.models.row_bands

    def __init__(
        self, channels: int = 4, widths: Sequence[int] = WIDTHS, spreads: int = SPREADS
    ) -> None:
        super().__init__()
        self.upscale = UNSHUFFLE * (2 if channels == 4 else 3)
        sites = channels * UNSHUFFLE**2
        self.register_buffer("offset", torch.full((1, 1, 1, 1), MIN_OFFSET))
        self.enter = nn.Conv2d(2 * sites, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(ResidualBlock(width) for width in widths[1:-1])
        self.down = nn.ModuleList(
            nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(widths)
        )
        self.middle = ResidualBlock(widths[-1])
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairwise(widths)
        )
        self.decoder = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        self.gate = nn.Conv2d(widths[0], sites, 1)
        colors = 3 * self.upscale**2
        self.leave = Leave(widths[0] + sites, colors, 3, padding=1)
        self.spreads = spreads
        if spreads:
            self.spread_gate = nn.Conv2d(widths[0], spreads * sites, 1)
            self.spread = ResidualInterpolation(spreads * sites, colors, 3, padding=1, bias=False)
            nn.init.zeros_(self.spread.weight)

    @property
    def modulated(self) -> list[nn.Conv2d]:
        """The layers whose results take a film, in the order of `Modulation.films`."""
        blocks = [*self.encoder, self.middle, *self.decoder]
        return [self.enter, *(block.first for block in blocks if isinstance(block, ResidualBlock))]

    def forward(self, packed: Tensor, modulation: Modulation | None = None) -> Tensor:
        """(N, C, h, w) amplified, white-balanced -> (N, 3, H, W) linear camera RGB, white 1.

        `modulation`: None where it is folded in.
        """
        sites = functional.pixel_unshuffle(packed, UNSHUFFLE)
        light = sites.contiguous(memory_format=torch.channels_last).clamp(max=INPUT_LIMIT)
        offset = self.offset if modulation is None else modulation.offset
        # The square root spreads the shadows; with this offset noise is alike at all levels.
        # Source: Starck, Murtagh, Bijaoui, "Image Processing and Data Analysis", 1998, the
        # generalised Anscombe transform, without its constants.
        root = offset.sqrt()
        bent = (light + offset).clamp_(min=0).sqrt_().sub_(root)
        films = iter([None] * len(self.modulated) if modulation is None else modulation.films)

        inner = self.enter.weight.dtype
        x = self.enter(torch.cat([light.to(inner), bent.to(inner)], dim=1))
        film = next(films)
        x = x if film is None else film(x)
        # No activation between coarser scales: a rectifier there starves whole levels to death.
        skips = [x]
        x = self.down[0](functional.leaky_relu(x, LEAK))
        for block, down in zip(self.encoder, self.down[1:], strict=True):
            x = block(x, next(films))
            skips.append(x)
            x = down(x)
        x = self.middle(x, next(films))
        for block, up, film in reversed(list(zip(self.decoder, self.up, films, strict=True))):
            x = block(up(x).add_(skips.pop()), film)
        x = functional.leaky_relu(x, LEAK)
        # Bright parts of a photo bear more of the mosaic itself than its shadows do.
        mosaic = bent * _gate(self.gate(x))
        gates = _gate(self.spread_gate(x)) if self.spreads else None
        if modulation is not None:
            head = torch.split(modulation.head, [x.shape[1], mosaic.shape[1]], dim=1)
            x, mosaic = x * head[0], mosaic * head[1]
            gates = None if gates is None else gates * modulation.spread
        x = self.leave(x, mosaic, inner)
        if gates is not None:
            x = self.spread(x, bent, gates, self.leave.weight.dtype)
        # Squaring undoes the bend; negatives go on as far below zero.
        x = x.abs().add_(2 * root).mul_(x)
        return functional.pixel_shuffle(x, self.upscale)


def _gate(logits: Tensor) -> Tensor:
    return 2 * torch.sigmoid(logits)


class Safelight(nn.Module):
    """The body, and a small network that modulates it by the conditions of the photo."""

    def __init__(
        self,
        channels: int = 4,
        widths: Sequence[int] = WIDTHS,
        facts: int = FACTS,
        spreads: int = SPREADS,
    ) -> None:
        super().__init__()
        self.body = Body(channels, widths, spreads)
        self.facts = facts
        self.sizes = [layer.out_channels for layer in self.body.modulated]
        sites = self.body.gate.out_channels
        self.ends = [self.body.leave.in_channels, spreads * sites]
        last = nn.Linear(HIDDEN, 2 * sum(self.sizes) + sum(self.ends))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.tuner = nn.Sequential(
            nn.Linear(facts, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), last
        )

    def forward(self, packed: Tensor, conditions: Conditions) -> Tensor:
        """(N, C, h, w) amplified, white-balanced -> (N, 3, H, W) linear camera RGB, white 1."""
        picture: Tensor = self.body(packed, self.modulation(conditions))
        return picture

    def modulation(self, conditions: Conditions) -> Modulation:
        """Return what the conditions of N photos make of the body's run."""
        read, balance = conditions.read, conditions.white_balance
        shot = torch.maximum(conditions.shot, read / MAX_ELECTRONS)
        read = torch.maximum(read, shot * MIN_ELECTRONS)
        facts = [
            (shot.log2() - SHOT_CENTER) / SHOT_SPREAD,
            (read.log2() - READ_CENTER) / READ_SPREAD,
            conditions.clipped.to(shot.dtype),
            balance[:, 0].log2() - BALANCE_CENTER,
            balance[:, 2].log2() - BALANCE_CENTER,
            conditions.black_known.to(shot.dtype),
        ]
        # Its numbers span nine decades. (The meta device has no autocast to turn off.)
        with torch.autocast("cpu" if read.is_meta else read.device.type, enabled=False):
            told = torch.stack(facts[: self.facts], dim=1)
            parts = self.tuner(told)[:, :, None, None]
        both = [part for size in self.sizes for part in (size, size)]
        *pairs, head, spread = parts.split(both + self.ends, dim=1)
        films = [
            Film(1 + scale, shift) for scale, shift in zip(pairs[::2], pairs[1::2], strict=True)
        ]
        offset = balance.mean(1) * read.square() / shot
        offset = offset.clamp(min=MIN_OFFSET)[:, None, None, None]
        # Of the variance of shot noise the root of the light leaves a quarter, at all levels.
        noise = (shot / 4)[:, None, None, None]
        spread = (1 + spread) / (1 + noise / SPREAD_NOISE**2) ** 2
        return Modulation(films, 1 + head, spread, offset)


@torch.no_grad()
def condition(network: nn.Module, conditions: Conditions) -> nn.Module:
    """Return safelight's body with the conditions of one photo folded into its convolutions."""
    assert isinstance(network, Safelight)
    place = network.body.offset.device
    films, head, spread, offset = network.modulation(conditions.to(place))
    body = network.body
    state = dict(body.state_dict())
    names = {module: name for name, module in body.named_modules()}
    for layer, film in zip(body.modulated, films, strict=True):
        weight, bias = f"{names[layer]}.weight", f"{names[layer]}.bias"
        state[weight] = state[weight] * film.scale.transpose(0, 1)
        state[bias] = state[bias] * film.scale.flatten() + film.shift.flatten()
    state["leave.weight"] = state["leave.weight"] * head
    if body.spreads:
        state["spread.weight"] = state["spread.weight"] * spread
    state["offset"] = offset
    return _build(state).eval().requires_grad_(False)


def _recognise(channels: int, shapes: Shapes) -> bool:
    enter = shapes.get("body.enter.weight", (0, 0))
    ours = "body.leave.weight" in shapes and "tuner.0.weight" in shapes
    return ours and enter[1] == 2 * channels * UNSHUFFLE**2


def _build(state: State) -> nn.Module:
    """Build the network, or its body alone where that is what the state is of."""
    whole = "body.offset" in state
    part = {name.removeprefix("body."): tensor.shape for name, tensor in state.items()}
    levels = sum(name.startswith("down.") and name.endswith(".bias") for name in part)
    widths = [part["enter.bias"][0], *(part[f"down.{level}.bias"][0] for level in range(levels))]
    sites = part["gate.bias"][0]
    channels = sites // UNSHUFFLE**2
    # Weights of before there were any have none.
    spreads = part["spread.weight"][1] // sites if "spread.weight" in part else 0
    if not whole:
        return filled(partial(Body, channels, widths, spreads), state)
    facts = part["tuner.0.weight"][1]
    return filled(partial(Safelight, channels, widths, facts, spreads), state)


# On the grid of its coarsest level: 16 packed pixels. The reach is measured by impulse in
# tests/models/architectures/test_safelight.py.
MULTIPLE = UNSHUFFLE * 2 ** (len(WIDTHS) - 1)
HALO = 112


def _architecture(name: str, sensor: Sensor, channels: int) -> Architecture:
    with torch.device("meta"):
        network = Safelight(channels)
    return Architecture(
        name=name,
        sensor=sensor,
        multiple=MULTIPLE,
        halo=HALO,
        output=Output.CAMERA,
        gain_rule=GainRule.LEARNED,
        recognise=partial(_recognise, channels),
        build=_build,
        dialects=(shapes_of(network.state_dict()),),
        condition=condition,
    )


SAFELIGHT = _architecture("safelight", Sensor.BAYER, 4)
SAFELIGHT_XTRANS = _architecture("safelight-xtrans", Sensor.XTRANS, 9)

ARCHITECTURES = (SAFELIGHT, SAFELIGHT_XTRANS)
