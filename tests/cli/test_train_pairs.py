"""darkroom train on pairs, as a user runs it."""

import os
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from batches import start
from conftest import XTRANS, synthetic_raw
from typer.testing import CliRunner, Result

from darkroom.cli import app
from darkroom.output.dng import write_dng

SIDE = 96
NETWORK = ("--network", "perceptilabs-relu", "--batch", 1, "--crop", 64, "--score-every", 2)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in arguments])


def fails(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    assert all(word in lines[0] for word in words), lines[0]


def write_pair(folder: Path, name: str, cfa: str = "RGGB") -> str:
    """A dark photo and its reference in SID's folders; returns their line of a list."""
    short, long = folder / f"short/{name}_0.1s.dng", folder / f"long/{name}_10s.png"
    short.parent.mkdir(parents=True, exist_ok=True)
    long.parent.mkdir(parents=True, exist_ok=True)
    write_dng(short, synthetic_raw(SIDE, SIDE, cfa, exposure=0.01))
    codes = np.random.default_rng(int(name[:5])).integers(0, 65536, (SIDE, SIDE, 3))
    cv2.imwrite(str(long), codes.astype(np.uint16))
    return f"./short/{short.name} ./long/{long.name} ISO100 F8\n"


@pytest.fixture
def sid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three scenes to learn from, one to test with, and a store of decoded ones elsewhere."""
    monkeypatch.setenv("DARKROOM_CACHE", str(tmp_path / "cache"))
    names = ("00001_00", "00002_00", "00003_00", "10001_00")
    lines = [write_pair(tmp_path / "sid", name) for name in names]
    (tmp_path / "sid/list.txt").write_text("".join(lines))
    return tmp_path / "sid"


def test_what_is_trained_is_used_by_its_file_alone(sid: Path, tmp_path: Path) -> None:
    done = run("train", sid, "-o", tmp_path / "run", *NETWORK, "--steps", 3)
    assert done.exit_code == 0, done.stderr
    said = done.stderr.splitlines()
    assert any("of 8 files: " in line for line in said)
    assert any("relu: 3 scenes, 3 pairs, 3 steps; 1 test pairs" in line for line in said)
    assert any("test PSNR x100" in line for line in said)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= {
        "recipe.json",
        "log.jsonl",
        "log.csv",
        "curves.png",
        "samples",
        "state.safetensors",
        "perceptilabs-relu.safetensors",
        "perceptilabs-relu.md",
    }
    weights = tmp_path / "run/perceptilabs-relu.safetensors"
    photo = sid / "short/10001_00_0.1s.dng"
    done = run("enhance", photo, "-m", weights, "-o", tmp_path / "a.png", "--ratio", 100)
    assert done.exit_code == 0, done.stderr
    assert "warning" not in done.stderr
    again = run("train", sid, "-o", tmp_path / "run", *NETWORK, "--steps", 3)
    assert again.exit_code == 0
    assert "decoding" not in again.stderr


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_interrupted_run_ends_as_one_that_was_not(sid: Path, tmp_path: Path) -> None:
    """To the byte; only hidden temporary files and whole ones are ever there."""
    steps = (*NETWORK[:-1], 10, "--steps", 30, "-q")
    assert run("train", sid, "-o", tmp_path / "straight", *steps).exit_code == 0
    stopped = tmp_path / "stopped"
    process = start("train", sid, "-o", stopped, *steps)
    deadline = time.monotonic() + 60
    while not (stopped / "state.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    lines = (stopped / "log.jsonl").read_text().count("\n")
    assert 0 < lines < 3, "it was stopped in the middle"
    assert run("train", sid, "-o", stopped, *steps).exit_code == 0
    ways = [tmp_path / way / "perceptilabs-relu.safetensors" for way in ("straight", "stopped")]
    assert ways[0].read_bytes() == ways[1].read_bytes()


def test_other_test_pairs_are_never_learned_from(sid: Path, tmp_path: Path) -> None:
    line = (sid / "list.txt").read_text().splitlines()[1]
    (sid / "test.txt").write_text(line + "\n")
    done = run(
        "train",
        sid / "list.txt",
        "-o",
        tmp_path / "run",
        *NETWORK,
        "--epochs",
        1,
        "--test",
        sid / "test.txt",
    )
    assert done.exit_code == 0
    assert "2 scenes, 2 pairs, 2 steps; 1 test pairs" in done.stderr
    same = ("--test", sid / "test.txt")
    done = run("train", sid / "test.txt", "-o", tmp_path / "b", *NETWORK, *same)
    fails(done, 2, "no pairs are left to learn from")


def test_an_earlier_recipe_is_taken_and_changed(sid: Path, tmp_path: Path) -> None:
    first = (*NETWORK, "--steps", 1, "--loss", "l1", "--ema", 0.5, "--rate", 0.01)
    first = (*first, "--seed", 7, "-q")
    assert run("train", sid, "-o", tmp_path / "a", *first).exit_code == 0
    recipe = tmp_path / "a/recipe.json"
    line = ("--network", "perceptilabs-relu", "--recipe", recipe)
    assert run("train", sid, "-o", tmp_path / "b", *line, "-q").exit_code == 0
    assert (tmp_path / "b/recipe.json").read_text() == recipe.read_text()
    assert run("train", sid, "-o", tmp_path / "d", *line, "--seed", 3, "-q").exit_code == 0
    changed = (tmp_path / "d/recipe.json").read_text()
    assert changed == recipe.read_text().replace('"seed": 7', '"seed": 3')
    wrong = ("--recipe", sid / "list.txt")
    fails(run("train", sid, "-o", tmp_path / "c", *NETWORK, *wrong), 2, "--recipe")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--network", "sit"), ("--network sit: unknown; give one of sid, ",)),
        ((*NETWORK, "--size", 96), ("--size is for training on photographs alone",)),
        ((*NETWORK, "--large"), ("--large is for training on photographs",)),
        ((*NETWORK, "--loss", "l7"), ("--loss l7: unknown; give one of l1",)),
        ((*NETWORK, "--crop", 65), ("--crop 65: perceptilabs-relu takes multiples of 64",)),
        ((*NETWORK, "--crop", 128), ("too few for crops of 128; give --crop 96 or less",)),
        (
            ("--network", "sid-batch-norm-single", "--crop", 32),
            ("too small for the batch norms of sid-batch-norm-single; give 64",),
        ),
        ((*NETWORK, "--precision", "fp8"), ("--precision fp8: give fp32, bf16 or auto",)),
        ((*NETWORK, "--device", "auto"), ("name the device to train on",)),
        ((*NETWORK, "--fraction", 0), ("--fraction 0",)),
        ((*NETWORK, "--begin", "nowhere"), ("nowhere",)),
        ((*NETWORK, "--test", "nowhere"), ("nowhere",)),
        (("--epochs", 3), ("--epochs is for training on pairs alone; add --network",)),
        ((), ("holds pairs of exposures, not clean photographs; add --network NAME",)),
    ],
    ids=lambda value: " ".join(map(str, value))[:40],
)
def test_what_does_not_fit_is_told_in_one_line(
    sid: Path, tmp_path: Path, arguments: tuple[object, ...], words: tuple[str, ...]
) -> None:
    result = run("train", sid, "-o", tmp_path / "run", *arguments)
    fails(result, 3 if "--begin" in arguments else 2, *words)


def test_a_sensor_of_the_other_kind_is_told(sid: Path, tmp_path: Path) -> None:
    line = write_pair(tmp_path / "fuji", "00001_00", XTRANS)
    (tmp_path / "fuji/list.txt").write_text(line)
    done = run("train", tmp_path / "fuji", "-o", tmp_path / "run", *NETWORK)
    fails(done, 2, "--network perceptilabs-relu is for Bayer sensors", "give one of sid, ")
