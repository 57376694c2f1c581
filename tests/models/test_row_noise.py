"""Offsets of rows, found in what a network takes for noise."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from darkroom.evaluation import artifacts
from darkroom.evaluation.metrics import to_planes
from darkroom.evaluation.simulated import photograph_light
from darkroom.gain import given_gain
from darkroom.models.loading import load_model
from darkroom.models.row_noise import MIN_READ, estimate_offsets, may_show, measure_row_offsets
from darkroom.models.tiling import Grid
from darkroom.mosaic.demosaic import pack_mosaic
from darkroom.mosaic.linear import LinearMosaic
from darkroom.mosaic.noise import Noise
from darkroom.mosaic.packing import BAYER, XTRANS
from darkroom.pipeline import Options, enhance
from darkroom.raw.image import CFA

LIGHT, READ, ROW, STEP = 0.2, 0.02, 0.004, 0.1
BALANCE = np.array([2.0, 1.0, 1.5])
NOISE = Noise(0.0, READ, "it is made")


@dataclass(frozen=True)
class Perfect:
    """A network that knows the scene, LIGHT everywhere in white-balanced camera RGB."""

    channels: int

    @property
    def grid(self) -> Grid:
        return Grid(2, 0, 2 if self.channels == 4 else 3)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def __call__(self, packed: Tensor) -> Tensor:
        height, width = (size * self.grid.scale for size in packed.shape[2:])
        return torch.full((len(packed), 3, height, width), LIGHT)

    def on_cpu(self) -> "Perfect":
        return self


@dataclass(frozen=True)
class Stepped(Perfect):
    """A network that knows a scene of two levels, but is off by `error` beside their edge."""

    channels: int = 4
    error: float = 0.0

    @property
    def grid(self) -> Grid:
        return Grid(2, None, 2)  # in one piece

    def __call__(self, packed: Tensor) -> Tensor:
        level = (packed.mean((1, 3)) > LIGHT + STEP / 2).float()
        edges = torch.zeros_like(level)
        edges[:, 1:] += level.diff(dim=1)
        edges[:, :-1] -= level.diff(dim=1)
        rows = (STEP * level - self.error * edges).repeat_interleave(2, 1)
        return super().__call__(packed) + rows[:, None, :, None]


def make_photo(cfa: CFA, rows: np.ndarray, width: int = 384) -> Tensor:
    """Make a photo of even light, white-balanced, with noise and these offsets of its rows."""
    random = np.random.default_rng(5)
    balance = np.tile(BALANCE[cfa.channels], (len(rows) // cfa.period, width // cfa.period))
    noise = random.normal(0, READ, balance.shape) + rows[:, None]
    return pack_mosaic(torch.from_numpy(LIGHT + noise * balance).float()[None, None], cfa)[0]


def draw_rows(count: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, ROW, count)


def test_what_strips_have_in_common_is_estimated_as_well_as_the_noise_allows() -> None:
    rows, spread = draw_rows(3000), 0.003
    means = rows + np.random.default_rng(1).normal(0, spread, (3, 3000))
    found = estimate_offsets(means, np.full((3, 3000), spread**2), 2)
    # Wiener's bound, and a fifteenth more for the running means, of 15 rows, that are taken off.
    bound = 1 / (1 / ROW**2 + 3 / spread**2) + ROW**2 / 15
    assert np.mean((found - rows) ** 2) < 1.05 * bound


def test_rows_without_offsets_are_left_alone() -> None:
    means = np.random.default_rng(1).normal(0, 0.003, (3, 3000))
    assert not estimate_offsets(means, np.full((3, 3000), 9e-6), 2).any()


def test_what_only_one_strip_has_is_the_scene() -> None:
    means = np.random.default_rng(1).normal(0, 0.001, (3, 3000))
    means[1] += draw_rows(3000)
    assert not estimate_offsets(means, np.full((3, 3000), 1e-6), 2).any()


def test_rows_on_which_strips_disagree_are_left_and_do_no_harm_elsewhere() -> None:
    """Edges of the scene that one strip has: at most a tenth of them is taken for offsets."""
    rows, spread = draw_rows(3000), 0.003
    means = rows + np.random.default_rng(1).normal(0, spread, (3, 3000))
    before = estimate_offsets(means, np.full((3, 3000), spread**2), 2)
    means[1, 100::100] += 50 * ROW
    after = estimate_offsets(means, np.full((3, 3000), spread**2), 2)
    assert abs(after[100::100]).max() < 0.1 * 50 * ROW / 3
    far = np.abs((np.arange(3000) + 50) % 100 - 50) > 20  # further than the running mean reaches
    assert np.sqrt(np.mean((after - before)[far] ** 2)) < 0.1 * ROW


def test_levels_that_change_slowly_or_with_the_colour_are_not_offsets() -> None:
    slope = np.linspace(0, 0.05, 3000) + np.tile([0.01, 0], 1500)
    means = slope + np.random.default_rng(1).normal(0, 1e-4, (3, 3000))
    found = estimate_offsets(means, np.full((3, 3000), 1e-8), 2)
    # Of a slope of 1.7e-5 a row nothing is left in a running mean; ends go on as they end.
    assert abs(found[40:-40]).max() < 1e-4


@pytest.mark.parametrize("cfa", [BAYER, XTRANS])
def test_offsets_are_measured_on_the_photo(cfa: CFA) -> None:
    rows = draw_rows(1200)
    packed = make_photo(cfa, rows)
    found = measure_row_offsets(Perfect(len(packed)), packed, NOISE, BALANCE)
    assert found is not None
    # What 384 sites of noise leave in doubt of a row, and a running mean of its offsets.
    bound = READ**2 / 384 + ROW**2 / {BAYER: 15, XTRANS: 5}[cfa]
    assert np.mean((found - rows) ** 2) < 1.3 * bound < ROW**2 / 2


def test_edges_right_across_a_photo_are_not_offsets() -> None:
    """A network misses one by a tenth in all strips alike; where it is not doubted, by two stds."""
    rows = draw_rows(1200)
    packed = make_photo(BAYER, rows)
    packed[:, 300:] += STEP
    exact = measure_row_offsets(Stepped(error=0.0), packed, NOISE, BALANCE)
    blurred = measure_row_offsets(Stepped(error=STEP / 10), packed, NOISE, BALANCE)
    assert exact is not None
    assert blurred is not None
    assert abs(blurred - exact)[596:604].max() < ROW / 2


def test_photos_that_show_or_tell_nothing_stay_as_they_are() -> None:
    assert not may_show(replace(NOISE, read=0.9 * MIN_READ))
    assert may_show(NOISE)
    packed = make_photo(BAYER, draw_rows(120), 8)
    assert measure_row_offsets(Perfect(4), packed, NOISE, BALANCE) is None


def test_offsets_are_taken_off_the_light_from_a_row_on() -> None:
    raw = photograph_light("rows", np.full((8, 8, 3), 0.1), 1)
    light, whole = LinearMosaic(raw), LinearMosaic(raw)[:]
    offsets = np.arange(12) / 100
    light.take_off_rows(1, offsets)
    expected = whole - np.append(0, offsets[:7]).astype(np.float32)[:, None]
    # Float32's rounding of numbers below 1, before and after the scale.
    np.testing.assert_allclose(light[:], expected, atol=2e-7)
    places = np.array([0, 1, 7]), np.array([3, 4, 5])
    assert np.array_equal(light[places], light[:][places])


@pytest.mark.parametrize("name", ["safelight", "safelight-xtrans"])
def test_dark_walls_lose_their_streaks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    cfa = BAYER if name == "safelight" else XTRANS
    light = np.full((384, 384, 3), 0.01)
    raw = photograph_light("wall", light, 300, cfa, row_noise=0.6)
    wanted, model = Options(gain=given_gain(300), bits=16), load_model(name, "cpu", "fp32")

    def measure() -> float:
        picture = to_planes(enhance(raw, model, wanted).pixels)
        return artifacts.measure_residue(picture, torch.full_like(picture, picture.mean()))[0]

    after = measure()
    monkeypatch.setattr("darkroom.pipeline.measure_row_offsets", lambda *_: None)
    assert after < 0.6 * measure()
