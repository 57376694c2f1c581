"""darkroom calibrate, and what takes its profile: enhance, batch and train."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from simulated_camera import SimulatedCamera
from typer.testing import CliRunner, Result

from darkroom.calibration.dark_stack import DarkStack
from darkroom.calibration.profile_file import read_profile
from darkroom.cli import app
from darkroom.models.architectures.safelight import Safelight
from darkroom.output.dng import write_dng

CAMERA = SimulatedCamera(192, 288, hot=1e-3)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CAMERA.save_frames(tmp_path_factory.mktemp("frames"), darks=4, lights=(900, 5000))


@pytest.fixture(scope="module")
def profile(frames: Path) -> Path:
    path = frames.parent / "camera.json"
    assert run("calibrate", frames, "-o", path, "-q").exit_code == 0
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(3)
    save_file(Safelight(widths=(8, 8, 8, 8)).state_dict(), path)
    return str(path)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in arguments])


def fails(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.strip()]
    for word in ("error: ", *words):
        assert word in line


def test_the_table(frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named after the camera, in this folder."""
    monkeypatch.chdir(tmp_path)
    result = run("calibrate", frames)
    assert result.exit_code == 0, result.output
    assert "example-one.json: Example One, 288 x 192; 4 dark, 4 flat" in result.stderr
    for word in ("1600", "shot gain", "read noise", "4 + 4", "1.7"):
        assert word in result.stdout
    assert read_profile(tmp_path / "example-one.json").camera == "Example One"
    monkeypatch.setattr(DarkStack, "add", lambda *_: pytest.fail("known before it measures"))
    fails(run("calibrate", frames), 5, "exists already")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert run("calibrate", frames, "--overwrite", "-q").stderr == ""


def test_json(frames: Path, tmp_path: Path) -> None:
    result = run("calibrate", frames, "-o", tmp_path / "p.json", "--json", "-q")
    record = json.loads(result.stdout)
    assert result.stderr == ""
    assert record["schema"] == 1
    (level,) = record["levels"]
    # 55,296 sites in three differences tell it to 0.3 %, four pairs the shot gain to 0.5 %.
    assert level["read_noise"]["value"] == pytest.approx(1.724, rel=0.03)
    assert level["shot_gain"]["value"] == pytest.approx(0.42, rel=0.03)
    assert isinstance(level["hot_pixels"], int)
    assert record["found"] == {"dark": 4, "flat": 4}


def test_it_spares_what_it_reads(frames: Path, tmp_path: Path) -> None:
    frame = frames / "dark1600-0.dng"
    before = frame.read_bytes()
    link = tmp_path / "link.json"
    link.symlink_to(frame)
    fails(run("calibrate", frames, "-o", link, "--overwrite"), 5, "is a file that is read")
    assert frame.read_bytes() == before
    fails(run("calibrate", frames, "-o", tmp_path), 2, "is a folder")
    fails(run("calibrate", tmp_path / "none", "-o", tmp_path / "x.json"), 2, "no such folder")
    assert not (tmp_path / "x.json").exists()


def test_enhance_by_it(profile: Path, frames: Path, tmp_path: Path, weights: str) -> None:
    photo = tmp_path / "photo.dng"
    write_dng(photo, CAMERA.describe(CAMERA.expose(9.0)))
    common = ("enhance", photo, "-m", weights, "--ratio", 50, "--json", "--overwrite")
    records, pictures = [], []
    dark = frames / "dark1600-0.dng"
    for more in ((), ("--profile", profile), ("--dark", dark), ("--dark", frames / "d")):
        (frames / "d").mkdir(exist_ok=True)
        target = frames / "d" / dark.name
        if not target.exists():
            target.hardlink_to(dark)
        result = run(*common, "-o", tmp_path / "o.png", *more)
        assert result.exit_code == 0, result.output
        records.append(json.loads(result.stdout))
        pictures.append(np.asarray(Image.open(tmp_path / "o.png")))
    plain, known, single, folder = records
    assert (plain["profile"], plain["dark"]) == (None, None)
    assert known["profile"] == read_profile(profile).identity
    assert known["black"]["source"] == "profile"
    assert known["black"]["used"][1][0] == pytest.approx(512.8, abs=0.3)
    assert any("known to be hot" in line for line in known["warnings"])
    assert single["black"]["source"] == "dark frames"
    assert single["dark"] == folder["dark"]
    assert single["dark"]["frames"] == 1
    assert not np.array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[2], pictures[3])
    kept = json.loads(
        run(
            *common, "-o", tmp_path / "o.png", "--profile", profile, "--black", "stated",
            "--hot-pixels", "keep",
        ).stdout
    )  # fmt: skip
    assert kept["black"]["source"] == "stated"
    assert kept["warnings"] == []


def test_enhance_refuses_what_does_not_fit(
    profile: Path, frames: Path, tmp_path: Path, weights: str
) -> None:
    photo, other = tmp_path / "photo.dng", tmp_path / "other.dng"
    write_dng(photo, CAMERA.dark())
    write_dng(other, SimulatedCamera(192, 288, name="Other Two").dark())
    dark = frames / "dark1600-0.dng"
    out = ("-o", tmp_path / "o.png", "-m", weights)
    fails(run("enhance", other, *out, "--profile", profile), 4, "profile is of Example One")
    fails(run("enhance", other, *out, "--dark", dark), 4, "dark frames are of Example One")
    fails(run("enhance", photo, *out, "--profile", photo), 2, "no camera profile")
    fails(run("enhance", photo, *out, "--dark", tmp_path / "none"), 4, "no such file")
    fails(run("enhance", photo, *out, "--dark", photo), 2, "is the photo itself")
    fails(run("enhance", photo, *out, "--dark", dark, "--black", "512"), 2, "both decide")
    fails(run("enhance", photo, *out, "--black", "profile"), 2, "stated, measured, or a number")
    assert not (tmp_path / "o.png").exists()
    picture = tmp_path / "frame.png"
    picture.hardlink_to(dark)
    for given in (dark, frames):
        there = run("enhance", photo, "-o", picture, "-m", weights, "--dark", given, "--overwrite")
        fails(there, 5, "is a file that is read")


def test_a_batch_with_another_profile_is_another(
    profile: Path, tmp_path: Path, weights: str
) -> None:
    photo, out = tmp_path / "in" / "photo.dng", tmp_path / "out"
    photo.parent.mkdir()
    write_dng(photo, CAMERA.describe(CAMERA.expose(9.0)))
    write_dng(photo.with_name("z.dng"), SimulatedCamera(192, 288, name="Other Two").dark())
    changed = json.loads(profile.read_text(encoding="utf-8"))
    changed["levels"][0]["black"][0][0] += 1
    another = tmp_path / "another.json"
    another.write_text(json.dumps(changed), encoding="utf-8")

    def statuses(*more: str | Path) -> list[str]:
        result = run("batch", photo.parent, "-o", out, "-m", weights, "--json", *more, "-j", "1")
        records = [json.loads(line) for line in result.stdout.splitlines()]
        photos = [record for record in records if record["event"] == "photo"]
        return [record["status"] for record in sorted(photos, key=lambda one: one["input"])]

    assert statuses("--profile", profile) == ["done", "failed"]
    assert statuses("--profile", profile) == ["skipped", "failed"]
    assert statuses("--profile", another) == ["done", "failed"]
    assert statuses() == ["done", "done"]
    lines = [json.loads(line) for line in (out / "darkroom.jsonl").read_text().splitlines()]
    done = [line["options"] for line in lines if line["status"] == "done"]
    assert done[0]["profile"] == read_profile(profile).identity
    assert "profile" not in done[-1]
