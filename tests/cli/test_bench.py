"""darkroom bench: what is timed, what is refused, and how it is shown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import tiny_weights
from typer.testing import CliRunner, Result

from darkroom.cli import app
from darkroom.evaluation import benchmark
from darkroom.evaluation.benchmark import Measurement, Variant
from darkroom.models import device

Dng = Callable[..., Path]
STAGES = ["whole", "read", "gain", "pack", "network", "render", "write", "command"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Nothing is timed: what would have been, and figures made up."""
    asked: dict[str, Any] = {"sizes": []}

    def measure(
        photo: bytes, variants: list[Variant], runs: int, bits: int, norm_statistics: str
    ) -> Any:
        asked.update(variants=variants, bits=bits)
        asked["sizes"].append(len(photo) / 2e6)
        found = []
        for one in variants:
            facts = (one.name, "published" if one.published else "darkroom", "cpu", one.precision)
            seconds = (len(photo) / 1e6, len(photo) / 2e6, len(photo) / 1e6, runs)
            megapixels = round(len(photo) / 2e6, 1)
            found.append(Measurement("network", *facts, megapixels, *seconds, 5e9, 0.5, 2.0, 0.25))
        return found, {"cpu": {"fp32": 1e10}}

    def measure_import(runs: int) -> Measurement:
        return Measurement("import", *[None] * 5, 1.0, 1.0, 1.0, runs)

    monkeypatch.setattr(benchmark, "measure_photo", measure)
    monkeypatch.setattr(benchmark, "measure_import", measure_import)
    return asked


def test_every_stage_is_timed(dng_path: Dng, weights: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    chart = tmp_path / "speed.svg"
    result = run(dng_path(), "-m", weights, "--runs", 1, "--json", "-o", chart, "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert list(found) == ["schema", "machine", "matrix_rate", "records"]
    assert found["machine"]["threads"] == torch.get_num_threads()
    first, *records = found["records"]
    assert (first["stage"], first["model"]) == ("import", None)
    assert [one["stage"] for one in records] == STAGES
    for one in records:
        assert one["model"] == weights
        assert 0 < one["min_s"] <= one["median_s"] <= one["max_s"]
    known = {one["stage"]: one for one in records}
    network, rate = known["network"], found["matrix_rate"]["cpu"][known["network"]["precision"]]
    assert network["share_of_matrix_rate"] == pytest.approx(network["flops_per_s"] / rate)
    # Torch alone is 0.15 GB, and the command ends before all of this test does.
    assert 1e8 < known["command"]["peak_bytes"] < 4e9
    assert chart.read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--size", "large"], "--size large: give megapixels"),
        (["--size", "0"], "--size 0: give megapixels, 0.05 or more"),
        (["--size", "1,9000000"], "a photo of 9e+06 megapixels needs about"),
        (["--bits", "12"], "--bits 12: give 8 or 16"),
        (["-o", "speed.jpg"], "speed.jpg: a chart is a picture: end its name in .png or .svg"),
        (["--precision", "fp16"], "--precision fp16"),
    ],
)
def test_what_cannot_be_timed_is_refused(
    asked: dict[str, Any], weights: str, options: list[str], words: str
) -> None:
    result = run("-m", weights, "--device", "cpu", *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert asked["sizes"] == []


def test_sixteen_bits_are_timed_as_they_are_enhanced(
    asked: dict[str, Any], weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32: `auto` was resolved as for 8 bits before."""
    monkeypatch.setattr(device, "prefers_bfloat16", lambda: True)
    arguments = ("-m", weights, "--device", "cpu", "--size", "0.1")
    for bits, dtype in ((8, torch.bfloat16), (16, torch.float32)):
        assert run(*arguments, "--bits", bits).exit_code == 0
        (one,) = asked["variants"]
        assert (asked["bits"], one.model.dtype) == (bits, dtype)


def test_sizes_and_precisions_are_timed_side_by_side(
    asked: dict[str, Any], weights: str, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    chart = tmp_path / "speed.png"
    arguments = ("-m", weights, "-m", weights, "--device", "cpu", "--size", "0.1,0.4", "-o", chart)
    result = run(*arguments, "--precision", "fp32", "--precision", "bf16", "--published")
    assert result.exit_code == 0, result.output
    assert "darkroom's own, and not published" in result.stderr
    # The sites of a DNG are two bytes each; the same model twice is one variant.
    assert asked["sizes"] == pytest.approx([0.1, 0.4], rel=0.05)
    assert [one.precision for one in asked["variants"]] == ["fp32", "bf16"]
    lines = result.stdout.splitlines()
    assert lines[1] == "products of matrices, cpu fp32: 10 GFLOP/s"
    assert sum("MP, s" in line for line in lines) == 2
    assert (
        sum("tiny.safetensors cpu fp32  tiny.safetensors cpu bf16" in line for line in lines) == 2
    )
    assert any("of matrix rate" in line and line.count("50%") == 2 for line in lines)
    assert any("over published" in line and line.count("x0.25") == 2 for line in lines)
    assert chart.read_bytes().startswith(b"\x89PNG")
