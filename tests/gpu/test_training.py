"""A training step on the device is that on the processor; half precision and resuming work."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from darkroom.training import trainer
from darkroom.training.trainer import Recipe, TrainingRun, draw_batch

RECIPE = Recipe(steps=4, batch=2, size=96)


@pytest.fixture(autouse=True)
def _float32_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(trainer, "WIDTHS", (16, 16, 16, 16))


def photographs() -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [random.integers(0, 256, (160, 160, 3), dtype=np.uint8) for _ in range(3)]


def begin(device: str, bfloat16: bool) -> TrainingRun:
    run = TrainingRun(replace(RECIPE, device=device))
    run.bfloat16 = bfloat16
    return run


def advance(run: TrainingRun) -> float:
    return run.advance(draw_batch(photographs(), run.recipe, run.step)).loss


@pytest.mark.parametrize(("bfloat16", "tolerance"), [(False, 1e-3), (True, 3e-2)])
def test_a_step_is_the_processors(
    bfloat16: bool, tolerance: float, device: torch.device, figures: dict[str, Any]
) -> None:
    """Losses to 1e-4 and 1e-2; a step's weights to a share of what the step changed them by.

    Muon's steps are as long in directions that hardly matter, where the last bits of sums decide.
    """
    here, there = begin("cpu", False), begin(str(device), bfloat16)
    start = {key: value.clone() for key, value in here.network.state_dict().items()}
    losses = [(advance(here), advance(there)) for _ in range(2)]
    off = [abs(a - b) / abs(a) for a, b in losses]
    moved = apart = 0.0
    for key, value in here.network.state_dict().items():
        moved += float((value - start[key]).double().square().sum())
        apart += float((there.network.state_dict()[key].cpu() - value).double().square().sum())
    share = (apart / moved) ** 0.5
    kind = "bf16" if bfloat16 else "fp32"
    figures.setdefault("training", {})[kind] = {"losses": off, "weights": share}
    assert off[0] <= (1e-2 if bfloat16 else 1e-4)
    assert share <= (1.0 if bfloat16 else 0.05)
    assert max(off) <= tolerance


def test_resuming_goes_on_where_it_stood(device: torch.device, tmp_path: Path) -> None:
    """To the bit: on CUDA convolutions are told to be the same each time."""
    whole = begin(str(device), True)
    losses = [advance(whole) for _ in range(3)]
    first = begin(str(device), True)
    advance(first)
    first.save(tmp_path / "state")
    second = begin(str(device), True)
    second.restore(tmp_path / "state")
    assert [advance(second) for _ in range(2)] == losses[1:]
    exported = tmp_path / "weights.safetensors"
    second.export(exported)
    assert exported.stat().st_size > 0
