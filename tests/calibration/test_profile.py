"""A profile is a file: it comes back as it was, and nothing else is taken for one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom.calibration.profile import CameraProfile, Estimate, IsoProfile, list_noise
from darkroom.calibration.profile_file import read_profile
from darkroom.errors import UsageError
from darkroom.raw.image import RawImage

Raw = Callable[..., RawImage]


def level(iso: float, **values: Any) -> IsoProfile:
    found: dict[str, Any] = {
        "darks": 8,
        "flats": 6,
        "seconds": 0.1,
        "black": np.full((2, 2), 512.0),
        "black_error": np.full((2, 2), 0.01),
        "rows": None,
        "columns": None,
        "shading": None,
        "read_noise": Estimate(iso / 100, 0.01),
        "excess_kurtosis": Estimate(0.0, 0.01),
        "tukey_lambda": Estimate(0.135, 0.01),
        "row_noise": Estimate(0.2, 0.01),
        "column_noise": Estimate(0.0, 0.01),
        "hot_pixels": np.array([[3.0, 5.0, 90.0]]),
        "shot_gain": Estimate(iso / 1000, 0.001),
    }
    return IsoProfile(iso=iso, **(found | values))


def camera(*levels: IsoProfile, **values: Any) -> CameraProfile:
    found: dict[str, Any] = {
        "camera": "Example One",
        "height": 48,
        "width": 64,
        "margins": (0, 0),
        "cfa": "RGGB",
        "white": 16383.0,
    }
    return CameraProfile(**(found | values), levels=levels)


def save(profile: CameraProfile, path: Path, **changed: Any) -> Path:
    path.write_text(json.dumps(profile.record() | changed), encoding="utf-8")
    return path


def test_it_comes_back(tmp_path: Path) -> None:
    rows, cells = np.linspace(-1, 1, 48) / 3, np.arange(12.0).reshape(3, 4)
    first = camera(
        level(100), level(400, rows=rows, columns=np.ones(64), shading=cells, white=16000.5)
    )
    again = read_profile(save(first, tmp_path / "a.json"))
    assert again.record() == first.record()
    assert again.sha256 == first.sha256
    # Five significant digits are kept.
    np.testing.assert_allclose(again.levels[1].rows, rows, rtol=5e-5)
    assert again.levels[1].read_noise == Estimate(4.0, 0.01)
    assert camera(level(100)).sha256 != first.sha256


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"kind": "picture"}, "no camera profile"),
        ({"schema": 2}, "version 2"),
        ({"levels": []}, "damaged"),
        ({"levels": [{}]}, "damaged"),
        ({"height": 10}, "damaged"),
        ({"height": "high"}, "damaged"),
        ({"white": 100}, "damaged"),
        ({"white": None}, "damaged"),
        ({"cfa": "RGBX"}, "damaged"),
        ({"margins": 3}, "damaged"),
    ],
)
def test_damage_is_refused(tmp_path: Path, changed: dict[str, Any], word: str) -> None:
    profile = camera(level(100, rows=np.zeros(48)))
    with pytest.raises(UsageError, match=word):
        read_profile(save(profile, tmp_path / "a.json", **changed))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iso", -3),
        ("read_noise", {"value": 0, "error": 0}),
        ("read_noise", {"value": True, "error": 0}),
        ("read_noise", 3),
        ("shot_gain", {"value": 1e400, "error": 0}),
        ("black", [[1, 2]]),
        ("black", [[1, 2], [3, None]]),
        ("shading", []),
        ("shading", [[1, 2], [3]]),
        ("hot_pixels", [[1, 64, 3]]),
        ("hot_pixels", [[-1, 4, 3]]),
        ("hot_pixels", [[1, 4]]),
    ],
)
def test_damaged_levels_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    record = camera(level(100)).record()
    record["levels"][0][name] = value
    path = tmp_path / "a.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UsageError, match="damaged camera profile"):
        read_profile(path)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe", b"[" * 100000])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="no camera profile"):
        read_profile(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_profile(tmp_path / "none.json")


def test_between_isos() -> None:
    """Noise that grows with the ISO does so between those measured; rounding is 1e-9 here."""
    profile = camera(
        level(100, rows=np.ones(48), hot_pixels=np.array([[1.0, 2.0, 50.0], [3.0, 5.0, 60.0]])),
        level(1600, black=np.full((2, 2), 516.0)),
    )
    middle = profile.at(400)
    assert middle is not None
    assert middle.read_noise.value == pytest.approx(4.0)
    assert middle.shot_gain is not None
    assert middle.shot_gain.value == pytest.approx(0.4)
    np.testing.assert_allclose(middle.black, 514)
    assert middle.rows is not None
    np.testing.assert_allclose(middle.rows, 0.5)
    assert middle.hot_pixels.tolist() == [[1, 2, 50], [3, 5, 90]]
    assert profile.at(1600) is profile.levels[1]
    assert profile.at(100.01) is profile.levels[0]
    assert (profile.at(50), profile.at(3200), profile.at(None)) == (None, None, None)
    half = camera(level(100, shot_gain=None), level(1600)).at(400)
    assert half is not None
    assert half.shot_gain is None


def test_whose_photo_it_is_for(synthetic_raw: Raw) -> None:
    profile, raw = camera(level(100)), synthetic_raw(48, 64)
    assert profile.refuse(raw) is None
    assert "photo of Other" in str(profile.refuse(replace(raw, camera="Other")))
    assert "48 photosites" in str(profile.refuse(synthetic_raw(64, 64)))
    assert "GRBG" in str(profile.refuse(synthetic_raw(48, 64, "GRBG")))
    # Optical-black lines that were cut off: the filters are seen from further on.
    part = replace(raw, mosaic=raw.mosaic[1:], margins=(1, 0), cfa=raw.cfa.shifted(1, 0))
    assert profile.refuse(part) is None
    assert profile.refuse(replace(raw, margins=(2, 0))) is not None


def test_noise_to_simulate() -> None:
    profile = camera(level(100), level(400), level(800, shot_gain=None))
    first, second = list_noise(profile)
    span = 16383 - 512
    assert second.shot == pytest.approx(0.4 / span)
    # Rounding's variance is not read noise: it is simulated by itself.
    assert second.read == pytest.approx((16 - 1 / 12) ** 0.5 / span)
    assert (first.iso, second.iso, first.step) == (100, 400, 1 / span)
    assert second.row == pytest.approx(0.2 / 4)
    with pytest.raises(UsageError, match="no shot gain"):
        list_noise(camera(level(100, shot_gain=None)))
