"""`darkroom models` as a user meets it: the list, a network's structure, its feature maps."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from darkroom.cli import app
from darkroom.evaluation import features
from darkroom.evaluation.features import draw_feature_sheet
from darkroom.models.architectures.safelight import Safelight
from darkroom.models.loading import load_model
from darkroom.raw.image import RawImage
from darkroom.weights import registry

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def _no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_WEIGHTS", str(tmp_path / "store"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A tiny safelight with random weights."""
    torch.manual_seed(3)
    path = tmp_path / "tiny.safetensors"
    save_file(Safelight(widths=(8, 8, 8, 8)).state_dict(), path)
    return path


def run(*words: object) -> Result:
    return RUNNER.invoke(app, ["models", *map(str, words)])


def test_the_list() -> None:
    result = run("--json")
    assert result.exit_code == 0
    records = json.loads(result.stdout)["models"]
    assert [record["name"] for record in records] == list(registry.ENTRIES)
    assert all(record["licence_url"].startswith("https://") for record in records)
    assert "sid-fuji" in run().stdout


def test_structure_in_words() -> None:
    result = run("sid-sony", "--size", "640x480")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "sid-sony: sid, bayer (weights not installed: drawn from its published form)"
    facts = dict(line.split("  ", 1) for line in lines[1:8])
    assert facts["photo"].strip() == "640 x 480 photosites"
    assert facts["input"].strip().startswith("4x240x320")
    assert "7,760,268 in the checkpoint, 7,760,748 as darkroom runs them" in facts["parameters"]
    assert facts["grid"].strip() == "32 photosites"
    assert facts["halo"].strip() == "214 photosites"
    (bottom,) = (line.split() for line in lines if line.startswith("levels.4.second"))
    # 9 * 512 * 512 * 15 * 20 = 0.708 GMACs
    assert bottom[1:] == ["conv", "3x3", "512x15x20", "1/32", "2,359,808", "0.71", "5.0%"]
    assert any(line.split()[:3] == ["levels.0.second", "cat.4", "cat"] for line in lines)
    assert any(line.startswith("1/32") for line in lines)


def test_joins_inside_blocks_are_counted_not_listed() -> None:
    result = run("redi", "--size", "640x480")
    assert not any("blocks.0.cat" in line for line in result.stdout.splitlines())
    (inside,) = (line for line in result.stdout.splitlines() if "inside coarse.blocks.0" in line)
    assert inside.split()[-4:] == ["4", "cat,", "1", "add"]


def test_structure_as_json(checkpoint: Path) -> None:
    record = json.loads(run(checkpoint, "--json", "--size", "640x480").stdout)
    assert (record["network"], record["weights"]) == ("safelight", "this checkpoint")
    assert record["photo"] == [640, 480]
    assert record["output"] == [3, 480, 640]
    for key in ("scales", "parts"):
        assert sum(one["macs"] for one in record[key]) == record["macs"]
        assert sum(one["share"] for one in record[key]) == pytest.approx(1, abs=0.01)
    assert {"name", "shape", "reduction", "parameters", "macs"} <= record["layers"][0].keys()
    assert {"source", "join", "kind", "shape", "inside"} == record["skips"][0].keys()


def test_networks_by_their_own_name() -> None:
    record = json.loads(run("perceptilabs", "--json").stdout)
    assert record["input"] == [4, 1504, 2016]
    assert record["weights"] == "not installed"


def test_structure_of_what_has_no_tiles_and_of_what_takes_any_size() -> None:
    lines = run("redi-group-norm", "--size", "640x480").stdout.splitlines()
    assert lines[7] == "halo        the whole photo, which runs in one piece"
    assert any("group norm in 32 groups" in line for line in lines)
    record = json.loads(run("redi-group-norm-8", "--json", "--size", "640x480").stdout)
    assert (record["halo"], record["any_size"]) == (None, False)
    record = json.loads(run("sid-fuji", "--json", "--size", "6032x4032").stdout)
    assert record["input"] == [9, 1344, 2012]
    assert record["any_size"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("redi", "--size", "12MP"), 2, "--size 12MP: give width x height"),
        (("redi", "--size", "4000x"), 2, "--size 4000x"),
        (("redi", "--size", "4x4"), 2, "4x4: give 16 to"),
        (("rdei",), 3, "did you mean redi"),
        (("redi", "-o", "x.png"), 2, "go together"),
        (("redi", "--features", "x.dng"), 2, "go together"),
        (("--features", "x.dng", "-o", "x.png"), 2, "needs a model"),
        (("--weights",), 2, "--weights needs a model"),
        (("--draw", "x.svg"), 2, "--draw needs a model"),
        (("redi", "--draw", "x.pdf"), 2, "end its name in .svg or .png"),
        (("redi", "--draw", "x.svg", "--weights"), 2, "two questions"),
        (("redi", "--layer", "fine"), 2, "give --features PHOTO too"),
        (("redi", "--weights", "--features", "x.dng", "--layer", "fine"), 2, "leave --layer out"),
        (("redi", "--features", "x.dng", "-o", "x.png", "--region", "1,2,3"), 2, "give X,Y,W,H"),
        (("redi", "--weights"), 3, "fetch-weights redi"),
        (("redi", "--features", "x.dng", "-o", "x.png"), 3, "fetch-weights redi"),
    ],
)
def test_what_cannot_be_done(words: tuple[str, ...], code: int, told: str) -> None:
    result = run(*words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_features_are_written_once(
    checkpoint: Path, dng_path: Callable[..., Path], tmp_path: Path
) -> None:
    photo, out = dng_path(height=120, width=200, exposure=0.05), tmp_path / "sheet.png"
    words = (checkpoint, "--features", photo, "-o", out)
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)["layers"]
    assert [one["reduction"] for one in shown][:5] == [4, 8, 8, 16, 16]
    first = out.read_bytes()
    again = run(*words)
    assert again.exit_code == 5
    assert "--overwrite" in again.stderr
    assert out.read_bytes() == first
    assert f"feature maps of {len(shown)} layers of tiny" in run(*words, "--overwrite").stderr
    with Image.open(out) as image:
        rows = -(-(len(shown) + 2) // features.COLUMNS)
        assert image.height > rows * features.PANEL
        assert image.width > features.COLUMNS * features.PANEL
    for wrong in ("sheet.bmp", "."):
        assert run(*words[:-1], tmp_path / wrong).exit_code == 2


@pytest.mark.parametrize("size", [(40, 50), (3000, 1000)])
def test_the_middle_of_any_photo_is_looked_at(
    checkpoint: Path, synthetic_raw: Callable[..., RawImage], size: tuple[int, int]
) -> None:
    model = load_model(checkpoint, "cpu", "fp32")
    pixels, layers = draw_feature_sheet(synthetic_raw(*size, exposure=0.05), model)
    assert pixels.dtype == np.uint8
    assert all(max(layer.shape[1:]) <= features.CROP // layer.reduction for layer in layers)
    assert layers[0].shape[1:] == ((16, 16) if size == (40, 50) else (192, 192))
    assert pixels.std() > 20  # not one gray


def test_a_panel_shows_the_maps_that_vary_most() -> None:
    """Twenty maps, four of them flat; the i-th of the others is bright in its first i columns."""
    maps = torch.ones(20, 24, 24)
    for i in range(4, 20):
        maps[i, :, i:] = -0.1 * i
    panel = features.draw_panel(maps)
    side = 24 * round(features.PANEL / (4 * 24))
    gap = (panel.shape[0] - 4 * side) // 3
    assert panel.shape == (4 * side + 3 * gap, 4 * side + 3 * gap, 3)
    for place in range(16):
        top, left = place // 4 * (side + gap), place % 4 * (side + gap)
        shown = panel[top : top + side, left : left + side] / 255
        assert shown.mean() == pytest.approx((place + 4) / 24)


def test_published_layers_are_listed_beside_those_that_run() -> None:
    lines = run("redi", "--size", "640x480").stdout.splitlines()
    (last,) = (line.split() for line in lines if line.startswith("conv_2_8_32.0"))
    assert last == [
        "conv_2_8_32.0",
        "conv",
        "5x5,",
        "weight",
        "norm",
        "12x24x5x5",
        "last_fine,",
        "last_coarse",
        "7,224",
    ]
    (dense,) = (line for line in lines if line.startswith("RDB1.dense_layers.1.conv.1"))
    assert "leaky relu 0.2 before" in dense
    assert any("coarse.blocks.1  6 layers" in line for line in lines)
    record = json.loads(run("sid-sony", "--json", "--size", "640x480").stdout)
    (bottom,) = (one for one in record["published"] if one["name"] == "g_conv5_2")
    assert bottom["tensors"]["g_conv5_2/weights"] == [3, 3, 512, 512]
    assert (bottom["runs_as"], bottom["activation"]) == (["levels.4.second"], "leaky relu 0.2")
    assert sum(one["parameters"] for one in record["published"]) == 7_760_268


def test_a_network_is_drawn_to_a_file(tmp_path: Path) -> None:
    svg, png = tmp_path / "sid.svg", tmp_path / "sid.png"
    result = run("sid-sony", "--draw", svg)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "drawn in 25 blocks" in result.stderr
    text = svg.read_text(encoding="utf-8")
    assert text.startswith("<svg ")
    assert "levels.8" in text
    assert run("sid-sony", "--draw", svg).exit_code == 5
    assert svg.read_text(encoding="utf-8") == text
    assert run("sid-sony", "--draw", png, "--json").exit_code == 0
    with Image.open(png) as image:
        assert image.width > image.height > 500


def test_all_maps_of_a_layer(
    checkpoint: Path, dng_path: Callable[..., Path], tmp_path: Path
) -> None:
    photo, out = dng_path(height=128, width=192, exposure=0.05), tmp_path / "maps.png"
    words = (checkpoint, "--features", photo, "-o", out, "--overwrite")
    result = run(*words, "--layer", "body.gate", "--region", "0,0,64,64", "--json")
    assert result.exit_code == 0, result.output
    (layer,) = json.loads(result.stdout)["layers"]
    assert (layer["layer"], layer["reduction"], len(layer["maps"])) == ("gate", 4, 16)
    assert "gate 16x32x48 of tiny" in run(*words, "--layer", "gate", "--region", "whole").stderr
    result = run(*words, "--layer", "body.gat")
    assert result.exit_code == 2
    assert "did you mean body.gate" in result.stderr


def test_weights_in_a_table(
    checkpoint: Path, dng_path: Callable[..., Path], tmp_path: Path
) -> None:
    lines = run(checkpoint, "--weights").stdout.splitlines()
    assert lines[0].split()[:2] == ["layer", "shape"]
    assert any(line.startswith("middle.first") and "8x8x3x3" in line for line in lines)
    photo, out = dng_path(height=128, width=192, exposure=0.05), tmp_path / "weights.png"
    words = (checkpoint, "--weights", "--features", photo, "-o", out)
    record = json.loads(run(*words, "--json").stdout)
    layers = {layer["name"]: layer for layer in record["layers"]}
    assert isinstance(layers["middle.first"]["silent"], list)
    assert layers["middle.second"]["silent"] is None
    assert sum(layers["enter"]["histogram"]) == 8 * 32 * 9
    with Image.open(out) as image:
        assert image.width > 4 * 320
