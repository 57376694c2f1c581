"""SID and its batch-norm reproduction, to be trained, under the names of PyTorch publications.

Source: cchen156/Learning-to-See-in-the-Dark, train_Sony.py and train_Fuji.py (graph, recipe and
initialisation); cydonia999/Learning_to_See_in_the_Dark_PyTorch (names of the former's layers in
torch, with up-convolutions without bias and the channels of the end in TensorFlow's order, as the
authors have); jhagenus/Learning-to-See-in-the-Dark, unet.py, train_Sony.py, run_testing.py and
README.md (batch norms).
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.models.architectures import fold
from darkroom.models.architectures.sid import INPUT_LIMIT, SLOPE, WIDTHS
from darkroom.raw.image import Sensor
from darkroom.training.pairs.networks.base import TrainableNetwork
from darkroom.training.pairs.recipes import PairRecipe

UP_STD = 0.02
"""Of the up-convolutions at first, a normal cut at two of it. Source: train_Sony.py and
tf.truncated_normal."""

LEVELS = tuple(enumerate(WIDTHS, start=1))
UP_FROM = 6
"""The first level on the way up, as published names count."""


@dataclass(frozen=True, slots=True)
class SidForm:
    """A publication's names and ways, `{}` the level's number.

    `norms`: names of the batch norms after the first and the second convolution, None for none.
    `norm_last`: whether they follow the activation. `last_side`: of the last kernel.
    `tensorflow`: up-convolutions without bias, the end's channels in the order of depth_to_space,
    and TensorFlow's initialisation; else all as torch does.
    """

    first: str
    second: str
    norms: tuple[str | None, str | None] = (None, None)
    norm_last: bool = False
    last_side: int = 1
    tensorflow: bool = False


class TrainableSid(nn.Module):
    """The U-Net for (N, 4, h, w) or (N, 9, h, w); `narrower` divides all its widths, for tests."""

    def __init__(self, form: SidForm, channels: int, narrower: int = 1) -> None:
        super().__init__()
        self.form = form
        self.scale = 2 if channels == 4 else 3
        packing = fold.SID_PACKING if channels == 4 else list(range(channels))
        order = fold.depth_to_space_order(3, self.scale)
        self.packing, self.order = packing, order
        into = channels
        for level, width in ((i, width // narrower) for i, width in LEVELS):
            if level >= UP_FROM:
                up = nn.ConvTranspose2d(into, width, 2, stride=2, bias=not form.tensorflow)
                self.add_module(f"up{level}", up)
                into = 2 * width
            for name, norm, inputs in zip(
                (form.first, form.second), form.norms, (into, width), strict=True
            ):
                self.add_module(name.format(level), nn.Conv2d(inputs, width, 3, padding=1))
                if norm is not None:
                    self.add_module(norm.format(level), nn.BatchNorm2d(width))
            into = width
        side = form.last_side
        self.conv10 = nn.Conv2d(into, 3 * self.scale**2, side, padding=side // 2)
        if form.tensorflow:
            self.apply(initialise_as_tensorflow)

    def forward(self, packed: Tensor) -> Tensor:
        """(N, C, h, w) amplified, R G G B or X-Trans -> (N, 3, s*h, s*w) sRGB, not clipped."""
        x = packed.clamp(0, INPUT_LIMIT)[:, self.packing]
        skips: list[Tensor] = []
        for level, _ in LEVELS:
            if level >= UP_FROM:
                skip = skips.pop()
                x = self.get_submodule(f"up{level}")(x)[..., : skip.shape[-2], : skip.shape[-1]]
                x = torch.cat([x, skip], dim=1)
            elif level > 1:
                skips.append(x)
                x = functional.max_pool2d(x, 2, ceil_mode=True)
            x = self._convolve_twice(level, x)
        x = self.conv10(x)
        return functional.pixel_shuffle(x[:, self.order] if self.form.tensorflow else x, self.scale)

    def _convolve_twice(self, level: int, x: Tensor) -> Tensor:
        """Run a level's two convolutions, each with its norm before or after the activation."""
        form = self.form
        for name, norm in zip((form.first, form.second), form.norms, strict=True):
            x = self.get_submodule(name.format(level))(x)
            if norm is not None and not form.norm_last:
                x = self.get_submodule(norm.format(level))(x)
            x = functional.leaky_relu(x, SLOPE)
            if norm is not None and form.norm_last:
                x = self.get_submodule(norm.format(level))(x)
        return x


@torch.no_grad()
def initialise_as_tensorflow(layer: nn.Module) -> None:
    """Draw a layer's weights as SID's code does: Xavier's uniform, no bias; up-convolutions normal.

    Source: tf.contrib.slim.conv2d, whose defaults are xavier_initializer and zeros.
    """
    if isinstance(layer, nn.ConvTranspose2d):
        nn.init.trunc_normal_(layer.weight, std=UP_STD, a=-2 * UP_STD, b=2 * UP_STD)
    elif isinstance(layer, nn.Conv2d):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.get_parameter("bias"))


SID_RECIPE = PairRecipe(
    loss="l1",
    rate=1e-4,
    rate_after=1e-5,
    drop_at=0.5,
    epochs=4000,
    batch=1,
    crop=1024,
    flip_rows=0.5,
    flip_columns=0.5,
    transpose=0.5,
)
"""Crops of 512 packed pixels. Source: SID, section 4, and train_Sony.py, whose second flip turns
round the axis of the batch, which is one picture: meant are both, as the paper says. A scene's
short exposure is one of those of its first burst numbers."""

FUJI_RECIPE = replace(SID_RECIPE, crop=1536)
"""The same 512 packed pixels, of 3x3 photosites. Source: train_Fuji.py."""

BATCH_NORM_RECIPE = replace(SID_RECIPE, rate_after=0.0, drop_at=1.0, epochs=1000)
"""Source: jhagenus, README.md: 1000 epochs, "Mean Absolute Error"; train_Sony.py, whose rate falls
after epoch 2000, that is never."""

SID_FORM = SidForm("conv{}_1", "conv{}_2", tensorflow=True)
NO_NORM = SidForm("conv{}", "conv{}_2", last_side=3)
SINGLE = replace(NO_NORM, norms=(None, "bn{}"))
DOUBLE = replace(NO_NORM, norms=("bn{}", "bn{}_1"))


def _batch_norm(name: str, form: SidForm) -> TrainableNetwork:
    """Bind a form of the batch-norm reproduction, which was made for Bayer only."""
    return TrainableNetwork(
        name=f"sid-batch-norm-{name}",
        sensor=Sensor.BAYER,
        make=partial(TrainableSid, form, 4),
        architecture="sid-norm-last" if form.norm_last else "sid-batch-norm",
        recipe=BATCH_NORM_RECIPE,
    )


NETWORKS = (
    TrainableNetwork("sid", Sensor.BAYER, partial(TrainableSid, SID_FORM, 4), "sid", SID_RECIPE),
    TrainableNetwork("sid", Sensor.XTRANS, partial(TrainableSid, SID_FORM, 9), "sid", FUJI_RECIPE),
    _batch_norm("none", NO_NORM),
    _batch_norm("single", SINGLE),
    _batch_norm("double", DOUBLE),
    _batch_norm("single-last", replace(SINGLE, norm_last=True)),
    _batch_norm("double-last", replace(DOUBLE, norm_last=True)),
)
