"""REDI with group norms against the network as published, its layers normed."""

from pathlib import Path

import parity
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from darkroom.errors import CheckpointError, TooLargeError, UsageError
from darkroom.evaluation.published import Published
from darkroom.evaluation.published import redi as published
from darkroom.evaluation.published.redi import BLOCK, EVERY, FINE, Norms, RediForm
from darkroom.models import tiling
from darkroom.models.architectures import (
    ARCHITECTURES,
    find_architectures,
    identify,
    redi_group_norm,
)
from darkroom.models.architectures.base import Shapes, shapes_of
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.models.tiling import run_tiled

NORMED = [one for one in published.PUBLISHED if "norm" in one.network]
BEFORE = RediForm(norms=Norms("before"))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def photo(rows: int = 53, cols: int = 41) -> tuple[Tensor, Tensor]:
    """A packed photo whose size is a multiple of nothing, and the same continued to the grid."""
    packed = torch.rand(4, rows, cols) * 0.7 - 0.05
    more = (0, -cols % 16, 0, -rows % 16)
    return packed, functional.pad(packed[None], more, mode="reflect")


def shapes_with(norms: Norms) -> Shapes:
    return shapes_of(published.make_weights(RediForm(norms=norms), 0))


@pytest.mark.parametrize("one", NORMED, ids=lambda one: f"{one.network}, {one.dialect}")
def test_checkpoint(tmp_path: Path, one: Published) -> None:
    state = one.weights(1)
    model = parity.load_published(one, state, tmp_path / "weights")
    assert model.architecture.name == one.network
    assert parity.error(one, state, model) < parity.TOLERANCE
    unused = "two of three" in one.dialect
    assert unused or any("RDB3" in name for name, _ in model.network.named_parameters())
    assert not (unused and any("RDB3" in name for name, _ in model.network.named_parameters()))


@pytest.mark.parametrize("network", ["redi-group-norm-8", "redi-instance-norm"])
def test_another_number_of_groups_is_another_picture(tmp_path: Path, network: str) -> None:
    one = next(one for one in NORMED if one.network == network)
    state = one.weights(1)
    torch.save({"model": state}, tmp_path / "weights")
    model = load_model(tmp_path / "weights", device="cpu", precision="fp32")
    assert model.architecture.name == "redi-group-norm"  # 32, where nobody says otherwise
    assert parity.error(one, state, model) > 1e-3


def test_parameters() -> None:
    """Those of REDI, and two for each channel that a dense layer reads."""
    norms = 2 * sum(64 + 32 * j for depth in (4, 5, 5) for j in range(depth))
    state = published.make_weights(RediForm(weight_norm="weight_g", norms=Norms("before")), 0)
    known = redi_group_norm.ARCHITECTURES[0].dialects[0]
    counted = sum(int(torch.Size(shape).numel()) for shape in known.values())
    assert counted == sum(t.numel() for t in state.values()) == 784_768 + norms == 788_224


@pytest.mark.parametrize(
    ("norms", "names"),
    [
        (Norms("before"), ["group-norm", *(f"group-norm-{n}" for n in (16, 8, 4, 2, 1))]),
        (Norms("after", EVERY, 4), ["group-norm-4", "group-norm-2", "group-norm-1"]),
        (Norms("after", FINE, 4), [f"group-norm-{n}" for n in (4, 2, 1, 3, 6, 12)]),
        (
            Norms("last", BLOCK),
            ["group-norm", *(f"group-norm-{n}" for n in (16, 8, 4, 2, 1, 64))],
        ),
    ],
)
def test_every_number_of_groups_that_fits_has_a_name_and_no_other(
    norms: Norms, names: list[str]
) -> None:
    """Tensors cannot tell them apart, so each can be asked for; the first is the default."""
    shapes = shapes_with(norms)
    found = [a.name for a in ARCHITECTURES if a.recognise(shapes)]
    assert found == [f"redi-{name}" for name in (*names, "instance-norm")]


def test_norms_that_do_not_fit_are_another_network() -> None:
    shapes = shapes_with(Norms("after", EVERY, 4))
    assert identify(shapes).name == "redi-group-norm-4"
    for name in ("redi-group-norm", "redi-group-norm-8"):
        (architecture,) = find_architectures(name)
        assert not architecture.recognise(shapes)
    without = {name: shape for name, shape in shapes.items() if not name.startswith("rdball.1.b")}
    with pytest.raises(CheckpointError, match="nearest is redi"):
        identify(without)
    narrow = shapes | {"rdball.1.weight": (63,), "rdball.1.bias": (63,)}
    with pytest.raises(CheckpointError, match="nearest is redi"):
        identify(narrow)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    torch.save(published.make_weights(BEFORE, 1), tmp_path / "weights")
    return load_model(tmp_path / "weights", device="cpu", precision="fp32")


def test_it_runs_in_one_piece_or_not_at_all(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, grid = photo()
    wanted = model(grid)[0, :, : 2 * 53, : 2 * 41]
    for option in ("auto", "off", 4096):
        assert torch.equal(run_tiled(model, packed, option), wanted)
    with pytest.raises(UsageError, match=r"--tile 64: .* runs in one piece; use --tile off"):
        run_tiled(model, packed, 64)
    monkeypatch.setattr(tiling, "usable", lambda device: 10**6)
    with pytest.raises(TooLargeError, match=r"82x106 needs .* GB in one piece"):
        run_tiled(model, packed, "auto")
    assert torch.equal(run_tiled(model, packed, "off"), wanted)


def test_a_part_is_not_what_it_is_in_the_whole(model: Model) -> None:
    """Why there are no tiles: the far half changes the near one."""
    packed = torch.rand(1, 4, 1024, 16) * 0.5
    changed = packed.clone()
    changed[:, :, 768:] *= 1.5
    near = model(packed)[..., :32, :] - model(changed)[..., :32, :]
    assert near.abs().max() > 1e-3
