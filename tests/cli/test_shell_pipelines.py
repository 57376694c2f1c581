"""darkroom between other programs, in a real shell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from batches import environment, tiny_weights, write_photos
from programs import find_program

MAGICK = ("convert", "identify")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")


needs_magick = pytest.mark.skipif(
    not all(find_program(name, says="ImageMagick", option="-version") for name in MAGICK),
    reason="needs ImageMagick",
)
needs_exiftool = pytest.mark.skipif(
    find_program("exiftool", says=r"^[\d.]+$", option="-ver") is None, reason="needs exiftool"
)
needs_jq = pytest.mark.skipif(find_program("jq", says=r"^jq-") is None, reason="needs jq")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def shell(script: str, folder: Path, weights: Path) -> subprocess.CompletedProcess[str]:
    """Run a script where `darkroom` and `$options` are those of the tests."""
    options = f"--model {weights} --device cpu --precision fp32 --tile off"
    head = f'darkroom() {{ "{sys.executable}" -m darkroom "$@"; }}\noptions="{options}"\n'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", head + script],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@needs_magick
def test_a_picture_goes_on_to_imagemagick(tmp_path: Path, weights: Path) -> None:
    write_photos(tmp_path, 1)
    done = shell(
        "darkroom enhance - -o - --format tif --bits 16 $options < p000.dng "
        "| convert - -resize 50% small.png && identify -format '%m %wx%h %z' small.png",
        tmp_path,
        weights,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "PNG 48x32 16"


@needs_exiftool
def test_a_list_from_find_and_tags_for_exiftool(tmp_path: Path, weights: Path) -> None:
    """Names with spaces and line ends, through find, batch and exiftool."""
    write_photos(tmp_path / "a card", 2)
    (tmp_path / "a card/p001.dng").rename(tmp_path / "a card/line\nend.dng")
    done = shell(
        "find . -name '*.dng' -print0 | darkroom batch -0 - -o out --format jpg $options "
        "&& exiftool -json -Model -ExposureTime -Orientation# -ImageWidth -r out",
        tmp_path,
        weights,
    )
    assert done.returncode == 0, done.stderr
    tags = json.loads(done.stdout)
    assert len(tags) == 2
    for picture in tags:
        assert picture["Model"] == "One"  # the Make, Example, has a tag of its own
        assert picture["Orientation"] == 1
        assert picture["ImageWidth"] == 96


def test_a_closed_pipe_ends_quietly(tmp_path: Path, weights: Path) -> None:
    write_photos(tmp_path / "in", 12, (200, 300))
    one = shell(
        "darkroom enhance in/p000.dng -o - --format png -q $options | head -c 4 | tail -c 3",
        tmp_path,
        weights,
    )
    assert (one.stdout, one.stderr) == ("PNG", "")
    many = shell("darkroom batch in -o out --json $options | head -n 1", tmp_path, weights)
    assert json.loads(many.stdout)["status"] == "done"
    assert many.stderr == ""
    assert many.returncode == 0
    assert not list((tmp_path / "out").glob(".darkroom-*"))


@needs_jq
def test_the_journal_is_for_jq(tmp_path: Path, weights: Path) -> None:
    write_photos(tmp_path / "in", 1)
    (tmp_path / "in/bad.dng").write_text("no photo", encoding="utf-8")
    done = shell(
        "darkroom batch in -o out -q $options; "
        """jq -r 'select(.status == "failed") | "\\(.exit_code) \\(.error)"' out/darkroom.jsonl""",
        tmp_path,
        weights,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 ")
    assert "bad.dng: is " in done.stdout
