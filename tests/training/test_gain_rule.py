"""Training the learned gain rule, on photographs as small as they may be."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file
from torch import Generator

from darkroom.errors import OutputError
from darkroom.gain.learned import NAMES, GainNetwork, features
from darkroom.gain.metering import read_light
from darkroom.gain.percentile import key_of
from darkroom.training.gain_rule import (
    BLOCKS,
    SIDE,
    Samples,
    crop_frame,
    darken_photo,
    draw_samples,
    fit_gain_network,
    sample_patches,
    train_gain_rule,
)


def photograph(brightness: float, seed: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    coarse = np.exp(random.normal(0, 0.5, (16, 16, 1))) * brightness
    codes = np.kron(coarse.clip(0, 1) ** (1 / 2.2), np.ones((8, 8, 3))) * 255
    return codes.astype(np.uint8)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("darkroom.training.gain_rule.STEPS", 150)


def test_a_darkened_photo_amplified_is_the_photo() -> None:
    """Mean light before and after, over many draws: cameras' colours average out to 5 %."""
    generator = Generator().manual_seed(1)
    gray = np.full((128, 128, 3), 118, np.uint8)  # 18 % of white
    found = []
    for _ in range(12):
        raw, gain = darken_photo(gray, generator)
        assert raw.mosaic.shape == (BLOCKS * SIDE, BLOCKS * SIDE)
        found.append(read_light(raw).rgb[1].mean() * gain)
    assert np.median(found) == pytest.approx(0.18, rel=0.05)


def test_crops_and_patches_are_parts_of_the_photo() -> None:
    generator = Generator().manual_seed(2)
    linear = torch.arange(3 * 64 * 96, dtype=torch.float32).reshape(3, 64, 96)
    for _ in range(10):
        part = crop_frame(linear, generator)
        share = part.shape[1] * part.shape[2] / (64 * 96)
        assert 0.45 < share <= 1
        patches = sample_patches(part, generator)
        assert set(patches[0].flatten().tolist()) <= set(part[0].flatten().tolist())
        assert patches.shape == (3, BLOCKS * SIDE, BLOCKS * SIDE)


def test_samples_depend_on_the_seed_alone() -> None:
    photos = [photograph(0.3, 3)]
    first, again = (draw_samples(photos, 1, Generator().manual_seed(4)) for _ in range(2))
    assert np.array_equal(first.features, again.features)
    assert np.array_equal(first.keys, again.keys)


def test_fitting_learns_what_there_is_to_learn() -> None:
    """A key that follows two features: to a fifth of a stop, where guessing errs by half of one."""
    random = np.random.default_rng(5)
    seen = random.normal(size=(300, 5))
    keys = -1.5 + 0.6 * seen[:, 0] - 0.4 * np.abs(seen[:, 3])
    tensors = fit_gain_network(Samples(seen, keys))
    amplifier = GainNetwork(tensors)
    errors = [amplifier(one) - key for one, key in zip(seen, keys, strict=True)]
    assert np.mean(np.abs(errors)) < 0.2
    assert tuple(tensors) == NAMES
    assert all(tensor.dtype == np.float32 for tensor in tensors.values())


def test_training_writes_an_amplifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(2):
        Image.fromarray(photograph(0.25, index)).save(tmp_path / f"{index}.png")
    target = tmp_path / "amplifier.safetensors"
    monkeypatch.setattr(sys, "argv", ["amplifier", str(tmp_path), str(target), "--rounds", "2"])
    train_gain_rule()
    (tmp_path / "plain").touch()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode, "as the umask says"
    amplifier = GainNetwork(load_file(target))
    reading = read_light(darken_photo(photograph(0.25, 9), Generator().manual_seed(6))[0])
    # These photos all have the same key: an eighth to a half of white.
    assert -4 < amplifier(features(reading, key_of(reading))) < 0
    photo = tmp_path / "0.png"
    before = photo.read_bytes()
    monkeypatch.setattr(sys, "argv", ["amplifier", str(tmp_path), str(photo), "--rounds", "1"])
    with pytest.raises(OutputError, match="is a file that is read for it"):
        train_gain_rule()
    assert photo.read_bytes() == before
