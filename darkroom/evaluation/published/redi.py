"""REDI as its authors' network.py and common_classes.py have it, one step after another.

Source: Lamba and Mitra, "Restoring Extremely Dark Images in Real Time", CVPR 2021, and the code
published with it. What its authors did not publish is inferred in the two ways that
`darkroom.models.architectures` says: X-Trans (`redi_xtrans`), group norms (`redi_group_norm`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from darkroom.evaluation.published import Mosaic, Picture, Published, paint_exactly
from darkroom.raw.image import Sensor

DENSE = tuple(f"RDB{number}.dense" for number in (1, 2, 3))
"""Beginnings of the dense layers' names."""

FUJI_SITES = {
    0: ((0, 0), (0, 4), (3, 1), (3, 3)),
    1: ((0, 2), (0, 5), (3, 2), (3, 5)),
    2: ((0, 1), (0, 3), (3, 0), (3, 4)),
    3: ((1, 2), (2, 5), (5, 2), (4, 5)),
    4: ((2, 2), (1, 5), (4, 2), (5, 5)),
}
"""Row and column in the 6x6 block of the first five channels, for each of the 2x2 packed pixels.

Source: SID's published code, `pack_raw` of train_Fuji.py; the other four are whole thirds.
"""


@dataclass(frozen=True, slots=True)
class Norms:
    """Group norms: where in a layer they are, in which layers, and of how many groups.

    `place`: before everything, between activation and convolution, after the convolution, or last
    of all. `layers`: beginnings of the names of those that have one. `groups`: 0 for one a channel.
    """

    place: Literal["before", "between", "after", "last"]
    layers: tuple[str, ...] = DENSE
    groups: int = 32


@dataclass(frozen=True, slots=True)
class RediForm:
    """One form of the network and of its checkpoint.

    `depths`: layers of each dense block. `joined`: how many of the blocks are in use. `weight_norm`
    is stored as in the authors' file, as torch stores it today, or folded into the weights.
    """

    channels: int = 4
    depths: tuple[int, ...] = (4, 5, 5)
    joined: int = 3
    weight_norm: Literal["weight_g", "original", ""] = ""
    norms: Norms | None = None


class PublishedDenseLayer(nn.Module):
    """A layer that hands on what it was given, and its own result behind it."""

    def __init__(self, conv: nn.Sequential) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C + 32, h, w)."""
        return torch.cat([x, self.conv(x)], dim=1)


class PublishedDenseBlock(nn.Module):
    """Dense layers, and a convolution of all that they gave."""

    def __init__(self, layers: list[PublishedDenseLayer], fuse: nn.Sequential) -> None:
        super().__init__()
        self.dense_layers = nn.Sequential(*layers)
        self.conv_1x1 = fuse

    def forward(self, x: Tensor) -> Tensor:
        """(N, 64, h, w) -> the same."""
        fused: Tensor = self.conv_1x1(self.dense_layers(x))
        return x + fused


class PublishedRedi(nn.Module):
    """The network over a packed mosaic, of which it makes its three scales itself."""

    def __init__(self, form: RediForm) -> None:
        super().__init__()
        self.form = form
        eighth, self.side = 16 * form.channels, 2 if form.channels == 4 else 3
        picture, layer = 3 * self.side**2, self.make_layer
        self.conv32x = nn.Sequential(
            layer("conv32x.0", 256 * form.channels, 128, split=128), layer("conv32x.1", 128, 64)
        )
        for number, depth in enumerate(form.depths, start=1):
            name, layers = f"RDB{number}", []
            for j in range(depth):
                slope = None if j == 0 else 0.2 if j < depth - 1 else 1.0
                inner = layer(f"{name}.dense", 64 + 32 * j, 32, before=slope, bias=False)
                layers.append(PublishedDenseLayer(inner))
            fuse = layer(f"{name}.conv_1x1", 64 + 32 * depth, 64, side=1, bias=False)
            self.add_module(name, PublishedDenseBlock(layers, fuse))
        self.rdball = layer("rdball", 64 * form.joined, 64, side=1, bias=False)
        self.conv_rdb8x = layer("conv_rdb8x", 4, 64)
        self.resblock8x = nn.ModuleDict(
            {
                "conv1": layer("resblock8x.conv1", eighth, eighth, after=0.2),
                "conv2": layer("resblock8x.conv2", eighth, eighth),
            }
        )
        self.conv32_8_cat = nn.Sequential(
            layer("conv32_8_cat.0", eighth + 64, 32, split=4),
            layer("conv32_8_cat.1", 32, 16 * picture, after=0.2),
            nn.PixelShuffle(4),
        )
        self.conv2x = layer("conv2x", form.channels, picture, side=5)
        self.conv_2_8_32 = layer("conv_2_8_32", 2 * picture, picture, side=5)

    def make_layer(
        self,
        name: str,
        into: int,
        out: int,
        *,
        side: int = 3,
        split: int = 1,
        bias: bool = True,
        before: float | None = None,
        after: float | None = None,
    ) -> nn.Sequential:
        """Make a convolution with what stands before or after it: slopes of rectifiers, a norm."""
        plain = nn.Conv2d(into, out, side, padding=side // 2, groups=split, bias=bias)
        nn.init.normal_(plain.weight, 0, 0.9 * (into // split * side**2) ** -0.5)
        conv: nn.Module = plain
        if self.form.weight_norm:
            conv = parametrizations.weight_norm(plain)
            conv.get_parameter("parametrizations.weight.original0").data.mul_(1.1)
        steps: list[nn.Module] = [conv]
        if before is not None:
            steps = [nn.LeakyReLU(before), conv]
        elif after is not None:
            steps = [conv, nn.LeakyReLU(after)]
        norms = self.form.norms
        if norms is not None and name.startswith(norms.layers):
            at = steps.index(conv)
            place = {"before": 0, "between": at, "after": at + 1, "last": len(steps)}[norms.place]
            width = into if place <= at else out
            norm = nn.GroupNorm(norms.groups or width, width)
            nn.init.normal_(norm.weight, 1, 0.3)
            nn.init.normal_(norm.bias, 0, 0.2)
            steps.insert(place, norm)
        return nn.Sequential(*steps)

    def forward(self, packed: Tensor) -> Tensor:
        """(N, C, h, w), multiples of 16 -> (N, 3, s*h, s*w)."""
        first = self.conv32x(functional.pixel_unshuffle(packed, 16))
        x, seen = first, []
        for number in range(1, self.form.joined + 1):
            x = self.get_submodule(f"RDB{number}")(x)
            seen.append(x)
        coarse = functional.pixel_shuffle(first + self.rdball(torch.cat(seen, dim=1)), 4)
        coarse = self.conv_rdb8x(coarse)
        eighth = functional.pixel_unshuffle(packed, 4)
        eighth = eighth + self.resblock8x["conv2"](self.resblock8x["conv1"](eighth))
        both = torch.cat([eighth, coarse], dim=1)
        n, c, h, w = both.shape
        both = both.view(n, 2, c // 2, h, w).permute(0, 2, 1, 3, 4).reshape(n, c, h, w)
        picture = self.conv_2_8_32(torch.cat([self.conv2x(packed), self.conv32_8_cat(both)], dim=1))
        return functional.pixel_shuffle(picture, self.side).clamp(0, 1)


def make_weights(form: RediForm, seed: int) -> dict[str, Tensor]:
    """Return random weights of gain near 1 per layer, as the form's checkpoints have them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = PublishedRedi(form).state_dict()
    if form.weight_norm != "weight_g":
        return dict(state)
    old = {"parametrizations.weight.original0": "weight_g"}
    old["parametrizations.weight.original1"] = "weight_v"
    return {_renamed(name, old): tensor for name, tensor in state.items()}


def pack_fuji(mosaic: Tensor) -> Tensor:
    """Pack (H, W), multiples of 6, from the first site of SID's array -> (9, H/3, W/3)."""
    height, width = mosaic.shape
    packed = mosaic.new_empty(9, height // 3, width // 3)
    for channel, sites in FUJI_SITES.items():
        for place, (row, col) in enumerate(sites):
            packed[channel, place // 2 :: 2, place % 2 :: 2] = mosaic[row::6, col::6]
    for channel, (row, col) in enumerate(((1, 0), (1, 1), (2, 0), (2, 1)), start=5):
        packed[channel] = mosaic[row::3, col::3]
    return packed


def load_network(form: RediForm, state: Mapping[str, Tensor]) -> PublishedRedi:
    """Return the network in float64 with the weights of a checkpoint of that form."""
    new = {".weight_g": ".parametrizations.weight.original0"}
    new[".weight_v"] = ".parametrizations.weight.original1"
    network = PublishedRedi(form)
    network.load_state_dict({_renamed(name, new): tensor for name, tensor in state.items()})
    return network.double().eval()


def load(form: RediForm, state: Mapping[str, Tensor], like: Tensor) -> Callable[[Mosaic], Picture]:
    """Make the authors' code, which crops a mosaic's end off the grid."""
    network = load_network(form, state).to(like.device, like.dtype)
    grid, bayer = 16 * network.side, network.side == 2

    @torch.inference_mode()
    def paint(mosaic: Mosaic) -> Picture:
        light = torch.from_numpy(mosaic).to(like).clamp(min=0)
        light = light[: light.shape[0] // grid * grid, : light.shape[1] // grid * grid]
        packed = functional.pixel_unshuffle(light[None], 2) if bayer else pack_fuji(light)
        picture: Tensor = network(packed[None])[0]
        return picture.permute(1, 2, 0).float().cpu().numpy()

    return paint


def _renamed(name: str, endings: Mapping[str, str]) -> str:
    """Replace the ending of a name where it is one of these."""
    for old, new in endings.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _published(network: str, dialect: str, form: RediForm, *, ambiguous: bool = False) -> Published:
    """Bind the functions to a form."""
    own = partial(load, form)
    return Published(
        network=network,
        dialect=dialect,
        sensor=Sensor.BAYER if form.channels == 4 else Sensor.XTRANS,
        weights=partial(make_weights, form),
        picture=partial(paint_exactly, own),
        ambiguous=ambiguous,
        load=own,
    )


COARSE, BLOCK, FINE = ("conv32x.1", "RDB", "rdball"), ("resblock8x",), ("conv2x",)
EVERY = ("conv", "RDB", "rdball", "resblock8x")
"""Beginnings of the names of the layers at each scale, and of all."""

PUBLISHED = (
    _published("redi", "weight norm, as published", RediForm(weight_norm="weight_g")),
    _published("redi", "weight norm, of today's torch", RediForm(weight_norm="original")),
    _published("redi", "folded", RediForm()),
    _published("redi", "two of three blocks", RediForm(joined=2)),
    _published("redi", "two blocks", RediForm(depths=(4, 5), joined=2)),
    _published("redi-xtrans", "weight norm", RediForm(channels=9, weight_norm="weight_g")),
    _published("redi-xtrans", "folded", RediForm(channels=9)),
    _published("redi-xtrans", "two of three blocks", RediForm(channels=9, joined=2)),
    *(
        _published(network, dialect, form, ambiguous=True)
        for network, dialect, form in (
            ("redi-group-norm", "before, dense layers", RediForm(norms=Norms("before"))),
            (
                "redi-group-norm",
                "before, weight norm",
                RediForm(weight_norm="weight_g", norms=Norms("before")),
            ),
            ("redi-group-norm", "between, coarse branch", RediForm(norms=Norms("between", COARSE))),
            (
                "redi-group-norm",
                "after, coarse branch",
                RediForm(weight_norm="original", norms=Norms("after", COARSE)),
            ),
            ("redi-group-norm", "last, residual block", RediForm(norms=Norms("last", BLOCK))),
            ("redi-group-norm", "two of three blocks", RediForm(joined=2, norms=Norms("before"))),
            ("redi-group-norm-8", "8 groups", RediForm(norms=Norms("before", groups=8))),
            ("redi-group-norm-4", "after, everywhere", RediForm(norms=Norms("after", EVERY, 4))),
            ("redi-group-norm-3", "after the finest", RediForm(norms=Norms("after", FINE, 3))),
            (
                "redi-group-norm-64",
                "last, residual block",
                RediForm(norms=Norms("last", BLOCK, 64)),
            ),
            (
                "redi-instance-norm",
                "before, dense layers",
                RediForm(norms=Norms("before", groups=0)),
            ),
        )
    ),
)
"""REDI in the forms of its checkpoints, and in those that only its layers suggest."""
