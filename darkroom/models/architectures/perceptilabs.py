"""PerceptiLabs' U-Net for SID's task: a sixth level, and an eighth of SID's width at the top.

Source: the graph that PerceptiLabs published for its visual tool (PerceptiLabs/Seeing-in-the-Dark,
SID_Model/SID_U-Net/model.json): kernel sizes, feature maps, pooling, connections, activations and
the last component's code. They published no weights, so the names of the tensors are ours; batch
norms, which their graph has between convolutions and activations, belong folded into the weights.
"""

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.models.architectures.base import Architecture, filled, shapes_of
from darkroom.raw.image import Sensor

WIDTHS = (8, 16, 32, 64, 128, 256)
"""Channels of the six levels. Source: "Feature_maps" in the graph."""

SLOPE = 0.2
"""Of every leaky rectifier: the default of TensorFlow's leaky_relu, which the graph uses."""

INPUT_LIMIT = 1.0
"""The amplified input is clipped at black and white: the graph's data are SID's, so prepared."""


class Deconvolution(nn.ConvTranspose2d):
    """A 3x3 transposed convolution that doubles the size, placed as TensorFlow's "SAME" does."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(inputs, width, 3, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, inputs, h, w) -> (N, width, 2h, 2w)."""
        # "SAME" drops what torch appends at the bottom and right.
        return super().forward(x, output_size)[..., :-1, :-1]


class PerceptiLabs(nn.Module):
    """The U-Net: on the way down each level is widened, pooled and convolved once more.

    On the way up it is deconvolved, joined with its skip connection and convolved. The last, 1x1,
    convolution is rectified too, as in the graph.
    """

    def __init__(self) -> None:
        super().__init__()
        conv3 = partial(nn.Conv2d, kernel_size=3, padding=1)
        pairs = list(pairwise(WIDTHS))
        self.enter = conv3(4, WIDTHS[0])
        self.widen = nn.ModuleList(conv3(fine, coarse) for fine, coarse in pairs)
        self.down = nn.ModuleList(conv3(width, width) for width in WIDTHS[1:])
        self.up = nn.ModuleList(Deconvolution(coarse, fine) for fine, coarse in reversed(pairs))
        self.join = nn.ModuleList(conv3(2 * width, width) for width in reversed(WIDTHS[1:-1]))
        self.last = nn.Conv2d(2 * WIDTHS[0], 12, 1)

    def forward(self, packed: Tensor) -> Tensor:
        """(N, 4, h, w) amplified -> (N, 3, 2h, 2w) sRGB, not yet clipped; multiples of 32."""
        x = _rectified(self.enter(packed.clamp(0, INPUT_LIMIT)))
        skips = []
        for widen, down in zip(self.widen, self.down, strict=True):
            skips.append(x)
            x = _rectified(down(functional.max_pool2d(_rectified(widen(x)), 2)))
        for i, up in enumerate(self.up):
            x = torch.cat([_rectified(up(x)), skips.pop()], dim=1)
            if i < len(self.join):
                x = _rectified(self.join[i](x))
        return functional.pixel_shuffle(_rectified(self.last(x)), 2)


def _rectified(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, SLOPE, inplace=True)


with torch.device("meta"):
    _OURS = shapes_of(PerceptiLabs().state_dict())
"""Names and shapes of the only form there is."""

ARCHITECTURES = (
    Architecture(
        name="perceptilabs",
        sensor=Sensor.BAYER,
        multiple=32,
        # 3x3 convolutions: 1 + 3 + 6 + 12 + 24 + 48 down, 2 + 4 + 8 + 16 up; the deconvolutions'
        # asymmetric taps and pooling: the rest.
        halo=186,
        recognise=lambda shapes: shapes == _OURS,
        build=partial(filled, PerceptiLabs),
        dialects=(_OURS,),
    ),
)
