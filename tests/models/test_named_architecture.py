"""Files that say in their metadata which network they are of."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from darkroom.errors import CheckpointError
from darkroom.evaluation.published.sid import DOUBLE
from darkroom.models.loading import find_source, load_model
from darkroom.weights.checkpoint import ARCHITECTURE, read_architecture


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    """Tensors that fit two networks: batch norms before or after the activation."""
    return dict(DOUBLE.weights(4, 3))


def write(path: Path, weights: dict[str, torch.Tensor], name: str | None) -> Path:
    save_file(weights, path, None if name is None else {"format": "pt", ARCHITECTURE: name})
    return path


def test_headers_of_any_length_are_read(tmp_path: Path) -> None:
    """Of 128 bytes and 256 times more too, whose length begins as a pickle does."""
    found = set()
    for length in range(64):
        tensors = {"x" * (1 + 8 * length): torch.zeros(1)}
        path = write(tmp_path / "x.safetensors", tensors, "sid")
        found.add(path.read_bytes()[0])
        assert read_architecture(path) == "sid"
    assert 0x80 in found


@pytest.mark.parametrize("name", ["sid-batch-norm", "sid-norm-last"])
def test_the_named_network_is_taken_without_a_word(
    tmp_path: Path, weights: dict[str, torch.Tensor], name: str
) -> None:
    path = write(tmp_path / "x.safetensors", weights, name)
    model = load_model(path, "cpu", "fp32")
    assert model.architecture.name == name
    assert model.notes == ()
    asked = load_model(f"sid-batch-norm={path}", "cpu", "fp32")
    assert asked.architecture.name == "sid-batch-norm", "the user knows better"
    unnamed = load_model(write(tmp_path / "y.safetensors", weights, None), "cpu", "fp32")
    assert "its tensors fit sid-norm-last" in unnamed.notes[0]


def test_unknown_names_and_those_of_others_are_refused(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    unknown = write(tmp_path / "u.safetensors", weights, "sid\n\x1b[31m" + "x" * 99)
    with pytest.raises(CheckpointError, match="says that it is of sid") as found:
        find_source(unknown)
    assert "\n" not in str(found.value)
    assert "\x1b" not in str(found.value)
    other = write(tmp_path / "o.safetensors", weights, "llpacknet")
    with pytest.raises(CheckpointError, match=r"o\.safetensors: no known network"):
        load_model(other, "cpu", "fp32")


def test_files_that_say_nothing_are_read_as_before(tmp_path: Path) -> None:
    for content in (b"", b"\x80\x02}q\x00.", b"PK\x03\x04", b"12345678"):
        (tmp_path / "x").write_bytes(content)
        assert read_architecture(tmp_path / "x") is None
    assert read_architecture(tmp_path / "none") is None
    (tmp_path / "x").write_bytes((2).to_bytes(8, "little") + b"{]")
    with pytest.raises(CheckpointError, match="header is no JSON"):
        read_architecture(tmp_path / "x")
