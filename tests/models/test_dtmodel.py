"""Models for darktable: laid out as its format says, and right where called as it calls them."""

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import WHITE_BALANCE, XTRANS, synthetic_raw
from numpy.typing import NDArray
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from darkroom.cli import app
from darkroom.models import dtmodel
from darkroom.models.architectures.safelight import Safelight
from darkroom.models.loading import load_model
from darkroom.mosaic.noise import measure_noise
from darkroom.mosaic.packing import align, linearise, pack
from darkroom.output.dng import write_dng
from darkroom.raw.image import RawImage
from darkroom.raw.reader import read_raw

Dng = Callable[..., Path]
TILE = 64


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(dtmodel, "TILE", TILE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a tiny network, a photo, and the model that was made of both."""
    folder = tmp_path_factory.mktemp("darktable")
    torch.manual_seed(0)
    save_file(Safelight(widths=(8, 8)).state_dict(), folder / "tiny.safetensors")
    raw = synthetic_raw(2 * TILE, 2 * TILE, "GBRG", exposure=0.02)
    write_dng(folder / "photo.dng", raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dtmodel, "TILE", TILE)
        result = run(folder, "--for", folder / "photo.dng", "-o", folder / "tiny-iso.dtmodel")
    assert result.exit_code == 0, result.output
    return folder


def run(folder: Path, *words: object, name: str = "tiny.safetensors") -> Result:
    return CliRunner().invoke(app, ["export", str(folder / name), *map(str, words)])


def read_model(folder: Path) -> tuple[dict[str, Any], onnxruntime.InferenceSession]:
    with zipfile.ZipFile(folder / "tiny-iso.dtmodel") as archive:
        config = json.loads(archive.read("tiny-iso/config.json"))
        graph = archive.read("tiny-iso/model_bayer.onnx")
    return config, onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def as_darktable_feeds(raw: RawImage) -> NDArray[np.float32]:
    """(1, 4, T, T): from the first red site on, black 0, white 1, as shot with green 1.

    Source: darktable 5.6, what src/common/ai/restore.h says of `bayer_v1`.
    """
    mosaic, cfa, _, _ = align(linearise(raw), raw.cfa)
    balance = np.array(WHITE_BALANCE) / WHITE_BALANCE[1]
    planes = pack(mosaic, cfa) * balance[[0, 1, 1, 2], None, None].astype(np.float32)
    padded = np.pad(planes, ((0, 0), (0, TILE), (0, TILE)), mode="reflect")
    return np.ascontiguousarray(padded[None, :, :TILE, :TILE])


def test_laid_out_as_the_format_says(folder: Path) -> None:
    with zipfile.ZipFile(folder / "tiny-iso.dtmodel") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    assert names == ["tiny-iso/config.json", "tiny-iso/model_bayer.onnx"]
    config, session = read_model(folder)
    wanted = {"id", "name", "description", "task", "backend", "version"}
    assert wanted <= {key for key, value in config.items() if isinstance(value, str) and value}
    assert (config["id"], config["task"], config["backend"]) == ("tiny-iso", "rawdenoise", "onnx")
    assert all(isinstance(value, str) and value for value in config["model_card"].values())
    assert config["attributes"] == {
        "input_sizes": [TILE],
        "model_bayer": {
            "input_kind": "bayer_v1",
            "bayer_orientation": "force_rggb",
            "edge_pad": "mirror_cropped",
            "wb_norm": "as_shot",
            "output_scale": "absolute",
        },
    }
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.shape, made.shape) == ([1, 4, TILE, TILE], [1, 3, 2 * TILE, 2 * TILE])
    assert given.type == made.type == "tensor(float)"


@pytest.mark.parametrize("light", [1.0, 0.3, 40.0], ids=["as taken", "darker", "brighter"])
def test_a_tile_is_what_the_network_makes_of_it(folder: Path, light: float) -> None:
    """Amplified until its brightest spot is white, told of the photo's noise, and brought back."""
    raw = read_raw(folder / "photo.dng")
    tile = as_darktable_feeds(raw) * np.float32(light)
    found = read_model(folder)[1].run(None, {"packed": tile})[0]
    packed = torch.from_numpy(tile)
    gain = 1 / float(torch.nn.functional.avg_pool2d(packed, 2).max())
    noise = measure_noise(raw).amplified(gain)
    model = load_model(folder / "tiny.safetensors", "cpu", "fp32")
    wanted = model.conditioned(noise, raw.color)(packed * gain) / gain
    # float32 in another order: relative to the brightest, as gains differ.
    assert np.abs(found - wanted.numpy()).max() < 1e-4 * np.abs(wanted.numpy()).max()


def test_a_black_tile_stays_finite(folder: Path) -> None:
    tile = np.full((1, 4, TILE, TILE), -0.001, np.float32)
    assert np.isfinite(read_model(folder)[1].run(None, {"packed": tile})[0]).all()


def test_xtrans_is_refused(dng_path: Dng, tmp_path: Path) -> None:
    photo = dng_path(synthetic_raw(96, 96, XTRANS))
    words = ["export", "safelight", "--for", str(photo), "-o", str(tmp_path / "a.dtmodel")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "X-Trans sensors, which darktable runs no such models for" in result.stderr
    assert not (tmp_path / "a.dtmodel").exists()


def test_nothing_is_measured_in_vain(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A missing library is told of before anything is read."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = run(folder, "--for", tmp_path / "no.dng", "-o", tmp_path / "a.dtmodel")
    assert result.exit_code == 2
    assert "pip install 'darkroom[onnx]'" in result.stderr
