"""Several photos for `darkroom enhance`: one network, one file each, in a folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from batches import tiny_weights, write_photos
from PIL import Image
from typer.testing import CliRunner, Result

from darkroom.cli import app
from darkroom.models import loading

Dng = Callable[..., Path]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in arguments])


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_the_network_is_loaded_once_and_the_folder_made(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_photos(tmp_path / "in", 3)
    loaded = []
    load = loading.load_model
    monkeypatch.setattr(loading, "load_model", lambda *args: loaded.append(1) or load(*args))
    done = run("enhance", *photos, "-o", tmp_path / "new" / "out", "-m", weights, "--json", "-q")
    assert done.exit_code == 0, done.output
    assert len(loaded) == 1
    assert names(tmp_path / "new" / "out") == ["p000.png", "p001.png", "p002.png"]
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(record["photo"]) for record in records] == photos
    assert [record["gain"] > 1 for record in records] == [True] * 3
    assert ["load the model" in record["seconds"] for record in records] == [True, False, False]
    assert all({"read", "enhance", "write"} <= record["seconds"].keys() for record in records)


def test_each_picture_is_what_the_photo_alone_gives(tmp_path: Path, weights: Path) -> None:
    """Byte for byte: nothing of one photo reaches the next."""
    photos = write_photos(tmp_path, 2)
    run("enhance", *photos, "-o", tmp_path / "out", "-m", weights)
    run("enhance", photos[1], "-o", tmp_path / "alone.png", "-m", weights)
    alone = (tmp_path / "alone.png").read_bytes()
    assert (tmp_path / "out" / "p001.png").read_bytes() == alone


@pytest.mark.parametrize("end", ["", "/"])
def test_one_photo_goes_into_a_folder_too(tmp_path: Path, weights: Path, end: str) -> None:
    """A folder that is there is known as one, else by the slash at its end."""
    (photo,) = write_photos(tmp_path / "in", 1)
    if not end:
        (tmp_path / "out").mkdir()
    done = run("enhance", photo, "-o", f"{tmp_path / 'out'}{end}", "-m", weights, "--format", "JPG")
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "out" / "p000.jpg") as image:
        assert image.format == "JPEG"


def test_one_that_fails_costs_only_itself(tmp_path: Path, weights: Path) -> None:
    photos = write_photos(tmp_path / "in", 2)
    bad = tmp_path / "in" / "bad.nef"
    bad.write_bytes(b"no photo")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "p000.png").write_bytes(b"precious")
    common = ("-o", tmp_path / "out", "-m", weights, "--json")
    done = run("enhance", photos[0], bad, photos[1], *common)
    assert done.exit_code == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert ["--overwrite" in errors[0], "bad.nef" in errors[1], len(errors)] == [True, True, 2]
    assert "2 of 3 photos failed" in done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record.get("exit_code") for record in records] == [5, 4, None]
    assert names(tmp_path / "out") == ["p000.png", "p001.png"]
    assert (tmp_path / "out" / "p000.png").read_bytes() == b"precious"
    assert run("enhance", *photos, *common, "--overwrite").exit_code == 0
    assert (tmp_path / "out" / "p000.png").read_bytes() != b"precious"


def test_names_are_those_of_a_batch(tmp_path: Path, weights: Path) -> None:
    """Two photos of one name keep their ending, or their folder."""
    photos = [*write_photos(tmp_path / "a", 1), *write_photos(tmp_path / "b", 1)]
    photos.append(photos[0].rename(tmp_path / "a" / "p000.DNG"))
    photos[0].write_bytes(photos[1].read_bytes())
    if photos[0].samefile(photos[2]):
        pytest.skip("needs a file system that tells small letters from large ones")
    run("enhance", *photos, "-o", tmp_path / "out", "-m", weights)
    assert names(tmp_path / "out") == ["a/p000.DNG.png", "a/p000.dng.png", "b/p000.png"]


def test_no_picture_replaces_a_photo(tmp_path: Path, weights: Path) -> None:
    photos = write_photos(tmp_path, 2)
    (tmp_path / "p000.png").symlink_to(photos[1])
    before = photos[1].read_bytes()
    done = run("enhance", *photos, "-o", tmp_path, "-m", weights, "--overwrite")
    assert done.exit_code == 1
    assert "is read" in done.stderr
    assert photos[1].read_bytes() == before
    assert (tmp_path / "p001.png").is_file()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["a.dng", "b.dng", "-o", "out.png"], 2, "several photos need a folder"),
        (["a.dng", "b.dng", "-o", "-", "--format", "png"], 2, "name a folder"),
        (["a.dng", "-", "-o", "out"], 2, "goes alone"),
        (["-", "-o", "empty/"], 2, "name the output"),
        (["a.dng", "gone.dng", "-o", "out"], 4, "gone.dng: no such file"),
        (["gone*.dng", "-o", "out"], 4, "check the pattern"),
        (["empty", "-o", "out"], 2, "no RAW photo"),
        (["a.dng", "b.dng", "-o", "taken"], 1, "taken"),
    ],
)
def test_wrong_usage_is_said_and_makes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    weights: Path,
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.dng", "b.dng", "taken"):
        Path(name).write_bytes(b"")
    Path("empty").mkdir()
    done = run("enhance", *words, "-m", weights)
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert names(tmp_path) == ["a.dng", "b.dng"]


def test_jpegs_and_sidecars_beside_photos_are_left_and_counted(
    tmp_path: Path, weights: Path
) -> None:
    """Whether a folder or all of its files are named, as a shell's * does."""
    folder = tmp_path / "card"
    write_photos(folder, 3)
    for name in ("p000.JPG", "p001.jpg", "p001.xmp", "p002.dng.xmp", "other.txt"):
        (folder / name).write_bytes(b"-")
    (folder / "other.txt").unlink()
    said = "3 photos; left as they are beside: "
    for number, photos in enumerate(([folder], sorted(folder.iterdir()))):
        done = run("enhance", *photos, "-o", tmp_path / f"out{number}", "-m", weights)
        assert done.exit_code == 0, done.output
        assert said in done.stderr
        assert "2 JPEGs" in done.stderr
        assert "2 XMP sidecars" in done.stderr
        assert names(tmp_path / f"out{number}") == ["p000.png", "p001.png", "p002.png"]
    done = run("batch", folder, "--all", "-o", tmp_path / "batch", "-m", weights)
    assert done.exit_code == 0, done.output
    assert said in done.stderr


def test_a_preview_is_small_and_refuses_what_is_of_the_whole(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.mosaic.binning.shrink_photo.__defaults__", (64 * 96 // 4,))
    (photo,) = write_photos(tmp_path, 1)
    done = run("enhance", photo, "-o", tmp_path / "o.png", "-m", weights, "--preview")
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "o.png") as image:
        assert image.size == (48, 32)
    refused = run("enhance", photo, "-m", weights, "--preview", "--dark", photo)
    assert (refused.exit_code, "--dark" in refused.stderr) == (2, True)


def test_warnings_of_several_say_which_photo(tmp_path: Path, weights: Path) -> None:
    photos = write_photos(tmp_path, 2)
    for photo in photos:
        photo.with_suffix(".xmp").touch()  # empty, and so no XMP
    several = run("enhance", *photos, "-o", tmp_path / "out", "-m", weights).stderr
    alone = run("enhance", photos[0], "-o", tmp_path / "alone.png", "-m", weights).stderr
    for number in range(2):
        assert f"warning: p00{number}.dng: sidecar p00{number}.xmp cannot be read" in several
    assert "warning: sidecar p000.xmp cannot be read" in alone
