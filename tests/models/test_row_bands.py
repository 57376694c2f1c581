"""Networks by bands of rows give what they give of the whole photo, at any size and band."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_weights import random_network
from torch import Tensor, nn
from torch.nn import functional

from darkroom.models.architectures import ARCHITECTURES
from darkroom.models.architectures.base import Architecture, Conditions
from darkroom.models.architectures.safelight import SAFELIGHT, SAFELIGHT_XTRANS
from darkroom.models.denoise import BlendedModel
from darkroom.models.memory import _Peak
from darkroom.models.model import Model, place_network
from darkroom.models.row_bands import HeldRows, Recording
from darkroom.models.row_operations import _shuffle_to_planes
from darkroom.models.summary import TYPICAL
from darkroom.models.tiling import run_tiled, run_tiles

# float32 through some thirty layers, whose sums go in an order that depends on the size of a band:
# seen are up to 5e-6 of the largest value.
TOLERANCE = 1e-5

OTHERS = ("sid-rggb", "sid-depth-to-space", "llpacknet-2020", "perceptilabs")
"""Networks that do what others do, with other weights; deconvolutions whose results overlap."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def by_rows(network: nn.Module, packed: Tensor, band: int) -> Tensor:
    recording = Recording.of(network, tuple(packed.shape))
    with torch.inference_mode():
        rows = list(recording.run(lambda first, stop: packed[:, :, first:stop], band))
    return torch.cat(rows, dim=2)


def conditioned(architecture: Architecture) -> nn.Module:
    network = random_network(architecture)
    if architecture.condition is None:
        return network
    return architecture.condition(network, Conditions.of(TYPICAL, np.ones(3)))


def model_of(architecture: Architecture, dtype: torch.dtype = torch.float32) -> Model:
    """The network ready to run, as the loader makes it."""
    network = place_network(conditioned(architecture), torch.device("cpu"), dtype)
    known = replace(architecture, condition=None)
    return Model(
        "random", network, known, known.output, known.gain_rule, torch.device("cpu"), dtype
    )


def assert_alike(found: Tensor, wanted: Tensor, tolerance: float = TOLERANCE) -> None:
    assert found.shape == wanted.shape
    largest = max(1.0, float(wanted.abs().max()))
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize(
    "architecture",
    [one for one in ARCHITECTURES if one.halo is not None and not one.name.startswith(OTHERS)],
    ids=lambda one: f"{one.name}-{one.sensor.value}",
)
def test_every_network_by_rows_is_the_network(architecture: Architecture) -> None:
    network = conditioned(architecture)
    assert model_of(architecture).by_rows
    assert architecture.halo is not None
    # Rows come before the photo has ended.
    height = (architecture.halo // architecture.multiple + 4) * architecture.multiple
    size = (height + 3, 21) if architecture.any_size else (height, architecture.multiple)
    packed = torch.rand(1, architecture.channels, *size) * 1.4 - 0.2
    assert_alike(by_rows(network, packed, 2 * architecture.multiple), network(packed))


class Toy(nn.Module):
    """Most of what has a rule, and work in place on what is shared."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(2, 8, 5, padding=2)
        self.strided = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.last = nn.Conv2d(16, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = fine = self.first(x.clamp(min=0.1))
        coarse = self.strided(fine)
        a, b = functional.relu(coarse, inplace=True).chunk(2, dim=1)
        coarse = torch.cat([a, b + 1], dim=1)
        coarse = coarse.add_(functional.pixel_shuffle(functional.pixel_unshuffle(coarse, 2), 2))
        pooled = functional.max_pool2d(coarse, 2, ceil_mode=True)
        coarse = coarse - self.up(pooled)[..., : coarse.shape[-2], : coarse.shape[-1]]
        up = self.up(coarse)[..., : fine.shape[-2], : fine.shape[-1]]
        x = fine.mul_(2)  # after others have read it
        return functional.pixel_shuffle(self.last(torch.cat([up, x], dim=1)), 2)


@given(st.integers(1, 20), st.integers(1, 4), st.integers(1, 90))
@settings(max_examples=40, deadline=None)
def test_any_size_and_band(height: int, width: int, band: int) -> None:
    network, packed = Toy().eval(), torch.rand(2, 2, 4 * height, 4 * width)
    with torch.inference_mode():
        assert_alike(by_rows(network, packed, band), network(packed))


class Program(nn.Module):
    """Steps given by number, each of what earlier ones made: in place, from afar, seen twice."""

    def __init__(self, steps: list[tuple[int, int, int]]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.steps, self.conv = steps, nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        made, seen_twice = [x * 0.5], set()
        for kind, one, other in self.steps:
            a, b = made[one % len(made)], made[other % len(made)]
            match kind:
                case 0:
                    made.append(self.conv(a))
                case 1:
                    made.append(a + b)
                case 2:
                    made.append(b * a.sigmoid())
                case 3:
                    made.append((a - 0.1).abs().clamp(max=1))
                case 4:
                    made.append(functional.leaky_relu(a, 0.1))
                case 5:
                    made.append(a.contiguous())  # the same memory, which torch would change twice
                    seen_twice |= {one % len(made[:-1]), len(made) - 1}
                case 6 if one % len(made) not in seen_twice:
                    a.mul_(0.9).add_(b)
                case 7 if one % len(made) not in seen_twice:
                    functional.leaky_relu(a, 0.1, inplace=True)
        return made[-1] + 0


STEPS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 9), st.integers(0, 9)), max_size=16)


@given(STEPS, st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_any_steps(steps: list[tuple[int, int, int]], band: int) -> None:
    """What is made in the place of rows that are still to be read would show."""
    network, packed = Program(steps).eval(), torch.rand(1, 3, 17, 3)
    kept = packed.clone()
    with torch.inference_mode():
        assert_alike(by_rows(network, packed, band), network(packed))
    assert torch.equal(packed, kept)


def test_rows_are_made_where_those_lie_that_nothing_reads_any_more() -> None:
    class Network(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            fresh = x * 2
            return (fresh + x).sigmoid()

    packed = torch.rand(1, 2, 8, 4)
    made: list[int] = []

    class Watched(HeldRows):
        def add(self, rows: Tensor) -> None:
            made.append(rows.data_ptr())
            super().add(rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("darkroom.models.row_bands.HeldRows", Watched)
        assert torch.equal(by_rows(Network(), packed, 8), (packed * 3).sigmoid())
    photo, fresh, added, curved = made
    assert photo != fresh == added == curved


@pytest.mark.parametrize("factor", [2, 3, 4, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pixels_go_to_their_places(factor: int, dtype: torch.dtype) -> None:
    x = torch.randn(2, 3 * factor**2, 5, 7).to(dtype)
    for rows in (x, x.contiguous(memory_format=torch.channels_last), x[:, :, 1:4]):
        assert torch.equal(_shuffle_to_planes(rows, factor), functional.pixel_shuffle(rows, factor))


def test_a_row_too_few_would_show() -> None:
    """As zeros at a seam do: the same network whose bands do not see each other."""
    network, packed = Toy().eval(), torch.rand(1, 2, 64, 8)
    with torch.inference_mode():
        apart = torch.cat([network(part) for part in packed.split(32, dim=2)], dim=2)
        assert (apart - network(packed)).abs().max() > 1e-2


def test_the_photo_is_not_overwritten() -> None:
    class Network(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.to(torch.float32).add_(1)

    packed = torch.rand(1, 2, 8, 4)
    kept = packed.clone()
    assert torch.equal(by_rows(Network(), packed, 4), kept + 1)
    assert torch.equal(packed, kept)


@pytest.mark.parametrize("mix", [lambda x: x.flip(2), lambda x: x - x.mean()])
def test_what_mixes_rows_is_refused(mix: Callable[[Tensor], Tensor]) -> None:
    class Network(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return mix(x)

    with pytest.raises(NotImplementedError, match="which rows it reads is not known"):
        Recording.of(Network(), (1, 4, 8, 8))


def test_memory_is_that_of_a_band() -> None:
    """What is alive at once, in bytes of tensors beside the photo's: of a hundred bands a sixth."""
    network, packed = conditioned(SAFELIGHT), torch.rand(1, 4, 1600, 16)
    whole, bands = _Peak(), _Peak()
    with torch.inference_mode(), whole:
        network(packed)
    with torch.inference_mode(), bands:
        recording = Recording.of(network, tuple(packed.shape))
        for _ in recording.run(lambda first, stop: packed[:, :, first:stop], 16):
            pass
    photo = packed.nbytes
    assert bands.bytes - photo < (whole.bytes - photo) / 6


def test_held_rows() -> None:
    held, rows = HeldRows(), torch.arange(10.0).view(1, 1, 10, 1)
    for start, stop in ((0, 4), (4, 9), (9, 10)):
        held.add(rows[:, :, start:stop])
    assert torch.equal(held.take(3, 10), rows[:, :, 3:])
    assert held.take(5, 8).data_ptr() == rows[:, :, 5:].data_ptr()  # of one part: not copied
    held.drop(5)
    assert (held.first, len(held.parts), held.stop) == (4, 2, 10)


@pytest.mark.parametrize("architecture", [SAFELIGHT, SAFELIGHT_XTRANS])
def test_a_photo_comes_in_bands(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a size on no grid, whole rows from the top down: as the tiles, which reflect alike."""
    monkeypatch.setattr("darkroom.models.row_bands.BAND_BYTES", 1)
    model = model_of(architecture)
    period = 1 if architecture is SAFELIGHT else 2
    packed = torch.rand(architecture.channels, 250 * period, 21 * period)
    parts = list(run_tiles(model, packed))
    assert len(parts) > 2
    assert [part.rows.start for part in parts[1:]] == [part.rows.stop for part in parts[:-1]]
    found = torch.cat([part.picture for part in parts], dim=1)
    assert found.dtype is torch.float32
    assert_alike(found, run_tiled(model, packed, 64 * architecture.scale))
    blended = BlendedModel(model, 0.4)
    assert blended.by_rows
    assert_alike(run_tiled(blended, packed), run_tiled(blended, packed, 10_000))


def test_half_precision_by_rows() -> None:
    """Every layer rounds to 8 bits alike; sums in another order tip few, by one step of 2**-8."""
    model = model_of(SAFELIGHT, torch.bfloat16)
    packed = torch.rand(1, 4, 112, 32) * 0.5
    with torch.inference_mode():
        wanted = model.network(packed)
    assert_alike(by_rows(model.network, packed, 32), wanted, 2**-8)
    assert_alike(model(packed), wanted, 2**-8)
