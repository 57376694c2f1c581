"""PerceptiLabs' U-Nets for SID's task: a sixth level, and an eighth of SID's width at the top.

Source: the graphs that PerceptiLabs published for its visual tool, PerceptiLabs/Seeing-in-the-Dark:
kernel sizes, feature maps, strides, pooling, activations and connections of each component, and the
code of the last one. Three stand in its history, each a network of its own here:

- SID_Model/model.json: rectifiers, deconvolutions of 2x2, a 3x3 convolution at the end;
- SID_Model/SID_U-Net/model.json: leaky rectifiers, deconvolutions of 3x3, a 1x1 convolution at the
  end, batch norms in some components;
- model.json: strides in the place of pooling, sigmoids, and a deconvolution that paints at the end.

They published no weights. A checkpoint has the names that their tool gives, as in
DeepLearningConv_Convolution_2/W (see `perceptilabs_names`, and what is open there), or ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.models.architectures import perceptilabs_names as names
from darkroom.models.architectures.base import Architecture, Shapes, State, filled, shapes_of
from darkroom.raw.image import Sensor

WIDTHS = (8, 16, 32, 64, 128, 256)
"""Channels of the six levels. Source: "Feature_maps" in the graphs."""

SLOPE = 0.2
"""Of every leaky rectifier: the default of TensorFlow's leaky_relu, which the graph uses."""

INPUT_LIMIT = 1.0
"""The amplified input is clipped at black and white: the graphs' data are SID's, so prepared."""


@dataclass(frozen=True, slots=True)
class PerceptiLabsGraph:
    """One of the graphs; `naming`: its components in our order.

    `up`: side of the deconvolutions. `last`: side of the last convolution, or None where a
    deconvolution paints. `strided`: whether strides halve the size, else pooling. `halo`: packed
    pixels.
    """

    name: str
    activate: Callable[[Tensor], Tensor]
    up: int
    last: int | None
    strided: bool
    halo: int
    naming: names.PerceptiLabsNaming


class Deconvolution(nn.ConvTranspose2d):
    """A transposed convolution that doubles the size, placed as TensorFlow's "SAME" does."""

    def __init__(self, inputs: int, width: int, side: int = 3) -> None:
        super().__init__(inputs, width, side, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, inputs, h, w) -> (N, width, 2h, 2w)."""
        # "SAME" drops what torch appends at the bottom and right.
        return super().forward(x, output_size)[..., : 2 * x.shape[-2], : 2 * x.shape[-1]]


class StridedConvolution(nn.Conv2d):
    """A 3x3 convolution that halves the size, placed as TensorFlow's "SAME" does."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(inputs, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, 2h, 2w) -> (N, width, h, w)."""
        return super().forward(functional.pad(x, (0, 1, 0, 1)))


class PerceptiLabs(nn.Module):
    """The U-Net: on the way down each level is widened, halved and convolved once more.

    On the way up it is deconvolved, joined with its skip connection and convolved. What paints has
    the graph's activation too.
    """

    def __init__(self, graph: PerceptiLabsGraph) -> None:
        super().__init__()
        self.graph = graph
        conv3 = partial(nn.Conv2d, kernel_size=3, padding=1)
        widen = StridedConvolution if graph.strided else conv3
        pairs = list(pairwise(WIDTHS))
        self.enter = conv3(4, WIDTHS[0])
        self.widen = nn.ModuleList(widen(fine, coarse) for fine, coarse in pairs)
        self.down = nn.ModuleList(conv3(width, width) for width in WIDTHS[1:])
        self.up = nn.ModuleList(
            Deconvolution(coarse, fine, graph.up) for fine, coarse in reversed(pairs)
        )
        self.join = nn.ModuleList(conv3(2 * width, width) for width in reversed(WIDTHS[1:-1]))
        self.last: nn.Module = (
            Deconvolution(2 * WIDTHS[0], 3)
            if graph.last is None
            else nn.Conv2d(2 * WIDTHS[0], 12, graph.last, padding=graph.last // 2)
        )

    def forward(self, packed: Tensor) -> Tensor:
        """(N, 4, h, w) amplified -> (N, 3, 2h, 2w) sRGB, not yet clipped; multiples of 32."""
        activate = self.graph.activate
        x = activate(self.enter(packed.clamp(0.0, INPUT_LIMIT)))
        skips = []
        for widen, down in zip(self.widen, self.down, strict=True):
            skips.append(x)
            x = activate(widen(x))
            if not self.graph.strided:
                x = functional.max_pool2d(x, 2)
            x = activate(down(x))
        for i, up in enumerate(self.up):
            x = torch.cat([activate(up(x)), skips.pop()], dim=1)
            if i < len(self.join):
                x = activate(self.join[i](x))
        x = activate(self.last(x))
        return x if self.graph.last is None else functional.pixel_shuffle(x, 2)


GRAPHS = (
    PerceptiLabsGraph(
        name="perceptilabs",
        activate=partial(functional.leaky_relu, negative_slope=SLOPE, inplace=True),
        up=3,
        last=1,
        strided=False,
        # 3x3 convolutions: 1 + 3 + 6 + 12 + 24 + 48 down, 2 + 4 + 8 + 16 up; the deconvolutions'
        # asymmetric taps, 31, and pooling: the rest.
        halo=186,
        naming=names.LEAKY,
    ),
    PerceptiLabsGraph(
        name="perceptilabs-relu",
        activate=partial(functional.relu, inplace=True),
        up=2,
        last=3,
        strided=False,
        halo=156,  # the same without asymmetric taps, and 1 for the wider end
        naming=names.RELU,
    ),
    PerceptiLabsGraph(
        name="perceptilabs-strided",
        activate=torch.sigmoid_,
        up=3,
        last=None,
        strided=True,
        halo=156,  # the taps of deconvolutions and of strides are asymmetric in opposite ways
        naming=names.STRIDED,
    ),
)
"""In the order of their names alone: shapes and names tell them apart."""


def _recognise(graph: PerceptiLabsGraph, ours: Shapes, shapes: Shapes) -> bool:
    """Say whether these are the graph's tensors, under our names or those of PerceptiLabs."""
    return shapes == ours or names.recognise(graph.naming, ours, shapes)


def _convert(graph: PerceptiLabsGraph, state: State) -> State:
    """Fold PerceptiLabs' names and TensorFlow's conventions; our names stay as they are."""
    return state if "enter.weight" in state else names.convert(graph.naming, state)


def _architecture(graph: PerceptiLabsGraph) -> Architecture:
    """Bind the functions to a graph."""
    with torch.device("meta"):
        ours = shapes_of(PerceptiLabs(graph).state_dict())
    return Architecture(
        name=graph.name,
        sensor=Sensor.BAYER,
        multiple=32,
        halo=graph.halo,
        recognise=partial(_recognise, graph, ours),
        convert=partial(_convert, graph),
        build=partial(filled, partial(PerceptiLabs, graph)),
        dialects=(ours, *names.dialects(graph.naming, ours)),
    )


ARCHITECTURES = tuple(_architecture(graph) for graph in GRAPHS)
