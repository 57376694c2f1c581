"""SID and its reproductions as their authors publish them, from the mosaic to the picture.

Source: as for `sid_tensorflow`; lavi135246/pytorch-Learning-to-See-in-the-Dark;
cydonia999/Learning_to_See_in_the_Dark_PyTorch, models/lsid.py and datasets/raw_images.py;
jhagenus/Learning-to-See-in-the-Dark, test_Sony.py (batch norm, never told to evaluate);
MohitLamba94/Restoring-Extremely-Dark-Images-In-Real-Time, train_test_SID_CVPR_18 (REDI's).

Where sizes are no multiples of 16 packed pixels the ports either do as TensorFlow's "SAME" or fail;
the former is written here.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from darkroom.evaluation.published import Mosaic, Picture, Published, paint_exactly
from darkroom.evaluation.published.sid_tensorflow import (
    WIDTHS,
    Weights,
    depth_to_space,
    lrelu,
    pack_bayer,
    pack_xtrans,
    tensorflow_network,
    tensorflow_weights,
    unet,
)
from darkroom.raw.image import Sensor

CHANNELS = {Sensor.BAYER: 4, Sensor.XTRANS: 9}
PACKING = {Sensor.BAYER: pack_bayer, Sensor.XTRANS: pack_xtrans}


def pack_redi(raw: Mosaic) -> Mosaic:
    """Pack as REDI's repository does: cut to multiples of 32, (4, H/2, W/2) in reading order."""
    raw = raw[: raw.shape[0] // 32 * 32, : raw.shape[1] // 32 * 32]
    return np.stack((raw[0::2, 0::2], raw[0::2, 1::2], raw[1::2, 0::2], raw[1::2, 1::2]))


@dataclass(frozen=True, slots=True)
class Port:
    """A PyTorch reproduction: the names of its layers, `{}` the level, and what it does otherwise.

    `norms`: batch norms after each pair of convolutions, or after each convolution; `norm_last`:
    after the activation; `photo`: left in training, so that they go by the photo. `side`: of the
    last kernel. `redi`: mosaics packed and left unclipped as REDI's repository does.
    """

    first: str
    second: str
    up: str = "up{}"
    last: str = "conv10"
    norms: tuple[str, ...] = ()
    norm_last: bool = False
    photo: bool = False
    side: int = 1
    up_bias: bool = True
    depth_to_space: bool = False
    redi: bool = False

    def norm_names(self, i: int) -> tuple[str | None, str | None]:
        """Name the norms after the first and after the second convolution of a level."""
        first, second = (None, None, *(name.format(i) for name in self.norms))[-2:]
        return first, second

    def weights(self, channels: int, seed: int) -> Weights:
        """Draw weights, and what batch norms would have stored."""
        weights, into = Weights(seed), channels
        for i, width in WIDTHS.items():
            if i > 5:
                up = self.up.format(i)
                weights.add_kernel(f"{up}.weight", 2 * width, width, 2, 2, fan=2 * width)
                if self.up_bias:
                    weights.add(f"{up}.bias", width)
                into = 2 * width
            layers = ((self.first, into), (self.second, width))
            for (name, inputs), norm in zip(layers, self.norm_names(i), strict=True):
                layer = name.format(i)
                weights.add_kernel(f"{layer}.weight", width, inputs, 3, 3, fan=9 * inputs)
                weights.add(f"{layer}.bias", width)
                if norm is not None:
                    weights.add(f"{norm}.weight", width, mean=1)
                    weights.add(f"{norm}.bias", width)
                    weights.add(f"{norm}.running_mean", width)
                    weights.add(f"{norm}.running_var", width, mean=1)
                    weights[f"{norm}.num_batches_tracked"] = torch.tensor(161_000)
            into = width
        out = 12 if channels == 4 else 27
        weights.add(f"{self.last}.weight", out, 32, self.side, self.side, spread=0.015 / self.side)
        weights.add(f"{self.last}.bias", out, mean=0.5)
        return weights

    def network(self, w: Mapping[str, Tensor], packed: Tensor) -> Tensor:
        """Run it: (C, h, w) of any size -> (3, H, W)."""

        def norm(x: Tensor, name: str | None) -> Tensor:
            if name is None:
                return x
            stored = (w[f"{name}.running_mean"], w[f"{name}.running_var"])
            mean, variance = (None, None) if self.photo else stored
            affine = (w[f"{name}.weight"], w[f"{name}.bias"])
            return functional.batch_norm(x, mean, variance, *affine, training=self.photo)

        def block(i: int, x: Tensor) -> Tensor:
            for name, after in zip((self.first, self.second), self.norm_names(i), strict=True):
                layer = name.format(i)
                x = functional.conv2d(x, w[f"{layer}.weight"], w[f"{layer}.bias"], padding=1)
                x = norm(lrelu(x), after) if self.norm_last else lrelu(norm(x, after))
            return x

        def up(i: int, x: Tensor, skip: Tensor) -> Tensor:
            name = self.up.format(i)
            bias = w.get(f"{name}.bias")
            x = functional.conv_transpose2d(x, w[f"{name}.weight"], bias, stride=2)
            return x[:, :, : skip.size(2), : skip.size(3)]

        def pool(x: Tensor) -> Tensor:
            return functional.max_pool2d(x, 2, ceil_mode=True)

        x = unet(packed[None], block, up, pool, axis=1)
        weight, bias = w[f"{self.last}.weight"], w[f"{self.last}.bias"]
        x = functional.conv2d(x, weight, bias, padding=self.side // 2)
        if self.depth_to_space:
            return depth_to_space(x)[0]
        return functional.pixel_shuffle(x, math.isqrt(len(bias) // 3))[0]


Network = Callable[[Mapping[str, Tensor], Tensor], Tensor]


def _load(
    network: Network,
    pack: Callable[[Mosaic], Mosaic],
    white: float,
    weights: Mapping[str, Tensor],
    like: Tensor,
) -> Callable[[Mosaic], Picture]:
    """Make what clips at black and at `white`, packs and runs."""
    own = {name: tensor.to(like) for name, tensor in weights.items()}

    @torch.inference_mode()
    def paint(mosaic: Mosaic) -> Picture:
        packed = torch.from_numpy(pack(np.clip(mosaic, 0, white))).to(like)
        return network(own, packed).permute(1, 2, 0).float().cpu().numpy()

    return paint


def _tensorflow(sensor: Sensor) -> Published:
    return Published(
        "sid",
        "the authors' TensorFlow",
        sensor,
        weights=partial(tensorflow_weights, CHANNELS[sensor]),
        picture=partial(paint_exactly, partial(_load, tensorflow_network, PACKING[sensor], 1.0)),
        tensorflow=True,
    )


def _port(
    network: str,
    dialect: str,
    port: Port,
    sensor: Sensor = Sensor.BAYER,
    ambiguous: bool = False,
) -> Published:
    pack, white = (pack_redi, math.inf) if port.redi else (PACKING[sensor], 1.0)
    load = partial(_load, port.network, pack, white)
    return Published(
        network,
        dialect,
        sensor,
        weights=partial(port.weights, CHANNELS[sensor]),
        picture=partial(paint_exactly, load),
        ambiguous=ambiguous,
        norm_statistics="photo" if port.photo else "stored",
        load=load,
    )


LAVI = Port("conv{}_1", "conv{}_2", "upv{}", "conv10_1")
CYDONIA = Port("conv{}_1", "conv{}_2", up_bias=False, depth_to_space=True)
CYDONIA_BIASED = replace(CYDONIA, up_bias=True)
_SEQUENCE = "conv{}.double_conv2d."
NUMBERED = Port(_SEQUENCE + "0", _SEQUENCE + "2")
PLAIN = Port("conv{}", "conv{}_2", side=3)
SINGLE = replace(PLAIN, norms=("bn{}",))
DOUBLE = replace(PLAIN, norms=("bn{}", "bn{}_1"))
NUMBERED_DOUBLE = Port(
    _SEQUENCE + "0", _SEQUENCE + "3", norms=(_SEQUENCE + "1", _SEQUENCE + "4"), side=3
)
NUMBERED_SINGLE_LAST = replace(NUMBERED, norms=(_SEQUENCE + "4",), norm_last=True, side=3)
NUMBERED_DOUBLE_LAST = replace(
    NUMBERED_DOUBLE, norms=(_SEQUENCE + "2", _SEQUENCE + "5"), norm_last=True
)

PUBLISHED: tuple[Published, ...] = (
    _tensorflow(Sensor.BAYER),
    _tensorflow(Sensor.XTRANS),
    _port("sid", "lavi's PyTorch", LAVI, ambiguous=True),
    _port("sid", "lavi's PyTorch", LAVI, Sensor.XTRANS),
    _port("sid-rggb", "REDI's repository", replace(LAVI, redi=True), ambiguous=True),
    _port("sid", "cydonia999's PyTorch", CYDONIA),
    _port("sid", "cydonia999's PyTorch", CYDONIA, Sensor.XTRANS),
    _port("sid-depth-to-space", "cydonia999's, with biases", CYDONIA_BIASED, ambiguous=True),
    _port("sid-depth-to-space", "cydonia999's, with biases", CYDONIA_BIASED, Sensor.XTRANS, True),
    _port("sid", "numbered layers", NUMBERED),
    _port("sid-batch-norm", "no batch norm, 3x3", PLAIN),
    _port("sid-batch-norm", "after each pair", SINGLE, ambiguous=True),
    _port("sid-batch-norm", "after each convolution", DOUBLE, ambiguous=True),
    _port("sid-norm-last", "after each pair", replace(SINGLE, norm_last=True), ambiguous=True),
    _port("sid-norm-last", "after each one", replace(DOUBLE, norm_last=True), ambiguous=True),
    _port("sid-batch-norm", "numbered, pair", replace(NUMBERED, norms=(_SEQUENCE + "3",))),
    _port("sid-batch-norm", "numbered, each", NUMBERED_DOUBLE),
    _port("sid-batch-norm", "numbered, pair, norm last", NUMBERED_SINGLE_LAST),
    _port("sid-batch-norm", "numbered, each, norm last", NUMBERED_DOUBLE_LAST),
    _port("sid-batch-norm", "pair, photo's", replace(SINGLE, photo=True), ambiguous=True),
    _port("sid-batch-norm", "each, photo's", replace(DOUBLE, photo=True), ambiguous=True),
    _port(
        "sid-norm-last",
        "each, photo's",
        replace(DOUBLE, photo=True, norm_last=True),
        ambiguous=True,
    ),
)
