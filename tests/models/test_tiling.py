"""Tiled equals whole, for a toy network that shows every seam and for all real ones."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from random_weights import random_network
from torch import Tensor
from torch.nn import functional

from darkroom.errors import TooLargeError, UsageError
from darkroom.models import tiling
from darkroom.models.architectures import ARCHITECTURES
from darkroom.models.architectures.base import Architecture, Conditions
from darkroom.models.memory import bytes_per_pixel
from darkroom.models.summary import TYPICAL
from darkroom.models.tiling import Grid, choose_tile, plan, run_tiled, run_tiles

CPU = torch.device("cpu")


@dataclass
class Toy:
    """Two 3x3 convolutions at 1/4: grid 4, reach 11 packed pixels (2 blocks and 3 pixels)."""

    scale: int = 2
    grid: Grid = field(init=False)
    device: torch.device = CPU
    limit: int = 10**9
    tried: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.grid = Grid(4, 11, self.scale)
        generator = torch.Generator().manual_seed(0)
        self.first = torch.randn(24, 64, 3, 3, generator=generator) / 24
        self.second = torch.randn(48 * self.scale**2, 24, 3, 3, generator=generator) / 15

    def __call__(self, packed: Tensor) -> Tensor:
        assert packed.shape[2] % 4 == 0
        assert packed.shape[3] % 4 == 0
        self.tried.append(packed.shape[2] * packed.shape[3])
        if packed.shape[2] * packed.shape[3] > self.limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        x = functional.conv2d(functional.pixel_unshuffle(packed, 4), self.first, padding=1)
        x = functional.conv2d(x.sin() + 1, self.second, padding=1)
        return functional.pixel_shuffle(x, 4 * self.scale)

    def on_cpu(self) -> "Toy":
        return Toy(self.scale)


def whole(model: Callable[[Tensor], Tensor], packed: Tensor, grid: Grid) -> Tensor:
    """The definition: reflect once up to the grid, where that is asked for, run all, crop."""
    _, height, width = packed.shape
    if grid.any_size:
        return model(packed[None])[0]
    pads = [(0, 0), (0, -height % grid.multiple), (0, -width % grid.multiple)]
    padded = torch.from_numpy(np.pad(packed.numpy(), pads, mode="reflect"))
    return model(padded[None])[0, :, : height * grid.scale, : width * grid.scale]


@given(st.integers(1, 90), st.integers(1, 70), st.integers(1, 120), st.sampled_from([2, 3]))
@settings(max_examples=40, deadline=None)
def test_tiled_equals_whole(height: int, width: int, tile: int, scale: int):
    toy = Toy(scale)
    packed = torch.rand(4, height, width, generator=torch.Generator().manual_seed(height * width))
    expected = whole(toy, packed, toy.grid)
    result = run_tiled(toy, packed, tile)
    assert result.dtype is torch.float32
    # float32 sums of a few hundred terms near 1, in an order that may depend on the size.
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


def test_a_margin_one_step_too_small_would_show():
    toy = Toy()
    packed = torch.rand(4, 64, 64)
    expected = whole(toy, packed, toy.grid)
    toy.grid = Grid(4, 4, 2)
    assert (run_tiled(toy, packed, 32) - expected).abs().max() > 1e-3


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 120))
@settings(max_examples=40, deadline=None)
def test_every_pixel_once_and_tiles_on_the_grid(height: int, width: int, tile: int):
    toy = Toy()
    packed = torch.zeros(4, height, width)
    count = np.zeros((2 * height, 2 * width), dtype=int)
    for part in run_tiles(toy, packed, tile):
        assert part.rows.start % 8 == part.cols.start % 8 == 0
        assert part.picture.shape[1:] == count[part.rows, part.cols].shape
        count[part.rows, part.cols] += 1
    assert (count == 1).all()


def test_options():
    packed = torch.zeros(4, 50, 70)
    assert len(plan(Toy(), packed, "off")) == 1
    assert len(plan(Toy(), packed, "auto")) == 1
    assert len(plan(Toy(), packed, 48)) == 3 * 3  # 24 packed pixels in 52 and 72
    for wrong in (0, -4, "big"):
        with pytest.raises(UsageError, match=f"--tile {wrong}"):
            plan(Toy(), packed, wrong)


def test_cuda_out_of_memory_halves_the_tile():
    toy, told = Toy(limit=50 * 50), []
    packed = torch.rand(4, 90, 70)
    result = run_tiled(toy, packed, "off", told.append)
    torch.testing.assert_close(result, run_tiled(Toy(), packed, "off"), rtol=0, atol=1e-5)
    assert told
    assert all("halving it" in line for line in told)
    assert max(toy.tried[len(told) :]) <= toy.limit or len(told) < 8


def test_parts_stay_where_the_network_runs():
    """On torch's meta device, from which nothing can be copied: no part crosses the bus."""
    toy = Toy()
    toy.device = torch.device("meta")
    toy.first, toy.second = toy.first.to("meta"), toy.second.to("meta")
    parts = list(run_tiles(toy, torch.empty(4, 90, 70, device="meta"), 40))
    assert {part.picture.device.type for part in parts} == {"meta"}
    assert sum(part.picture[0].numel() for part in parts) == 4 * 90 * 70


def test_other_errors_of_a_device_are_no_lack_of_memory():
    class Broken(Toy):
        def __call__(self, packed: Tensor) -> Tensor:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        run_tiled(Broken(), torch.rand(4, 60, 50), "off")


def test_cuda_out_of_memory_for_good_goes_on_with_the_processor():
    packed = torch.rand(4, 60, 50)
    with pytest.warns(RuntimeWarning) as caught:
        result = run_tiled(Toy(limit=10), packed, "off")
    assert "continuing on the processor" in str(caught[-1].message)
    assert sum("processor" in str(warning.message) for warning in caught) == 1
    torch.testing.assert_close(result, run_tiled(Toy(), packed, "off"), rtol=0, atol=1e-5)


@given(st.integers(1, 6000), st.integers(1, 6000), st.integers(1, 40_000_000))
@example(6000, 6000, (2 * 288 + 112) ** 2)
@settings(max_examples=60, deadline=None)
def test_chosen_tiles_fit_and_are_on_the_grid(height: int, width: int, pixels: int):
    grid = Grid(16, 286, 2)
    rows, cols = choose_tile(height, width, pixels, grid)
    assert rows % 16 == cols % 16 == 0
    full = -(-height // 16) * 16, -(-width // 16) * 16
    down, right = (
        max(min(at + side + 288, end) - max(at - 288, 0) for at in range(0, end, side))
        for side, end in ((rows, full[0]), (cols, full[1]))
    )
    if pixels >= full[0] * full[1]:
        assert (rows, cols) == full
    if pixels >= (2 * 288 + 112) ** 2:  # what 64 cuts of 6000 come down to
        assert down * right <= pixels


def test_a_photo_in_one_piece_needs_no_more_than_may_be_used(monkeypatch: pytest.MonkeyPatch):
    toy, packed = Toy(), torch.zeros(4, 50, 70)
    toy.grid = Grid(4, None, 2)
    need = bytes_per_pixel(toy, packed, 4) * 52 * 72
    for free, fits in ((need * 1.01, True), (need * 0.99, False)):
        monkeypatch.setattr(tiling, "usable", lambda device, n=free: n)
        if fits:
            assert len(plan(toy, packed)) == 1
        else:
            with pytest.raises(TooLargeError, match=r"a photo of 140x100 needs .* --tile off"):
                plan(toy, packed)
            assert len(plan(toy, packed, "off")) == 1


def test_a_hundred_megapixels_need_few_tiles():
    rows, cols = choose_tile(4368, 5824, 3_000_000, Grid(16, 286, 2))
    assert -(-4368 // rows) * -(-5824 // cols) <= 20


# Other numbers of groups are run alike.
DISTINCT = [a for a in ARCHITECTURES if not a.name.startswith("redi-group-norm-")]


@pytest.mark.parametrize("architecture", DISTINCT, ids=lambda a: f"{a.name}-{a.sensor.value}")
def test_every_network_tiled_equals_whole(architecture: Architecture):
    if not architecture.dialects:
        pytest.skip("no dialect to draw random weights for")
    model = Toy()
    model.grid = grid = Grid(
        architecture.multiple, architecture.halo, architecture.scale, architecture.any_size
    )
    network = random_network(architecture)
    if architecture.condition is not None:
        network = architecture.condition(network, Conditions.of(TYPICAL, np.ones(3)))
    model.__class__ = type("Real", (Toy,), {"__call__": lambda _, packed: network(packed)})
    packed = torch.rand(architecture.channels, grid.margin + 3 * grid.multiple + 5, 21)
    expected = whole(model, packed, grid)
    scale = max(1.0, float(expected.abs().max()))
    tile = grid.multiple * 2 * grid.scale
    if grid.halo is None:
        with pytest.raises(UsageError, match="runs in one piece"):
            run_tiled(model, packed, tile)
        tile = 10_000
    else:
        assert len(plan(model, packed, tile)) > 1
    result = run_tiled(model, packed, tile)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5 * scale)
