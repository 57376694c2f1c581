"""`darkroom estimate --model`: what enhance would take, and torch only where the rule needs it."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import synthetic_raw
from llpacknet_weights import histogram_amplifier, weights
from typer.testing import CliRunner, Result

from darkroom.cli import app
from darkroom.gain import GainRule
from darkroom.models.loading import load_model
from darkroom.pipeline import Options, find_gain
from darkroom.raw.reader import read_raw
from darkroom.weights import registry

Dng = Callable[..., Path]


@pytest.fixture(autouse=True)
def _no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_WEIGHTS", str(tmp_path / "store"))
    torch.set_num_threads(1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An LLPackNet of 2020 with its amplifier."""
    torch.save(weights(2020) | histogram_amplifier(), tmp_path / "whole")
    return tmp_path / "whole"


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["estimate", *map(str, words)])


def record(*words: object) -> dict[str, Any]:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_every_rule_gives_what_enhance_takes(dng_path: Dng, checkpoint: Path) -> None:
    photo = dng_path(exposure=0.02)
    model, raw = load_model(checkpoint, "cpu", "fp32"), read_raw(photo)
    wanted = find_gain(raw, model, Options().resolve(model))
    assert wanted.rule is GainRule.LLPACKNET
    found = record(photo, "--model", checkpoint)
    assert found == found | {
        "gain": wanted.value,
        "rule": "llpacknet",
        "reason": wanted.reason,
        "model": str(checkpoint),
    }
    assert record(photo, "-m", checkpoint, "--gain-rule", "llpacknet")["gain"] == wanted.value
    assert record(photo, "-m", checkpoint, "--ratio", 7)["gain"] == 7
    for rule in GainRule:
        wanted = find_gain(raw, model, Options(rule=rule).resolve(model))
        assert record(photo, "-m", checkpoint, "--gain-rule", rule.value)["gain"] == wanted.value


def test_names_bring_their_rule(dng_path: Dng) -> None:
    photo = dng_path(exposure=0.02)
    assert record(photo)["rule"] == registry.ENTRIES["safelight"].gain_rule.value
    assert record(photo)["model"] == "safelight"
    assert record(photo, "--model", "sid-sony")["rule"] == "redi:1"  # nothing of it is installed


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("llpacknet",), 3, "fetch-weights llpacknet"),
        (("sid-sonny",), 3, "did you mean sid-sony"),
        (("gone.pth",), 3, "gone.pth is not there"),
        (("safelight", "llpacknet"), 2, "needs weights with an amplifier"),
    ],
)
def test_what_cannot_be_done(dng_path: Dng, words: tuple[str, ...], code: int, told: str) -> None:
    model, *rule = words
    result = run(dng_path(), "--model", model, *(["--gain-rule", *rule] if rule else []))
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_amplifier_for_bayer_does_not_measure_x_trans(dng_path: Dng, checkpoint: Path) -> None:
    result = run(dng_path(cfa="xtrans"), "--model", checkpoint)
    assert result.exit_code == 4
    assert "made for Bayer sensors" in result.stderr


def test_torch_is_not_loaded_for_rules_that_do_without(dng_path: Dng) -> None:
    photo = dng_path(exposure=0.02)
    code = (
        "import sys, darkroom.cli\n"
        "for more in ([], ['--model', 'redi'], ['--model', 'sid-fuji', '--ev', '1']):\n"
        f"    sys.argv = ['darkroom', 'estimate', {str(photo)!r}, *more]\n"
        "    try: darkroom.cli.main()\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_the_gain_is_measured_above_the_black_of_the_network(dng_path: Dng, tmp_path: Path) -> None:
    """Black 8 lower than stated: REDI's rule sees the stated one for REDI, or as it is told."""
    raw = synthetic_raw(240, 300, exposure=0.01, read_noise=4)
    lower = raw.mosaic - 8
    lower[:120] = np.random.default_rng(0).normal(504, 4, (120, 300)).round()
    photo = dng_path(replace(raw, mosaic=lower))
    by_default = record(photo, "--model", "redi")
    stated, measured, number = (
        record(photo, "--model", "redi", "--black", black) for black in ("stated", "measured", 504)
    )
    assert by_default == stated
    assert [found["black"]["source"] for found in (stated, measured, number)] == [
        *("stated", "measured", 504.0)
    ]
    assert measured["gain"] == pytest.approx(number["gain"], rel=0.02)  # 0.1 of 8 units
    assert stated["gain"] > 1.05 * number["gain"]


@pytest.mark.parametrize("black", ["of file", "-1", "nan", "inf", "99999"])
def test_a_black_that_cannot_be(dng_path: Dng, black: str) -> None:
    result = run(dng_path(), "--black", black)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"--black {black}: " in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_filters_that_cannot_be(dng_path: Dng) -> None:
    assert record(dng_path(), "--cfa", "grbg")["warnings"] == [
        "filters are taken as GRBG, as asked for; the file states RGGB"
    ]
    for cfa, photo, told in (
        ("RGBG", dng_path(), "give one of RGGB"),
        ("RGGB", dng_path(cfa="xtrans"), "X-Trans sensor; leave --cfa out"),
    ):
        result = run(photo, "--cfa", cfa)
        assert (result.exit_code, result.stdout) == (2, "")
        assert told in result.stderr
