"""Recognition, conversion and building, on a network of one layer."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.errors import CheckpointError
from darkroom.gain import GainRule
from darkroom.models.architectures import ARCHITECTURES, find_other_readings, identify
from darkroom.models.architectures.base import Architecture, State, difference, filled, shapes_of
from darkroom.raw.image import Sensor
from darkroom.weights.registry import Output


class One(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 12, 1)


def build(state: State) -> nn.Module:
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    return filled(One, state)


def convert(state: State) -> State:
    assert {tensor.dtype for tensor in state.values()} == {torch.float64}
    return {f"conv.{name}": tensor for name, tensor in state.items()}


SHAPES = {"weight": (12, 4, 1, 1), "bias": (12,)}
ONE = Architecture(
    "one",
    Sensor.BAYER,
    1,
    0,
    output=Output.CAMERA,
    gain_rule=GainRule.PERCENTILE,
    recognise=lambda shapes: dict(shapes) == SHAPES,
    convert=convert,
    build=build,
    dialects=(SHAPES,),
)


def test_load_converts_in_double_and_builds_in_single():
    state = {"weight": torch.randn(12, 4, 1, 1).half(), "bias": torch.ones(12)}
    assert identify(shapes_of(state), (ONE,)) is ONE
    network = ONE.load(state)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(network.get_parameter("conv.weight"), state["weight"].float())


def test_load_refuses_what_conversion_makes_infinite():
    state = {
        "weight": torch.full((12, 4, 1, 1), 1e300, dtype=torch.float64),
        "bias": torch.ones(12),
    }
    with pytest.raises(CheckpointError, match=r"one: conv\.weight is not finite"):
        ONE.load(state)


def test_filled_says_what_does_not_fit():
    with pytest.raises(CheckpointError, match=r"1 missing \(conv\.bias\); 1 unexpected \(extra\)"):
        filled(One, {"conv.weight": torch.zeros(12, 4, 1, 1), "extra": torch.zeros(1)})


def test_unknown_files_name_the_nearest_network():
    with pytest.raises(CheckpointError, match=r"nearest is one, with 1 missing \(bias\)"):
        identify({"weight": (12, 4, 1, 1)}, (ONE,))
    with pytest.raises(CheckpointError, match=r"nearest is one, with 1 of other shape \(bias\)"):
        identify({"weight": (12, 4, 1, 1), "bias": (3,)}, (ONE,))
    with pytest.raises(CheckpointError, match="none of its 1 tensors is named as in one"):
        identify({"fc.weight": (10, 10)}, (ONE,))


def test_difference_is_empty_for_equals_and_short_for_many():
    assert difference(SHAPES, SHAPES) == ""
    assert difference({}, {f"k{i}": (1,) for i in range(9)}) == "9 missing (k0, k1, k2, ...)"


def test_every_network_recognises_its_own_dialects():
    for architecture in ARCHITECTURES:
        assert architecture.multiple >= 1, architecture.name
        assert architecture.halo is None or architecture.halo >= 1, architecture.name
        for dialect in architecture.dialects:
            assert architecture.recognise(dialect), architecture.name
            # Another may come first where only the order of layers differs, which shapes hide.
            assert identify(dialect).sensor is architecture.sensor, architecture.name


class Shuffled(One):
    """One, that shuffles its twelve channels into a picture and leaves light above `limit`."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, packed: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.conv(packed.clamp(0, self.limit)), 2)


def reading(name: str, limit: float = 1.0, order: tuple[int, ...] = (0, 1, 2, 3)) -> Architecture:
    """A network of the same names and shapes as ONE; `order`: of its input's channels."""

    def fold(state: State) -> State:
        return {"conv.weight": state["weight"][:, list(order)], "conv.bias": state["bias"]}

    def make(state: State) -> nn.Module:
        return filled(lambda: Shuffled(limit), state)

    return replace(ONE, name=name, convert=fold, build=make)


def test_other_readings_are_networks_that_make_another_picture():
    state = {"weight": torch.randn(12, 4, 1, 1), "bias": torch.randn(12)}
    first, same = reading("first"), reading("same")
    swapped, open_ended = reading("swapped", order=(0, 1, 3, 2)), reading("open", limit=9.0)
    other = replace(reading("other"), recognise=lambda shapes: False)
    loud = replace(reading("loud"), gain_rule=GainRule.REDI)
    # A name for each meaning that is not the first's; the order is that of their registration.
    known = (first, same, swapped, other, open_ended, loud)
    names = [one.name for one in find_other_readings(state, identify(SHAPES, known), known)]
    assert names == ["swapped", "open", "loud"]
    # With weights that are equal for all channels the order has no meaning.
    equal = {"weight": torch.ones(12, 4, 1, 1), "bias": torch.ones(12)}
    assert find_other_readings(equal, first, (first, swapped)) == ()
    # Nor can tensors be those of a network in which they are not finite.
    broken = replace(swapped, convert=lambda state: {n: t / 0 for n, t in state.items()})
    assert find_other_readings(state, first, (first, broken)) == ()


@pytest.mark.parametrize("network", ARCHITECTURES, ids=lambda network: network.name)
def test_a_tensor_of_another_shape_is_refused_in_one_line(network: Architecture) -> None:
    """Of each dialect some tensors, each in other shapes: before, a third ended in a traceback."""
    refused = []
    for dialect in network.dialects:
        names = sorted(dialect)
        for name in names[:: max(len(names) // 3, 1)]:
            for other in ((), tuple(size + 1 for size in dialect[name])):
                shapes = {**dialect, name: other}
                try:
                    identify(shapes).outline(shapes)
                except CheckpointError as error:
                    refused.append(str(error))
    assert refused
    assert not any("\n" in line for line in refused)
