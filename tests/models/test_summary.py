"""What networks are made of: against hand counts, published numbers and torch's own counter."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from darkroom.errors import CheckpointError, UsageError, WeightsError
from darkroom.models import summary
from darkroom.models.architectures import ARCHITECTURES, find_architectures
from darkroom.models.architectures.base import Architecture, Conditions
from darkroom.models.architectures.safelight import SAFELIGHT, Safelight
from darkroom.models.summary import (
    TYPICAL,
    ModelSummary,
    find_outline,
    select_layers,
    summarize_model,
)
from darkroom.models.tracing import record_activations, trace_layers
from darkroom.raw.image import Sensor
from darkroom.weights.registry import ENTRIES, WeightsEntry

SONY = (4240, 2832)
"""The frame of SID's Sony camera; both published counts are of whole frames of 12 and 24 MP."""


def outlined(architecture: Architecture, dialect: int = 0) -> nn.Module:
    return architecture.outline(architecture.dialects[dialect])


def summarized(name: str, size: tuple[int, int], sensor: Sensor = Sensor.BAYER) -> ModelSummary:
    (architecture,) = (one for one in find_architectures(name) if one.sensor is sensor)
    return summarize_model(outlined(architecture), architecture, size)


# --- what it costs -------------------------------------------------------------------------------


# Other numbers of groups are the same layers.
DISTINCT = [a for a in ARCHITECTURES if not a.name.startswith("redi-group-norm-")]


@pytest.mark.parametrize("architecture", DISTINCT, ids=lambda a: f"{a.name}-{a.sensor.value}")
def test_every_form_of_every_network_as_torch_counts_it(architecture: Architecture) -> None:
    for shapes in architecture.dialects:
        network = architecture.outline(shapes)
        assert all(parameter.is_meta for parameter in network.parameters())
        found = summarize_model(network, architecture, (600, 400))
        if architecture.condition is not None:
            network = architecture.condition(network, Conditions.of(TYPICAL, np.ones(3)))
        counter = FlopCounterMode(display=False)
        with counter:
            picture = network(torch.empty(1, *found.input, device="meta"))
        assert 2 * found.macs == counter.get_total_flops()
        assert found.parameters == sum(parameter.numel() for parameter in network.parameters())
        assert found.output == picture.shape[1:]
        if not architecture.any_size:
            assert all(side % architecture.multiple == 0 for side in found.input[1:])
        halvings = {architecture.scale * 2**level for level in range(7)}
        assert {layer.reduction for layer in found.layers} <= halvings | {1}
        assert sum(found.macs_by(lambda layer: layer.reduction).values()) == found.macs
        assert sum(found.macs_by(lambda layer: layer.part).values()) == found.macs
        seen = {"input"}
        for layer in found.layers:
            assert seen.issuperset(layer.sources), layer
            assert layer.name not in seen
            seen.add(layer.name)


def sid(channels: int, rows: int, cols: int) -> int:
    """Multiplications over packed pixels, from the widths in figure 3(b) of the paper.

    Halves of odd sizes are rounded up.
    """
    areas = [-(-rows // 2**level) * -(-cols // 2**level) for level in range(5)]
    down = [(channels, 32), (32, 64), (64, 128), (128, 256), (256, 512)]
    work = sum(9 * (a * b + b * b) * area for area, (a, b) in zip(areas, down, strict=True))
    for fine, area, coarser in zip((32, 64, 128, 256), areas, areas[1:], strict=False):
        # The deconvolution makes four pixels from each coarser one; then two convolutions.
        work += 4 * coarser * 2 * fine * fine + area * 9 * (2 * fine * fine + fine * fine)
    return work + areas[0] * 32 * (12 if channels == 4 else 27)


def dense(width: int, layers: int) -> int:
    """Multiplications per pixel of a residual dense block of growth 32."""
    inputs = [width + 32 * layer for layer in range(layers)]
    return sum(9 * 32 * count for count in inputs) + (width + 32 * layers) * width


def llpacknet() -> float:
    """Of LLPackNet, per packed pixel: pixels of 8x8 packed ones, then of 4x4."""
    coarse = 4 * 9 * 64 * 64 + 256 * 64 + 3 * dense(64, 6) + 192 * 64
    return coarse / 64 + (dense(16, 6) + 9 * 16 * 192) / 16


def redi() -> float:
    """Of REDI as published, per packed pixel."""
    coarse = 128 * 8 * 9 + 9 * 128 * 64 + dense(64, 4) + 2 * dense(64, 5) + 192 * 64
    middle = 9 * 4 * 64 + 2 * 9 * 64 * 64 + 9 * 32 * 32 + 9 * 32 * 192
    return coarse / 256 + middle / 16 + 25 * 4 * 12 + 25 * 24 * 12


@pytest.mark.parametrize(
    ("name", "by_hand", "more", "published"),
    [
        ("sid", sid(4, 1416, 2120) / 1416 / 2120, 0.0, 562),
        ("llpacknet", llpacknet(), 0.0, 83),
        # The 5x5 convolutions run as 3x3 ones between four times the channels at a quarter.
        ("redi", redi(), 9 * (16 + 96) * 48 / 4 - 25 * (4 + 24) * 12, 60),
    ],
)
def test_work_by_hand_and_as_published(
    name: str, by_hand: float, more: float, published: float
) -> None:
    found = summarized(name, SONY)
    packed = found.input[1] * found.input[2]
    assert found.macs == pytest.approx((by_hand + more) * packed, rel=1e-9)
    # The papers count the frame itself, and some count biases and activations too.
    assert by_hand * 2120 * 1416 / 1e9 == pytest.approx(published, rel=0.02)


def test_xtrans_by_hand() -> None:
    """The published 1119 are twice Bayer's 562: Bayer's network at 24 MP, not the 9 channels."""
    found = summarized("sid", (6000, 4000), Sensor.XTRANS)
    assert found.input == (9, 1334, 2000)
    assert found.macs == sid(9, 1334, 2000)
    assert sid(4, 2000, 3000) / 1e9 == pytest.approx(1119, rel=0.02)


def test_work_grows_with_the_photo() -> None:
    """On the grid it is a number per photosite; sizes between cost as much as the next."""
    one, four, near = (
        summarized("redi", size).macs for size in ((320, 320), (640, 640), (289, 320))
    )
    assert four == 4 * one
    assert near == one


@pytest.mark.parametrize("size", [(15, 400), (400, 0), (100_001, 400)])
def test_impossible_sizes(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="photosites a side"):
        summarized("redi", size)


# --- how it hangs together -----------------------------------------------------------------------


def test_skip_connections_of_a_u_net() -> None:
    found = summarized("sid", (320, 320))
    assert [(skip.source, skip.join, skip.kind) for skip in found.skips] == [
        (f"levels.{level}.second", f"cat.{4 - level}", "cat") for level in (3, 2, 1, 0)
    ]
    assert found.skips[0].shape == (256, 20, 20)
    layers = {layer.name: layer for layer in found.layers}
    assert layers["levels.5.first"].sources == ("cat.1",)
    assert layers["cat.1"].sources == ("ups.0", "levels.3.second")
    assert layers["levels.4.first"].sources == ("max_pool.4",)
    assert [layers[f"levels.{i}.first"].reduction for i in range(5)] == [2, 4, 8, 16, 32]
    assert layers["ups.0"].kind == "deconv 2x2 x2"
    assert layers["pixel_shuffle.1"].shape == (3, 320, 320)
    assert layers["pixel_shuffle.1"].reduction == 1


def test_branches_that_meet_are_no_skip_connections() -> None:
    found = summarized("redi", (320, 320))
    root = [skip for skip in found.skips if not skip.inside]
    assert [(skip.source, skip.join) for skip in root] == [("pixel_unshuffle.2", "add.1")]
    layers = {layer.name: layer for layer in found.layers}
    assert layers["cat.1"].sources == ("add.1", "coarse_out")
    assert layers["add.2"].sources == ("last_fine", "last_coarse")
    inside = [skip.inside for skip in found.skips if skip.inside == "coarse.blocks.1"]
    assert len(inside) == 6  # five layers that see all before them, and the way around
    assert set(found.macs_by(lambda layer: layer.part)) >= {"coarse", "middle.0", "fine"}


class Small(nn.Module):
    """Work in place, on views, in halves, and a layer with arithmetic of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
        self.halves = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(2))
        self.product = nn.Linear(6, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.enter(x), inplace=True)
        first, second = x.chunk(2, dim=1)
        joined = torch.cat([self.halves[0](first), self.halves[1](second)], dim=1)
        joined[:, :3].add_(first)
        x = joined.mul_(2).permute(0, 2, 3, 1)
        return functional.pixel_shuffle(self.product(x).permute(0, 3, 1, 2), 2)


def test_views_and_work_in_place_are_followed() -> None:
    with torch.device("meta"):
        network, packed = Small(), torch.empty(1, 4, 8, 16)
    layers, picture = trace_layers(network, packed, 2)
    assert [(layer.name, layer.sources, layer.macs) for layer in layers] == [
        ("enter", ("input",), 32 * 9 * 12),
        ("halves.0", ("enter",), 32 * 9),
        ("halves.1", ("enter",), 32 * 9),
        ("cat.1", ("halves.0", "halves.1"), 0),
        ("add.1", ("cat.1", "enter"), 0),
        ("product", ("add.1",), 32 * 72),
        ("pixel_shuffle.1", ("product",), 0),
    ]
    assert layers[0].kind == "conv 3x3 /2 in 2 groups"
    assert (layers[0].reduction, layers[-1].reduction) == (4, 2)
    assert picture.shape == (1, 3, 8, 16)


def test_group_norms_are_steps() -> None:
    found = summarized("redi-group-norm-8", (320, 320))
    layers = {layer.name: layer for layer in found.layers}
    norm = layers["RDB2.dense_layers.1.conv.0"]
    assert (norm.kind, norm.shape) == ("group norm in 8 groups", (96, 10, 10))
    assert (norm.parameters, norm.macs, norm.reduction) == (2 * 96, 0, 32)
    assert layers["RDB2.dense_layers.1.conv.2"].sources == (norm.name,)
    assert set(found.macs_by(lambda layer: layer.part)) >= {"RDB1", "conv32x.0"}
    plain = summarized("redi", (320, 320))
    # The same work but for the 5x5 convolutions, which run as they are written here.
    packed = 160 * 160
    assert plain.macs - found.macs == (9 * (16 + 96) * 48 / 4 - 25 * (4 + 24) * 12) * packed


# --- what it gives -------------------------------------------------------------------------------


def test_stages_show_each_scale() -> None:
    chosen = select_layers(summarized("sid", (320, 320)).layers)
    assert [layer.reduction for layer in chosen] == [2, 4, 8, 16, 32, *(16, 16, 8, 8, 4, 4, 2, 2)]
    assert [chosen[0].name, chosen[4].name, chosen[-1].name] == [
        "levels.0.second",
        "levels.4.second",
        "last",
    ]


def test_activations_are_those_that_the_next_layer_sees() -> None:
    torch.manual_seed(0)
    network = Small().eval()
    x = torch.randn(1, 4, 8, 8)
    with torch.inference_mode(), record_activations(network, ["halves.1", "enter"]) as maps:
        network(x)
    assert list(maps) == ["halves.1", "enter"]
    entered = functional.relu(network.enter(x)).detach()
    assert torch.equal(maps["enter"], entered[0])
    assert torch.equal(maps["halves.1"], network.halves[1](entered[:, 3:])[0].detach())
    assert not network.enter._forward_hooks


# --- which network it is -------------------------------------------------------------------------


def test_networks_whose_weights_are_not_here(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DARKROOM_WEIGHTS", str(tmp_path))
    fuji = find_outline("sid-fuji")
    assert (fuji.architecture.sensor, fuji.installed) == (Sensor.XTRANS, False)
    assert find_outline("redi").published_parameters == 784_768
    assert find_outline("llpacknet").published_parameters == 1_170_640
    assert find_outline("sid-sony").published_parameters == 7_760_268
    for network in ("perceptilabs", "sid-norm-last", "llpacknet-2020"):
        assert find_outline(network).architecture.name == network
    with pytest.raises(WeightsError, match="did you mean redi"):
        find_outline("rdei")
    with pytest.raises(CheckpointError, match="is not there"):
        find_outline("sid-norm-last=no.pth")


def test_a_file_has_its_own_widths(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(Safelight(widths=(8, 16, 24, 32)).state_dict(), tmp_path / "small.safetensors")
    found = find_outline(str(tmp_path / "small.safetensors"))
    assert found.installed
    network = found.architecture.outline(found.shapes)
    layers = summarize_model(network, SAFELIGHT, (320, 320)).layers
    assert {layer.shape[0] for layer in layers if layer.reduction == 32} == {32}


def test_damaged_weights_are_not_shown_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(name: str) -> None:
        raise WeightsError("redi is damaged")

    state: Callable[[object], object] = lambda entry: summary.store.State.DAMAGED  # noqa: E731
    monkeypatch.setattr(summary.store, "state", state)
    monkeypatch.setattr(summary, "find_source", damaged)
    with pytest.raises(WeightsError, match="damaged"):
        find_outline("redi")


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_the_registry_records_the_work(entry: WeightsEntry) -> None:
    """To a tenth of a billion, as it is written down."""
    outline = find_outline(entry.name)
    network = outline.architecture.outline(outline.shapes)
    found = summarize_model(network, outline.architecture, (4000, 3000))
    assert entry.gmacs == pytest.approx(found.macs / 1e9, abs=0.051)
