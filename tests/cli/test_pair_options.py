"""Options of `train --network` for single networks: what they change, and how they are refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import smooth_scene, synthetic_raw
from typer.testing import CliRunner, Result

from darkroom.cli import app
from darkroom.gain import GainRule
from darkroom.models.loading import load_model
from darkroom.output.dng import write_dng


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A list of two pairs in SID's form."""
    torch.set_num_threads(1)
    lines = []
    for scene in ("00001", "00002"):
        short, long = f"{scene}_00_0.1s.dng", f"{scene}_00_10s.png"
        write_dng(tmp_path / short, synthetic_raw(112, 112, exposure=0.01))
        picture = smooth_scene(112, 112, 0).transpose(1, 2, 0)
        cv2.imwrite(str(tmp_path / long), (picture * 65535).astype(np.uint16))
        lines.append(f"./{short} ./{long} ISO200 F9\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    return tmp_path


def train(place: Path, *options: object) -> Result:
    words = ["train", place / "list.txt", "--cache", place / "cache", "-o", place / "run", *options]
    return CliRunner().invoke(app, [str(word) for word in words])


def test_an_amplifier_is_trained_jointly_and_finds_the_gain(place: Path) -> None:
    options = ("--network", "llpacknet-2020", "--amplifier", "--steps", 2, "--crop", 32)
    result = train(place, *options)
    assert result.exit_code == 0, result.output
    path = place / "run" / "llpacknet-2020-amplifier.safetensors"
    model = load_model(path, "cpu", "fp32")
    assert model.gain_rule is GainRule.LLPACKNET
    assert model.amplifier is not None
    out = place / "picture.png"
    enhanced = CliRunner().invoke(
        app, ["enhance", str(place / "00001_00_0.1s.dng"), "--model", str(path), "-o", str(out)]
    )
    assert enhanced.exit_code == 0, enhanced.output
    assert out.exists()


def test_safelight_is_fine_tuned_with_simulated_sensors_between(place: Path) -> None:
    (place / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    cv2.imwrite(str(place / "photos" / "a.png"), noise)
    options = ("--network", "safelight", "--steps", 2, "--crop", 64, "--batch", 2, "--mix", 0.5)
    result = train(place, *options, "--photos", place / "photos")
    assert result.exit_code == 0, result.output
    assert load_model(place / "run" / "safelight.safetensors", "cpu", "fp32").takes_noise


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--network", "sid", "--amplifier"), "--amplifier is for llpacknet"),
        (("--network", "safelight", "--m", 5, "--crop", 96), "--m changes nothing for safelight"),
        (("--network", "llpacknet", "--amplifier", "--m", 5), "--m changes nothing for llpack"),
        (("--network", "sid", "--mix", 0.5), "--mix is for safelight; leave it out for sid"),
        (("--network", "safelight", "--mix", 0.5), "--mix: give --photos FOLDER too"),
        (("--network", "redi", "--m", 10), "m = 10: REDI's brightness is a number from 1 to 9"),
        (("--network", "redi", "--crop", 96, "--steps", 1), "MS-SSIM compares five scales"),
        (("--m", 5), "--m is for training on pairs alone; add --network"),
        (("--amplifier",), "--amplifier is for training on pairs alone; add --network"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    place: Path, options: tuple[object, ...], words: str
) -> None:
    result = train(place, *options)
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output
