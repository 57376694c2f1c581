from pathlib import Path

import pytest
import torch
from literal_ms_ssim import literal_ms_ssim
from safetensors.torch import save_file
from torch import Tensor, nn

from darkroom.evaluation.published.redi import Norms, PublishedRedi, RediForm, load_network
from darkroom.models.loading import load_model
from darkroom.training.pairs.loss import redi_loss
from darkroom.training.pairs.networks.redi import make_redi

FORMS = {
    "redi": ({}, RediForm(weight_norm="original")),
    "redi, two blocks": (
        {"depths": (4, 5)},
        RediForm(depths=(4, 5), joined=2, weight_norm="original"),
    ),
    "redi-group-norm": (
        {"groups": 32},
        RediForm(weight_norm="original", norms=Norms("before")),
    ),
    "redi-xtrans": ({"channels": 9}, RediForm(channels=9, weight_norm="original")),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def make(name: str) -> tuple[nn.Module, PublishedRedi, Tensor]:
    """The trainable network, the same as published in float64, and what both are fed."""
    options, form = FORMS[name]
    torch.manual_seed(5)
    network = make_redi(**options)  # type: ignore[arg-type]
    published = load_network(form, network.state_dict())
    side = 96 if form.channels == 4 else 64
    packed = torch.rand(1, form.channels, side, side) * 0.7 - 0.05
    return network, published, packed


@pytest.mark.parametrize("name", FORMS)
def test_a_training_step_is_that_of_the_published_code(name: str) -> None:
    """Loss and gradients, both in float64: float32's rounding moves pixels across the clamp.

    As `train.py` has it: mean absolute error, a fifth of 1 - MS-SSIM, the picture already clamped.
    The inputs are clipped at black where the photo is read.
    """
    network, published, packed = make(name)
    side = packed.shape[-1] * published.side
    picture = network(packed)
    target = (0.4 + 0.4 * picture.detach() + 0.2 * torch.randn(1, 3, side, side)).clamp(0, 1)
    assert redi_loss(picture, target).item() == pytest.approx(
        redi_loss(network.double()(packed.double()), target.double()).item(), rel=1e-5
    )
    loss = redi_loss(network(packed.double()), target.double())
    loss.backward()
    picture = published(packed.double().clamp(min=0))
    wanted = torch.nn.L1Loss()(picture, target.double())
    wanted = wanted + 0.2 * (1 - literal_ms_ssim(picture, target.double()))
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-9)
    found = dict(network.named_parameters())
    for key, parameter in published.named_parameters():
        assert found[key].grad is not None
        largest = parameter.grad.abs().max().item()
        assert largest > 0
        assert (found[key].grad - parameter.grad).abs().max().item() < 1e-9 * largest
    assert found.keys() == dict(published.named_parameters()).keys()


@pytest.mark.parametrize("name", FORMS)
def test_an_exported_file_paints_what_the_network_does(name: str, tmp_path: Path) -> None:
    network, _, packed = make(name)
    path = tmp_path / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    model = load_model(path, device="cpu", precision="fp32")
    assert model.architecture.name == name.partition(",")[0]
    with torch.no_grad():
        wanted = network.eval()(packed)
    assert wanted.std() > 0.1
    assert (model(packed) - wanted).abs().max() < 1e-5


def test_first_weights_are_the_published_ones() -> None:
    """He's, of the slope of each layer; the mean square of 10,000 and more is 4 % off at most."""
    torch.manual_seed(7)
    state = make_redi().state_dict()

    def gain(name: str) -> float:
        length = state[f"{name}.parametrizations.weight.original0"]
        weight = state[f"{name}.parametrizations.weight.original1"]
        assert torch.allclose(length.flatten(), weight.flatten(1).norm(dim=1))
        return float(weight.square().mean() * weight[0].numel())

    rectified = 2 / (1 + 0.2**2)
    for name, wanted in {
        "RDB1.dense_layers.0.conv.0": rectified,
        "RDB2.dense_layers.3.conv.1": rectified,
        "RDB3.dense_layers.4.conv.1": 1.0,
        "resblock8x.conv1.0": rectified,
        "resblock8x.conv2.0": 1.0,
        "conv32x.1.0": 1.0,
        "conv32_8_cat.1.0": rectified,
    }.items():
        assert gain(name) == pytest.approx(wanted, rel=0.04), name


def test_the_network_has_the_published_number_of_parameters() -> None:
    """Source: the authors' README."""
    assert sum(one.numel() for one in make_redi().parameters()) == 784_768


def test_it_learns_two_pairs_by_heart() -> None:
    """The scaled form of what it does on real pairs: ten steps on two smooth pictures."""
    network, _, _ = make("redi")
    rows = torch.linspace(0, 1, 192)
    target = torch.stack([rows[:, None] * rows, rows[:, None] * (1 - rows)])[:, None]
    target = 0.1 + 0.8 * target.expand(-1, 3, -1, -1)
    packed = (target[:, :1, ::2, ::2] ** 2).expand(-1, 4, -1, -1).contiguous()
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    errors = []
    for _ in range(12):
        picture = network(packed)
        errors.append((picture - target).square().mean().item())
        optimiser.zero_grad()
        redi_loss(picture, target).backward()
        optimiser.step()
    assert errors[-1] < 0.3 * errors[0]
