"""What the options of metadata make of a picture's file."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from batches import tiny_weights
from PIL import Image
from tagged import tag_dng
from typer.testing import CliRunner, Result

from darkroom.cli import app

TAKEN = datetime(2026, 11, 20, 21, 11, 9, 345000, UTC).timestamp()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "card" / "IMG.dng"
    path.parent.mkdir()
    path.write_bytes(tag_dng())
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--device", "cpu", "--precision", "fp32"])


def tags(path: Path) -> tuple[dict[int, object], bytes]:
    with Image.open(path) as image:
        exif = image.getexif()
        return {**exif, **exif.get_ifd(34665), **exif.get_ifd(34853)}, image.info.get("xmp", b"")


def test_enhance_keeps_or_drops_metadata(photo: Path, tmp_path: Path, weights: Path) -> None:
    out = tmp_path / "out.png"

    def make(*options: str) -> tuple[dict[int, object], bytes]:
        result = run("enhance", photo, "-o", out, "-m", weights, "--overwrite", *options)
        assert result.exit_code == 0, result.output
        return tags(out)

    found, xmp = make("--denoise", "0.5")
    assert (found[271], found[272], found[6]) == ("SONY", "ILCE-7SM2", 540)
    assert b"<darkroom:Denoise" in xmp
    assert b">0.5</darkroom:Denoise>" in xmp
    assert abs(out.stat().st_mtime - TAKEN) > 1000
    found, xmp = make("--no-gps", "--keep-time")
    assert found[272] == "ILCE-7SM2"
    assert 6 not in found
    assert out.stat().st_mtime == pytest.approx(TAKEN, abs=1e-6)  # float64 of 1.8e9 s
    found, xmp = make("--strip")
    assert not found.keys() & {271, 272, 305, 6, 33434}
    assert xmp == b""


def test_pixels_are_the_same_whatever_is_said(photo: Path, tmp_path: Path, weights: Path) -> None:
    for name in ("said", "bare"):
        strip = ["--strip"] * (name == "bare")
        assert run("enhance", photo, "-o", tmp_path / f"{name}.png", "-m", weights, *strip)
    with Image.open(tmp_path / "said.png") as said, Image.open(tmp_path / "bare.png") as bare:
        assert said.tobytes() == bare.tobytes()


def test_standard_output_has_no_time_to_keep(photo: Path, weights: Path) -> None:
    result = run("enhance", photo, "-o", "-", "--format", "png", "-m", weights, "--keep-time")
    assert result.exit_code == 2
    assert "--keep-time needs a file" in result.stderr


def test_batches_keep_metadata_and_time(photo: Path, tmp_path: Path, weights: Path) -> None:
    """A picture of an earlier time is ours all the same; one with other options is not the same."""
    folder = tmp_path / "out"

    def make(*options: str) -> list[str]:
        result = run("batch", photo.parent, "-o", folder, "-m", weights, "--json", *options)
        assert result.exit_code == 0, result.output
        records = map(json.loads, result.stdout.splitlines())
        return [record["status"] for record in records if "status" in record]

    assert make("--keep-time") == ["done"]
    found, xmp = tags(folder / "IMG.png")
    assert found[272] == "ILCE-7SM2"
    assert b"darkroom:ModelSHA256" in xmp
    assert (folder / "IMG.png").stat().st_mtime == pytest.approx(TAKEN, abs=1e-6)
    assert make("--keep-time") == ["skipped"]
    assert make("--keep-time", "--no-gps") == ["done"]
    assert 6 not in tags(folder / "IMG.png")[0]
    assert make() == ["done"]
    assert make("--strip") == ["done"]
    assert not tags(folder / "IMG.png")[0].keys() & {271, 272, 6}
    assert os.listdir(photo.parent) == ["IMG.dng"]  # noqa: PTH208
