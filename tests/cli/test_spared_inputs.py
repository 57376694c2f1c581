"""No command replaces a file that it reads, whatever it is asked."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from batches import environment, tiny_weights, write_photos
from PIL import Image
from typer.testing import CliRunner

from darkroom.cli import app
from darkroom.models.loading import list_files
from darkroom.weights import registry

REFUSED = "is a file that is read for it; choose another name"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A RAW photo in a TIFF's name, as some cameras give them."""
    return write_photos(tmp_path, 1)[0].rename(tmp_path / "photo.tif")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return tiny_weights(tmp_path / "weights.png")


def refuse(kept: Path, *arguments: object) -> None:
    """Expect a command to end with 5, saying why, and a file to be as it was."""
    before = kept.read_bytes()
    found = CliRunner().invoke(app, [*map(str, arguments), "--overwrite"])
    assert found.exit_code == 5, found.stderr
    assert REFUSED in " ".join(found.stderr.split())
    assert kept.read_bytes() == before


@pytest.mark.parametrize("way", ["itself", "symbolic link", "hard link", "roundabout"])
def test_enhance_spares_the_photo(tmp_path: Path, photo: Path, way: str) -> None:
    target = {"itself": photo, "roundabout": tmp_path / ".." / tmp_path.name / "photo.tif"}.get(
        way, tmp_path / "other.tif"
    )
    if way == "symbolic link":
        target.symlink_to(photo)
    elif way == "hard link":
        target.hardlink_to(photo)
    refuse(photo, "enhance", photo, "-o", target)


def test_enhance_spares_the_weights(photo: Path, weights: Path) -> None:
    for name in (weights, f"safelight={weights}"):
        refuse(weights, "enhance", photo, "-o", weights, "--model", name)


def test_features_and_demo_spare_what_they_read(tmp_path: Path, photo: Path, weights: Path) -> None:
    refuse(photo, "models", weights, "--features", photo, "-o", photo)
    refuse(weights, "models", weights, "--features", photo, "-o", weights)
    chart = weights.rename(tmp_path / "chart.png")
    refuse(chart, "demo", "-o", tmp_path, "--model", chart)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX shells")
@pytest.mark.parametrize("redirected", ["-o $0 < $0", "-o - --format tif < $0 >> $0"])
def test_redirected_photos_are_spared(photo: Path, redirected: str) -> None:
    before = photo.read_bytes()
    command = f"{sys.executable} -m darkroom enhance - --overwrite {redirected}"
    found = subprocess.run(
        ["sh", "-c", command, photo], env=environment(), capture_output=True, check=False
    )
    assert found.returncode == 5, found.stderr
    assert REFUSED.encode() in found.stderr
    assert photo.read_bytes() == before


@pytest.mark.parametrize("name", ["curves.png", "safelight.safetensors"])
def test_training_spares_photographs_and_weights(tmp_path: Path, name: str) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.zeros((256, 256, 3), np.uint8)).save(photos / "curves.png")
    kept, begin = photos / name, []
    if name != "curves.png":
        begin = ["--begin", str(tiny_weights(kept))]
        (photos / "curves.png").rename(photos / "one.png")
    before = kept.read_bytes()
    found = CliRunner().invoke(app, ["train", str(photos), "-o", str(photos), *begin])
    assert found.exit_code == 5, found.stderr
    assert REFUSED in " ".join(found.stderr.split())
    assert kept.read_bytes() == before


@pytest.mark.parametrize("option", ["", "--validate"])
def test_training_stays_out_of_its_photographs_folder(tmp_path: Path, option: str) -> None:
    """Photographs are looked for in subfolders; the next run would read the curves as one."""
    photos, out = tmp_path / "photos", tmp_path / "photos" / "run"
    out.mkdir(parents=True)
    picture = Image.fromarray(np.zeros((256, 256, 3), np.uint8))
    picture.save(photos / "one.png")
    picture.save(out / "curves.png")
    before = (out / "curves.png").read_bytes()
    places = [option, str(photos)] if option else []
    words = ["train", str(tmp_path / "none" if option else photos), "-o", str(out), *places]
    found = CliRunner().invoke(app, [*words, "--steps", "1", "--batch", "1"])
    assert (found.exit_code, (out / "curves.png").read_bytes()) == (5, before), found.stderr
    assert REFUSED in found.stderr
    (out / "curves.png").unlink()
    found = CliRunner().invoke(app, [*words, "--steps", "1", "--batch", "1"])
    assert found.exit_code == 2
    assert found.stderr == (
        f"error: {out}: lies among the pictures of {photos}; choose another folder\n"
    )


def test_the_files_of_weights(tmp_path: Path, weights: Path) -> None:
    (bundled,) = list_files("safelight")
    assert bundled.name == registry.ENTRIES["safelight"].files[0].name
    assert list_files(f"sid={weights}") == [weights]
    assert list_files("nothing") == []
    for ending in ("index", "meta", "data-00000-of-00001"):
        (tmp_path / f"model.ckpt.{ending}").write_bytes(b"x")
    found = list_files(str(tmp_path / "model.ckpt"))
    assert sorted(path.suffix for path in found) == [".data-00000-of-00001", ".index", ".meta"]
