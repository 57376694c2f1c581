"""SID's dialects, each against the network as its publisher wrote it."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import write_bundle
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from darkroom.errors import CheckpointError, UsageError
from darkroom.evaluation.published import Published
from darkroom.evaluation.published import sid as published
from darkroom.evaluation.published.sid_tensorflow import pack_bayer, tensorflow_weights
from darkroom.models.architectures import (
    ARCHITECTURES,
    find_architectures,
    find_other_readings,
    fold,
    identify,
    sid,
)
from darkroom.models.architectures.base import Architecture, shapes_of
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.models.tiling import plan, run_tiled
from darkroom.mosaic.packing import BAYER, XTRANS, pack
from darkroom.raw.image import Sensor

# float32 through 23 layers, against float64: seen are up to 2e-6 of the largest value, and 7e-6
# where each norm divides by what it measured itself.
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def mosaic(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """Amplified sensor values, some below black, some beyond white."""
    return np.random.default_rng(seed).uniform(-0.2, 1.5, (height, width)).astype(np.float32)


def light(sensor: Sensor, network: str = "sid") -> NDArray[np.float32]:
    """A photo whose size is a multiple of nothing, unless the publisher's code would cut it."""
    if network == "sid-rggb":
        return mosaic(64, 96)
    return mosaic(58, 74) if sensor is Sensor.BAYER else mosaic(78, 102)


def packed(raw: NDArray[np.float32], sensor: Sensor) -> Tensor:
    return torch.from_numpy(pack(raw, BAYER if sensor is Sensor.BAYER else XTRANS))


def planes(picture: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1).double()


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).abs().max() / wanted.abs().max())


def name_of(one: Published) -> str:
    return f"{one.network}, {one.dialect}, {one.sensor.value}"


def entry(network: str, dialect: str) -> Published:
    return next(p for p in published.PUBLISHED if (p.network, p.dialect) == (network, dialect))


LAVI = entry("sid", "lavi's PyTorch")
REDI = entry("sid-rggb", "REDI's repository")


# --- TensorFlow --------------------------------------------------------------------------------


@pytest.mark.parametrize("sensor", [Sensor.BAYER, Sensor.XTRANS])
def test_tensorflow_checkpoint(tmp_path: Path, sensor: Sensor) -> None:
    (one,) = (p for p in published.PUBLISHED if p.tensorflow and p.sensor is sensor)
    weights = one.weights(7)
    parameters = sum(tensor.numel() for tensor in weights.values())
    assert parameters == (7_760_268 if sensor is Sensor.BAYER else 7_762_203)
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    # What Adam keeps beside the weights.
    slot = np.zeros_like(arrays["g_conv1_1/weights"])
    arrays |= {"beta1_power": np.float32(0.1), "g_conv1_1/weights/Adam_1": slot}
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    index = write_bundle(tmp_path / "model.ckpt", arrays, fast=True)

    model = load_model(index, device="cpu", precision="fp32")
    assert (model.architecture.name, model.architecture.sensor) == ("sid", sensor)
    assert sum(p.numel() for p in model.network.parameters()) == parameters + 480
    assert model.notes == ()

    # 21 x 29 and 22 x 30 packed pixels: TensorFlow pools and crops odd sizes, and so do we.
    raw = mosaic(42, 58) if sensor is Sensor.BAYER else mosaic(66, 90)
    wanted = planes(one.picture(weights, raw))
    found = run_tiled(model, packed(raw, sensor), "off")
    assert found.shape == wanted.shape == (3, *raw.shape)
    assert error(found, wanted) < TOLERANCE


def test_tensorflow_itself(tmp_path: Path) -> None:
    """The authors' graph, trained for a step by Adam, saved and run by TensorFlow."""
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    v1 = tf.compat.v1
    start = {name: tensor.numpy() for name, tensor in tensorflow_weights(4, seed=7).items()}

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
    given = pack_bayer(np.clip(raw, 0, 1)).transpose(1, 2, 0)[None]
    with tf.Graph().as_default(), v1.Session() as session:
        x = place = v1.placeholder(tf.float32, (1, *given.shape[1:]))
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
        session.run(step, {place: given})
        v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
        wanted = torch.from_numpy(session.run(out, {place: given})[0]).permute(2, 0, 1)

    model = load_model(tmp_path / "model.ckpt.index", device="cpu", precision="fp32")
    found = model(packed(raw, Sensor.BAYER)[None])[0]
    assert model.architecture.name == "sid"
    # Both in float32 here, so both errors count.
    assert error(found, wanted.double()) < TOLERANCE


# --- PyTorch -----------------------------------------------------------------------------------

PARAMETERS = {
    "lavi's PyTorch": 7_760_748,
    "cydonia999's PyTorch": 7_760_268,
    "numbered layers": 7_760_748,
    "no batch norm, 3x3": 7_763_820,
    "after each pair": 7_766_764,
    "after each convolution": 7_769_708,
}
"""As the publishers' own modules count them, for Bayer."""


@pytest.mark.parametrize("one", [p for p in published.PUBLISHED if not p.tensorflow], ids=name_of)
def test_pytorch_checkpoint(tmp_path: Path, one: Published) -> None:
    weights = one.weights(7)
    kept = ("running_mean", "running_var", "num_batches_tracked")
    parameters = sum(t.numel() for name, t in weights.items() if not name.endswith(kept))
    if one.sensor is Sensor.BAYER and one.dialect in PARAMETERS:
        assert parameters == PARAMETERS[one.dialect]
    wrapped = {f"module.{key}": tensor for key, tensor in weights.items()}
    path = tmp_path / "model.pth"
    torch.save({"model": wrapped} if one.sensor is Sensor.BAYER else dict(weights), path)

    named = load_model(f"{one.network}={path}", "cpu", "fp32", one.norm_statistics)
    assert named.notes == ()
    model = load_model(path, "cpu", "fp32", one.norm_statistics)
    # Without a name: the same network and nothing to say, or one line that names the other.
    if one.ambiguous:
        (note,) = model.notes
        assert f"--model {one.network}={path} if it is" in note
        assert f"--model {model.architecture.name}={path} if it is not" in note
    else:
        assert (model.notes, model.architecture.name) == ((), one.network)

    raw = light(one.sensor, one.network)
    wanted = planes(one.picture(weights, raw))
    found = run_tiled(named, packed(raw, one.sensor), "off")
    assert found.shape == wanted.shape
    assert error(found, wanted) < TOLERANCE
    if model.architecture.name != one.network:
        assert error(run_tiled(model, packed(raw, one.sensor), "off"), wanted) > 1e-2


def test_each_published_form_stands_once() -> None:
    assert Counter(map(name_of, published.PUBLISHED)).most_common(1)[0][1] == 1


def test_redis_repository_packs_r_g_g_b_and_leaves_light_above_white() -> None:
    """Its loader multiplies without a minimum; in SID's and lavi's the input ends at 1."""
    (network,) = find_architectures("sid-rggb")
    weights = REDI.weights(7)
    x = torch.linspace(-1, 3, 4 * 32 * 32).reshape(1, 4, 32, 32)
    ran = network.load(weights)
    assert torch.equal(ran(x), ran(x.clamp(min=0)))
    assert not torch.allclose(ran(x), ran(x.clamp(0, 1)), atol=1e-3)
    # Below white both differ by nothing but the packing.
    plain = identify(shapes_of(weights)).load(weights)
    x = torch.rand(1, 4, 32, 32)
    torch.testing.assert_close(ran(x), plain(x[:, fold.SID_PACKING]), rtol=0, atol=1e-6)


def test_redis_code_cuts_photos_off_the_grid() -> None:
    weights = REDI.weights(7)
    whole = REDI.picture(weights, mosaic(75, 110))
    assert whole.shape == (64, 96, 3)
    assert np.array_equal(whole, REDI.picture(weights, mosaic(75, 110)[:64, :96]))


def test_fujis_code_cuts_photos_off_the_block() -> None:
    one = next(p for p in published.PUBLISHED if p.tensorflow and p.sensor is Sensor.XTRANS)
    assert one.picture(one.weights(7), mosaic(40, 53)).shape == (36, 48, 3)


def test_names_decide_where_only_one_publisher_used_them() -> None:
    """cydonia999's names without biases; with them they are nobody's, so both are offered."""
    without = entry("sid", "cydonia999's PyTorch").weights(7)
    found = identify(shapes_of(without))
    assert (found.name, find_other_readings(without, found)) == ("sid", ())
    biased = entry("sid-depth-to-space", "cydonia999's, with biases").weights(7)
    found = identify(shapes_of(biased))
    (other,) = find_other_readings(biased, found)
    assert (found.name, other.name) == ("sid", "sid-depth-to-space")


def test_missing_up_biases_are_zero() -> None:
    weights = LAVI.weights(7)
    ups = [name for name in weights if name.startswith("upv") and name.endswith("bias")]
    assert len(ups) == 4
    zeroed = dict(weights) | {name: torch.zeros_like(weights[name]) for name in ups}
    without = {name: tensor for name, tensor in weights.items() if name not in ups}
    found, wanted = (identify(shapes_of(w)).load(w) for w in (without, zeroed))
    x = packed(light(Sensor.BAYER), Sensor.BAYER)[None]
    assert torch.equal(found(x), wanted(x))


# --- the photo's own statistics ----------------------------------------------------------------


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("offset", [0.0, 3.0, 100.0])
def test_photo_norm_is_torchs_batch_norm_in_training(
    offset: float, layout: torch.memory_format
) -> None:
    """A large map far from zero, where sums in float32 lose the variance.

    Against float64: float32's own steps at the input's size, some 1e-7 of it, divided by the
    spread. Torch's batch norm itself is 1e-3 off where channels come last.
    """
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8).double().train()
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    ours = sid.PhotoNorm(8)
    ours.weight.data, ours.bias.data = norm.weight.data.float(), norm.bias.data.float()
    x = (0.3 * torch.randn(1, 8, 700, 1000) + offset).contiguous(memory_format=layout)
    with torch.inference_mode():
        wanted = norm(x.double())
        assert float((ours(x) - wanted).abs().max()) < 3e-6 + 1e-6 * offset


def test_photo_norm_of_several_photos_and_of_one_pixel() -> None:
    norm = sid.PhotoNorm(5).requires_grad_(False)
    norm.bias.fill_(0.25)
    x = torch.rand(3, 5, 6, 7)
    assert torch.equal(norm(x), torch.cat([norm(one[None]) for one in x]))
    # Of one pixel nothing is left: torch's own functions refuse it. 316 * float32's step, at most.
    torch.testing.assert_close(
        norm(x[..., :1, :1]), torch.full((3, 5, 1, 1), 0.25), rtol=0, atol=1e-4
    )


def test_photo_statistics_run_in_one_piece(tmp_path: Path) -> None:
    one = entry("sid-batch-norm", "each, photo's")
    weights = one.weights(7)
    path = tmp_path / "model.pth"
    torch.save(dict(weights), path)
    model = load_model(f"sid-batch-norm={path}", "cpu", "fp32", "photo")
    assert (model.norm_statistics, model.grid.halo) == ("photo", None)
    x = packed(light(Sensor.BAYER), Sensor.BAYER)
    assert len(plan(model, x, "auto")) == 1
    with pytest.raises(UsageError, match="--tile 32: this network's statistics are of the whole"):
        run_tiled(model, x, 32)
    # Every part of the photo changes every other, and what training stored changes nothing.
    dark = x.clone()
    dark[:, :4] = 0
    assert not torch.allclose(
        run_tiled(model, dark, "off")[:, -8:], run_tiled(model, x, "off")[:, -8:]
    )
    stored = {name: t + 1 if "running" in name else t for name, t in weights.items()}
    torch.save(stored, path)
    again = load_model(f"sid-batch-norm={path}", "cpu", "fp32", "photo")
    assert torch.equal(run_tiled(again, x, "off"), run_tiled(model, x, "off"))
    assert torch.equal(run_tiled(model.on_cpu(), x, "off"), run_tiled(model, x, "off"))
    plain = load_model(f"sid-batch-norm={path}", "cpu", "fp32")
    assert plain.grid.halo == 108
    assert error(run_tiled(plain, x, "off"), run_tiled(model, x, "off").double()) > 0.05


@pytest.mark.parametrize("dialect", ["no batch norm, 3x3", "lavi's PyTorch"])
def test_photo_statistics_need_a_batch_norm(tmp_path: Path, dialect: str) -> None:
    one = next(p for p in published.PUBLISHED if p.dialect == dialect)
    path = tmp_path / "model.pth"
    torch.save(dict(one.weights(7)), path)
    with pytest.raises(UsageError, match=r"--norm-statistics photo: .* has no batch norm"):
        load_model(path, "cpu", "fp32", "photo")


# --- what is no SID ----------------------------------------------------------------------------


def test_unknown_file_names_the_nearest_dialect() -> None:
    shapes = shapes_of(LAVI.weights(7))
    del shapes["conv3_1.bias"]
    with pytest.raises(CheckpointError, match=r"nearest is sid, with 1 missing \(conv3_1\.bias\)"):
        identify(shapes)


def test_another_shape_is_another_network() -> None:
    shapes = shapes_of(LAVI.weights(7)) | {"conv10_1.weight": (12, 32, 2, 2)}
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
@pytest.mark.parametrize(("number", "channels", "last"), [(0, 4, 1), (1, 9, 1), (5, 4, 3)])
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
@pytest.mark.parametrize(("number", "channels", "last"), [(0, 4, 1), (1, 9, 1), (5, 4, 3)])
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
