"""Pictures whose rows are made as they are taken are those that are made whole, to the bit."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import synthetic_raw
from safetensors.torch import save_file

from darkroom.gain import given_gain
from darkroom.models import row_bands
from darkroom.models.architectures.safelight import Safelight
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.output.finished import MadePicture, Picture
from darkroom.output.linear_dng import DngKind
from darkroom.output.rows import PictureRows, gather
from darkroom.pipeline import Options, enhance, enhance_by_rows
from darkroom.weights.registry import Output

RATIO = Options(gain=given_gain(1.0))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A tiny safelight with random weights, which runs by bands of few rows; no photo is small."""
    monkeypatch.setattr("darkroom.pipeline.HELD_SITES", 0)
    monkeypatch.setattr(row_bands, "BAND_BYTES", 1)
    monkeypatch.setattr(row_bands, "MIN_STEPS", 1)
    torch.manual_seed(3)
    save_file(Safelight(widths=(8, 8, 8, 8)).state_dict(), tmp_path / "tiny.safetensors")
    return load_model(tmp_path / "tiny.safetensors", "cpu", "fp32")


def assert_same_facts(found: MadePicture, expected: Picture) -> None:
    for name in ("gain", "warnings", "black", "camera", "color_space", "resized", "lens"):
        assert getattr(found, name) == getattr(expected, name), name


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize(
    ("cfa", "fields"),
    [
        ("RGGB", {}),
        ("GBRG", {"orientation": 2}),
        ("RGGB", {"default_crop": (67, 6, 130, 51)}),
    ],
)
def test_rows_are_those_of_the_whole(
    model: Model, cfa: str, fields: dict[str, Any], bits: int
) -> None:
    """Odd sizes, mirrored ones, and a camera's crop that begins and ends within a band."""
    raw = replace(synthetic_raw(233, 71, cfa), **fields)
    raw.mosaic[40:48, 50:60] = 16383  # a lamp
    options = replace(RATIO, bits=bits)
    found, expected = enhance_by_rows(raw, model, options), enhance(raw, model, options)
    assert isinstance(found.pixels, PictureRows)
    assert found.pixels.shape == expected.pixels.shape
    assert found.pixels.dtype == expected.pixels.dtype
    bands = list(found.pixels.bands)
    assert len(bands) > 1
    np.testing.assert_array_equal(np.concatenate(bands), expected.pixels)
    assert_same_facts(found, expected)


class Painter(torch.nn.Module):
    """A network that paints sRGB: one convolution."""

    by_rows = True

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.paint = torch.nn.Conv2d(4, 12, 3, padding=1)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pixel_shuffle(self.paint(packed), 2)


@torch.inference_mode()
def test_networks_that_paint_come_by_rows_too(model: Model) -> None:
    architecture = replace(model.architecture, condition=None)
    network = Painter()
    painter = replace(model, network=network, architecture=architecture, output=Output.SRGB)
    raw = synthetic_raw(200, 64)
    found, expected = enhance_by_rows(raw, painter, RATIO), enhance(raw, painter, RATIO)
    assert isinstance(found.pixels, PictureRows)
    np.testing.assert_array_equal(gather(found.pixels), expected.pixels)


def test_small_photos_are_made_whole(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = synthetic_raw(64, 64)
    assert isinstance(enhance_by_rows(raw, model, RATIO).pixels, PictureRows)
    monkeypatch.setattr("darkroom.pipeline.HELD_SITES", 64 * 64)
    assert isinstance(enhance_by_rows(raw, model, RATIO), Picture)


def test_rows_are_made_as_they_are_taken(model: Model) -> None:
    shares: list[float] = []
    pixels = enhance_by_rows(synthetic_raw(400, 64), model, RATIO, shares.append).pixels
    assert isinstance(pixels, PictureRows)
    assert not shares
    next(pixels.bands)
    assert len(shares) == 1
    assert shares[0] < 0.5
    for _ in pixels.bands:
        pass
    assert shares[-1] == 1.0
    assert shares == sorted(shares)


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({"orientation": 6}, {}),
        ({"orientation": 3}, {}),
        ({"pixel_aspect": 1.5}, {}),
        ({}, {"resize": 50}),
        ({}, {"dng": DngKind.LINEAR}),
        ({}, {"lens_correct": True}),
        ({}, {"tile": 64}),
    ],
)
def test_others_are_made_whole(
    model: Model, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], asked: dict[str, Any]
) -> None:
    unknown = SimpleNamespace(is_known=False, words="is unknown")
    monkeypatch.setattr("darkroom.options.check_lensfun", lambda: None)
    monkeypatch.setattr("darkroom.pipeline.find_lens_correction", lambda raw: unknown)
    raw, options = replace(synthetic_raw(130, 72), **fields), replace(RATIO, **asked)
    found, expected = enhance_by_rows(raw, model, options), enhance(raw, model, options)
    assert isinstance(found, Picture)
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert found.warnings == expected.warnings
