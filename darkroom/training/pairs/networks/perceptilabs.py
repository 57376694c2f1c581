"""PerceptiLabs' three U-Nets, to be trained: components, names and layouts as its tool has them.

Source: as for `darkroom.models.architectures.perceptilabs`, whose graphs these are. Loss, rate,
epochs and batch stand in the training component of SID_Model/SID_U-Net/model.json (its own code,
edited since, has batches of 4 and a million epochs, that is until one stops it); crops of 512
photosites are in Data/small_short_cropped, and nothing is flipped.

The tool begins with a standard deviation of sqrt(2 / side^2 + maps), 2.9 to 16, from which neither
rectifiers nor sigmoids come back. In SID_Model/model.json the authors replaced that in two
components by Xavier's and no bias; taken here for all.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.models.architectures import fold
from darkroom.models.architectures.perceptilabs import (
    GRAPHS,
    INPUT_LIMIT,
    WIDTHS,
    PerceptiLabsGraph,
)
from darkroom.models.architectures.perceptilabs_names import NORM_EPSILON
from darkroom.raw.image import Sensor
from darkroom.training.pairs.networks.base import TrainableNetwork
from darkroom.training.pairs.recipes import PairRecipe

NORM_KEPT = 0.99
"""Of its moving statistics at each step. Source: tf.compat.v1.layers.batch_normalization."""


class BatchNorm(nn.Module):
    """TensorFlow's batch norm, by its names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.beta = nn.Parameter(torch.zeros(width))
        self.register_buffer("moving_mean", torch.zeros(width))
        self.register_buffer("moving_variance", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w) -> the same; in training the statistics are the batch's."""
        moving = self.get_buffer("moving_mean"), self.get_buffer("moving_variance")
        return functional.batch_norm(
            x, *moving, self.gamma, self.beta, self.training, 1 - NORM_KEPT, NORM_EPSILON
        )


class Component(nn.Module):
    """A component of the tool: W in TensorFlow's layout, b, and its batch norm if it has one.

    `turned`: a transposed convolution, by 2. `halved`: a convolution with a stride of 2.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        side: int,
        *,
        turned: bool = False,
        halved: bool = False,
        normed: bool = False,
    ) -> None:
        super().__init__()
        self.turned, self.halved = turned, halved
        channels = (width, inputs) if turned else (inputs, width)
        self.W = nn.Parameter(torch.empty(side, side, *channels))
        self.b = nn.Parameter(torch.zeros(width))
        with torch.no_grad():
            nn.init.xavier_uniform_(self.W.permute(3, 2, 0, 1))
        self.batch_normalization = BatchNorm(width) if normed else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, width, ...), before the activation; padded as "SAME" does."""
        weight = self.W.permute(3, 2, 0, 1)
        if self.turned:  # "SAME" drops what torch appends at the bottom and right
            y = functional.conv_transpose2d(x, weight, self.b, stride=2)
            y = y[..., : 2 * x.shape[-2], : 2 * x.shape[-1]]
        elif self.halved:
            y = functional.conv2d(functional.pad(x, (0, 1, 0, 1)), weight, self.b, stride=2)
        else:
            y = functional.conv2d(x, weight, self.b, padding=weight.shape[-1] // 2)
        normed: Tensor = self.batch_normalization(y)
        return normed


class TrainablePerceptiLabs(nn.Module):
    """The U-Net of one graph; its state dict has the names of a TensorFlow 1 checkpoint."""

    def __init__(self, graph: PerceptiLabsGraph) -> None:
        super().__init__()
        self.graph = graph
        down = list(pairwise(WIDTHS))
        self._add("enter", 4, WIDTHS[0], 3)
        for i, (fine, coarse) in enumerate(down):
            self._add(f"widen.{i}", fine, coarse, 3, halved=graph.strided)
            self._add(f"down.{i}", coarse, coarse, 3)
        for i, (fine, coarse) in enumerate(reversed(down)):
            self._add(f"up.{i}", coarse, fine, graph.up, turned=True)
            if i < len(down) - 1:
                self._add(f"join.{i}", 2 * fine, fine, 3)
        if graph.last is None:
            self._add("last", 2 * WIDTHS[0], 3, 3, turned=True)
        else:
            self._add("last", 2 * WIDTHS[0], 12, graph.last)
        self.register_state_dict_post_hook(_name_as_tensorflow)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_name_as_torch)  # type: ignore[no-untyped-call]

    def _add(self, layer: str, inputs: int, width: int, side: int, **kind: bool) -> None:
        naming = self.graph.naming
        component = Component(inputs, width, side, normed=layer in naming.normed, **kind)
        self.add_module(naming.components[layer], component)

    def _run(self, layer: str, x: Tensor) -> Tensor:
        """Run a layer's component and the graph's activation."""
        return self.graph.activate(self.get_submodule(self.graph.naming.components[layer])(x))

    def forward(self, packed: Tensor) -> Tensor:
        """(N, 4, h, w) amplified, R G G B -> (N, 3, 2h, 2w) sRGB, not clipped; multiples of 32."""
        graph = self.graph
        x = self._run("enter", packed.clamp(0, INPUT_LIMIT)[:, fold.SID_PACKING])
        skips = []
        for i in range(len(WIDTHS) - 1):
            skips.append(x)
            x = self._run(f"widen.{i}", x)
            x = x if graph.strided else functional.max_pool2d(x, 2)
            x = self._run(f"down.{i}", x)
        for i in range(len(WIDTHS) - 1):
            joined = f"join.{i}" if skips[1:] else "last"
            both = [self._run(f"up.{i}", x), skips.pop()]
            if joined in graph.naming.skip_first:
                both.reverse()
            x = self._run(joined, torch.cat(both, dim=1))
        if graph.last is None:
            return x
        return functional.pixel_shuffle(x[:, fold.depth_to_space_order(3, 2)], 2)


def _name_as_tensorflow(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]
) -> None:
    """Rename a state dict's tensors, in place and in their order."""
    named = {name.replace(".", "/"): tensor for name, tensor in state.items()}
    state.clear()
    state.update(named)


def _name_as_torch(module: nn.Module, state: dict[str, Any], *others: object) -> None:
    """Rename the tensors that are to be loaded, in place."""
    named = {name.replace("/", "."): tensor for name, tensor in state.items()}
    state.clear()
    state.update(named)


RECIPE = PairRecipe(loss="l2", rate=1e-3, epochs=10, batch=10, crop=512)
"""Source: SID_Model/SID_U-Net/model.json, Normal_1: Quadratic, ADAM, 0.001, 10 epochs, 10."""

NETWORKS = tuple(
    TrainableNetwork(
        graph.name, Sensor.BAYER, partial(TrainablePerceptiLabs, graph), graph.name, RECIPE
    )
    for graph in GRAPHS
)
