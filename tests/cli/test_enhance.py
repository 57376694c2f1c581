import io
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from darkroom import __version__, pipeline
from darkroom.cli import app, inputs
from darkroom.errors import RawError, TooLargeError
from darkroom.models import row_bands
from darkroom.models.architectures.safelight import Safelight
from darkroom.models.tiling import Part
from darkroom.prepared import PreparedPhoto
from darkroom.raw import reader

Dng = Callable[..., Path]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny safelight with random weights: the command line is tested, not the pictures."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(3)
    save_file(Safelight(widths=(8, 8, 8, 8)).state_dict(), path)
    return str(path)


def run(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(word) for word in arguments], input=stdin)


def process(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "darkroom", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def fails(result: Result, code: int, *words: str) -> None:
    """One line that starts with "error:", the exit code, and no traceback."""
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


def test_version() -> None:
    assert run("--version").stdout.strip() == f"darkroom {__version__}"


@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_enhance_writes_a_picture(dng_path: Dng, tmp_path: Path, weights: str, ending: str) -> None:
    target = tmp_path / f"out.{ending}"
    result = run("enhance", dng_path(exposure=0.05), "-o", target, "--model", weights)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "out." in result.stderr
    with Image.open(target) as image:
        assert image.size == (64, 48)
        assert image.info["icc_profile"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [target.name, "photo.dng"]


@pytest.mark.parametrize("kind", ["linear", "bright", "mosaic"])
@pytest.mark.parametrize("cfa", ["RGGB", "GBRG", "xtrans"])
def test_enhance_writes_a_dng(
    dng_path: Dng, tmp_path: Path, weights: str, kind: str, cfa: str
) -> None:
    target, asked = tmp_path / "out.dng", [] if kind == "linear" else ["--dng", kind]
    photo = dng_path(width=66, cfa=cfa, exposure=0.05, orientation=6)
    model = "safelight" if cfa == "xtrans" else weights
    result = run("enhance", photo, "-o", target, "--model", model, "--json", *asked)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["format"], facts["bits"]) == ("dng", 16)
    with rawpy.imread(str(target)) as raw:
        assert raw.sizes.flip == 6
        assert (raw.color_desc, raw.num_colors) == (b"RGBG", 3)
        assert (raw.raw_image.ndim == 2) == (kind == "mosaic")
        assert (raw.sizes.width, raw.sizes.height) == (facts["height"], facts["width"])


def test_a_dng_goes_through_pipes(dng_path: Dng, weights: str) -> None:
    done = process(
        *("enhance", "-", "-o", "-", "--format", "dng", "--model", weights),
        stdin=dng_path().read_bytes(),
    )
    assert done.returncode == 0, done.stderr
    with rawpy.imread(io.BytesIO(done.stdout)) as raw:
        assert raw.raw_image.shape[:2] == (48, 64)


def test_what_a_dng_cannot_be_is_said_in_a_line(
    dng_path: Dng, tmp_path: Path, weights: str
) -> None:
    photo, target = dng_path(), tmp_path / "out.dng"
    fails(run("enhance", photo, "-o", target, "--bits", "8"), 2, "16 bits")
    fails(run("enhance", photo, "-o", tmp_path / "a.png", "--dng", "mosaic"), 2, "--format dng")
    fails(run("enhance", photo, "-o", target, "--dng", "raw"), 2, "linear, bright, mosaic")
    fails(run("enhance", photo, "-o", photo, "--model", weights, "--overwrite"), 5, "photo.dng")
    run("enhance", photo, "-o", target, "--model", weights)
    fails(run("enhance", target, "-o", tmp_path / "again.png", "--model", weights), 4, "out.dng")


def test_enhance_turns_the_picture_upright(dng_path: Dng, tmp_path: Path, weights: str) -> None:
    target = tmp_path / "out.png"
    run("enhance", dng_path(orientation=6), "-o", target, "--model", weights)
    with Image.open(target) as image:
        assert image.size == (48, 64)
        assert image.getexif()[0x0112] == 1


@pytest.mark.parametrize("orientation", [1, 2, 6])
@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_files_written_while_the_network_runs_are_the_same(
    dng_path: Dng,
    tmp_path: Path,
    weights: str,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
    orientation: int,
) -> None:
    photo = dng_path(height=200, exposure=0.05, orientation=orientation)
    targets = [tmp_path / f"{name}.{ending}" for name in ("rows", "whole")]
    monkeypatch.setattr(row_bands, "BAND_BYTES", 1)
    monkeypatch.setattr(pipeline, "HELD_SITES", 0)
    for target in targets:
        result = run("enhance", photo, "-o", target, "--model", weights, "--ratio", 20)
        assert result.exit_code == 0, result.output
        monkeypatch.setattr(pipeline, "enhance_by_rows", pipeline.enhance)
    assert targets[0].read_bytes() == targets[1].read_bytes()


def test_a_network_that_fails_midway_leaves_no_file(
    dng_path: Dng, tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are written already are forgotten, and what was there stays."""
    monkeypatch.setattr(row_bands, "BAND_BYTES", 1)
    monkeypatch.setattr(pipeline, "HELD_SITES", 0)
    photo, target = dng_path(height=400, exposure=0.05), tmp_path / "out.png"
    target.write_bytes(b"before")
    parts: list[slice] = []
    finish = PreparedPhoto.finish

    def fail(prepared: PreparedPhoto, part: Part, *rest: Any) -> None:
        parts.append(part.rows)
        if len(parts) == 3:
            raise TooLargeError("on fire; use another")
        finish(prepared, part, *rest)

    monkeypatch.setattr(PreparedPhoto, "finish", fail)
    result = run("enhance", photo, "-o", target, "--overwrite", "--model", weights)
    assert len(parts) == 3
    fails(result, TooLargeError.exit_code, "on fire")
    assert target.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.png", "photo.dng"]


def test_enhance_json_says_what_was_done(dng_path: Dng, tmp_path: Path, weights: str) -> None:
    result = run(
        "enhance", dng_path(), "-o", tmp_path / "o.png", "-m", weights, "--ratio", 7, "--json", "-q"
    )
    record = json.loads(result.stdout)
    assert result.stderr == ""
    assert record["schema"] == 1
    assert record["gain"] == 7
    assert (record["width"], record["height"]) == (64, 48)
    assert {"read", "enhance", "write"} <= record["seconds"].keys()


def test_the_default_output_is_named_after_the_photo(
    dng_path: Dng, tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    photo = dng_path()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run("enhance", photo, "-m", weights).exit_code == 0
    assert (tmp_path / "elsewhere" / "photo.png").is_file()


def test_pipes_carry_photo_and_picture(dng_path: Dng, weights: str) -> None:
    done = process(
        "enhance", "-", "-o", "-", "--format", "png", "-m", weights, stdin=dng_path().read_bytes()
    )
    assert done.returncode == 0, done.stderr.decode()
    with Image.open(io.BytesIO(done.stdout)) as image:
        assert image.size == (64, 48)


def test_cropped_edges_in_all_that_is_said(dng_path: Dng, tmp_path: Path, weights: str) -> None:
    """The tiny network's grid is 32 photosites; the photo stands on its side."""
    photo, target = dng_path(height=75, width=100, cfa="BGGR", orientation=6), tmp_path / "out.png"
    common = ("enhance", photo, "-o", target, "-m", weights, "--json", "--overwrite")
    for more, size in (((), (74, 99)), (("--edges", "crop"), (64, 96))):
        record = json.loads(run(*common, *more).stdout)
        assert (record["width"], record["height"]) == size
        with Image.open(target) as image:
            assert image.size == size


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_reader_that_leaves_ends_quietly(dng_path: Dng, weights: str) -> None:
    photo = dng_path(height=400, width=400)
    command = f"{sys.executable} -m darkroom enhance {photo} -o - --format tif -q -m {weights}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} | head -c 10 >/dev/null"],
        capture_output=True,
        check=False,
    )
    assert done.stderr == b""


def test_an_existing_file_is_kept(dng_path: Dng, tmp_path: Path, weights: str) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"precious")
    fails(run("enhance", dng_path(), "-o", target, "-m", weights), 5, "--overwrite")
    assert target.read_bytes() == b"precious"
    assert run("enhance", dng_path(), "-o", target, "-m", weights, "--overwrite").exit_code == 0
    assert target.read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--ratio", "0"], 2, ["--ratio", "1000"]),
        (["--ratio", "nan"], 2, ["--ratio"]),
        (["--ratio", "9", "--gain-rule", "redi"], 2, ["--ratio", "--gain-rule"]),
        (["--gain-rule", "magic"], 2, ["percentile", "redi"]),
        (["--hot-pixels", "eat"], 2, ["repair", "keep"]),
        (["--gain-rule", "redi:9.5"], 2, ["m = 9.5", "from 1 to 9"]),
        (["--gain-rule", "redi:nan"], 2, ["m = nan", "from 1 to 9"]),
        (["--gain-rule", "redi:"], 2, ["redi:2.5"]),
        (["--gain-rule", "learned:2"], 2, ["m = 2", "redi-train"]),
        (["--edges", "mirror"], 2, ["--edges", "reflect", "crop"]),
        (["--tile", "big"], 2, ["--tile"]),
        (["--device", "cuda:77"], 2, ["--device cpu"]),
        (["--precision", "int4"], 2, ["fp32"]),
        (["--bits", "12"], 2, ["8 or 16"]),
        (["--quality", "0"], 2, ["1 to 100"]),
        (["--model", "safelihgt"], 3, ["safelight"]),
        (["--model", "nowhere.safetensors"], 3, ["nowhere.safetensors"]),
        (["--format", "gif"], 2, ["png"]),
        (["-o", "out.bmp"], 2, [".bmp", "png"]),
        (["-o", "out"], 2, ["ending"]),
        (["-o", "out.jpg", "--bits", "16"], 2, ["JPEG"]),
        (["-o", "missing/out.png"], 5, ["missing"]),
        (["-o", "-"], 2, ["--format"]),
        (["-o", "-", "--format", "png", "--json"], 2, ["--json"]),
    ],
)
def test_wrong_usage_is_one_line(
    dng_path: Dng,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    weights: str,
    options: list[str],
    code: int,
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    model = [] if "--model" in options else ["--model", weights]
    photo = dng_path()
    before = sorted(tmp_path.iterdir())
    fails(run("enhance", photo, *model, *options), code, *words)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("empty.dng", b"", "empty"),
        ("notes.txt", b"just some text, long enough to be looked at\n" * 20, "text"),
        ("photo.jpg", None, "JPEG"),
    ],
)
@pytest.mark.parametrize("command", ["enhance", "estimate", "inspect"])
def test_what_is_no_raw_is_one_line(
    tmp_path: Path, weights: str, command: str, name: str, content: bytes | None, word: str
) -> None:
    photo = tmp_path / name
    if content is None:
        Image.new("RGB", (64, 48)).save(photo)
    else:
        photo.write_bytes(content)
    more = ["-o", tmp_path / "out.png", "-m", weights] if command == "enhance" else []
    fails(run(command, photo, *more), 4, name, word)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_missing_photo_is_one_line(tmp_path: Path) -> None:
    fails(run("inspect", tmp_path / "gone.dng"), 4, "gone.dng", "no such file")


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_ctrl_c_exits_with_130(dng_path: Dng, tmp_path: Path, weights: str) -> None:
    code = (
        "import sys, darkroom.cli, darkroom.raw.reader as raw\n"
        "def interrupted(*_): raise KeyboardInterrupt\n"
        "raw.read_raw = interrupted\n"
        "darkroom.cli.main()"
    )
    command = [sys.executable, "-c", code, "inspect", str(dng_path())]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 130
    assert done.stderr.decode().startswith("error: interrupted")


def test_estimate_gives_a_number_and_a_reason(dng_path: Dng) -> None:
    photo = dng_path(exposure=0.02)
    words = run("estimate", photo).stdout
    record = json.loads(run("estimate", photo, "--json").stdout)
    assert float(words.split()[0]) == pytest.approx(record["gain"], rel=1e-3)
    assert record["reason"] in words
    assert record["rule"] == "learned"
    assert record["gain"] > 5
    brighter = json.loads(run("estimate", photo, "--ev", 1, "--json").stdout)
    assert brighter["gain"] == pytest.approx(2 * record["gain"])
    redi = json.loads(run("estimate", photo, "--gain-rule", "redi:5", "--json").stdout)
    assert redi["rule"] == "redi:5"
    assert redi["details"]["m"] == 5


def test_inspect_shows_what_the_file_says(dng_path: Dng) -> None:
    record = json.loads(run("inspect", dng_path(cfa="GBRG", orientation=8), "--json").stdout)
    assert record["cfa"] == "GBRG"
    assert record["orientation"] == 8
    assert record["hot_pixels"] == 0
    assert np.unique(record["black"]).tolist() == [512]
    assert record["models"]["safelight"]["made_for_this_camera"]
    assert not record["models"]["redi"]["made_for_this_camera"]
    table = run("inspect", dng_path(cfa="GBRG")).stdout
    for word in ("GBRG", "512", "16383", "Example One", "1/10 s", "safelight"):
        assert word in table


def test_models_lists_what_there_is() -> None:
    records = json.loads(run("models", "--json").stdout)["models"]
    assert {"safelight", "sid-sony", "sid-fuji", "llpacknet", "redi"} <= {
        record["name"] for record in records
    }
    assert "safelight" in run("models").stdout


def test_demo_shows_the_whole_way(tmp_path: Path, weights: str) -> None:
    out = tmp_path / "demo"
    result = run("demo", "-o", out, "-m", weights, "-q", "--size", "180x120")
    assert result.exit_code == 0, result.output
    assert "dB" in result.stdout
    assert sorted(path.name for path in out.iterdir()) == [
        "before-after.png",
        "chart.dng",
        "chart.png",
    ]
    fails(run("demo", "-o", out, "-m", weights), 5, "--overwrite")
    fails(run("demo", "-o", tmp_path / "dark", "--exposure", 0), 2, "--exposure")


def test_train_makes_weights_that_enhance(dng_path: Dng, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 255, (96, 96, 3), dtype=np.uint8)).save(
        tmp_path / "photos" / "one.png"
    )
    out = tmp_path / "run"
    result = run("train", tmp_path / "photos", "-o", out, "--steps", 1, "--batch", 1, "--size", 96)
    assert result.exit_code == 0, result.output
    made = out / "safelight.safetensors"
    assert run("enhance", dng_path(), "-o", tmp_path / "o.png", "-m", made).exit_code == 0


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--size", "100"], "--size"),
        (["--size", "192"], "one.png"),
        (["--rate", "nan"], "--rate"),
        (["--rate", "0"], "--rate"),
        (["--device", "tpu"], "--device"),
        (["--device", "auto"], "--device"),
        (["--seed", str(1 << 64)], "--seed"),
        (["--threads", str(1 << 40)], "--threads"),
    ],
)
def test_train_refuses_what_it_cannot_do(tmp_path: Path, options: list[str], word: str) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (96, 96)).save(tmp_path / "photos" / "one.png")
    line = ["train", tmp_path / "photos", "-o", tmp_path / "run", "--steps", 1, *options]
    fails(run(*line, *([] if "--size" in options else ["--size", 96])), 2, word)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train", "evaluate", "validate"])
@pytest.mark.parametrize("kind", ["cut", "text", "bomb"])
def test_one_bad_picture_is_named(tmp_path: Path, weights: str, command: str, kind: str) -> None:
    """Refused: left out in silence, it would be another training run, or another score."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (300, 200)).save(folder / "good.png")
    Image.effect_noise((300, 200), 50).convert("RGB").save(folder / "bad.jpg")
    whole = (folder / "bad.jpg").read_bytes()
    # its height, of 16 bits, follows the frame header's mark, length and depth
    at = whole.index(b"\xff\xc0") + 5
    damaged = {
        "cut": whole[: len(whole) // 2],
        "text": b"no picture",
        "bomb": whole[:at] + b"\xff\xdc\xff\xdc" + whole[at + 4 :],
    }
    (folder / "bad.jpg").write_bytes(damaged[kind])
    line = {
        "train": ["train", folder, "-o", tmp_path / "run"],
        "evaluate": ["evaluate", "--simulate", folder, "-m", weights],
        "validate": ["train", folder / "none", "-o", tmp_path / "run", "--validate", folder],
    }
    fails(run(*line[command]), 2, "bad.jpg", "copy it again")


@pytest.mark.parametrize("name", ["log.jsonl", "state.safetensors"])
def test_train_goes_on_from_no_damaged_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (96, 96)).save(tmp_path / "photos" / "one.png")
    line = ["train", tmp_path / "photos", "-o", tmp_path / "run", "--batch", 1, "--size", 96, "-q"]
    assert run(*line, "--steps", 1).exit_code == 0
    path = tmp_path / "run" / name
    other = path.with_name("state.safetensors" if name == "log.jsonl" else "log.jsonl")
    whole, damaged = path.read_bytes(), [b"[]\n", b'{"step": 0}\n']
    other.unlink()
    for content in (whole[: len(whole) // 2], *damaged):
        path.write_bytes(content)
        fails(run(*line, "--steps", 2), 2, name)
        assert path.read_bytes() == content


def test_evaluate_needs_a_list(tmp_path: Path, weights: str) -> None:
    fails(run("evaluate", tmp_path / "none.txt", "-m", weights), 2, "no such file or folder")
    (tmp_path / "list.txt").write_bytes(b"\xfe\xff")
    fails(run("evaluate", tmp_path / "list.txt", "-m", weights), 2, "(it is no text)")
    (tmp_path / "list.txt").write_text("one.dng two.png\n", encoding="utf-8")
    fails(run("evaluate", tmp_path / "list.txt", "-m", weights), 2, "no such file")


def test_evaluate_scores_pairs(dng_path: Dng, tmp_path: Path, weights: str) -> None:
    dng_path(name="1_0.1s.dng")
    Image.fromarray(np.full((48, 64, 3), 128, np.uint8)).save(tmp_path / "1_1s.png")
    (tmp_path / "list.txt").write_text("1_0.1s.dng 1_1s.png ISO100 F8\n", encoding="utf-8")
    result = run("evaluate", tmp_path / "list.txt", "-m", weights, "--json")
    assert result.exit_code == 0, result.output
    record, *_ = (json.loads(line) for line in result.stdout.splitlines())
    assert record["ratio"] == pytest.approx(10)
    assert record["aligned_psnr"] >= record["psnr"] > 0


def test_standard_input_is_in_memory_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too large, or just not: it was there twice, 4.5 GB before it was refused."""
    monkeypatch.setattr(inputs, "PIECE", 1 << 18)
    size = 1 << 24
    for limit, message in ((size, "no RAW photo"), (size - 1, "is larger than any RAW photo")):
        monkeypatch.setattr(reader, "MAX_BYTES", limit)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xee" * size)))
        tracemalloc.start()
        with pytest.raises(RawError, match=f"standard input: .*{message}"):
            inputs.read_photo(inputs.STANDARD)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1.5 * size  # it grows by an eighth too much at a time


def test_colours_and_tone_of_ones_own(dng_path: Dng, tmp_path: Path, weights: str) -> None:
    target, plain = tmp_path / "out.jpg", tmp_path / "plain.jpg"
    common = ("enhance", dng_path(exposure=0.05), "-m", weights, "--json", "-q", "-o")
    more = ("--color-space", "display-p3", "--tone", "soft", "--saturation", 1.2)
    record = json.loads(run(*common, target, *more).stdout)
    assert (record["color_space"], record["tone"], record["saturation"]) == (
        "display-p3",
        "soft",
        1.2,
    )
    assert json.loads(run(*common, plain).stdout)["color_space"] == "srgb"
    with Image.open(target) as image, Image.open(plain) as srgb:
        assert b"D\0i\0s\0p\0l\0a\0y\0 \0P\x003" in image.info["icc_profile"]
        assert image.getexif().get_ifd(0x8769)[0xA001] == 65535  # uncalibrated
        assert srgb.getexif().get_ifd(0x8769)[0xA001] == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--color-space", "cmyk"), "--color-space cmyk: give one of srgb"),
        (("--color-space", "linear"), "add --bits 16"),
        (("--tone", "loud"), "--tone loud: give one of neutral"),
        (("--saturation", 3), "--saturation 3"),
        (("--resize", 0), "--resize 0"),
        (("--wb", "sunny"), "--wb sunny: give as-shot, auto, daylight, or kelvin"),
        (("--wb", 100), "--wb 100: give 2000 to 25000 kelvin"),
        (("--bits", 32, "--tone", "soft"), "floats hold light as it is"),
        (("--bits", 32, "--format", "png"), "only TIFF and OpenEXR hold 32 bits"),
    ],
)
def test_finishes_that_cannot_be(
    dng_path: Dng, tmp_path: Path, weights: str, words: tuple[str, ...], says: str
) -> None:
    fails(run("enhance", dng_path(), "-o", tmp_path / "a.tif", "-m", weights, *words), 2, says)
    assert not (tmp_path / "a.tif").exists()


@pytest.mark.parametrize(("edge", "size"), [(20, (15, 20)), (1000, (48, 64))])
def test_smaller_pictures_have_true_sizes(
    dng_path: Dng, tmp_path: Path, weights: str, edge: int, size: tuple[int, int]
) -> None:
    """The photo stands on its side; nothing is made larger."""
    target = tmp_path / "out.jpg"
    photo = dng_path(orientation=6, exposure=0.05)
    result = run("enhance", photo, "-o", target, "-m", weights, "--resize", edge, "--json")
    record = json.loads(result.stdout)
    assert (record["width"], record["height"], record["resize"]) == (*size, edge)
    with Image.open(target) as image:
        exif = image.getexif().get_ifd(0x8769)
        assert image.size == (exif[0xA002], exif[0xA003]) == size
