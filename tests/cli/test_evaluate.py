"""Training with scores, and scores on simulated photos, from the command line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from darkroom.cli import app
from darkroom.evaluation import artifact_scenes
from darkroom.evaluation.artifact_summary import MEASURES
from darkroom.models.architectures.safelight import Safelight
from darkroom.training import trainer


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in arguments])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny safelight with random weights: the command line is tested, not the scores."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(3)
    save_file(Safelight(widths=(8, 8, 8, 8)).state_dict(), path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(2)
    for name in ("a.png", "b.png"):
        codes = random.integers(0, 255, (12, 13, 3), dtype=np.uint8)
        Image.fromarray(codes).resize((104, 96)).save(folder / name)
    return folder


def test_each_ratio_has_a_line_with_libraw_beside(pictures: Path, weights: Path) -> None:
    result = run("evaluate", "--simulate", pictures, "-m", weights, "--ratio", 0, "--ratio", 100)
    assert result.exit_code == 0, result.output
    first, second = result.stdout.splitlines()
    assert first.startswith("noise-free, mean of 2")
    assert second.startswith("x100, mean of 2")
    assert "LibRaw" in first
    assert "dB" in first


def test_json_has_a_record_for_each_picture(pictures: Path, weights: Path) -> None:
    result = run("evaluate", "--simulate", pictures, "-m", weights, "--ratio", 10, "--json")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(one["name"], one["ratio"]) for one in records] == [("a.png", 10), ("b.png", 10)]
    assert set(records[0]["ours"]) == set(records[0]["libraw"]) == {"psnr", "ssim"}
    again = run("evaluate", "--simulate", pictures, "-m", weights, "--ratio", 10, "--json")
    assert again.stdout == result.stdout, "the same photos, the same scores"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "either a list"),
        (("list.txt", "--simulate", "."), "either a list"),
        (("list.txt", "--xtrans"), "for --simulate"),
        (("--simulate", "nowhere"), "no JPEG or PNG"),
        (("--simulate", ".", "--ratio", "-1"), "--ratio"),
        (("--simulate", ".", "--ratio", "0.5"), "at least 1"),
        (("--simulate", ".", "--metrics", "sid"), "--metrics artifacts"),
        (("--simulate", ".", "--csv", "scores.csv"), "--metrics artifacts"),
        (("list.txt", "--metrics", "artifacts"), "for --simulate"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    result = run("evaluate", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_artifacts_are_measured_for_several_models(
    pictures: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn scenes of 120 pixels instead of 516: the command line is tested, not the figures."""
    monkeypatch.setattr(artifact_scenes, "SIDE", 120)
    words = ["evaluate", "--simulate", pictures, "--metrics", "artifacts", "-m", weights]
    table, values = tmp_path / "a.md", tmp_path / "a.csv"
    words += ["-m", "libraw", "--ratio", 1]
    result = run(*words, "--ratio", 100, "--markdown", table, "--csv", values)
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("Artifacts at x1 / x100, Bayer, 2 pictures of pictures\n")
    assert "white at 4: saturated and left out: 2, 5," in result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0][::2] == ["measure", "libraw"]
    assert [" ".join(line[: -2 * 3]) for line in lines[1:]] == [
        name.replace("_", " ") for name in MEASURES
    ]
    assert "| chroma | " in table.read_text(encoding="utf-8")
    rows = values.read_text(encoding="utf-8").splitlines()
    assert rows[0] == "model,ratio,scene,measure,value,part,saturated"
    records = [json.loads(line) for line in run(*words, "--json").stdout.splitlines()]
    kinds = [one["kind"] for one in records]
    assert kinds == ["value"] * (len(rows) // 2) + ["summary"] * 2
    assert set(MEASURES) < set(records[-1])
    refused = run(*words, "--csv", values)
    assert (refused.exit_code, "overwrite" in refused.stderr) == (5, True)


def test_a_model_for_another_sensor_is_refused(pictures: Path, weights: Path) -> None:
    result = run("evaluate", "--simulate", pictures, "-m", weights, "--ratio", 1, "--xtrans")
    assert result.exit_code != 0
    assert "is made for Bayer sensors" in result.stderr


def test_what_libraw_cannot_develop_is_one_line(pictures: Path) -> None:
    """LibRaw demosaics X-Trans in tiles of 512 and fails on photos below that."""
    result = run("evaluate", "--simulate", pictures, "--ratio", 1, "--xtrans")
    assert result.exit_code == 4
    assert "cannot be developed by LibRaw" in result.stderr


def test_train_scores_along_the_way(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "WIDTHS", (8, 8, 8, 8))
    words = ["train", pictures, "-o", tmp_path / "run", "--steps", 2, "--batch", 1, "--size", 96]
    result = run(*words, "--validate", pictures, "--score-every", 1)
    assert result.exit_code == 0, result.output
    assert "step 1 of 2: loss" in result.stderr
    assert "crops/s" in result.stderr
    assert "PSNR noise-free" in result.stderr
    lines = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    assert (tmp_path / "run" / "curves.png").stat().st_size > 1000
    refused = run(*words[:3], tmp_path / "other", "--validate", tmp_path / "nowhere")
    assert refused.exit_code == 2
    assert not (tmp_path / "other").exists()


def test_train_says_how_to_get_curves(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "WIDTHS", (8, 8, 8, 8))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    words = ["train", pictures, "-o", tmp_path / "run", "--steps", 2, "--batch", 1, "--size", 96]
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert result.stderr.count("pip install 'darkroom[train]'") == 1
    assert (tmp_path / "run" / "safelight.safetensors").exists()
    assert not (tmp_path / "run" / "curves.png").exists()
