"""What a run goes on from: to the last bit, and never from half a file."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from darkroom.errors import UsageError
from darkroom.training.state import load_optimiser, read_state, write_state


def test_everything_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    state = {
        "numbers": {0: 0.1 + 0.2, 7: 5e-324, 9: math.inf},
        "tensors": [torch.randn(3, 4, 5, 5).to(memory_format=torch.channels_last), torch.tensor(3)],
        "texts": {"a": None, "b": "é", "c": True},
    }
    write_state(tmp_path / "state", state)
    again = read_state(tmp_path / "state")
    assert again["numbers"] == state["numbers"]
    assert again["texts"] == state["texts"]
    assert all(map(torch.equal, again["tensors"], state["tensors"]))


@pytest.mark.parametrize("kind", ["adam", "fused"])
def test_an_optimiser_goes_on_as_if_never_stopped(tmp_path: Path, kind: str) -> None:
    """Weights with channels last too, over which a fused step walks in memory's order."""

    def steps(layer: nn.Conv2d, optimiser: torch.optim.Optimizer, seeds: range) -> None:
        for seed in seeds:
            torch.manual_seed(seed)
            layer.weight.grad = torch.randn(6, 5, 3, 3).to(memory_format=torch.channels_last)
            optimiser.step()

    def begin() -> tuple[nn.Conv2d, torch.optim.Optimizer]:
        torch.manual_seed(0)
        layer = nn.Conv2d(5, 6, 3, bias=False).to(memory_format=torch.channels_last)
        return layer, torch.optim.AdamW(layer.parameters(), 0.1, fused=kind == "fused")

    straight, optimiser = begin()
    steps(straight, optimiser, range(6))
    stopped, optimiser = begin()
    steps(stopped, optimiser, range(3))
    both = {"network": stopped.state_dict(), "optimiser": optimiser.state_dict()}
    write_state(tmp_path / "state", both)
    resumed, optimiser = begin()
    state = read_state(tmp_path / "state")
    resumed.load_state_dict(state["network"])
    load_optimiser(optimiser, state["optimiser"])
    steps(resumed, optimiser, range(3, 6))
    assert torch.equal(resumed.weight, straight.weight)


def test_a_damaged_file_or_anothers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_state(path, {"step": 3, "one": torch.ones(100)})
    whole = path.read_bytes()
    for content in (
        whole[:-1],
        whole[:50],
        b"",
        b"{}",
        whole.replace(b"darkroom-t", b"somebody-t"),
    ):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="is damaged, or of another kind of training"):
            read_state(path)
    with pytest.raises(UsageError):
        read_state(tmp_path / "none")
