"""Trainable networks: what they export is read again as the same network."""

import pytest
import torch
from torch import nn

from darkroom.errors import UsageError
from darkroom.models.architectures import find_architectures, identify
from darkroom.models.architectures.base import shapes_of
from darkroom.raw.image import Sensor
from darkroom.training.pairs.networks import NETWORKS, TrainableNetwork, find_network
from darkroom.training.pairs.networks.sid import UP_STD

PUBLISHED = [network for network in NETWORKS if network.draw is None]
"""Those that take crops alone; safelight is told more, and has tests of its own."""

IDS = [f"{network.name}-{network.sensor.value}" for network in PUBLISHED]


def trained(network: TrainableNetwork) -> nn.Module:
    """A network whose weights, biases and statistics are none that a fold could ignore."""
    torch.manual_seed(1)
    module = network.make()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim == 1:
                spread = 0.1 * torch.rand_like(tensor)
                tensor.add_(spread if "var" in name else spread - 0.05)
    return module


@pytest.mark.parametrize("network", PUBLISHED, ids=IDS)
def test_the_state_dict_is_a_checkpoint_of_the_same_network(network: TrainableNetwork) -> None:
    """To 1e-5: batch norms and weight norms fold in float64, the sums are float32's."""
    module = trained(network).eval()
    state = {name: tensor.detach() for name, tensor in module.state_dict().items()}
    named = find_architectures(network.architecture)
    architecture = identify(shapes_of(state), named)
    assert architecture.sensor is network.sensor
    side = 2 * architecture.multiple
    packed = 1.5 * torch.rand(1, architecture.channels, side, side) - 0.2
    with torch.no_grad():
        ours, amplifier = module(packed), architecture.amplifier(state)
        if amplifier is not None:  # applied by whoever runs the loaded network
            packed = packed * amplifier(packed)[:, None, None, None]
        loaded = architecture.load(state)(packed)
    assert ours.shape == (1, 3, side * architecture.scale, side * architecture.scale)
    assert (ours - loaded).abs().max() <= 1e-5 * ours.abs().max().clamp(min=1)


def test_sid_begins_as_its_tensorflow_code_does() -> None:
    """Xavier's uniform: the standard deviation is sqrt(2 / (inputs + outputs)), to 2 %."""
    torch.manual_seed(2)
    module = find_network("sid", Sensor.BAYER).make()
    wide = module.get_submodule("conv5_2").get_parameter("weight")
    assert wide.std().item() == pytest.approx((2 / (9 * 1024)) ** 0.5, rel=0.02)
    assert wide.abs().max().item() <= (6 / (9 * 1024)) ** 0.5 * (1 + 1e-6)  # float32
    assert not module.get_submodule("conv5_2").get_parameter("bias").any()
    up = module.get_submodule("up6").get_parameter("weight")
    assert up.abs().max().item() <= 2 * UP_STD * (1 + 1e-6)  # float32
    # A normal cut at two standard deviations keeps 0.8796 of it.
    assert up.std().item() == pytest.approx(0.8796 * UP_STD, rel=0.02)


def test_names_are_told_where_one_is_wrong() -> None:
    with pytest.raises(UsageError, match=r"sid-batch-norm: unknown; give one of sid, .*-single"):
        find_network("sid-batch-norm")
    with pytest.raises(UsageError, match="sid-batch-norm-none is for Bayer sensors"):
        find_network("sid-batch-norm-none", Sensor.XTRANS)
    assert find_network("sid", Sensor.XTRANS).sensor is Sensor.XTRANS
