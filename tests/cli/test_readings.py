"""Weights that fit two networks, and batch norms by the photo: what each command says and does."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from darkroom.batch.jobs import OutputNaming, Search
from darkroom.batch.journal import JOURNAL
from darkroom.batch.options import BatchOptions
from darkroom.batch.request import BatchRequest, prepare
from darkroom.cli import app
from darkroom.evaluation.metrics import to_planes
from darkroom.evaluation.published import sid
from darkroom.evaluation.published.sid import PUBLISHED
from darkroom.mosaic.packing import linearise
from darkroom.output.picture import PictureFormat, SaveOptions
from darkroom.pairs.references import read_reference
from darkroom.raw.reader import read_raw

Dng = Callable[..., Path]


@pytest.fixture(name="lavi", scope="module")
def lavi_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that is SID's, or SID's as REDI's repository trains it."""
    path = tmp_path_factory.mktemp("weights") / "lavi.pth"
    torch.save(dict(sid.LAVI.weights(4, 7)), path)
    return path


@pytest.fixture(name="normed", scope="module")
def normed_fixture(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint with batch norms, by its network's name."""
    path = tmp_path_factory.mktemp("weights") / "normed.pth"
    torch.save(dict(sid.DOUBLE.weights(4, 7)), path)
    return f"sid-batch-norm={path}"


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


def test_norm_statistics_of_the_photo(dng_path: Dng, tmp_path: Path, normed: str) -> None:
    """The same numbers as the publication's: its test script never calls eval()."""
    photo, target = dng_path(read_noise=0), tmp_path / "o.png"
    command = ("enhance", photo, "-o", target, "--overwrite", "--bits", 16, "--precision", "fp32")
    pictures = {}
    for statistics in ("stored", "photo"):
        words = ("-m", normed, "--norm-statistics", statistics, "-r", 2, "--json")
        record = json.loads(run(*command, *words).stdout)
        assert record["norm_statistics"] == statistics
        pictures[statistics] = to_planes(read_reference(target))
    assert (pictures["stored"] - pictures["photo"]).abs().max() > 0.03
    failed = CliRunner().invoke(app, [*map(str, command), "--norm-statistics", "photo"])
    assert failed.exit_code == 2
    assert "has no batch norm; leave it out" in failed.stderr


def test_a_batch_with_other_statistics_is_another(
    dng_path: Dng, tmp_path: Path, normed: str
) -> None:
    photos, out = [dng_path(name=f"{i}.dng", seed=i) for i in range(2)], tmp_path / "out"
    command = ("batch", *photos, "-o", out, "-m", normed, "--ratio", 5, "--precision", "fp32")
    assert "2 done in" in run(*command).stderr
    assert "2 done in" in run(*command, "--norm-statistics", "photo").stderr
    assert "2 done before" in run(*command, "--norm-statistics", "photo").stderr
    last = json.loads((out / JOURNAL).read_text("utf-8").splitlines()[-1])
    assert last["options"]["norm_statistics"] == "photo"


def test_what_is_published_is_what_runs(dng_path: Dng, tmp_path: Path) -> None:
    """From the file's values to the picture's codes, the photo's statistics included.

    16-bit codes are rounded: half of one, and float32 through 23 normed layers.
    """
    one = next(p for p in PUBLISHED if p.dialect == "each, photo's")
    weights, path, target = one.weights(7), tmp_path / "w.pth", tmp_path / "o.png"
    torch.save(dict(weights), path)
    photo = dng_path(read_noise=0, exposure=0.1)
    words = ("-m", f"{one.network}={path}", "--norm-statistics", "photo", "-r", 8, "--bits", 16)
    run("enhance", photo, "-o", target, "--precision", "fp32", *words)
    wanted = one.picture(weights, linearise(read_raw(photo)) * 8).clip(0, 1) * 65535
    found = read_reference(target).astype(float)
    assert abs(found - wanted).max() < 1.5


def test_a_cluster_is_told_the_statistics(dng_path: Dng, tmp_path: Path) -> None:
    save = SaveOptions(PictureFormat.PNG)
    request = BatchRequest(
        str(tmp_path / "out"),
        BatchOptions(save=save),
        OutputNaming(".png"),
        Search(),
        cluster="host:1",
        norm_statistics="photo",
    )
    cluster = prepare(request, [str(dng_path())]).cluster
    assert cluster is not None
    assert cluster.norm_statistics == "photo"
