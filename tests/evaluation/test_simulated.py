"""Simulated photos hold the noise they should, and scores are those of the definitions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from places import SHARED
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from darkroom.color.render import render
from darkroom.errors import UsageError
from darkroom.evaluation.chart import BLACK, COLOR, WHITE, WHITE_BALANCE
from darkroom.evaluation.simulated import (
    BORDER,
    NOISE_FREE,
    READ,
    SHOT,
    Scene,
    amplification,
    encode_dng,
    photograph_scene,
    read_scenes,
    score_picture,
    score_scenes,
    true_noise,
)
from darkroom.models.loading import load_model
from darkroom.mosaic.demosaic import demosaic
from darkroom.mosaic.packing import BAYER, XTRANS, linearise, pack
from darkroom.pipeline import Options
from darkroom.raw.image import CFA
from darkroom.raw.reader import develop, read_raw

KODAK = SHARED / "data" / "kodak"


def gray(code: int, height: int = 96, width: int = 120) -> Scene:
    return Scene(f"gray {code}", np.full((height, width, 3), code, np.uint8))


def smooth(height: int = 96, width: int = 120) -> Scene:
    """Slow waves of every channel between codes 40 and 215."""
    rows, columns = np.mgrid[:height, :width] / 40
    waves = [np.sin(rows + phase) * np.cos(columns - phase) for phase in range(3)]
    codes = 127.5 + 87.5 * np.stack(waves, axis=2)
    return Scene("smooth", codes.round().astype(np.uint8))


@pytest.mark.parametrize("ratio", [1.0, 100.0])
def test_noise_is_what_the_network_is_told(ratio: float) -> None:
    """46,080 green sites: their variance is known to 0.7 %; five times that is allowed."""
    raw = photograph_scene(gray(128, 256, 360), ratio)
    green = linearise(raw)[:, 1::2][::2] * ratio
    light = ((128 / 255 + 0.055) / 1.055) ** 2.4
    noise = true_noise(ratio)
    assert green.mean() == pytest.approx(light, rel=0.01)
    assert green.var() == pytest.approx(noise.shot * light + noise.read**2, rel=0.035)


def test_the_black_of_a_dark_scene_is_noise_around_black() -> None:
    raw = photograph_scene(gray(0), 100.0)
    assert raw.mosaic.dtype == np.uint16
    assert raw.mosaic.mean() == pytest.approx(BLACK, abs=0.1)
    assert raw.mosaic.std() == pytest.approx((READ**2 + 1 / 12) ** 0.5, rel=0.04)


def test_white_just_fills_the_green_sites() -> None:
    raw = photograph_scene(gray(255), NOISE_FREE)
    assert raw.mosaic[0, 1] == pytest.approx(WHITE, rel=1e-6)
    expected = [BLACK + (WHITE - BLACK) / gain for gain in WHITE_BALANCE]
    assert raw.mosaic[0, 0] == pytest.approx(expected[0], rel=1e-4)
    assert raw.mosaic[1, 1] == pytest.approx(expected[2], rel=1e-4)
    assert photograph_scene(gray(255), 1.0).mosaic.max() == WHITE


def test_the_same_scene_gives_the_same_photo() -> None:
    once, again = (photograph_scene(smooth(), 100.0).mosaic for _ in range(2))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, photograph_scene(smooth(), 300.0).mosaic)
    other = photograph_scene(replace(smooth(), name="other"), 100.0).mosaic
    assert not np.array_equal(once, other)


def test_true_noise_grows_with_the_ratio() -> None:
    assert (true_noise(NOISE_FREE).shot, true_noise(NOISE_FREE).read) == (0, 0)
    assert true_noise(300).shot == pytest.approx(300 * SHOT / (WHITE - BLACK))
    assert amplification(NOISE_FREE) == 1
    assert amplification(300) == 300


@pytest.mark.parametrize("cfa", [BAYER, XTRANS], ids=["bayer", "xtrans"])
def test_a_noise_free_photo_demosaics_to_its_scene(cfa: CFA) -> None:
    """Smooth scenes are nearly linear between sites: 40 dB, where a wrong phase gives 25."""
    raw = photograph_scene(smooth(), NOISE_FREE, cfa)
    mosaic = linearise(raw)
    gains = np.tile(WHITE_BALANCE[cfa.channels], (96 // cfa.period, 120 // cfa.period))
    packed = torch.from_numpy(pack((mosaic * gains).astype(np.float32), cfa))
    picture = render(demosaic(packed[None])[0], COLOR)
    assert score_picture(picture, smooth()).psnr > 40


def test_scores_leave_the_border_out_and_equal_scikit_image() -> None:
    scene = smooth()
    picture = (scene.picture + 0.05 * torch.randn(3, 96, 120)).clamp(0, 1)
    found = score_picture(picture, scene)
    inner = (slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    a, b = (image.permute(1, 2, 0).double().numpy()[inner] for image in (picture, scene.picture))
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), abs=1e-6)
    reference = structural_similarity(b, a, data_range=1, channel_axis=2)
    assert found.ssim == pytest.approx(reference, abs=1e-6)
    picture[:, :BORDER] = 0
    picture[:, :, -BORDER:] = 1
    assert score_picture(picture, scene) == found


def test_libraw_develops_the_same_photo() -> None:
    """AHD on a smooth scene, clean; brightened by the ratio, it is as noisy as the photo is."""
    clean = develop(encode_dng(photograph_scene(smooth(), NOISE_FREE)), 1.0)
    assert clean.dtype == np.uint16
    assert clean.shape == (96, 120, 3)
    picture = torch.from_numpy(clean.astype(np.float32) / 65535).permute(2, 0, 1)
    assert score_picture(picture, smooth()).psnr > 38
    dark = develop(encode_dng(photograph_scene(smooth(), 100.0)), 100.0) / 65535
    assert dark.mean() == pytest.approx(clean.mean() / 65535, rel=0.1)


def test_a_simulated_photo_survives_its_dng() -> None:
    raw = photograph_scene(smooth(), 10.0)
    read = read_raw(encode_dng(raw))
    assert np.array_equal(read.mosaic, raw.mosaic)
    assert read.color.white_balance == pytest.approx(WHITE_BALANCE, rel=1e-4)


def test_scenes_are_read_and_cut(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        Image.fromarray(smooth(100, 130).codes).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    scenes = read_scenes(tmp_path)
    assert [scene.name for scene in scenes] == ["a.png", "b.png"]
    assert scenes[0].crop_middle(110, 32).codes.shape == (96, 96, 3)
    assert np.array_equal(scenes[0].crop_middle(64).codes, scenes[0].codes[18:82, 33:97])
    assert scenes[0].crop_middle(288, 288).codes.size == 0
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no JPEG or PNG"):
        read_scenes(tmp_path / "empty")


@pytest.mark.skipif(not KODAK.is_dir(), reason="needs the shared Kodak pictures")
def test_safelight_beats_brightened_libraw_in_the_dark() -> None:
    """Two crops at ratio 300: measured 5 to 7 dB ahead, 3 are asked for."""
    scenes = [scene.crop_middle(192) for scene in read_scenes(KODAK)[1:7:5]]
    for one in score_scenes(scenes, [300.0], load_model("safelight", "cpu", "fp32"), Options()):
        assert one.ours.psnr > one.libraw.psnr + 3
        assert one.ours.ssim > one.libraw.ssim
