from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from darkroom.gain import GainRule
from darkroom.models.loading import load_model
from darkroom.training.pairs.loss import llpacknet_loss
from darkroom.training.pairs.networks.llpacknet import TrainableAmplifier, TrainableLLPackNet

FORMS = {
    "llpacknet": {},
    "llpacknet, its amplifier": {"amplifier": True},
    "llpacknet-2020": {"year": 2020},
    "llpacknet-2020, its amplifier": {"year": 2020, "amplifier": True},
    "llpacknet-2020-pixel-shuffle": {"year": 2020, "unpack": False},
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def make(name: str) -> TrainableLLPackNet:
    torch.manual_seed(5)
    return TrainableLLPackNet(**FORMS[name])  # type: ignore[arg-type]


def mosaics(side: int = 64, count: int = 1) -> Tensor:
    random = torch.Generator().manual_seed(4)
    return torch.rand(count, side, side, generator=random) ** 4 - 0.02


def packed_of(light: Tensor) -> Tensor:
    return functional.pixel_unshuffle(light[:, None], 2)


def literal_step(
    network: TrainableLLPackNet, light: Tensor, target: Tensor, step: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one step as train.py has it, for one crop, in float64; and its parameters.

    `light`: (H, W), black 0. Of 2022 only the ends of names, weight norm and the sigmoid differ.
    """
    state = {
        key: value.detach().double().requires_grad_() for key, value in network.named_parameters()
    }
    end = ".0" if network.year == 2022 else ""
    height, width = light.shape
    low = np.maximum(light.double().numpy(), 0)

    def conv(x: Tensor, name: str) -> Tensor:
        name += end
        weight = state.get(f"{name}.weight")
        if weight is None:
            stem = f"{name}.parametrizations.weight.original"
            g, v = state[stem + "0"], state[stem + "1"]
            weight = g * v / v.pow(2).sum((1, 2, 3), keepdim=True).sqrt()
        return functional.conv2d(x, weight, state.get(f"{name}.bias"), padding="same")

    def dense(x: Tensor, name: str) -> Tensor:
        seen = x
        for i in range(6):
            new = functional.relu(conv(seen, f"{name}.dense_layers.{i}.conv"))
            seen = torch.cat((seen, new), 1)
        return conv(seen, f"{name}.conv_1x1") + x

    gain = torch.ones(())
    if network.amplifier is not None:
        edges = (np.logspace(0, 8, 64, endpoint=True, base=2.0) - 1) / 255
        values, _ = np.histogram(low, bins=edges)
        x = torch.from_numpy(values / (height * width))
        for i in range(2):
            weight = state[f"amplifier.conv_post.{i}.weight"]
            x = weight @ x + state[f"amplifier.conv_post.{i}.bias"]
        gain = torch.nn.Threshold(0, 0.0001)(x)
    branches = []
    for name, row, col in (("RDBr", 0, 0), ("RDBg1", 0, 1), ("RDBg2", 1, 0), ("RDBb", 1, 1)):
        plane = np.zeros((1, 64, height // 16, width // 16))
        for ii in range(8):
            for jj in range(8):
                plane[0, 8 * ii + jj] = low[row::2, col::2][ii::8, jj::8]
        branches.append(functional.relu(conv(torch.from_numpy(plane) * gain, name)))
    start = conv(torch.cat(branches, 1), "before_identity")
    one = dense(start, "RDB1")
    two = dense(one, "RDB2")
    three = dense(two, "RDB3")
    x = conv(torch.cat((one, two, three), 1), "after_rdb") + start
    x = conv(dense(nn.PixelShuffle(2)(x), "final.1"), "final.2")
    if network.unpack:
        picture, count = torch.zeros(1, 3, height, width, dtype=torch.float64), 0
        for ii in range(8):
            for jj in range(8):
                picture[:, :, ii::8, jj::8] = x[:, count : count + 3]
                count += 3
    else:
        picture = nn.PixelShuffle(8)(x)
    picture = torch.sigmoid(picture) if network.year == 2022 else torch.relu(picture)

    wanted = target.double()
    loss = nn.L1Loss()(wanted, picture)
    loss = loss + 1e-6 * sum(torch.sum(torch.abs(one)) for one in state.values())
    down = torch.pow(picture[:, :, 1:] - picture[:, :, :-1], 2).sum() / (3 * (height - 1) * width)
    across = torch.pow(picture[..., 1:] - picture[..., :-1], 2).sum() / (3 * height * (width - 1))
    early = step < 20_000
    loss = loss + (1000 if early else 400) * 2 * (down + across) / (3 * height * width)
    side, corner, middle = 0.044863533, 0.03797616, 0.053
    kernel = torch.tensor(
        [[corner, side, corner], [side, middle, side], [corner, side, corner]], dtype=torch.float64
    ).repeat(3, 1, 1, 1)
    blurred = (functional.conv2d(z, kernel, groups=3) for z in (picture, wanted))
    return loss + (10 if early else 1) * nn.MSELoss()(*blurred), state


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("step", [0, 20_000])
def test_a_training_step_is_that_of_the_published_code(name: str, step: int) -> None:
    """Loss and gradients, float32 through some thirty layers against float64."""
    network, light = make(name), mosaics()
    target = torch.rand(1, 3, 64, 64)
    loss = llpacknet_loss(network(packed_of(light)), target, network, step)
    loss.backward()
    wanted, state = literal_step(network, light[0], target, step)
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    for key, parameter in network.named_parameters():
        gradient = state[key].grad
        assert gradient is not None
        assert parameter.grad is not None
        bound = 1e-5 * max(gradient.abs().max().item(), 1e-3)
        assert (parameter.grad - gradient).abs().max().item() < bound, key


@pytest.mark.parametrize("name", FORMS)
def test_an_exported_file_paints_what_the_network_does(name: str, tmp_path: Path) -> None:
    """With an amplifier `enhance` finds the gain by it, and the rest paints what is amplified."""
    network, packed = make(name).eval(), packed_of(mosaics(count=2))
    path = tmp_path / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    architecture = name.partition(",")[0]
    model = load_model(f"{architecture}={path}", device="cpu", precision="fp32")
    amplified = packed
    if model.amplifier is not None:
        amplified = packed * model.amplifier(packed)[:, None, None, None]
    assert model.gain_rule is (GainRule.LLPACKNET if "amplifier" in FORMS[name] else GainRule.REDI)
    with torch.no_grad():
        wanted = network(packed)
    largest = wanted.abs().max().item()
    assert (model(amplified) - wanted).abs().max() < 1e-5 * max(largest, 1)


def test_the_amplifier_learns_from_the_first_step() -> None:
    """Of the published first weights those are drawn whose gain is positive for every photo."""
    for seed in range(20):
        torch.manual_seed(seed)
        amplifier = TrainableAmplifier()
        photos = torch.stack([torch.full((4, 8, 8), value) for value in (-1, 0, 1e-3, 0.1, 1, 7)])
        gain = amplifier(photos)
        assert gain.min() > 1e-4
        gain.sum().backward()
        assert all(one.grad is not None and one.grad.any() for one in amplifier.parameters())


def test_the_amplifier_learns_jointly_with_the_network() -> None:
    """On one dark photo, at the published rate: the gain grows and the loss falls."""
    network = make("llpacknet-2020, its amplifier")
    light = mosaics().abs()
    target = light[:, None].expand(-1, 3, -1, -1) ** 0.5
    packed = 0.01 * packed_of(light)
    assert network.amplifier is not None
    before = network.amplifier(packed).item()
    optimiser = torch.optim.Adam(network.parameters(), 1e-4)
    losses = []
    for step in range(60):
        loss = llpacknet_loss(network(packed), target, network, step)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert network.amplifier(packed).item() > 1.2 * before
    assert losses[-1] < 0.9 * losses[0]
