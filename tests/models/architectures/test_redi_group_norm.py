"""REDI with group norms against the same network built here of torch's own layers."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from darkroom.errors import CheckpointError, TooLargeError, UsageError
from darkroom.models import tiling
from darkroom.models.architectures import find_architectures, identify, redi_group_norm
from darkroom.models.architectures.base import shapes_of
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.models.tiling import run_tiled

# float32 through 20 layers, against float64: seen are up to 5e-6 of the largest value.
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Foreign(nn.Module):
    """REDI as its authors describe it, each layer a sequence; `norm` says where norms go.

    before: in front of activation and convolution; between: of the two; after: the convolution;
    last: after everything. `where`: beginnings of the layers' names that have one.
    """

    def __init__(self, norm: str, where: tuple[str, ...], groups: int, *, wn: bool = False) -> None:
        super().__init__()
        self.norm, self.where, self.groups, self.wn = norm, where, groups, wn
        self.blocks = 3
        self.conv32x = nn.Sequential(
            self.layer("conv32x.0", 1024, 128, split=128), self.layer("conv32x.1", 128, 64)
        )
        for name, depth in (("RDB1", 4), ("RDB2", 5), ("RDB3", 5)):
            block = nn.Module()
            block.dense_layers = nn.Sequential()
            for j in range(depth):
                dense = nn.Module()
                act = None if j == 0 else "before" if j < depth - 1 else "nothing before"
                key = f"{name}.dense_layers.{j}"
                dense.conv = self.layer(key, 64 + 32 * j, 32, act=act, bias=False)
                block.dense_layers.append(dense)
            block.conv_1x1 = self.layer(f"{name}.conv_1x1", 64 + 32 * depth, 64, 1, bias=False)
            setattr(self, name, block)
        self.rdball = self.layer("rdball", 192, 64, 1, bias=False)
        self.conv_rdb8x = self.layer("conv_rdb8x", 4, 64)
        self.resblock8x = nn.Module()
        self.resblock8x.conv1 = self.layer("resblock8x.conv1", 64, 64, act="after")
        self.resblock8x.conv2 = self.layer("resblock8x.conv2", 64, 64)
        self.conv32_8_cat = nn.Sequential(
            self.layer("conv32_8_cat.0", 128, 32, split=4),
            self.layer("conv32_8_cat.1", 32, 192, act="after"),
        )
        self.conv2x = self.layer("conv2x", 4, 12, 5)
        self.conv_2_8_32 = self.layer("conv_2_8_32", 24, 12, 5)

    def layer(
        self,
        name: str,
        into: int,
        out: int,
        side: int = 3,
        *,
        act: str | None = None,
        split: int = 1,
        bias: bool = True,
    ) -> nn.Sequential:
        conv: nn.Module = nn.Conv2d(into, out, side, padding=side // 2, groups=split, bias=bias)
        nn.init.normal_(conv.weight, 0, 0.9 * (into // split * side * side) ** -0.5)
        if self.wn:
            conv = parametrizations.weight_norm(conv)
            conv.parametrizations.weight.original0.data.mul_(1.1)
        rectifier = nn.LeakyReLU(1.0 if act == "nothing before" else 0.2)
        parts = [conv]
        if act is not None:
            parts = [conv, rectifier] if act == "after" else [rectifier, conv]
        if name.startswith(self.where):
            at = parts.index(conv)
            place = {"before": 0, "between": at, "after": at + 1, "last": len(parts)}[self.norm]
            norm = nn.GroupNorm(self.groups, into if place <= at else out)
            nn.init.normal_(norm.weight, 1, 0.3)
            nn.init.normal_(norm.bias, 0, 0.2)
            parts.insert(place, norm)
        return nn.Sequential(*parts)

    def block(self, x: Tensor, name: str) -> Tensor:
        seen = x
        for layer in getattr(self, name).dense_layers:
            seen = torch.cat([seen, layer.conv(seen)], dim=1)
        return x + getattr(self, name).conv_1x1(seen)

    def forward(self, packed: Tensor) -> Tensor:
        packed = packed.clamp(min=0)
        first = self.conv32x(functional.pixel_unshuffle(packed, 16))
        x, blocks = first, []
        for number in range(1, self.blocks + 1):
            x = self.block(x, f"RDB{number}")
            blocks.append(x)
        coarse = functional.pixel_shuffle(first + self.rdball(torch.cat(blocks, 1)), 4)
        eighth = functional.pixel_unshuffle(packed, 4)
        eighth = eighth + self.resblock8x.conv2(self.resblock8x.conv1(eighth))
        pairs = torch.cat([eighth, self.conv_rdb8x(coarse)], 1).unflatten(1, (2, 64))
        both = functional.pixel_shuffle(self.conv32_8_cat(pairs.transpose(1, 2).flatten(1, 2)), 4)
        picture = self.conv_2_8_32(torch.cat([self.conv2x(packed), both], 1))
        return functional.pixel_shuffle(picture, 2).clamp(0, 1)


DENSE = tuple(f"RDB{i}.dense" for i in (1, 2, 3))
COARSE = ("conv32x.1", "RDB", "rdball")
EVERY = ("conv", "RDB", "rdball", "resblock8x")
CASES = {
    "before, dense layers": ("before", DENSE, 32, False, "redi-group-norm"),
    "before, weight norm": ("before", DENSE, 32, True, "redi-group-norm"),
    "between, coarse branch": ("between", COARSE, 32, False, "redi-group-norm"),
    "after, coarse branch": ("after", COARSE, 32, True, "redi-group-norm"),
    "last, residual block": ("last", ("resblock8x",), 32, False, "redi-group-norm"),
    "before, 8 groups": ("before", DENSE, 8, False, "redi-group-norm-8"),
    # 12 channels cannot be 32 groups; 4 is the most that is possible.
    "after, everywhere": ("after", EVERY, 4, False, "redi-group-norm-4"),
    "last, everywhere, 1 group": ("last", EVERY, 1, False, "redi-group-norm-1"),
}


def photo(rows: int = 53, cols: int = 41) -> tuple[Tensor, Tensor]:
    """A packed photo whose size is a multiple of nothing, and the same continued to the grid."""
    packed = torch.rand(4, rows, cols) * 0.7 - 0.05
    more = (0, -cols % 16, 0, -rows % 16)
    return packed, functional.pad(packed[None], more, mode="reflect")


def save(network: nn.Module, path: Path) -> Path:
    torch.save({"model": network.state_dict()}, path)
    return path


def error(model: Model, network: nn.Module) -> float:
    """The largest difference of the pictures, relative to the largest value."""
    packed, grid = photo()
    with torch.inference_mode():
        wanted = network.double()(grid.double())[0, :, : 2 * 53, : 2 * 41]
    assert wanted.std() > 0.1  # or there would be nothing to compare
    return float((run_tiled(model, packed, "off").double() - wanted).abs().max() / wanted.max())


@pytest.mark.parametrize("case", CASES)
def test_checkpoint(tmp_path: Path, case: str) -> None:
    norm, where, groups, wn, name = CASES[case]
    torch.manual_seed(1)
    network = Foreign(norm, where, groups, wn=wn)
    path = save(network, tmp_path / "weights")
    asked = str(path) if groups in (32, 4) else f"{name}={path}"
    model = load_model(asked, device="cpu", precision="fp32")
    assert model.architecture.name == name
    assert error(model, network) < TOLERANCE


def test_another_number_of_groups_is_another_picture(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = Foreign("before", DENSE, 8)
    path = save(network, tmp_path / "weights")
    model = load_model(path, device="cpu", precision="fp32")
    assert model.architecture.name == "redi-group-norm"  # 32, where nobody says otherwise
    assert error(model, network) > 1e-3


def test_two_blocks_of_three_in_use(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = Foreign("before", DENSE, 32)
    network.rdball = network.layer("rdball", 128, 64, 1, bias=False)
    network.blocks = 2
    model = load_model(save(network, tmp_path / "weights"), device="cpu", precision="fp32")
    assert not any("RDB3" in name for name, _ in model.network.named_parameters())
    assert error(model, network) < TOLERANCE


def test_parameters() -> None:
    """Those of REDI, and two for each channel that a dense layer reads."""
    norms = 2 * sum(64 + 32 * j for depth in (4, 5, 5) for j in range(depth))
    network = Foreign("before", DENSE, 32, wn=True)
    published = redi_group_norm.ARCHITECTURES[0].dialects[0]
    counted = sum(int(torch.Size(shape).numel()) for shape in published.values())
    assert counted == sum(p.numel() for p in network.parameters()) == 784_768 + norms == 788_224


def test_norms_that_do_not_fit_are_another_network() -> None:
    shapes = shapes_of(Foreign("after", EVERY, 4).state_dict())
    assert identify(shapes).name == "redi-group-norm-4"
    for name in ("redi-group-norm", "redi-group-norm-8"):
        (architecture,) = find_architectures(name)
        assert not architecture.recognise(shapes)
    without = {name: shape for name, shape in shapes.items() if not name.startswith("rdball.1.b")}
    with pytest.raises(CheckpointError, match="nearest is redi"):
        identify(without)
    narrow = shapes | {"rdball.1.weight": (63,), "rdball.1.bias": (63,)}
    with pytest.raises(CheckpointError, match="nearest is redi"):
        identify(narrow)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    torch.manual_seed(1)
    path = save(Foreign("before", DENSE, 32), tmp_path / "weights")
    return load_model(path, device="cpu", precision="fp32")


def test_it_runs_in_one_piece_or_not_at_all(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, grid = photo()
    wanted = model(grid)[0, :, : 2 * 53, : 2 * 41]
    for option in ("auto", "off", 4096):
        assert torch.equal(run_tiled(model, packed, option), wanted)
    with pytest.raises(UsageError, match=r"--tile 64: .* runs in one piece; use --tile off"):
        run_tiled(model, packed, 64)
    monkeypatch.setattr(tiling, "usable", lambda device: 10**6)
    with pytest.raises(TooLargeError, match=r"82x106 needs .* GB in one piece"):
        run_tiled(model, packed, "auto")
    assert torch.equal(run_tiled(model, packed, "off"), wanted)


def test_a_part_is_not_what_it_is_in_the_whole(model: Model) -> None:
    """Why there are no tiles: the far half changes the near one."""
    packed = torch.rand(1, 4, 1024, 16) * 0.5
    changed = packed.clone()
    changed[:, :, 768:] *= 1.5
    near = model(packed)[..., :32, :] - model(changed)[..., :32, :]
    assert near.abs().max() > 1e-3
