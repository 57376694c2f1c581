"""LLPackNet to train, in its forms of 2020 and 2022, with UnPack or PixelShuffle, and an amplifier.

Source: the authors' published code of 2020 (train.py) and 2022 (network.py). What trained the form
of 2022 was not published: it is trained as that of 2020, with the first weights of torch, as it is
written. 2020 begins with He's; its amplifier with torch's, which give a gain that is not positive
as often as one that is. Such an amplifier would never learn, for its threshold has no gradient
there, so they are drawn again until every histogram has a positive gain.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from darkroom.models.architectures.llpacknet import HISTOGRAM_BINS, MIN_AMPLIFICATION, PACK
from darkroom.raw.image import Sensor
from darkroom.training.pairs.networks.base import PairBatch, TrainableNetwork, run_network
from darkroom.training.pairs.recipes import PairRecipe

RECIPE = PairRecipe(
    loss="llpacknet",
    rate=1e-4,
    epochs=1,
    steps=400_000,
    batch=1,
    crop=512,
    flip_rows=0.5,
    flip_columns=0.2,
    flip_sites=True,
)
"""Source: train.py, whose flips have probabilities of 50/101 and 20/101, and whose authors ended it
by hand after 400,000 steps; it draws four crops of a photo one after another, here they are of
four."""

COLOURS = ("RDBr", "RDBg1", "RDBg2", "RDBb")
BLOCKS, LAYERS, GROWTH = ("RDB1", "RDB2", "RDB3"), 6, 32
WIDTH, FINE_WIDTH = 64, 16
HIDDEN = 128
EDGES = (torch.logspace(0, 8, HISTOGRAM_BINS + 1, 2.0, dtype=torch.float64) - 1) / 255
"""Of the histogram's bins, in units of white. Source: train.py."""


class TrainableAmplifier(nn.Module):
    """The amplifier: two layers on a logarithmic histogram, without an activation between them."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Linear(HISTOGRAM_BINS, HIDDEN), nn.Linear(HIDDEN, 1)]
        self.conv_post = nn.Sequential(*layers)
        # A histogram sums to 1 or less, so it lies between these.
        ends = torch.cat([torch.zeros(1, HISTOGRAM_BINS), torch.eye(HISTOGRAM_BINS)])
        with torch.no_grad():
            while self.conv_post(ends).min() <= 0:
                for layer in layers:
                    layer.reset_parameters()

    def forward(self, packed: Tensor) -> Tensor:
        """(N, 4, h, w), black 0 and white 1, not amplified -> (N,) gains above 0."""
        light = packed.detach().clamp(min=0).double().cpu()
        counts = torch.stack([torch.histogram(one, EDGES)[0] for one in light])
        shares = (counts / light[0].numel()).to(packed)
        return functional.threshold(self.conv_post(shares)[:, 0], 0, MIN_AMPLIFICATION)


class TrainableDenseBlock(nn.Module):
    """A residual dense block whose layers rectify their output."""

    def __init__(self, width: int, year: int) -> None:
        super().__init__()
        self.dense_layers = nn.ModuleList(
            nn.ModuleDict({"conv": _make_layer(width + GROWTH * i, GROWTH, 3, year)})
            for i in range(LAYERS)
        )
        self.conv_1x1 = _make_layer(width + GROWTH * LAYERS, width, 1, year)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w) -> the same."""
        seen = x
        for layer in self.dense_layers:
            new = functional.relu(layer.get_submodule("conv")(seen))
            seen = torch.cat([seen, new], dim=1)
        fused: Tensor = self.conv_1x1(seen)
        return fused + x


class TrainableLLPackNet(nn.Module):
    """The network under its published names.

    `year`: 2022 puts every convolution under weight norm and ends in a sigmoid, 2020 in a
    rectifier. `unpack`: whether UnPack makes the picture, else PixelShuffle, as in the ablation.
    `amplifier`: whether it finds the gain itself, and so takes mosaics that are not amplified.
    """

    def __init__(self, year: int = 2022, unpack: bool = True, amplifier: bool = False) -> None:
        super().__init__()
        self.year, self.unpack = year, unpack
        self.amplifier: nn.Module | None = TrainableAmplifier() if amplifier else None
        sites = PACK**2
        for name in COLOURS:
            self.add_module(name, _make_layer(sites, WIDTH, 3, year, bias=True))
        self.before_identity = _make_layer(len(COLOURS) * WIDTH, WIDTH, 1, year)
        for name in BLOCKS:
            self.add_module(name, TrainableDenseBlock(WIDTH, year))
        self.after_rdb = _make_layer(len(BLOCKS) * WIDTH, WIDTH, 1, year)
        self.final = nn.Sequential(
            nn.PixelShuffle(2),
            TrainableDenseBlock(FINE_WIDTH, year),
            _make_layer(FINE_WIDTH, 3 * sites, 3, year, bias=True),
        )

    def forward(self, packed: Tensor) -> Tensor:
        """(N, 4, h, w), sides multiples of 8 -> (N, 3, 2h, 2w) sRGB, from 0 on."""
        light = packed.clamp(min=0)
        if self.amplifier is not None:
            light = light * self.amplifier(packed)[:, None, None, None]
        colours = [
            functional.relu(self.get_submodule(name)(functional.pixel_unshuffle(plane, PACK)))
            for name, plane in zip(COLOURS, light.chunk(len(COLOURS), dim=1), strict=True)
        ]
        x = start = self.before_identity(torch.cat(colours, dim=1))
        seen = []
        for name in BLOCKS:
            x = self.get_submodule(name)(x)
            seen.append(x)
        x = self.final(self.after_rdb(torch.cat(seen, dim=1)) + start)
        if self.unpack:  # its channels are row, column, colour: PixelShuffle's colour, row, column
            x = x.unflatten(1, (PACK**2, 3)).transpose(1, 2).flatten(1, 2)
        x = functional.pixel_shuffle(x, PACK)
        return torch.sigmoid(x) if self.year == 2022 else functional.relu(x)


def _make_layer(into: int, out: int, side: int, year: int, bias: bool = False) -> nn.Module:
    """Make a convolution as the code of a year has it, with its first weights."""
    conv = nn.Conv2d(into, out, side, padding=side // 2, bias=bias)
    if year == 2022:
        return nn.Sequential(parametrizations.weight_norm(conv))
    nn.init.kaiming_normal_(conv.weight)
    return conv


def run_unamplified(network: nn.Module, batch: PairBatch) -> Tensor:
    """Run a network that finds its gain itself, on crops as dark as they were taken."""
    pictures: Tensor = network(batch.packed / batch.ratios[:, None, None, None])
    return pictures


def _bind(name: str, architecture: str, amplifier: bool, **form: Any) -> TrainableNetwork:
    """Bind a form of the network to its recipe."""
    return TrainableNetwork(
        name=name + AMPLIFIED * amplifier,
        sensor=Sensor.BAYER,
        make=partial(TrainableLLPackNet, amplifier=amplifier, **form),
        architecture=architecture,
        recipe=RECIPE,
        forward=run_unamplified if amplifier else run_network,
    )


AMPLIFIED = "-amplifier"
"""What names of networks that find their gain themselves end in."""

NETWORKS = tuple(
    _bind(name, name, amplifier, **form)
    for name, form in (
        ("llpacknet", {"year": 2022}),
        ("llpacknet-2020", {"year": 2020}),
        ("llpacknet-2020-pixel-shuffle", {"year": 2020, "unpack": False}),
    )
    for amplifier in (False, True)
)
