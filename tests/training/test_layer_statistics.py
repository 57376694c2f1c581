"""Root mean squares of layers during a step: against numpy, by published names, and drawn."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from darkroom.training.layer_statistics import draw_layer_curves, watch_layers

TOLERANCE = 1e-6
"""Relative: float32 sums of a few hundred squares, against float64."""


class Network(nn.Module):
    """A plain layer, one under each kind of weight norm, one that is frozen, a free parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1_1 = nn.Conv2d(4, 6, 3, padding=1)
        with pytest.warns(FutureWarning, match="weight_norm"):
            self.old = nn.utils.weight_norm(nn.Conv2d(6, 6, 3, padding=1))
        self.new = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(6, 5, 1)))
        self.frozen = nn.Conv2d(5, 3, 1).requires_grad_(False)
        self.idle = nn.Linear(2, 2)
        self.gain = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.conv1_1(x))
        return self.gain * self.frozen(self.new(torch.relu_(self.old(x))))


def rms(*values: Tensor) -> float:
    flat = np.concatenate([value.detach().double().numpy().ravel() for value in values])
    return float(np.sqrt(np.mean(flat**2)))


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network()


def test_each_layer_as_numpy_measures_it(network: Network) -> None:
    x = torch.randn(2, 4, 8, 8)
    with watch_layers(network) as watched:
        picture = network(x)
        picture.square().mean().backward()
        found = watched.read()
    # In the order of the network, under its own names: neither _v, _g nor parametrizations.
    assert list(found) == ["network", "conv1_1", "old", "new.0", "frozen", "idle"]
    first, old, new = network.conv1_1, network.old, network.new[0]
    parts = new.parametrizations.weight
    # Before the rectifier, which works in place.
    assert found["conv1_1"]["activation"] == pytest.approx(rms(first(x)), rel=TOLERANCE)
    assert found["network"]["activation"] == pytest.approx(rms(picture), rel=TOLERANCE)
    for layer, weight, gradients in (
        ("conv1_1", first.weight, [first.weight.grad]),
        ("old", old.weight, [old.weight_v.grad, old.weight_g.grad]),
        ("new.0", new.weight, [parts.original0.grad, parts.original1.grad]),
        ("network", network.gain, [network.gain.grad]),
    ):
        assert found[layer]["weight"] == pytest.approx(rms(weight), rel=TOLERANCE)
        assert found[layer]["gradient"] == pytest.approx(rms(*gradients), rel=TOLERANCE)
    assert list(found["frozen"]) == ["activation", "weight"]
    assert list(found["idle"]) == ["weight"]
    assert not any(module._forward_hooks for module in network.modules())


def test_passes_are_taken_together_and_nothing_changes(network: Network) -> None:
    one, two = torch.randn(2, 1, 4, 8, 8)
    plain = network(one)
    with watch_layers(network) as watched, torch.autocast("cpu", torch.bfloat16):
        network(one)
        network(two)
    both = rms(network.conv1_1(torch.cat([one, two])))
    assert watched.read()["conv1_1"]["activation"] == pytest.approx(both, rel=4e-3)  # bfloat16's
    assert torch.equal(network(one), plain)


def test_curves_show_every_layer_over_the_steps() -> None:
    from matplotlib.figure import Figure

    statistics = {"gradient": 1e-3, "activation": 0.5, "weight": 0.1}
    layers = {f"conv{n}": statistics for n in range(60)} | {"frozen": {"weight": 1.0}}
    history = [(step, layers) for step in (100, 200)]
    figure = Figure()
    draw_layer_curves(history, figure)
    gradient, activation, weight = figure.axes
    assert [len(axes.lines) for axes in figure.axes] == [60, 60, 61]
    assert gradient.lines[0].get_xydata().tolist() == [[100, 1e-3], [200, 1e-3]]
    assert activation.get_yscale() == "log"
    # A legend names at most 24 of them: every third.
    assert len(weight.get_legend().get_texts()) == 21
    figure.canvas.draw()


def test_what_is_not_positive_is_left_out_of_logarithmic_curves() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    dead = {"dead": {"gradient": 0.0, "activation": float("nan"), "weight": 1.0}}
    draw_layer_curves([(1, dead)], figure)
    assert [len(axes.lines) for axes in figure.axes] == [0, 0, 1]
    draw_layer_curves([], Figure())
