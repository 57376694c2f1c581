"""Feature maps of one layer, of any part of a photo; weights, and what is dead of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from darkroom.errors import UsageError
from darkroom.evaluation.features import Region, describe_maps, draw_layer_maps, record_run
from darkroom.evaluation.weight_statistics import (
    BINS,
    draw_weight_sheet,
    find_rectified,
    measure_weights,
)
from darkroom.models.architectures.safelight import Safelight
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.models.tracing import Layer, trace_layers
from darkroom.raw.image import RawImage


@pytest.fixture
def model(tmp_path: Path) -> Model:
    torch.manual_seed(3)
    path = tmp_path / "tiny.safetensors"
    save_file(Safelight(widths=(8, 8, 8, 8)).state_dict(), path)
    return load_model(path, "cpu", "fp32")


@pytest.mark.parametrize(
    ("region", "rows", "columns"),
    [
        (Region(), slice(0, 64), slice(0, 96)),  # packed pixels of the whole photo
        (Region(40, 0, 8, 128), slice(0, 64), slice(16, 32)),  # widened to the grid of 32
        (Region(32, 64, 64, 64), slice(32, 64), slice(16, 48)),
    ],
)
def test_a_region_is_that_part_of_the_photo(
    model: Model,
    synthetic_raw: Callable[..., RawImage],
    region: Region,
    rows: slice,
    columns: slice,
) -> None:
    raw = synthetic_raw(128, 192, exposure=0.05)
    whole = record_run(raw, model, ["enter"], Region())
    run = record_run(raw, model, ["enter"], region)
    assert torch.equal(run.packed, whole.packed[:, rows, columns])
    # Features at half that size; equal but at the borders, where less is seen around.
    part = whole.maps["enter"][:, rows.start // 2 : rows.stop // 2]
    part = part[:, :, columns.start // 2 : columns.stop // 2]
    assert run.maps["enter"].shape == part.shape
    # float32 through one layer, whose blocking may differ with the size
    torch.testing.assert_close(run.maps["enter"][:, 1:-1, 1:-1], part[:, 1:-1, 1:-1])
    assert run.picture.shape[:2] == (2 * run.packed.shape[1], 2 * run.packed.shape[2])


@pytest.mark.parametrize(
    "region", [Region(0, 0, 193, 10), Region(192, 0, 1, 1), Region(0, 0, 0, 9)]
)
def test_a_region_outside_the_photo(
    model: Model, synthetic_raw: Callable[..., RawImage], region: Region
) -> None:
    with pytest.raises(UsageError, match="within the photo's 192x128 photosites"):
        record_run(synthetic_raw(128, 192, exposure=0.05), model, ["enter"], region)


def test_all_maps_of_a_layer_are_drawn(
    model: Model, synthetic_raw: Callable[..., RawImage]
) -> None:
    run = record_run(synthetic_raw(128, 192, exposure=0.05), model, ["middle.first"], Region())
    maps = run.maps["middle.first"]
    assert maps.shape == (8, 4, 6)
    sheet = draw_layer_maps(run)
    # Eight maps of 4 x 6, each value a square of 24 pixels, in rows of three.
    assert sheet.shape[0] > 3 * 96
    assert sheet.shape[1] > 3 * 144
    # Maps vary, but a label's letters and the ground are few values.
    assert len(np.unique(sheet)) > 20
    told = describe_maps(maps)
    assert [one["map"] for one in told] == list(range(8))
    assert told[3]["mean"] == pytest.approx(float(maps[3].mean()), abs=1e-6)
    assert told[3]["positive"] == pytest.approx(float((maps[3] > 0).float().mean()), abs=1e-6)


class Layers(nn.Module):
    """A convolution, a transposed one, and one without anything after it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, padding=1)
        self.up = nn.ConvTranspose2d(6, 5, 2, stride=2)
        self.last = nn.Conv2d(5, 3, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.conv(x))
        return self.last(nn.functional.leaky_relu(self.up(x), 0.2, inplace=True))


@pytest.fixture
def layers() -> tuple[Layers, tuple[Layer, ...]]:
    torch.manual_seed(0)
    network = Layers().requires_grad_(False)
    return network, trace_layers(network, torch.rand(1, 4, 8, 8), 2)[0]


def test_weights_as_numpy_measures_them(layers: tuple[Layers, tuple[Layer, ...]]) -> None:
    network, traced = layers
    network.conv.weight[2] *= 1e-3  # dead: negligible beside the others
    network.conv.weight[4] *= 0.1  # small, but alive
    network.up.weight[:, 1] = 0  # features of a transposed convolution lie along its second axis
    conv, up, last = measure_weights(network, traced)
    assert (conv.dead, up.dead, last.dead) == ((2,), (1,), ())
    assert [layer.features for layer in (conv, up, last)] == [6, 5, 3]
    weights = network.conv.weight.double().numpy()
    assert conv.weights.std == pytest.approx(weights.std(), rel=1e-5)  # six digits are kept
    assert (conv.weights.min, conv.weights.max) == pytest.approx(
        (weights.min(), weights.max()), rel=1e-5
    )
    assert conv.histogram == tuple(np.histogram(weights.astype(np.float32), BINS)[0])
    assert conv.bias is not None
    assert conv.bias.mean == pytest.approx(float(network.conv.bias.mean()), rel=1e-5)
    assert last.bias is None
    assert {layer.silent for layer in (conv, up, last)} == {None}
    sheet = draw_weight_sheet((conv, up, last))
    assert sheet.shape[1] > 3 * 320


def test_features_that_a_photo_does_not_wake(layers: tuple[Layers, tuple[Layer, ...]]) -> None:
    network, traced = layers
    assert find_rectified(traced) == ["conv", "up"]
    network.conv.bias[3] = -100
    with torch.inference_mode():
        x = torch.relu(network.conv(torch.rand(1, 4, 8, 8)))[0]
    conv, up, _ = measure_weights(network, traced, {"conv": x})
    assert conv.silent is not None
    assert 3 in conv.silent
    assert conv.silent == tuple(n for n in range(6) if float(x[n].max()) <= 0)
    assert up.silent is None
