"""Exported networks, run by ONNX Runtime, give what ours give; their contract is enough to call."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import parity
import pytest
import torch
from conftest import synthetic_raw
from numpy.typing import NDArray
from places import SHARED
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from darkroom.cli import app
from darkroom.evaluation.published import Published
from darkroom.evaluation.published.networks import PUBLISHED
from darkroom.models.architectures.base import Conditions
from darkroom.models.architectures.safelight import Safelight
from darkroom.models.loading import Source, find_source, load_model
from darkroom.models.model import Model
from darkroom.models.onnx_export import NOISE_INPUTS, NoiseSource, export_model
from darkroom.mosaic.noise import Noise, measure_noise
from darkroom.pipeline import Options, find_gain
from darkroom.raw.reader import read_raw
from darkroom.weights import registry

Dng = Callable[..., Path]
Feed = dict[str, NDArray[np.float32]]

# float32 through some thirty layers, added up in another order: seen are up to 3e-6.
TOLERANCE = 1e-4
SIZES = ((1, 3), (3, 5), (7, 1))
"""Rows and columns in steps of the grid, none of them those that were exported."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two scales only, for the exporter's time goes by the number of layers."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(Safelight(widths=(8, 8)).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def exported(weights: Path) -> Path:
    """The tiny network as a user exports it, with its contract beside it."""
    path = weights.with_name("tiny.onnx")
    result = run(weights, "-o", path)
    assert result.exit_code == 0, result.output
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, words)])


def session(model: Path | bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = model.read_bytes() if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def packed(model: Model, rows: int, columns: int) -> torch.Tensor:
    """Values below black and above white."""
    known = model.architecture
    generator = torch.Generator().manual_seed(rows)
    shape = (1, known.channels, rows * known.multiple, columns * known.multiple)
    return torch.rand(shape, generator=generator) * 2.2 - 0.1


def noise_of(feed: Feed) -> list[torch.Tensor]:
    return [torch.from_numpy(feed[name]) for name in NOISE_INPUTS]


def worst_difference(model: Model, data: Path | bytes) -> float:
    """Over sizes that are not those of the export; the noise of a dark photo where it is asked."""
    runtime = session(data)
    wanted = {one.name for one in runtime.get_inputs()}
    facts = ([0.003], [0.02], [1.0], [[4.0, 2.0, 3.0]], [1.0])
    noise: Feed = {
        name: np.array(fact, np.float32) for name, fact in zip(NOISE_INPUTS, facts, strict=True)
    }
    found = []
    for rows, columns in SIZES:
        light = packed(model, rows, columns)
        feed = {"packed": light.numpy()} | (noise if "shot" in wanted else {})
        assert set(feed) == wanted
        with torch.inference_mode():
            if model.takes_noise:
                shot, read, clipped, balance, known = noise_of(feed)
                conditions = Conditions(shot, read, clipped, balance / 2, known)  # the least is 1
                picture = model.network(light, conditions)
            else:
                picture = model.network(light)
        difference = np.abs(runtime.run(None, feed)[0] - picture.numpy()).max()
        found.append(difference / max(np.abs(picture.numpy()).max(), 1))
    return float(max(found))


def test_runs_without_darkroom_at_any_size(exported: Path, weights: Path) -> None:
    assert worst_difference(load_model(weights, "cpu", "fp32"), exported) < TOLERANCE


def test_the_file_is_plain_onnx_and_names_no_path(exported: Path) -> None:
    proto = onnx.load(exported)
    onnx.checker.check_model(proto, full_check=True)
    ((domain, version),) = [(one.domain, one.version) for one in proto.opset_import]
    assert domain == ""
    assert version >= 17
    assert not proto.functions
    shape = proto.graph.input[0].type.tensor_type.shape.dim
    assert [one.dim_param or one.dim_value for one in shape] == [1, 4, "height", "width"]
    assert b".py" not in exported.read_bytes()


def test_the_contract_is_enough_to_call_it(exported: Path, weights: Path) -> None:
    contract: dict[str, Any] = json.loads(exported.with_suffix(".json").read_text())
    model = load_model(weights, "cpu", "fp32")
    assert [contract[name] for name in ("sensor", "multiple", "halo")] == ["bayer", 16, 112]
    assert contract["output"]["picture"]["values"] == "camera"
    assert "that of the checkpoint" in contract["licence"]["name"]
    # Fill the packed mosaic by what the contract says of its planes alone.
    mosaic = np.random.default_rng(0).random((64, 96), np.float32)
    planes = [mosaic[row::2, col::2] for ((row, col),) in contract["inputs"]["packed"]["sites"]]
    wanted = torch.nn.functional.pixel_unshuffle(torch.from_numpy(mosaic)[None], 2)
    assert np.array_equal(np.stack(planes), wanted.numpy())
    assert contract["inputs"]["packed"]["pattern"] == "RGGB"
    assert set(contract["inputs"]) == {one.name for one in session(exported).get_inputs()}
    inside = {one.key: one.value for one in onnx.load(exported).metadata_props}
    assert json.loads(inside["contract"]) == contract
    assert model.name == contract["model"]


def test_bundled_weights_carry_their_licence(weights: Path) -> None:
    tiny = load_model(weights, "cpu", "fp32")
    noise = NoiseSource("a", "", None, 2.0, Noise(1e-4, 1e-3, ""), synthetic_raw().color)
    data, contract = export_model(tiny, find_source("safelight").entry, noise)
    card = {one.key: one.value for one in onnx.load_from_string(data).metadata_props}
    assert card["license"] == contract["licence"]["name"] == "MIT"
    assert card["author"] == "The darkroom developers"
    assert contract["photo"]["shot"] == pytest.approx(2e-4)
    # The photo's noise, after its gain, is folded in, and nothing but the mosaic is asked for.
    told = tiny.conditioned(Noise(2e-4, 2e-3, ""), synthetic_raw().color)
    assert worst_difference(told, data) < TOLERANCE


def test_a_photo_decides_its_noise_as_enhance_does(
    weights: Path, dng_path: Dng, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[NoiseSource] = []

    def note(model: Model, entry: object, source: NoiseSource) -> tuple[bytes, dict[str, Any]]:
        seen.append(source)
        return b"onnx", {"photo": source.name}

    monkeypatch.setattr("darkroom.models.onnx_export.export_model", note)
    photo = dng_path(exposure=0.05)
    result = run(weights, "--for", photo, "-o", tmp_path / "a.onnx")
    assert result.exit_code == 0, result.output
    raw, model = read_raw(photo), load_model(weights, "cpu", "fp32")
    assert seen[0].gain == find_gain(raw, model, Options().resolve(model)).value
    assert seen[0].noise.shot == measure_noise(raw).shot
    assert json.loads((tmp_path / "a.json").read_text()) == {"photo": "photo.dng"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-o", "a.txt"], 2, "ends in .onnx or .dtmodel"),
        (["--dtmodel"], 2, "needs --for"),
        (["-o", "a.dtmodel"], 2, "needs --for"),
        (["-o", "a.onnx", "--dtmodel", "--for", "p"], 2, "end in .dtmodel"),
        (["-o", "a b.dtmodel", "--for", "p"], 2, "letters, digits"),
        (["-o", "."], 2, "is a folder"),
        (["-o", "missing/a.onnx"], 5, "does not exist"),
        (["-o", "tiny.onnx"], 5, "exists already"),
        (["-o", "b.onnx", "--for", "nothing.dng"], 4, "nothing.dng"),
    ],
)
def test_wrong_usage_is_one_line(
    exported: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(exported.parent)
    before = sorted(exported.parent.iterdir())
    result = run(weights, *words)
    assert result.exit_code == code
    (line,) = result.stderr.splitlines()
    assert said in line
    assert sorted(exported.parent.iterdir()) == before


def test_a_contract_that_is_there_is_not_replaced(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("mine")
    result = run(weights, "-o", tmp_path / "a.onnx")
    assert result.exit_code == 5
    assert "a.json: exists already" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_terms_that_are_not_open_are_said(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.models.onnx_export.export_model", lambda *_: (b"onnx", {"a": 1}))
    entry, tiny = registry.ENTRIES["redi"], load_model(weights, "cpu", "fp32")
    monkeypatch.setattr("darkroom.cli.inputs.load_network", lambda *_: tiny)
    monkeypatch.setattr("darkroom.models.loading.find_source", lambda name: Source(weights, entry))
    result = run(weights, "-o", tmp_path / "a.onnx")
    assert result.exit_code == 0, result.output
    assert entry.licence.notice in result.stderr.splitlines()[0]
    assert run(weights, "-o", tmp_path / "b.onnx", "-q").stderr == ""


def test_the_weights_are_never_replaced(weights: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(weights.read_bytes())
    result = run(own, "-o", own, "--overwrite")
    assert result.exit_code in (3, 5)
    assert own.read_bytes() == weights.read_bytes()


def test_without_the_extra_it_says_what_to_install(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    result = run(weights, "-o", tmp_path / "a.onnx")
    assert result.exit_code == 2
    assert result.stderr == "error: export needs ONNX: pip install 'darkroom[onnx]'\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.weights
@pytest.mark.parametrize(
    "name",
    ["safelight", "safelight-large", "safelight-xtrans", "safelight-large-xtrans", "redi"],
)
def test_every_network_in_full(name: str) -> None:
    path = SHARED / "weights" / "redi" / "weights" if name == "redi" else name
    if name == "redi" and not Path(path).is_file():
        pytest.skip("REDI's weights are not here")
    model = load_model(path, "cpu", "fp32")
    assert worst_difference(model, export_model(model, None)[0]) < TOLERANCE


@pytest.mark.weights
@pytest.mark.parametrize(
    "one",
    list({(one.network, one.sensor): one for one in PUBLISHED}.values()),
    ids=lambda one: f"{one.network}-{one.sensor.value}",
)
def test_every_published_network(tmp_path: Path, one: Published) -> None:
    """With random weights, which are no fetched ones, but there are many networks."""
    model = parity.load_published(one, dict(one.weights(0)), tmp_path / "weights")
    assert worst_difference(model, export_model(model, None)[0]) < TOLERANCE
