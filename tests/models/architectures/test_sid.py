"""SID's dialects, each against the network written out here from its publisher's description."""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import write_bundle
from torch import Tensor
from torch.nn import functional

from darkroom.errors import CheckpointError
from darkroom.models.architectures import ARCHITECTURES, fold, identify, sid
from darkroom.models.architectures.base import Architecture, shapes_of
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.models.tiling import plan, run_tiled
from darkroom.mosaic.packing import BAYER, XTRANS, pack
from darkroom.raw.image import Sensor

WIDTHS = {1: 32, 2: 64, 3: 128, 4: 256, 5: 512, 6: 256, 7: 128, 8: 64, 9: 32}

# float32 through 23 layers, against float64: seen are up to 2e-6 of the largest value.
TOLERANCE = 1e-5

State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@cache
def pool() -> Tensor:
    return torch.randn(8_000_000, generator=torch.Generator().manual_seed(7))


class Weights(dict[str, Tensor]):
    """Random tensors under a publisher's names, each of its own place in the pool."""

    def __init__(self) -> None:
        super().__init__()
        self.used = 0

    def add(self, name: str, *shape: int, fan: int = 0, plus: float = 0.0) -> None:
        """`fan` inputs keep the signal's size from layer to layer; without, 0.1 around `plus`."""
        size = math.prod(shape)
        values = pool()[self.used : self.used + size].reshape(shape)
        self[name] = values * math.sqrt(1.9 / fan) if fan else values * 0.1 + plus
        self.used += size

    @property
    def parameters(self) -> int:
        return sum(t.numel() for n, t in self.items() if "running" not in n and "num_b" not in n)


def mosaic(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Amplified sensor values, some below black, some beyond white."""
    return np.random.default_rng(seed).uniform(-0.2, 1.5, (height, width)).astype(np.float32)


def sid_bayer_packing(raw: np.ndarray) -> np.ndarray:
    """SID's order, clockwise: R, G, B, G; clipped as SID's scripts do."""
    corners = (raw[0::2, 0::2], raw[0::2, 1::2], raw[1::2, 1::2], raw[1::2, 0::2])
    return np.clip(np.stack(corners), 0, 1)


def sid_xtrans_packing(raw: np.ndarray) -> np.ndarray:
    """SID's nine channels, in its two halves: each channel's four sites of a 6x6 block."""
    height, width = raw.shape
    out = np.zeros((9, height // 3, width // 3), dtype=raw.dtype)
    sites = {
        0: ((0, 0), (0, 4), (3, 1), (3, 3)),
        1: ((0, 2), (0, 5), (3, 2), (3, 5)),
        2: ((0, 1), (0, 3), (3, 0), (3, 4)),
        3: ((1, 2), (2, 5), (5, 2), (4, 5)),
        4: ((2, 2), (1, 5), (4, 2), (5, 5)),
    }
    for channel, four in sites.items():
        for (down, right), (row, col) in zip(((0, 0), (0, 1), (1, 0), (1, 1)), four, strict=True):
            out[channel, down::2, right::2] = raw[row::6, col::6]
    for channel, (row, col) in enumerate(((1, 0), (1, 1), (2, 0), (2, 1)), start=5):
        out[channel] = raw[row::3, col::3]
    return np.clip(out, 0, 1)


def lrelu(x: Tensor) -> Tensor:
    return torch.maximum(0.2 * x, x)


def unet(
    x: Tensor,
    block: Callable[[int, Tensor], Tensor],
    up: Callable[[int, Tensor, Tensor], Tensor],
    pooled: Callable[[Tensor], Tensor],
    axis: int,
) -> Tensor:
    """The wiring that all of them share."""
    skips = []
    for i in range(1, 6):
        x = block(i, x)
        if i < 5:
            skips.append(x)
            x = pooled(x)
    for i in range(6, 10):
        skip = skips.pop()
        x = block(i, torch.cat([up(i, x, skip), skip], dim=axis))
    return x


# --- TensorFlow --------------------------------------------------------------------------------


def tensorflow_weights(channels: int) -> Weights:
    weights, into = Weights(), channels
    for i, width in WIDTHS.items():
        if i > 5:
            name = "Variable" + (f"_{i - 6}" if i > 6 else "")
            weights.add(name, 2, 2, width, 2 * width, fan=2 * width)
            into = 2 * width
        for j, inputs in ((1, into), (2, width)):
            weights.add(f"g_conv{i}_{j}/weights", 3, 3, inputs, width, fan=9 * inputs)
            weights.add(f"g_conv{i}_{j}/biases", width)
        into = width
    out = 12 if channels == 4 else 27
    weights.add("g_conv10/weights", 1, 1, 32, out, fan=32)
    weights.add("g_conv10/biases", out)
    return weights


def tensorflow_sid(w: State, packed: np.ndarray, side: int) -> Tensor:
    """(C, h, w) of any size, in TensorFlow's layout (N, h, w, C) within; returns (3, H, W)."""
    w = {name: tensor.double() for name, tensor in w.items()}

    def conv(x: Tensor, name: str) -> Tensor:
        kernel = w[f"{name}/weights"]  # (rows, columns, in, out)
        reach = kernel.shape[0] // 2
        padded = functional.pad(x, (0, 0, reach, reach, reach, reach))
        height, width = x.shape[1:3]
        total: Tensor | float = 0.0
        for row in range(kernel.shape[0]):
            for col in range(kernel.shape[1]):
                part = padded[:, row : row + height, col : col + width]
                total = total + part @ kernel[row, col]
        return total + w[f"{name}/biases"]

    def up(i: int, x: Tensor, skip: Tensor) -> Tensor:
        kernel = w["Variable" + (f"_{i - 6}" if i > 6 else "")]  # (rows, columns, out, in)
        spread = torch.einsum("nhwc,abdc->nhawbd", x, kernel)
        n, height, _, width, _, depth = spread.shape
        full = spread.reshape(n, 2 * height, 2 * width, depth)
        return full[:, : skip.shape[1], : skip.shape[2]]

    def pooled(x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        x = functional.pad(x, (0, 0, 0, width % 2, 0, height % 2), value=-math.inf)
        rows = torch.maximum(x[:, 0::2], x[:, 1::2])
        return torch.maximum(rows[:, :, 0::2], rows[:, :, 1::2])

    def block(i: int, x: Tensor) -> Tensor:
        return lrelu(conv(lrelu(conv(x, f"g_conv{i}_1")), f"g_conv{i}_2"))

    x = torch.from_numpy(packed).double().permute(1, 2, 0)[None]
    x = conv(unet(x, block, up, pooled, axis=3), "g_conv10")
    _, height, width, _ = x.shape
    x = x.reshape(height, width, side, side, 3)  # depth_to_space: row, column, colour
    return x.permute(4, 0, 2, 1, 3).reshape(3, height * side, width * side)


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("sensor", [Sensor.BAYER, Sensor.XTRANS])
def test_tensorflow_checkpoint(tmp_path: Path, sensor: Sensor) -> None:
    bayer = sensor is Sensor.BAYER
    weights = tensorflow_weights(4 if bayer else 9)
    assert weights.parameters == (7_760_268 if bayer else 7_762_203)
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    # What Adam keeps beside the weights.
    slot = np.zeros((3, 3, 4 if bayer else 9, 32), np.float32)
    arrays |= {"beta1_power": np.float32(0.1), "g_conv1_1/weights/Adam_1": slot}
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    index = write_bundle(tmp_path / "model.ckpt", arrays, fast=True)

    model = load_model(index, device="cpu", precision="fp32")
    assert (model.architecture.name, model.architecture.sensor) == ("sid", sensor)
    assert sum(p.numel() for p in model.network.parameters()) == weights.parameters + 480

    # 21 x 29 and 22 x 30 packed pixels: TensorFlow pools and crops odd sizes, and so do we.
    raw = mosaic(42, 58) if bayer else mosaic(66, 90)
    packed = pack(raw, BAYER if bayer else XTRANS)
    foreign = sid_bayer_packing(raw) if bayer else sid_xtrans_packing(raw)
    wanted = tensorflow_sid(weights, foreign, 2 if bayer else 3)
    found = run_tiled(model, torch.from_numpy(packed), "off")
    assert found.shape == wanted.shape == (3, *raw.shape)
    assert error(found, wanted) < TOLERANCE


def test_tensorflow_itself(tmp_path: Path) -> None:
    """The authors' graph, trained for a step by Adam, saved and run by TensorFlow."""
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    v1 = tf.compat.v1
    start = {name: tensor.numpy() for name, tensor in tensorflow_weights(4).items()}

    def conv(x, name):  # type: ignore[no-untyped-def]
        with v1.variable_scope(name):
            kernel = v1.get_variable("weights", initializer=start[f"{name}/weights"])
            bias = v1.get_variable("biases", initializer=start[f"{name}/biases"])
        return tf.nn.conv2d(x, kernel, 1, "SAME") + bias

    def block(i, x):  # type: ignore[no-untyped-def]
        for j in (1, 2):
            x = conv(x, f"g_conv{i}_{j}")
            x = tf.maximum(0.2 * x, x)
        return x

    raw = mosaic(74, 106)
    packed = sid_bayer_packing(raw).transpose(1, 2, 0)[None]
    with tf.Graph().as_default(), v1.Session() as session:
        x = entry = v1.placeholder(tf.float32, (1, *packed.shape[1:]))
        skips = []
        for i in range(1, 6):
            x = block(i, x)
            if i < 5:
                skips.append(x)
                x = tf.nn.max_pool2d(x, 2, 2, "SAME")
        for i in range(6, 10):
            kernel = v1.Variable(start["Variable" + (f"_{i - 6}" if i > 6 else "")])
            skip = skips.pop()
            up = tf.nn.conv2d_transpose(x, kernel, tf.shape(skip), strides=2)
            x = block(i, tf.concat([up, skip], 3))
        out = v1.depth_to_space(conv(x, "g_conv10"), 2)
        step = v1.train.AdamOptimizer(1e-4).minimize(tf.reduce_mean(tf.abs(out)))
        session.run(v1.global_variables_initializer())
        session.run(step, {entry: packed})
        v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
        wanted = torch.from_numpy(session.run(out, {entry: packed})[0]).permute(2, 0, 1)

    model = load_model(tmp_path / "model.ckpt.index", device="cpu", precision="fp32")
    found = model(torch.from_numpy(pack(raw, BAYER))[None])[0]
    assert model.architecture.name == "sid"
    # Both in float32 here, so both errors count.
    assert error(found, wanted.double()) < TOLERANCE


# --- PyTorch -----------------------------------------------------------------------------------


class Port:
    """A PyTorch reproduction: names of convolutions, ups and norms, and the norms' place.

    `norms` is 0, 1 (after each pair) or 2 (after each convolution); `last` the last kernel's side.
    """

    def __init__(
        self,
        first: str,
        second: str,
        up: str = "up{}",
        last: str = "conv10",
        norms: tuple[str, ...] = (),
        norm_last: bool = False,
        side: int = 1,
    ) -> None:
        self.first, self.second, self.up, self.last = first, second, up, last
        self.norms, self.norm_last, self.side = norms, norm_last, side

    def norm_names(self, i: int) -> tuple[str | None, str | None]:
        """The norms after the first and after the second convolution of a level."""
        first, second = (None, None, *(name.format(i) for name in self.norms))[-2:]
        return first, second

    def weights(self, channels: int) -> Weights:
        weights, into = Weights(), channels
        for i, width in WIDTHS.items():
            if i > 5:
                weights.add(f"{self.up.format(i)}.weight", 2 * width, width, 2, 2, fan=2 * width)
                weights.add(f"{self.up.format(i)}.bias", width)
                into = 2 * width
            names = ((self.first, into), (self.second, width))
            for (name, inputs), norm in zip(names, self.norm_names(i), strict=True):
                weights.add(f"{name.format(i)}.weight", width, inputs, 3, 3, fan=9 * inputs)
                weights.add(f"{name.format(i)}.bias", width)
                if norm is not None:
                    weights.add(f"{norm}.weight", width, plus=1)
                    weights.add(f"{norm}.bias", width)
                    weights.add(f"{norm}.running_mean", width)
                    weights.add(f"{norm}.running_var", width, plus=1)
                    weights[f"{norm}.num_batches_tracked"] = torch.tensor(161_000)
            into = width
        out = 12 if channels == 4 else 27
        weights.add(f"{self.last}.weight", out, 32, self.side, self.side, fan=32 * self.side**2)
        weights.add(f"{self.last}.bias", out)
        return weights

    def run(self, w: State, x: Tensor) -> Tensor:
        """(N, C, h, w) in SID's packing -> (N, 3, H, W); odd sizes as some of the ports do."""
        w = {name: tensor.double() for name, tensor in w.items()}

        def norm(x: Tensor, name: str | None) -> Tensor:
            if name is None:
                return x
            parts = (w[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
            mean, variance, weight, bias = (part.view(-1, 1, 1) for part in parts)
            return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

        def block(i: int, x: Tensor) -> Tensor:
            for name, after in zip((self.first, self.second), self.norm_names(i), strict=True):
                layer = name.format(i)
                x = functional.conv2d(x, w[f"{layer}.weight"], w[f"{layer}.bias"], padding=1)
                x = norm(lrelu(x), after) if self.norm_last else lrelu(norm(x, after))
            return x

        def up(i: int, x: Tensor, skip: Tensor) -> Tensor:
            name = self.up.format(i)
            x = functional.conv_transpose2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=2)
            return x[:, :, : skip.size(2), : skip.size(3)]

        def pooled(x: Tensor) -> Tensor:
            return functional.max_pool2d(x, 2, ceil_mode=True)

        x = unet(x.double(), block, up, pooled, axis=1)
        weight, bias = w[f"{self.last}.weight"], w[f"{self.last}.bias"]
        x = functional.conv2d(x, weight, bias, padding=self.side // 2)
        return functional.pixel_shuffle(x, 2 if len(bias) == 12 else 3)


SEQUENCE = "conv{}.double_conv2d."
PORTS = {
    "named": Port("conv{}_1", "conv{}_2", "upv{}", "conv10_1"),
    "sequence": Port(SEQUENCE + "0", SEQUENCE + "2"),
    "no norm, 3x3": Port("conv{}", "conv{}_2", side=3),
    "single": Port("conv{}", "conv{}_2", norms=("bn{}",), side=3),
    "double": Port("conv{}", "conv{}_2", norms=("bn{}", "bn{}_1"), side=3),
    "single, numbered": Port(SEQUENCE + "0", SEQUENCE + "2", norms=(SEQUENCE + "3",)),
    "double, numbered": Port(
        SEQUENCE + "0", SEQUENCE + "3", norms=(SEQUENCE + "1", SEQUENCE + "4"), side=3
    ),
    "single, norm last": Port(
        SEQUENCE + "0", SEQUENCE + "2", norms=(SEQUENCE + "4",), norm_last=True, side=3
    ),
    "double, norm last": Port(
        SEQUENCE + "0",
        SEQUENCE + "3",
        norms=(SEQUENCE + "2", SEQUENCE + "5"),
        norm_last=True,
        side=3,
    ),
}
CASES = [
    ("named", 4, 7_760_748, "sid"),
    ("named", 9, 7_762_683, "sid"),
    ("sequence", 4, 7_760_748, "sid"),
    ("no norm, 3x3", 4, 7_763_820, "sid-batch-norm"),
    ("single", 4, 7_766_764, "sid-batch-norm"),
    ("double", 4, 7_769_708, "sid-batch-norm"),
    ("single, numbered", 4, 7_763_692, "sid-batch-norm"),
    ("double, numbered", 4, 7_769_708, "sid-batch-norm"),
    ("single, norm last", 4, 7_766_764, "sid-batch-norm"),
    ("double, norm last", 4, 7_769_708, "sid-batch-norm"),
]


def photo(channels: int) -> tuple[Tensor, Tensor]:
    """A photo whose size is a multiple of nothing, packed by darkroom and by SID."""
    raw = mosaic(58, 74) if channels == 4 else mosaic(78, 102)
    packed = pack(raw, BAYER if channels == 4 else XTRANS)
    foreign = sid_bayer_packing(raw) if channels == 4 else sid_xtrans_packing(raw)
    return torch.from_numpy(packed), torch.from_numpy(foreign)[None]


@pytest.mark.parametrize(("dialect", "channels", "parameters", "name"), CASES)
def test_pytorch_checkpoint(
    tmp_path: Path, dialect: str, channels: int, parameters: int, name: str
) -> None:
    port = PORTS[dialect]
    weights = port.weights(channels)
    wrapped = {f"module.{key}": tensor for key, tensor in weights.items()}
    path = tmp_path / "model.pth"
    torch.save({"model": wrapped} if channels == 4 else dict(weights), path)

    model = load_model(path, device="cpu", precision="fp32")
    assert model.architecture.name == name
    assert weights.parameters == parameters

    packed, foreign = photo(channels)
    wanted = port.run(weights, foreign)[0]
    found = run_tiled(model, packed, "off")
    assert found.shape == wanted.shape
    assert error(found, wanted) < TOLERANCE


def test_named_norms_after_the_activation_when_asked_for(tmp_path: Path) -> None:
    port = Port("conv{}", "conv{}_2", norms=("bn{}", "bn{}_1"), norm_last=True, side=3)
    weights = port.weights(4)
    architecture = next(a for a in ARCHITECTURES if a.name == "sid-norm-last")
    packed, foreign = photo(4)
    wanted = port.run(weights, foreign)
    assert error(architecture.load(weights)(packed[None]), wanted) < TOLERANCE
    # The names alone mean the published order, which gives another picture.
    assert identify(shapes_of(weights)).name == "sid-batch-norm"
    other = identify(shapes_of(weights)).load(weights)(packed[None])
    assert error(other, wanted) > 1e-2


def test_missing_up_biases_are_zero() -> None:
    weights = PORTS["named"].weights(4)
    zeroed = {
        name: torch.zeros_like(tensor)
        if name.startswith("upv") and name.endswith("bias")
        else tensor
        for name, tensor in weights.items()
    }
    without = {name: tensor for name, tensor in zeroed.items() if bool(tensor.any())}
    assert len(without) == len(weights) - 4
    architecture = identify(shapes_of(without))
    packed, _ = photo(4)
    found, wanted = architecture.load(without), architecture.load(zeroed)
    assert torch.equal(found(packed[None]), wanted(packed[None]))


def test_unknown_file_names_the_nearest_dialect() -> None:
    shapes = shapes_of(PORTS["named"].weights(4))
    del shapes["conv3_1.bias"]
    with pytest.raises(CheckpointError, match=r"nearest is sid, with 1 missing \(conv3_1\.bias\)"):
        identify(shapes)


def test_another_shape_is_another_network() -> None:
    shapes = shapes_of(PORTS["named"].weights(4)) | {"conv10_1.weight": (12, 32, 2, 2)}
    assert not any(a.recognise(shapes) for a in ARCHITECTURES)


def test_input_is_clipped_at_black_and_white() -> None:
    network = small(4)
    x = torch.linspace(-1, 3, 4 * 32 * 32).reshape(1, 4, 32, 32).double()
    assert torch.equal(network(x), network(x.clamp(0, 1)))
    assert not torch.equal(network(x), network(x.clamp(0, 0.9)))


# --- the grid and the reach --------------------------------------------------------------------


@pytest.fixture
def _one_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach does not depend on widths, so measure it on the narrowest network."""
    monkeypatch.setattr(sid, "WIDTHS", (1,) * 9)


def small(channels: int, last: int = 1) -> sid.SID:
    torch.manual_seed(0)
    return sid.SID(channels, last).double().eval().requires_grad_(False)


@pytest.mark.usefixtures("_one_wide")
@pytest.mark.parametrize(("number", "channels", "last"), [(0, 4, 1), (1, 9, 1), (2, 4, 3)])
def test_halo_by_impulse(number: int, channels: int, last: int) -> None:
    architecture = sid.ARCHITECTURES[number]
    network = small(channels, last)
    for name, parameter in network.named_parameters():
        # All positive and no bias: nothing cancels and no maximum hides the impulse.
        parameter.fill_(0.0 if name.endswith("bias") else 1 / parameter[0].numel())
    size, middle = 272, 128
    reach = 0
    for phase in range(architecture.multiple):
        at = middle + phase
        x = torch.zeros(1, channels, size, architecture.multiple, dtype=torch.float64)
        x[:, :, at] = 1
        for lines in (network(x), network(x.mT).mT):
            reached = lines[0].amax((0, 2)).nonzero().flatten() // architecture.scale
            reach = max(reach, at - int(reached[0]), int(reached[-1]) - at)
    assert reach == architecture.halo


@pytest.mark.usefixtures("_one_wide")
@pytest.mark.parametrize("channels", [4, 9])
def test_tiles_on_the_grid_equal_the_whole(channels: int) -> None:
    architecture: Architecture = sid.ARCHITECTURES[0 if channels == 4 else 1]
    network = small(channels)
    x = torch.rand(1, channels, 288, 16, dtype=torch.float64)
    whole = network(x)
    margin = math.ceil(architecture.halo / architecture.multiple) * architecture.multiple
    core, scale = 16, architecture.scale
    start = margin + 32
    tile = network(x[:, :, start - margin : start + core + margin])
    wanted = whole[:, :, start * scale : (start + core) * scale]
    assert torch.allclose(
        tile[:, :, margin * scale : (margin + core) * scale], wanted, rtol=0, atol=1e-12
    )
    off = network(x[:, :, start - margin + 1 : start + core + margin + 1])
    shifted = off[:, :, (margin - 1) * scale : (margin - 1 + core) * scale]
    assert not torch.allclose(shifted, wanted, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("_one_wide")
@pytest.mark.parametrize(("number", "channels", "last"), [(0, 4, 1), (1, 9, 1), (2, 4, 3)])
def test_tiles_end_where_the_photo_does(number: int, channels: int, last: int) -> None:
    known, cpu = sid.ARCHITECTURES[number], torch.device("cpu")
    network = small(channels, last).float()
    model = Model("small", network, known, known.output, known.gain_rule, cpu, torch.float32)
    packed = torch.rand(channels, 275, 21)
    whole = network(packed[None])[0]
    assert whole.shape == (3, 275 * known.scale, 21 * known.scale)
    tile = 32 * known.scale
    assert len(plan(model, packed, tile)) == 9
    for option in ("off", tile):
        torch.testing.assert_close(run_tiled(model, packed, option), whole, rtol=0, atol=1e-6)
    # To continue the photo up to the grid would give another picture.
    continued = network(functional.pad(packed[None], (0, 11, 0, 13), mode="reflect"))[0]
    assert (continued[:, : whole.shape[1], : whole.shape[2]] - whole).abs().max() > 1e-3


def test_packing_order_is_its_own_inverse() -> None:
    assert [fold.SID_PACKING[i] for i in fold.SID_PACKING] == [0, 1, 2, 3]
