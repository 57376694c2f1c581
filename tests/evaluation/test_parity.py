"""The parity table: that it holds darkroom's way against another, and that it sees what differs."""

import math
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from darkroom.evaluation import parity
from darkroom.evaluation.parity import CASES, amplified, compare, draw_mosaic, tile_side
from darkroom.evaluation.published import Mosaic, Published
from darkroom.evaluation.published.networks import PUBLISHED
from darkroom.models.architectures import ARCHITECTURES
from darkroom.models.tiling import Grid, plan
from darkroom.mosaic.packing import BAYER, XTRANS_SITES, linearise
from darkroom.raw.image import Sensor

WIDTHS = (32, 64, 128, 256, 512, 256, 128, 64, 32)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def sid_weights(channels: int, seed: int) -> dict[str, Tensor]:
    """SID's tensors under TensorFlow's names and in its layout; pictures lie within 0 to 1."""
    generator = torch.Generator().manual_seed(seed)

    def kernel(*shape: int) -> Tensor:
        spread = math.sqrt(1.9 / (shape[0] * shape[1] * shape[2]))
        return torch.randn(shape, generator=generator) * spread

    weights, into = {}, channels
    for i, width in enumerate(WIDTHS, start=1):
        if i > 5:
            name = "Variable" + (f"_{i - 6}" if i > 6 else "")
            weights[name] = kernel(2, 2, 2 * width, width).transpose(2, 3)
            into = 2 * width
        for j, inputs in ((1, into), (2, width)):
            weights[f"g_conv{i}_{j}/weights"] = kernel(3, 3, inputs, width)
            weights[f"g_conv{i}_{j}/biases"] = torch.randn(width, generator=generator) * 0.1
        into = width
    out = 12 if channels == 4 else 27
    weights["g_conv10/weights"] = kernel(1, 1, 32, out) / 10
    weights["g_conv10/biases"] = torch.full((out,), 0.5)
    return weights


@torch.inference_mode()
def sid_picture(
    weights: Mapping[str, Tensor], mosaic: Mosaic, order: tuple[int, ...] = (0, 1, 3, 2)
) -> NDArray[np.float32]:
    """Another SID than darkroom's, cropping as the published one; `order` of Bayer's sites."""
    bayer = weights["g_conv1_1/weights"].shape[2] == 4
    step = 2 if bayer else 6
    height, width = (size // step * step for size in mosaic.shape)
    light = torch.from_numpy(mosaic[:height, :width]).double().clamp(0, 1)
    if bayer:
        x = functional.pixel_unshuffle(light[None], 2)[list(order)]
    else:
        x = light.new_empty(9, height // 3, width // 3)
        for channel, sites in zip(x, XTRANS_SITES, strict=True):
            for place, (row, col) in enumerate(sites):
                channel[place // 2 :: 2, place % 2 :: 2] = light[row::6, col::6]
    w = {
        name: tensor.double().permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.double()
        for name, tensor in weights.items()
    }

    def conv(x: Tensor, name: str) -> Tensor:
        kernel = w[f"{name}/weights"]
        return functional.conv2d(x, kernel, w[f"{name}/biases"], padding=kernel.shape[-1] // 2)

    def level(x: Tensor, i: int) -> Tensor:
        for j in (1, 2):
            x = functional.leaky_relu(conv(x, f"g_conv{i}_{j}"), 0.2)
        return x

    skips, x = [], level(x[None], 1)
    for i in range(2, 6):
        skips.append(x)
        x = level(functional.max_pool2d(x, 2, ceil_mode=True), i)
    for i in range(6, 10):
        skip = skips.pop()
        name = "Variable" + (f"_{i - 6}" if i > 6 else "")
        x = functional.conv_transpose2d(x, w[name], stride=2)
        x = level(torch.cat([x[..., : skip.shape[2], : skip.shape[3]], skip], 1), i)
    x = conv(x, "g_conv10")[0].permute(1, 2, 0)
    side = 2 if bayer else 3
    x = x.reshape(*x.shape[:2], side, side, 3).permute(0, 2, 1, 3, 4).reshape(height, width, 3)
    return x.numpy().astype(np.float32)


SID = Published("sid", "another", Sensor.BAYER, partial(sid_weights, 4), sid_picture, True)
FUJI = replace(SID, sensor=Sensor.XTRANS, weights=partial(sid_weights, 9), tensorflow=False)
NAMED = replace(SID, dialect="by name", ambiguous=True)


def call(monkeypatch: pytest.MonkeyPatch, *networks: Published, words: tuple[str, ...] = ()) -> int:
    monkeypatch.setattr(parity, "PUBLISHED", networks)
    monkeypatch.setattr(sys, "argv", ["parity", *words])
    with pytest.raises(SystemExit) as end:
        parity.print_parity()
    return int(end.value.code or 0)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A photo that shows what differs, and takes a tenth of the time."""
    mosaic = draw_mosaic(Grid(16, 16, 2), on_grid=True)[:45, :51]
    monkeypatch.setattr(parity, "draw_mosaic", lambda *_: mosaic)


def test_two_networks_of_both_sensors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, SID, FUJI) == 0
    _, _, *lines, _, last = capsys.readouterr().out.splitlines()
    assert [line.split("|")[3].strip() for line in lines] == ["bayer", "xtrans"]
    for line in lines:
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        assert cells[:2] == ["sid", "another"]
        least, largest = map(float, cells[3].split(" to "))
        assert -0.5 < least < 0.5 < largest < 1.5
        # Whole and tiled, on and off the grid: not the same numbers by chance, nor all 0.
        assert all(re.fullmatch(r"\d\.\de-0[67], [01]", cell) for cell in cells[4:8])
        assert cells[8] == "ok"
    assert "2 of 2 within 1e-05" in last


@pytest.mark.usefixtures("_small")
def test_channels_read_in_another_order_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Clockwise or in rows: what SID's and REDI's repositories differ in."""
    wrong = replace(SID, dialect="in rows", picture=partial(sid_picture, order=(0, 1, 2, 3)))
    assert call(monkeypatch, SID, wrong, NAMED) == 1
    _, _, right, other, named, _, last = capsys.readouterr().out.splitlines()
    assert "| ok" in right
    assert "| ok" in named
    assert "on the grid, whole: beyond 1e-05 or 1 code" in other
    assert "2 of 3 within" in last
    assert all(difference.codes > 100 for difference in compare(wrong).differences.values())


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("published", "reason"),
    [
        (replace(SID, picture=lambda w, m: sid_picture(w, m) + np.float32(2e-5)), "beyond 1e-05"),
        (replace(SID, picture=lambda w, m: sid_picture(w, m)[:-2]), "50x44 pixels, .* 50x42"),
        (replace(SID, picture=lambda w, m: 0 * sid_picture(w, m)), "only 0% of the published"),
        (replace(SID, picture=lambda w, m: np.nan * sid_picture(w, m)), "are no numbers"),
        (replace(SID, network="sid-batch-norm"), "read as sid for bayer"),
        (replace(SID, sensor=Sensor.XTRANS), "read as sid for bayer"),
        (replace(SID, network="redi", ambiguous=True), "^weights.safetensors: no known network"),
        (replace(SID, weights=lambda seed: {"a": torch.ones(2)}), "^weights.saf.*: no known netw"),
    ],
)
def test_whatever_differs_is_told(published: Published, reason: str) -> None:
    assert re.search(reason, compare(published).failure)


def test_networks_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, SID, words=("redi",)) == 2
    assert "there are sid" in capsys.readouterr().err


def test_both_are_given_the_same_numbers() -> None:
    """Exactly, or the table would show rounding that is none of the networks'."""
    mosaic = draw_mosaic(Grid(16, 32, 2), on_grid=False)
    light = linearise(parity._raw(mosaic, BAYER)) * np.float32(parity.GAIN)
    assert np.array_equal(light, amplified(mosaic))
    assert light.min() < 0
    assert light.max() > 1


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: f"{a.name}-{a.sensor.value}")
def test_tiles_have_margins_inside_the_photo(architecture: object) -> None:
    """Else tiled would be whole under another name; off the grid all sides are odd."""
    known = next(a for a in ARCHITECTURES if a is architecture)
    grid = Grid(known.multiple, known.halo, known.scale, known.any_size)

    class Tiled:
        device = torch.device("cpu")

    Tiled.grid = grid  # type: ignore[attr-defined]
    for on_grid in (True, False):
        height, width = draw_mosaic(grid, on_grid).shape
        step = grid.step(2 if grid.scale == 2 else 6)
        assert [side % step == 0 for side in (height, width)] == [on_grid] * 2
        assert on_grid or height % 2 == width % 2 == 1
        rows, cols = (side // step * step // grid.scale for side in (height, width))
        if grid.halo is None:
            continue
        cores = plan(Tiled(), torch.empty(known.channels, rows, cols), tile_side(grid))  # type: ignore[arg-type]
        windows = [
            (max(core.top - grid.margin, 0), min(core.bottom + grid.margin, rows)) for core in cores
        ]
        assert len(cores) > 1
        assert windows[0][1] < rows
        assert windows[-1][0] > 0


def test_every_known_network_is_in_the_table() -> None:
    listed = Counter((one.network, one.sensor, one.dialect) for one in PUBLISHED)
    assert max(listed.values()) == 1
    known = {(a.name, a.sensor) for a in ARCHITECTURES if not a.name.startswith("safelight")}
    # Other numbers of groups are run alike.
    missing = {pair for pair in known if pair not in {key[:2] for key in listed}}
    assert {name for name, _ in missing if not name.startswith("redi-group-norm-")} == set()


def test_cases_are_all_combinations() -> None:
    assert len(set(CASES)) == 4
