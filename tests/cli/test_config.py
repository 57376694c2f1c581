"""Presets and darkroom.toml: who decides what, and what is refused."""

import json
import os
from pathlib import Path

import pytest
import typer
from batches import tiny_weights, write_photos
from typer.testing import CliRunner, Result

from darkroom.cli import app
from darkroom.cli.config import PRESETS


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photo, in a folder where the command is run, and a user without options of their own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(typer, "get_app_dir", lambda name: str(tmp_path / "config" / name))
    (photo,) = write_photos(tmp_path / "work" / "here", 1)
    monkeypatch.chdir(photo.parent)
    return photo


def configure(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "darkroom.toml"
    path.write_text(text, encoding="utf-8")
    return path


def enhance(photo: Path, weights: Path, *words: object, json_too: bool = True) -> Result:
    more = ["--json"] if json_too else []
    command = ["enhance", photo, "-m", weights, "-o", "o.png", "--overwrite", *more, *words]
    return CliRunner().invoke(app, [str(word) for word in command])


def gain(done: Result) -> float:
    assert done.exit_code == 0, done.output
    return float(json.loads(done.stdout)["gain"])


def test_typed_before_preset_before_folder_before_user_before_default(
    photo: Path, weights: Path, tmp_path: Path
) -> None:
    """By what becomes of the gain, and by what --verbose says."""
    plain = gain(enhance(photo, weights))
    user = configure(tmp_path / "config" / "darkroom", "[enhance]\nev = 1\nbits = 16\n")
    assert gain(enhance(photo, weights)) == pytest.approx(2 * plain)
    header = Path("o.png").read_bytes()[:26]
    assert header[24] == 16, "the bit depth in IHDR"
    near = configure(tmp_path / "work", "[enhance]\nev = 2\n[batch]\nquality = 50\n")
    done = enhance(photo, weights, "-v")
    assert gain(done) == pytest.approx(4 * plain)
    assert f"{near}: ev 2.0\n" in done.stderr
    assert f"{user}: bits 16\n" in done.stderr
    done = enhance(photo, weights, "-v", "--preset", "night")
    assert gain(done) == pytest.approx(2 ** PRESETS["night"]["ev"] * plain)
    assert "--preset night: ev -0.5\n" in done.stderr
    done = enhance(photo, weights, "-v", "--preset", "night", "--ev", "0")
    assert gain(done) == pytest.approx(plain)
    assert "ev 0.0" in next(line for line in done.stderr.splitlines() if "command line" in line)
    assert gain(enhance(photo, weights, "--no-config")) == pytest.approx(plain)


def test_a_preset_in_a_file_is_below_what_files_say(
    photo: Path, weights: Path, tmp_path: Path
) -> None:
    plain = gain(enhance(photo, weights))
    near = configure(photo.parent, '[enhance]\npreset = "night"\n')
    assert gain(enhance(photo, weights)) == pytest.approx(2**-0.5 * plain)
    configure(photo.parent, '[enhance]\nev = 1\npreset = "night"\n')
    assert gain(enhance(photo, weights)) == pytest.approx(2 * plain)
    near.unlink()


def test_files_are_never_used_unsaid_and_batch_has_its_own(
    photo: Path, weights: Path, tmp_path: Path
) -> None:
    path = configure(photo.parent, '[enhance]\nev = 1\n[batch]\nformat = "jpg"\n')
    assert f"options from {path}: ev 1.0\n" in enhance(photo, weights).stderr
    assert "options from" not in enhance(photo, weights, "-q").stderr
    words = ["batch", photo, "-o", tmp_path / "out", "-m", weights]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert f"options from {path}: format jpg\n" in done.stderr
    assert (tmp_path / "out" / "p000.jpg").is_file()


def test_options_are_said_as_they_are_typed(photo: Path, weights: Path) -> None:
    path = configure(photo.parent, "[enhance]\nno-gps = true\nstrip = false\n")
    said = enhance(photo, weights, "-v").stderr
    assert f"{path}: strip off, no-gps\n" in said
    assert f"command line: output o.png, model {weights}, overwrite, json, verbose\n" in said


def test_files_that_are_named_lie_beside_it(photo: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "work" / "mine.safetensors").write_bytes(weights.read_bytes())
    configure(tmp_path / "work", '[enhance]\nmodel = "mine.safetensors"\n')
    done = CliRunner().invoke(app, ["enhance", str(photo), "-o", "o.png", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["model"] == "mine"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[enhance]\nqualty = 3", "qualty: no such option; did you mean quality?"),
        ("[enhance]\nzzz = 3", "see darkroom enhance --help"),
        ("[enhance]\nquality = 'good'", "give as --quality takes it"),
        ("[enhance]\nquality = [3]", "give as --quality takes it"),
        ("[enhance]\nstrip = 1", "give true or false"),
        ("[enhance]\nbits = true", "give as --bits takes it"),
        ("[enhance]\noutput = 'x.png'", "has to be typed"),
        ("[enhance]\noverwrite = true", "has to be typed"),
        ("[enhance]\npreset = 'noon'", "give one of night"),
        ("[train]\nsteps = 3", "no table for it"),
        ("quality = 3", "no table for it"),
        ("[enhance", "is no TOML"),
        ("#" * 70000, "larger than 64 KiB"),
    ],
)
def test_what_does_not_fit_is_one_line(photo: Path, weights: Path, text: str, said: str) -> None:
    path = configure(photo.parent, text)
    done = enhance(photo, weights, json_too=False)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert said in line
    assert str(path) in line
    assert enhance(photo, weights, "--no-config", json_too=False).exit_code == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_what_others_may_write_is_passed_over_and_said(photo: Path, weights: Path) -> None:
    plain = gain(enhance(photo, weights))
    path = configure(photo.parent, "[enhance]\nev = 1\n")
    path.chmod(0o666)
    done = enhance(photo, weights)
    assert gain(done) == plain
    assert f"warning: {path}: not read" in done.stderr
    path.chmod(0o644)
    assert gain(enhance(photo, weights)) == pytest.approx(2 * plain)


def test_a_preset_that_there_is_not_is_one_line(photo: Path, weights: Path) -> None:
    done = enhance(photo, weights, "--preset", "noon", json_too=False)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "night, stars, indoor, wildlife, document" in done.stderr


@pytest.mark.parametrize("name", list(PRESETS))
def test_each_preset_makes_a_picture(photo: Path, weights: Path, name: str) -> None:
    assert enhance(photo, weights, "--preset", name).exit_code == 0
