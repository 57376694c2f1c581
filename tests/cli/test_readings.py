"""Weights that fit two networks: what each command says and does."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from darkroom.batch.journal import JOURNAL
from darkroom.cli import app
from darkroom.evaluation.published import sid

Dng = Callable[..., Path]


@pytest.fixture(name="lavi", scope="module")
def lavi_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that is SID's, or SID's as REDI's repository trains it."""
    path = tmp_path_factory.mktemp("weights") / "lavi.pth"
    torch.save(dict(sid.LAVI.weights(4, 7)), path)
    return path


def run(*arguments: str | Path) -> Result:
    words = [*map(str, arguments)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return result


def notes(result: Result) -> list[str]:
    return [line for line in result.stderr.splitlines() if "taken for sid (" in line]


def test_enhance_says_once_which_network_was_taken(
    dng_path: Dng, tmp_path: Path, lavi: Path
) -> None:
    photo, target = dng_path(), tmp_path / "o.png"
    command = ("enhance", photo, "-o", target, "--overwrite", "--precision", "fp32", "-r", 5)
    (line,) = notes(run(*command, "-m", lavi))
    assert line.startswith(f"warning: {lavi}: taken for sid (")
    assert f"--model sid-rggb={lavi} if it is that, --model sid={lavi} if it is not" in line
    pictures = {}
    for name in ("sid", "sid-rggb"):
        result = run(*command, "-m", f"{name}={lavi}", "--json")
        record = json.loads(result.stdout)
        assert (notes(result), record["network"], record["warnings"]) == ([], name, [])
        with Image.open(target) as image:
            pictures[name] = np.asarray(image).astype(int)
    assert abs(pictures["sid"] - pictures["sid-rggb"]).max() > 10
    record = json.loads(run(*command, "-m", lavi, "--json", "-q").stdout)
    assert record["warnings"] == [line.removeprefix("warning: ")]


def test_other_commands_say_it_too(
    dng_path: Dng, tmp_path: Path, lavi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKROOM_WEIGHTS", str(tmp_path / "store"))
    photo = dng_path()
    assert len(notes(run("estimate", photo, "-m", lavi))) == 1
    assert len(json.loads(run("estimate", photo, "-m", lavi, "--json").stdout)["warnings"]) == 1
    assert len(notes(run("models", lavi))) == 1
    assert notes(run("models", f"sid={lavi}")) == []
    assert len(notes(run("bench", photo, "-m", lavi, "--runs", 1, "--precision", "fp32"))) == 1
    result = run("fetch-weights", "--import", lavi, "--as", "mine", "--dry-run")
    assert f"--import sid-rggb={lavi} if it is that" in notes(result)[0]
    result = run("fetch-weights", "--import", f"sid-rggb={lavi}", "--as", "mine")
    assert notes(result) == []
    # What was imported has a name, which says what it is.
    result = run("enhance", photo, "-o", tmp_path / "i.png", "-m", "mine", "-r", 5, "--json")
    assert json.loads(result.stdout)["network"] == "sid-rggb"
    assert notes(result) == []


def test_a_batch_says_it_once_and_never_resumes_as_the_other(
    dng_path: Dng, tmp_path: Path, lavi: Path
) -> None:
    photos = [dng_path(name=f"{i}.dng", seed=i) for i in range(3)]
    out = tmp_path / "out"
    command = ("batch", *photos, "-o", out, "--ratio", 5, "--precision", "fp32")
    assert len(notes(run(*command, "-m", lavi))) == 1
    records = [json.loads(line) for line in (out / JOURNAL).read_text("utf-8").splitlines()]
    done = [record for record in records if record["status"] == "done"]
    assert [len(record["warnings"]) for record in done] == [1, 1, 1]
    assert {record["options"]["network"] for record in done} == {"sid"}
    assert "3 done before" in run(*command, "-m", f"sid={lavi}").stderr
    result = run(*command, "-m", f"sid-rggb={lavi}")
    assert "3 done in" in result.stderr
    assert notes(result) == []
