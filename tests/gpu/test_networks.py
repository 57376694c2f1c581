"""Every network on the device gives what it gives on the processor in float32.

float32: to 1e-4 of the largest value, for sums are added up in another order (on processors ONNX
Runtime's are up to 3e-6 off). Half precision: at the 99.9th percentile to one code of 255, or to
what the processor's own bfloat16 is off, half as much again allowed: noise in and random weights
are harder than any photo, whose pictures test_photos.py holds to one code.
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
import torch

from darkroom.evaluation.published import Published
from darkroom.evaluation.published.networks import PUBLISHED
from darkroom.models.loading import load_model
from darkroom.models.model import Model, place_network
from darkroom.models.tiling import run_tiled
from darkroom.mosaic.noise import Noise
from darkroom.raw.image import Color

BUNDLED = ("safelight", "safelight-xtrans", "safelight-large", "safelight-large-xtrans")
NETWORKS = list({(one.network, one.sensor): one for one in PUBLISHED}.values())
NOISE = Noise(1e-3, 1e-2, "of a dark photo")
COLOR = Color(np.array([2.1, 1.0, 1.6]), np.eye(3))

FLOAT32 = 1e-4
ONE_CODE = 1 / 255
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def compare(model: Model, device: torch.device, name: str, figures: dict[str, Any]) -> None:
    """Hold the model on the device against itself on the processor, in all precisions."""
    side = 4 * max(model.grid.multiple, 16)
    random = torch.Generator().manual_seed(7)
    packed = torch.rand(model.architecture.channels, side, side, generator=random)
    wanted = run_tiled(model, packed, "off")
    assert wanted.std() > 0.01  # or there would be nothing to compare
    found = {}
    cpu = torch.device("cpu")
    runs = [(precision, device) for precision in PRECISIONS] + [("bf16 on the processor", cpu)]
    for precision, place in runs:
        dtype = PRECISIONS[precision[:4]]
        network = place_network(copy.deepcopy(model.network), place, dtype)
        there = replace(model, network=network, device=place, dtype=dtype)
        picture = run_tiled(there, packed.to(place), "off")
        off = (picture - wanted).abs().flatten() / wanted.abs().max()
        assert bool(torch.isfinite(picture).all())
        found[precision] = {
            "mean": float(off.mean()),
            "p99.9": float(np.quantile(off.numpy(), 0.999)),
            "max": float(off.max()),
        }
    figures.setdefault("networks", {})[name] = found
    assert found["fp32"]["max"] <= FLOAT32
    half = max(ONE_CODE, 1.5 * found["bf16 on the processor"]["p99.9"])
    assert found["fp16"]["p99.9"] <= half
    assert found["bf16"]["p99.9"] <= half


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled(name: str, device: torch.device, figures: dict[str, Any]) -> None:
    model = load_model(name, "cpu", "fp32").conditioned(NOISE, COLOR)
    compare(model, device, name, figures)


@pytest.mark.parametrize("one", NETWORKS, ids=lambda one: f"{one.network}-{one.sensor.value}")
def test_published(
    one: Published, device: torch.device, figures: dict[str, Any], tmp_path: Path
) -> None:
    """With random weights, so that nothing has to be fetched."""
    model = parity.load_published(one, dict(one.weights(0)), tmp_path / "weights")
    compare(model, device, f"{one.network}-{one.sensor.value}", figures)
