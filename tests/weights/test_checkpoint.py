"""Checkpoints in every wrapping, and every hostile or broken file as one clear line."""

import contextlib
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from darkroom.errors import CheckpointError
from darkroom.weights import checkpoint
from darkroom.weights.checkpoint import read_checkpoint

STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.ones(3).half()}


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor] = STATE) -> bool:
    equal = (torch.equal(found[key], wanted[key]) for key in found)
    return found.keys() == wanted.keys() and all(equal)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {"params_ema": state, "params": {"x": torch.zeros(1)}},
        lambda state: {f"_orig_mod.module.{k}": v for k, v in state.items()},
        lambda state: {k: torch.nn.Parameter(v) for k, v in state.items()},
    ],
)
def test_torch_files_in_every_wrapping(tmp_path: Path, legacy: bool, wrap: Callable):
    path = tmp_path / "weights"
    torch.save(wrap(STATE), path, _use_new_zipfile_serialization=not legacy)
    found = read_checkpoint(path)
    assert same(found)
    assert not any(tensor.requires_grad for tensor in found.values())


def test_safetensors(tmp_path: Path):
    save_file(STATE, tmp_path / "weights.safetensors")
    assert same(read_checkpoint(tmp_path / "weights.safetensors"))


class Code:
    """An object whose unpickling would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickles_that_run_code_are_refused_and_do_not_run(tmp_path: Path, legacy: bool):
    proof = tmp_path / "proof"
    path = tmp_path / "weights"
    content = {"model": STATE, "extra": Code(proof)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="could run code; refused"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Code(proof)))
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not proof.exists()


def write_safetensors(path: Path, header: object, data: bytes = b"") -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 400]},
        {"dtype": "F32", "shape": [400], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]},
        {"dtype": "F99", "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]},
        {"dtype": "F32"},
        [1, 2],
    ],
)
def test_safetensors_whose_header_lies(tmp_path: Path, entry: object):
    write_safetensors(tmp_path / "w", {"a": entry}, bytes(16))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "w")
    assert "\n" not in str(caught.value)


def test_safetensors_whose_header_is_longer_than_the_file(tmp_path: Path):
    (tmp_path / "w").write_bytes(struct.pack("<Q", 2**60) + b'{"a": 1}')
    with pytest.raises(CheckpointError, match="header of 1152921504606846976 bytes"):
        read_checkpoint(tmp_path / "w")
    (tmp_path / "w").write_bytes(struct.pack("<Q", 8) + b'{"a": !}')
    with pytest.raises(CheckpointError, match="header is no JSON"):
        read_checkpoint(tmp_path / "w")


def test_truncated_at_any_byte(tmp_path: Path):
    save_file(STATE, tmp_path / "safe")
    torch.save(STATE, tmp_path / "zip")
    torch.save(STATE, tmp_path / "old", _use_new_zipfile_serialization=False)
    for name in ("safe", "zip", "old"):
        content = (tmp_path / name).read_bytes()
        for size in range(0, len(content) - 1, max(len(content) // 40, 1)):
            (tmp_path / "cut").write_bytes(content[:size])
            with pytest.raises(CheckpointError) as caught:
                read_checkpoint(tmp_path / "cut")
            assert "\n" not in str(caught.value)


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path):
    generator = torch.Generator().manual_seed(0)
    for legacy in (False, True):
        torch.save(STATE, tmp_path / "good", _use_new_zipfile_serialization=not legacy)
        content = (tmp_path / "good").read_bytes()
        places = torch.randint(len(content), (60,), generator=generator).tolist()
        for place in places:
            broken = bytearray(content)
            broken[place] ^= 0xFF
            (tmp_path / "bad").write_bytes(broken)
            with contextlib.suppress(CheckpointError):
                read_checkpoint(tmp_path / "bad")


def test_zip_bomb(tmp_path: Path):
    path = tmp_path / "bomb"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(CheckpointError, match="compressed archive"):
        read_checkpoint(path)


def test_a_few_bytes_that_pretend_to_be_a_huge_tensor(tmp_path: Path):
    huge = torch.zeros(1).expand(10**6, 10**6)
    torch.save({"a": huge}, tmp_path / "w")
    with pytest.raises(CheckpointError, match="a claims more than is stored"):
        read_checkpoint(tmp_path / "w")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_numbers(tmp_path: Path, value: float):
    save_file({"a.weight": torch.tensor([1.0, value])}, tmp_path / "w")
    with pytest.raises(CheckpointError, match=r"a\.weight holds NaN or infinity"):
        read_checkpoint(tmp_path / "w")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n <!DOCTYPE html><html>Too many requests", "is a web page"),
        (b"just some text, long enough", "is no checkpoint"),
        (b"PK\x03\x04 and nothing more", "damaged or cut off"),
        (pickle.dumps([1, 2, 3]), "damaged"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "w")


def test_things_that_are_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "w"
    for content, message in (
        ([torch.zeros(1)], "holds a list"),
        ({"epoch": 3}, "holds no tensors"),
        ({"a": torch.zeros(3, 3).to_sparse()}, "a is no plain tensor"),
        ({"a": torch.zeros(3, dtype=torch.complex64)}, "a is no plain tensor"),
    ):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(path)
    with pytest.raises(CheckpointError, match="cannot read"):
        read_checkpoint(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="not a file"):
        read_checkpoint(tmp_path)
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 10)
    with pytest.raises(CheckpointError, match="more than a checkpoint can need"):
        read_checkpoint(path)
