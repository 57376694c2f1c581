"""safelight, darkroom's own network: white-balanced mosaic in, clean camera RGB out, any camera.

It learns only what all cameras share, removing sensor noise and demosaicing; colours are made
afterwards from the photo's own metadata (`darkroom.color`). Plain 3x3 convolutions and ReLU
throughout, at a quarter of the mosaic's resolution and below, because those run near the
processor's matrix rate on CPU and GPU alike; depthwise convolutions and normalisation do not.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.files.sensor import Sensor
from darkroom.gain import GainRule
from darkroom.nets.base import Architecture, Shapes, State, filled, shapes_of
from darkroom.weights.kinds import Output

# Sites of one packed channel's period that the network folds into channels, per side.
UNSHUFFLE = 2

# Amplified, white-balanced values above this say no more than "clipped": the target's white is 1.
INPUT_LIMIT = 2.0

WIDTHS = (32, 64, 128, 160)


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w) -> the same."""
        added: Tensor = self.second(functional.relu(self.first(x), inplace=True))
        return added.add_(x)


class Safelight(nn.Module):
    """A residual U-Net over the pixel-unshuffled mosaic.

    `channels` of the packed form: 4 (Bayer) or 9 (X-Trans). The head sees the input once more
    beside the features, so that detail has a short way through.
    """

    def __init__(self, channels: int = 4, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.upscale = UNSHUFFLE * (2 if channels == 4 else 3)
        sites = channels * UNSHUFFLE**2
        self.enter = nn.Conv2d(2 * sites, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(Block(width) for width in widths[:-1])
        self.down = nn.ModuleList(
            nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(widths)
        )
        self.middle = nn.Sequential(Block(widths[-1]), Block(widths[-1]))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairwise(widths)
        )
        self.decoder = nn.ModuleList(Block(width) for width in widths[:-1])
        self.leave = nn.Conv2d(widths[0] + 2 * sites, 3 * self.upscale**2, 3, padding=1)

    def forward(self, packed: Tensor) -> Tensor:
        """(N, C, h, w) amplified, white-balanced -> (N, 3, H, W) linear camera RGB, white 1."""
        sites = functional.pixel_unshuffle(packed.clamp(max=INPUT_LIMIT), UNSHUFFLE)
        # The signed square root spreads the shadows, where shot noise is then nearly constant.
        entry = torch.cat([sites, sites.sign() * sites.abs().sqrt()], dim=1)
        x = self.enter(entry)
        # No activation between scales: a rectifier there starves whole levels to death in training.
        skips = []
        for block, down in zip(self.encoder, self.down, strict=True):
            x = block(x)
            skips.append(x)
            x = down(x)
        x = self.middle(x)
        for block, up in zip(reversed(self.decoder), reversed(self.up), strict=True):
            x = block(up(x).add_(skips.pop()))
        x = self.leave(torch.cat([functional.relu(x), entry], dim=1))
        return functional.pixel_shuffle(x, self.upscale)


def _sites(shapes: Shapes) -> int:
    """Input channels of the first convolution: twice the mosaic's sites per quarter pixel."""
    return shapes.get("enter.weight", (0, 0))[1]


def _recognises(channels: int) -> Callable[[Shapes], bool]:
    def recognise(shapes: Shapes) -> bool:
        ours = "middle.0.first.weight" in shapes and "leave.weight" in shapes
        return ours and _sites(shapes) == 2 * channels * UNSHUFFLE**2

    return recognise


def _builder(channels: int) -> Callable[[State], nn.Module]:
    def build(state: State) -> nn.Module:
        levels = sum(name.startswith("down.") and name.endswith(".bias") for name in state)
        widths = [state["enter.bias"].shape[0]]
        widths += [state[f"down.{level}.bias"].shape[0] for level in range(levels)]
        return filled(lambda: Safelight(channels, tuple(widths)), state)

    return build


def _as_published(state: State) -> State:
    """Return the checkpoint as it is: it is ours, there is nothing to fold."""
    return state


def _dialect(channels: int) -> Shapes:
    with torch.device("meta"):
        return shapes_of(Safelight(channels).state_dict())


# On the grid of its coarsest level: 16 packed pixels. The reach is measured by impulse in
# tests/test_nets_safelight.py.
MULTIPLE = UNSHUFFLE * 2 ** (len(WIDTHS) - 1)
HALO = 144

SAFELIGHT = Architecture(
    name="safelight",
    sensor=Sensor.BAYER,
    multiple=MULTIPLE,
    halo=HALO,
    output=Output.CAMERA,
    gain_rule=GainRule.LEARNED,
    recognise=_recognises(4),
    convert=_as_published,
    build=_builder(4),
    dialects=(_dialect(4),),
)

ARCHITECTURES = (SAFELIGHT,)
