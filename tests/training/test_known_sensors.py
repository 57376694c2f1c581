"""Training photos of one camera: their noise is what was measured of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from simulated_camera import SimulatedCamera
from torch import Generator
from typer.testing import CliRunner, Result

from darkroom.calibration.measure import calibrate
from darkroom.calibration.profile import SensorNoise
from darkroom.cli import app
from darkroom.training.noise_model import draw_known_sensors, expose

SPAN = 15871.0
KNOWN = tuple(
    SensorNoise(iso, iso / 4000 / SPAN, iso / 1000 / SPAN, shape, 0.2, 0.05, 1 / SPAN)
    for iso, shape in ((400.0, 0.1), (1600.0, 0.0), (6400.0, -0.1))
)


def test_draws_lie_between_what_was_measured() -> None:
    """Shot and read noise of this camera are each other's 250th part at every ISO and gain."""
    drawn = draw_known_sensors(2000, Generator().manual_seed(1), KNOWN)
    gain = drawn.white.flatten()
    shot, read = drawn.shot.flatten() / gain * SPAN, drawn.read.flatten() / gain * SPAN
    torch.testing.assert_close(shot / read, torch.full((2000,), 0.25), rtol=1e-4, atol=0)
    assert 0.4 <= read.min() < 0.42
    assert 6.1 < read.max() <= 6.4001
    # Evenly in the logarithm: half of them below the middle ISO.
    assert (read < 1.6).float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert 1 <= gain.min() < 1.1
    assert 270 < gain.max() <= 300
    torch.testing.assert_close(drawn.step.flatten(), gain / SPAN)
    assert drawn.row is not None
    assert drawn.row.flatten() == pytest.approx(0.2)
    assert drawn.shape.min() >= -0.1001
    assert drawn.shape.max() <= 0.1001


def test_one_iso_is_enough() -> None:
    drawn = draw_known_sensors(4, Generator().manual_seed(1), KNOWN[:1])
    torch.testing.assert_close(drawn.read / drawn.white * SPAN, torch.full((4, 1, 1), 0.4))


def test_exposures_have_that_noise() -> None:
    """Variance of flat light by the two figures; 4e5 sites tell it to 0.3 %, hot pixels add."""
    torch.manual_seed(0)
    drawn = draw_known_sensors(1, Generator().manual_seed(3), KNOWN[:1])
    light = 0.02 * float(drawn.white)
    flat = torch.full((1, 640, 640), light)
    values = expose(flat, drawn, Generator().manual_seed(4))[0]
    noise = values - values.mean(1, keepdim=True)
    noise = noise - noise.mean(0, keepdim=True)
    noise = noise[noise.abs() < 8 * noise.std()]
    read, step = float(drawn.read), float(drawn.step)
    expected = float(drawn.shot) * light + read**2 + step**2 / 12
    assert noise.var().item() == pytest.approx(expected, rel=0.03)
    rows = values.mean(1)
    # Row noise of 0.2 stds, and what a row's mean leaves of its sites' noise.
    assert rows.var().item() == pytest.approx((0.2 * read) ** 2 + expected / 640, rel=0.25)


def test_some_of_a_batch_can_be_taken() -> None:
    drawn = draw_known_sensors(3, Generator().manual_seed(1), KNOWN)
    part = drawn.select(torch.tensor([2, 0]))
    assert part.row is not None
    assert drawn.row is not None
    torch.testing.assert_close(part.row, drawn.row[[2, 0]])
    torch.testing.assert_close(part.read, drawn.read[[2, 0]])


def run(*arguments: str | Path | int) -> Result:
    return CliRunner().invoke(app, [str(word) for word in arguments])


def fails(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.strip()]
    for word in ("error: ", *words):
        assert word in line


def test_the_command_trains_for_a_camera(tmp_path: Path) -> None:
    """It goes on with the same profile, and not without."""
    frames = SimulatedCamera(192, 288).save_frames(tmp_path / "frames", darks=2, lights=(4000,))
    profile = tmp_path / "camera.json"
    profile.write_text(json.dumps(calibrate(frames).profile.record()), encoding="utf-8")
    photos = tmp_path / "photos"
    photos.mkdir()
    codes = np.random.default_rng(1).integers(0, 255, (192, 192, 3), dtype=np.uint8)
    Image.fromarray(codes).save(photos / "a.png")
    common = ("train", photos, "-o", tmp_path / "run", "--batch", "1", "--size", "96", "-q")
    first = run(*common, "--steps", "1", "--sensor", profile)
    assert first.exit_code == 0, first.output
    assert (tmp_path / "run" / "safelight.safetensors").exists()
    fails(run(*common, "--steps", "1"), 2, "begun with", "'sensor': 'a profile'")
    again = run(*common, "--steps", "1", "--sensor", profile)
    assert again.exit_code == 0, again.output
    fails(run(*common, "--xtrans", "--sensor", profile), 2, "leave --xtrans out")
    fails(run(*common[:4], "--network", "sid", "--sensor", profile), 2, "--sensor is for training")
    fails(run(*common, "--sensor", tmp_path / "none"), 2, "cannot be read")
    record = json.loads(profile.read_text(encoding="utf-8"))
    record["levels"][0]["shot_gain"] = None
    dark = tmp_path / "dark.json"
    dark.write_text(json.dumps(record), encoding="utf-8")
    fails(run(*common, "--sensor", dark), 2, "no shot gain")
