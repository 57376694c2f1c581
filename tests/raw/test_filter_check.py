"""Filters that a file states wrongly: told by its own values, never where they are right."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import BLACK, synthetic_raw
from places import DATA

from darkroom.errors import RawError, UsageError
from darkroom.raw.filter_check import BAYER_PATTERNS, doubt_cfa, with_cfa
from darkroom.raw.image import CFA, RawImage, Sensor
from darkroom.raw.reader import read_raw


def stating(raw: RawImage, pattern: str) -> RawImage:
    return replace(raw, cfa=CFA(pattern))


@pytest.mark.parametrize("true", BAYER_PATTERNS)
@pytest.mark.parametrize("stated", BAYER_PATTERNS)
def test_greens_that_disagree_are_told(
    dng_path: Callable[..., Path], true: str, stated: str
) -> None:
    """The greens' diagonal is told; which of the two others is red, no statistic can tell."""
    taken = read_raw(dng_path(stating(synthetic_raw(200, 240, true, exposure=0.05), stated)))
    if (true[0] == "G") == (stated[0] == "G"):
        assert taken.warnings == ()
        return
    (line,) = taken.warnings
    assert f"states {stated}" in line
    assert f"--cfa {true}" in line
    assert with_cfa(taken, true).warnings == (
        f"filters are taken as {true}, as asked for; the file states {stated}",
    )
    assert with_cfa(taken, true).cfa == CFA(true)
    assert with_cfa(taken, stated).warnings == ()  # asked for, so no doubt any more
    assert with_cfa(taken, None) is taken


@pytest.mark.parametrize("gray", [0.0, 3.0, 40.0, 4000.0, 15000.0, 15871.0])
@pytest.mark.parametrize("imbalance", [1.0, 0.97])
def test_nothing_is_told_where_nothing_can_be(gray: float, imbalance: float) -> None:
    """Dark, gray and white frames of sensors without colours, and greens that differ by 3 %."""
    random = np.random.default_rng(0)
    light = np.full((240, 320), gray)
    light[::2] *= imbalance
    mosaic = np.clip(np.rint(random.normal(BLACK + light, 4 + np.sqrt(light))), 0, 16383)
    raw = synthetic_raw(240, 320, mosaic=mosaic.astype(np.uint16))
    for pattern in BAYER_PATTERNS:
        assert doubt_cfa(stating(raw, pattern)) is None


@pytest.mark.parametrize("size", [(8, 8), (40, 60), (17, 900)])
def test_small_photos_tell_nothing(size: tuple[int, int]) -> None:
    assert doubt_cfa(stating(synthetic_raw(*size), "GRBG")) is None


def test_x_trans_is_not_asked_and_not_overridden() -> None:
    raw = synthetic_raw(120, 120, "xtrans")
    assert doubt_cfa(raw) is None
    with pytest.raises(UsageError, match="X-Trans sensor; leave --cfa out"):
        with_cfa(raw, "RGGB")
    with pytest.raises(UsageError, match="give one of RGGB"):
        with_cfa(synthetic_raw(), "RGBG")


@pytest.mark.skipif(not DATA.is_dir(), reason="real RAW files are not here")
def test_real_files_are_right_and_told_apart() -> None:
    """No camera's file is doubted; shifted by a column, all are but the grayish DC120's."""
    told = []
    for path in sorted((DATA / "raw").iterdir()):
        try:
            raw = read_raw(path)
        except RawError:
            continue
        assert raw.cfa.sensor is Sensor.BAYER
        assert doubt_cfa(raw) is None, path
        if doubt_cfa(replace(raw, cfa=raw.cfa.shifted(0, 1))):
            told.append(path.name)
    assert len(told) == 7
