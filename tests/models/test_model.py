"""Models by name and by file, the devices and precisions they run in, and the photos they fit."""

import dataclasses
import hashlib
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from safetensors.torch import save_file

from darkroom.batch.options import BatchOptions, settings
from darkroom.errors import CheckpointError, SensorError, UsageError, WeightsError
from darkroom.models import device, loading
from darkroom.models.architectures import (
    ARCHITECTURES,
    find_architectures,
    redi,
    redi_group_norm,
)
from darkroom.models.device import find_device, find_dtype, prefers_bfloat16
from darkroom.models.loading import load_model
from darkroom.pipeline import enhance
from darkroom.raw.image import Sensor
from darkroom.weights import registry
from darkroom.weights.store import bundled_folder

(REDI,) = redi.ARCHITECTURES
CPU = torch.device("cpu")


@pytest.fixture(name="weights")
def weights_fixture(tmp_path: Path) -> Path:
    """A checkpoint of REDI with seeded random weights."""
    generator = torch.Generator().manual_seed(0)
    shapes = REDI.dialects[1]
    state = {
        name: torch.randn(*shape, generator=generator) / (4 * max(shape[1:], default=1))
        for name, shape in shapes.items()
    }
    save_file(state, tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def test_a_file_becomes_a_model(weights: Path):
    model = load_model(weights, "cpu", "fp32")
    assert (model.name, model.architecture, model.trained_on) == ("mine", REDI, ())
    assert (model.grid.multiple, model.grid.scale, model.dtype) == (16, 2, torch.float32)
    picture = model(torch.rand(1, 4, 16, 32))
    assert picture.shape == (1, 3, 32, 64)
    assert picture.dtype is torch.float32
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.name = "other"  # type: ignore[misc]


def test_lower_precision_gives_nearly_the_same_picture(weights: Path):
    packed = torch.rand(1, 4, 32, 32)
    exact = load_model(weights, "cpu", "fp32")(packed)
    model = load_model(weights, "cpu", "bf16")
    assert model.dtype is torch.bfloat16
    rough = model(packed)
    assert rough.dtype is torch.float32
    # bfloat16 keeps 8 bits: a few units of 1/256 after a dozen layers.
    assert 0 < (rough - exact).abs().max() < 0.03
    again = model.on_cpu()
    assert (again.dtype, again.device) == (torch.float32, CPU)
    assert model.dtype is torch.bfloat16
    torch.testing.assert_close(again(packed), exact, rtol=0, atol=0.02)


def test_a_published_file_is_known_by_its_hash(weights: Path, monkeypatch, synthetic_raw):
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    entry = registry.ENTRIES["redi"]
    file = dataclasses.replace(entry.files[0], sha256=digest)
    entries = {**registry.ENTRIES, "redi": dataclasses.replace(entry, files=(file,))}
    monkeypatch.setattr(registry, "ENTRIES", MappingProxyType(entries))
    model = load_model(weights, "cpu")
    assert (model.name, model.trained_on) == ("redi", entry.trained_on)
    (warning,) = model.check(synthetic_raw(camera="Example One"))
    assert "colours of Example One will be off: try --model safelight" in warning
    assert model.check(synthetic_raw(camera=entry.trained_on[0].title())) == ()
    wrong = dataclasses.replace(entries["redi"], sensor=registry.ENTRIES["sid-fuji"].sensor)
    monkeypatch.setattr(registry, "ENTRIES", MappingProxyType({**entries, "redi": wrong}))
    with pytest.raises(CheckpointError, match="another sensor"):
        load_model(weights, "cpu")


def test_by_name_from_the_store(weights: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("DARKROOM_WEIGHTS", str(tmp_path / "store"))
    with pytest.raises(WeightsError, match="redi is not installed: darkroom fetch-weights redi"):
        load_model("redi", "cpu")
    monkeypatch.setattr(loading.store, "verify", lambda entry: weights)
    assert load_model("redi", "cpu").trained_on == registry.ENTRIES["redi"].trained_on


def test_tensors_of_another_network_than_the_name_says(weights: Path, monkeypatch):
    """A mirror served REDI's file, which is called the same, for weights of unknown hash."""
    monkeypatch.setattr(loading.store, "verify", lambda entry: weights)
    with pytest.raises(CheckpointError, match=r"are those of redi, not of llpacknet: .*--remove"):
        load_model("llpacknet", "cpu")


def test_unknown_names_and_missing_files(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("DARKROOM_WEIGHTS", str(tmp_path / "store"))
    with pytest.raises(WeightsError, match="did you mean redi"):
        load_model("rdi")
    for missing in ("here.pth", "no/where", tmp_path / "where"):
        with pytest.raises(CheckpointError, match="is not there"):
            load_model(missing)
    save_file({"fc.weight": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(CheckpointError, match="other: no known network"):
        load_model(tmp_path / "other")


def test_network_equals_file_says_which_network_it_is(tmp_path: Path):
    """Batch norms that are named bn1 may stand before or after the activation."""
    (last,) = find_architectures("sid-norm-last")
    shapes = last.dialects[0]
    state = {name: torch.full(shape, 0.01) for name, shape in shapes.items()}
    save_file(state, tmp_path / "some=file.safetensors")
    file = tmp_path / "some=file.safetensors"
    assert load_model(file, "cpu").architecture.name == "sid-batch-norm"
    model = load_model(f"sid-norm-last={file}", "cpu")
    assert model.notes == ()
    assert (model.architecture.name, model.name) == ("sid-norm-last", "some=file")
    with pytest.raises(
        CheckpointError, match=r"file\.safetensors: no known network: .* as in redi"
    ):
        load_model(f"redi={file}", "cpu")
    with pytest.raises(CheckpointError, match="no network is called sid-last; known: safelight, "):
        load_model(f"sid-last={file}", "cpu")
    with pytest.raises(CheckpointError, match="x is not there; give NETWORK=FILE, as in redi=FILE"):
        load_model("redi=x")


@pytest.fixture(name="ambiguous")
def ambiguous_fixture(tmp_path: Path) -> Path:
    """A checkpoint under lavi's names, which REDI's repository trains with another packing."""
    (rggb,) = find_architectures("sid-rggb")
    generator = torch.Generator().manual_seed(1)
    state = {
        name: torch.randn(*shape, generator=generator)
        / max(torch.Size(shape[1:]).numel(), 1) ** 0.5
        for name, shape in rggb.dialects[0].items()
    }
    save_file(state, tmp_path / "own.safetensors")
    return tmp_path / "own.safetensors"


def test_a_file_that_fits_two_networks_says_so(ambiguous: Path, synthetic_raw):
    model = load_model(ambiguous, "cpu", "fp32")
    (note,) = model.notes
    assert model.architecture.name == "sid"
    assert note == (
        f"{ambiguous}: taken for sid (packed R G B G, its last layer in PixelShuffle's order), but "
        "its tensors fit sid-rggb (packed R G G B, not clipped at white) as well: "
        f"--model sid-rggb={ambiguous} if it is that, --model sid={ambiguous} if it is not"
    )
    raw = synthetic_raw()
    assert model.check(raw) == (note,)
    assert enhance(raw, model).warnings == (*raw.warnings, note)
    for name in ("sid", "sid-rggb"):
        named = load_model(f"{name}={ambiguous}", "cpu", "fp32")
        assert (named.architecture.name, named.notes) == (name, ())
        assert enhance(raw, named).warnings == raw.warnings


def test_every_number_of_groups_is_another_reading(tmp_path: Path):
    """32 by default, as for any file that says nothing; others that divide its widths fit too."""
    (first, *others) = redi_group_norm.ARCHITECTURES
    others = [other for other in others if other.recognise(first.dialects[1])]
    assert len(others) > 3
    generator = torch.Generator().manual_seed(1)
    state = {
        name: torch.randn(*shape, generator=generator)
        / max(torch.Size(shape[1:]).numel(), 1) ** 0.5
        for name, shape in first.dialects[1].items()
    }
    save_file(state, tmp_path / "own.safetensors")
    model = load_model(tmp_path / "own.safetensors", "cpu", "fp32")
    (note,) = model.notes
    assert "taken for redi-group-norm (32 groups), but" in note
    for other in others:
        assert f"{other.name} " in note
    assert f"--model NETWORK={tmp_path}/own.safetensors if it is one of these" in note


def test_a_published_file_is_the_network_of_its_entry(ambiguous: Path, monkeypatch):
    """Known by its hash, so nothing is in doubt, whichever network comes first."""
    digest = hashlib.sha256(ambiguous.read_bytes()).hexdigest()
    entry = registry.ENTRIES["sid-sony"]
    file = dataclasses.replace(entry.files[0], sha256=digest)
    for name in ("sid", "sid-rggb"):
        known = dataclasses.replace(entry, files=(file,), architecture=name)
        monkeypatch.setattr(registry, "ENTRIES", MappingProxyType({"sid-sony": known}))
        model = load_model(ambiguous, "cpu", "fp32")
        assert (model.name, model.architecture.name, model.notes) == ("sid-sony", name, ())


def test_journals_tell_two_readings_of_a_file_apart(tmp_path: Path, ambiguous: Path):
    """The tensors of redi-group-norm and redi-group-norm-8 are the same as they run."""
    first, *_, last = redi_group_norm.ARCHITECTURES
    state = {name: torch.full(shape, 0.01) for name, shape in first.dialects[1].items()}
    save_file(state, tmp_path / "normed.safetensors")
    for one, other, file in (
        (first.name, last.name, tmp_path / "normed.safetensors"),
        ("sid", "sid-rggb", ambiguous),
    ):
        found = [
            settings(BatchOptions(), load_model(f"{name}={file}", "cpu", "fp32"))
            for name in (one, other)
        ]
        assert found[0] != found[1]
        assert [each.options["network"] for each in found] == [one, other]


def test_statistics_are_stored_or_the_photos(weights: Path):
    assert load_model(weights, "cpu", "fp32", "stored").norm_statistics == "stored"
    with pytest.raises(UsageError, match="--norm-statistics mean: give stored or photo"):
        load_model(weights, "cpu", "fp32", "mean")
    with pytest.raises(UsageError, match=r"photo: .* is redi and has no batch norm; leave it out"):
        load_model(weights, "cpu", "fp32", "photo")


def test_an_entry_says_which_network_it_is(weights: Path, monkeypatch):
    entry = dataclasses.replace(registry.ENTRIES["redi"], architecture="sid-norm-last")
    monkeypatch.setattr(loading.store, "verify", lambda entry: weights)
    monkeypatch.setattr(registry, "ENTRIES", {"redi": entry})
    first, second, *_ = loading.find_source("redi").networks
    assert (first.name, second) == ("sid-norm-last", ARCHITECTURES[0])


def test_the_kind_of_sensor_must_fit(weights: Path, synthetic_raw):
    model = load_model(weights, "cpu")
    assert model.check(synthetic_raw()) == ()
    with pytest.raises(
        SensorError, match="mine is made for Bayer sensors, Example One has X-Trans"
    ):
        model.check(synthetic_raw(cfa="xtrans"))


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == find_device("cpu") == CPU
    with pytest.raises(UsageError, match="--device cuda is not there"):
        find_device("cuda")
    for wrong in ("gpu", "cuda:x", "cuda:", ""):
        with pytest.raises(UsageError, match="use auto, cpu, cuda or cuda:N"):
            find_device(wrong)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("auto") == torch.device("cuda:0")
    assert find_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UsageError, match="cuda:2 is not there"):
        find_device("cuda:2")


def test_precisions(monkeypatch):
    monkeypatch.setattr(device, "prefers_bfloat16", lambda: True)
    assert find_dtype("auto", CPU) is torch.bfloat16
    assert find_dtype("auto", CPU, bits=16) is torch.float32
    monkeypatch.setattr(device, "prefers_bfloat16", lambda: False)
    assert find_dtype("auto", CPU) is torch.float32
    assert find_dtype("bf16", CPU) is torch.bfloat16
    assert find_dtype("bf16", CPU, bits=16) is torch.bfloat16
    with pytest.raises(UsageError, match="fp16 needs CUDA"):
        find_dtype("fp16", CPU)
    with pytest.raises(UsageError, match="--precision int8"):
        find_dtype("int8", CPU)
    cuda = torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
    assert find_dtype("auto", cuda) is torch.float32
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert find_dtype("auto", cuda) is torch.float16
    assert find_dtype("fp16", cuda) is torch.float16


@pytest.mark.parametrize(
    ("text", "native"),
    [
        ("processor : 0\nflags\t\t: fpu avx512f avx512_bf16 sse\n", True),
        ("flags : fpu amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags : fpu avx512f avx512_vnni\nbugs : bf16\n", False),
        ("", False),
        ("vendor_id : AuthenticAMD\nflags : avx512f avx512_bf16\n", True),
        ("vendor_id : GenuineIntel\nflags : avx512f avx512_bf16\n", False),
        ("vendor_id : GenuineIntel\nflags : avx512f avx512_bf16 amx_bf16\n", True),
    ],
)
def test_prefers_bfloat16(tmp_path: Path, text: str, native: bool):
    (tmp_path / "cpuinfo").write_text(text)
    assert prefers_bfloat16(tmp_path / "cpuinfo") is native
    assert not prefers_bfloat16(tmp_path / "missing")


@pytest.mark.parametrize("name", ["safelight", "safelight-large"])
def test_our_own_take_their_twins_for_the_other_sensor(name: str, synthetic_raw) -> None:
    """Loaded once, on the same device, under the same lock."""
    model = load_model(name, "cpu", "fp32")
    xtrans = synthetic_raw(36, 36, "xtrans")
    assert model.for_sensor(Sensor.BAYER) is model
    twin = model.for_sensor(Sensor.XTRANS)
    assert (twin.name, twin.architecture.sensor) == (f"{name}-xtrans", Sensor.XTRANS)
    assert twin.network is model.for_sensor(Sensor.XTRANS).network
    assert twin.for_sensor(Sensor.BAYER).name == name
    assert twin.check(xtrans) == ()


def test_a_file_of_ones_own_has_no_counterpart(tmp_path: Path, synthetic_raw) -> None:
    """Whatever it is called: bundled weights would stand in for its own in silence."""
    own = tmp_path / "safelight.safetensors"
    state = load_model("safelight", "cpu", "fp32").network.state_dict()
    save_file({name: tensor * 1.01 for name, tensor in state.items()}, own)
    model = load_model(own, "cpu", "fp32")
    assert (model.name, model.counterpart) == ("safelight", None)
    with pytest.raises(SensorError, match="made for Bayer sensors"):
        enhance(synthetic_raw(36, 36, "xtrans"), model)


def test_a_copy_of_published_weights_has_its_counterpart(tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes((bundled_folder() / "safelight.safetensors").read_bytes())
    model = load_model(copy, "cpu", "fp32")
    assert model.counterpart is not None
    assert (model.name, model.counterpart.name) == ("safelight", "safelight-xtrans")
