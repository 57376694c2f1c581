"""What is measured, in which order, and against what."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batches import environment, tiny_weights
from conftest import synthetic_raw
from safetensors.torch import save_file

from darkroom.errors import UsageError
from darkroom.evaluation import benchmark, benchmark_photo
from darkroom.evaluation.benchmark import Variant, find_published, measure_photo, time_stages
from darkroom.evaluation.benchmark_machine import measure_matrix_rate
from darkroom.evaluation.benchmark_memory import measure_peak_memory
from darkroom.evaluation.benchmark_photo import (
    check_size,
    find_shape,
    make_photo,
    tile_photo,
)
from darkroom.evaluation.published import llpacknet, redi, sid
from darkroom.evaluation.simulated import encode_dng
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.models.tiling import run_tiled
from darkroom.mosaic.packing import XTRANS, pack
from darkroom.raw.image import CFA
from darkroom.raw.reader import read_raw


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")
    return load_model(path, "cpu", "fp32")


def test_variants_run_in_turns(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A B A B, and ratios are of rounds: a machine that slows down hits both alike."""
    order: list[str] = []

    def stages(photo: bytes, model: Model, bits: int) -> dict[str, float]:
        order.append(model.name)
        speed = 3.0 if model.name == "slow" else 1.0
        return {"network": speed * 2 ** (len(order) // 2 - 1)}

    monkeypatch.setattr(benchmark, "time_stages", stages)
    monkeypatch.setattr(benchmark, "measure_matrix_rate", lambda device, dtype: 1e9)
    monkeypatch.setattr(benchmark._Command, "run", lambda self, one: 7.0)
    fast, slow = replace(tiny, name="fast"), replace(tiny, name="slow")
    variants = [Variant("fast", fast), Variant("slow", slow)]
    photo = encode_dng(synthetic_raw(64, 96))
    found, rates = measure_photo(photo, variants, 3, 8)
    assert order == ["fast", "slow"] * 4, "one round to warm up, and three"
    network = {one.model: one for one in found if one.stage == "network"}
    assert rates == {"cpu": {"fp32": 1e9}}
    assert network["fast"].ratio is None
    assert network["slow"].ratio == pytest.approx(3 * 2)  # it comes when a round is half over
    assert network["slow"].runs == 3
    assert network["slow"].flops_per_s == pytest.approx(
        1e9 * (network["slow"].share_of_matrix_rate or 0)
    )
    assert {one.median_s for one in found if one.stage == "command"} == {7.0}


def test_stages_make_up_the_whole(tiny: Model) -> None:
    found = time_stages(encode_dng(synthetic_raw(64, 96)), tiny)
    assert list(found) == ["whole", "read", "gain", "pack", "network", "render", "write"]
    assert all(seconds > 0 for seconds in found.values())


@pytest.mark.parametrize("one", [redi.PUBLISHED[0], llpacknet.PUBLISHED[0], sid.PUBLISHED[2]])
def test_published_code_is_that_of_the_same_network(one: Any, tmp_path: Path) -> None:
    """With the checkpoint's weights, in float32: both pictures differ by rounding only."""
    path = tmp_path / "weights.safetensors"
    weights = {name: tensor.contiguous() for name, tensor in one.weights(3).items()}
    save_file(weights, path)
    model = load_model(f"{one.network}={path}", "cpu", "fp32")
    mosaic = np.random.default_rng(0).uniform(0, 0.5, (64, 96)).astype(np.float32)
    picture = find_published(f"{one.network}={path}", model)(mosaic)
    packed = torch.from_numpy(pack(mosaic, CFA("RGGB")))
    ours = run_tiled(model, packed, "off").permute(1, 2, 0).numpy()
    assert picture.dtype == np.float32
    assert np.abs(picture - ours).max() <= 1e-4 * np.abs(picture).max()
    with pytest.raises(UsageError, match="its authors' code is not for PyTorch"):
        find_published(f"{one.network}={path}", replace(model, norm_statistics="none"))


def test_safelight_is_not_published(tiny: Model) -> None:
    with pytest.raises(UsageError, match="tiny: is darkroom's own"):
        find_published("tiny", tiny)


def test_photos_have_the_size_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_shape(12) == (3000, 4000)
    assert find_shape(24, 6) == (4242, 5658)
    monkeypatch.setattr(benchmark_photo, "CHART", (120, 160))
    mosaic = read_raw(make_photo(0.12)).mosaic
    assert mosaic.shape == (300, 400)
    assert (mosaic[:60] != mosaic[240:]).mean() > 0.5, "the chart is repeated, its noise is not"


def test_photos_are_repeated_in_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every site of the large one is the small one's, at the same place of the filters."""
    raw = synthetic_raw(63, 75, cfa=XTRANS.pattern)
    large = tile_photo(raw, 0.05)
    assert large.mosaic.shape == find_shape(0.05, 6)
    rows, cols = np.indices(large.mosaic.shape)
    assert np.array_equal(large.mosaic, raw.mosaic[rows % 60, cols % 72])
    with pytest.raises(UsageError, match="too small to be repeated"):
        tile_photo(replace(raw, mosaic=raw.mosaic[:4]), 0.05)


def test_photos_too_large_for_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_photo, "cgroup_free", lambda: 2_000_000_000)
    check_size(12)
    with pytest.raises(UsageError, match=r"of 100 megapixels needs about 3\.8 GB, and 2\.0 GB are"):
        check_size(100)
    with pytest.raises(UsageError, match=r"in one piece, as published code .* about 7\.3 GB"):
        check_size(12, 500)


def test_the_rate_is_of_products_of_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight products of 2 * 2048^3 operations, a hundredth of a second each."""
    clock = iter(np.arange(100) / 100)
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(torch, "matmul", lambda one, other, out: out)
    rate = measure_matrix_rate(torch.device("cpu"), torch.float32)
    assert rate == pytest.approx(2 * 2048**3 * 100)


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux counts")
def test_a_child_does_not_inherit_its_parents_peak() -> None:
    held = np.ones(50_000_000)
    assert (measure_peak_memory() or 0) > held.nbytes
    script = "from darkroom.evaluation import benchmark_memory as m; print(m.measure_peak_memory())"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment(), capture_output=True, check=True)
    assert int(done.stdout) < held.nbytes / 2
