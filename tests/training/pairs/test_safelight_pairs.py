from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import XTRANS, smooth_scene, synthetic_raw
from torch import Tensor
from torch.nn import functional

from darkroom.color.transfer import bt709_encode
from darkroom.errors import UsageError
from darkroom.models.architectures import find_architectures, identify
from darkroom.models.architectures.base import Conditions, shapes_of
from darkroom.models.architectures.safelight import Safelight
from darkroom.models.loading import load_model
from darkroom.mosaic.noise import measure_noise
from darkroom.mosaic.packing import COLORS_OF_CHANNELS, pack
from darkroom.output.dng import write_dng
from darkroom.pairs.exposures import ExposurePair
from darkroom.pairs.store import PairStore
from darkroom.raw.image import RawImage, Sensor
from darkroom.training.pairs.batches import PairSource
from darkroom.training.pairs.loss import safelight_loss
from darkroom.training.pairs.networks import find_network, safelight_pairs
from darkroom.training.pairs.networks.safelight_pairs import (
    cut_middle,
    cut_turned,
    develop_window,
    draw_developed,
    fit_light,
    measure,
    paint,
)
from darkroom.training.pairs.trainer import PairJob, train_pairs
from darkroom.weights.checkpoint import read_checkpoint
from darkroom.weights.store import bundled_folder

RECIPE = replace(find_network("safelight").recipe, crop=64, batch=2)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def write_pair(folder: Path, raw: RawImage, picture: np.ndarray, ratio: float) -> ExposurePair:
    """A dark photo and its reference, (H, W, 3) in [0, 1]."""
    folder.mkdir(exist_ok=True)
    short, long = folder / "00001_00_0.1s.dng", folder / "00001_00_10s.png"
    write_dng(short, raw)
    codes = np.clip(picture * 65535, 0, 65535).round().astype(np.uint16)
    cv2.imwrite(str(long), codes[:, :, ::-1])
    return ExposurePair(short, long, ratio, "00001")


def dark_pair(
    folder: Path, ratio: float = 50.0, cfa: str = "RGGB", side: int = 120
) -> ExposurePair:
    raw = synthetic_raw(side, side, cfa, exposure=1 / ratio)
    picture = smooth_scene(side, side, 0).transpose(1, 2, 0)
    return write_pair(folder, raw, picture, ratio)


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG", XTRANS])
def test_a_turned_crop_stays_in_register_and_in_phase(cfa: str, tmp_path: Path) -> None:
    """Each site's value is a number of its own, and the reference has it in all three channels."""
    side, period = 60, 2 if len(cfa) == 4 else 6
    values = np.arange(side * side, dtype=np.uint16).reshape(side, side) + 600
    raw = replace(synthetic_raw(side, side, cfa), mosaic=values)
    picture = (values / 65535)[:, :, None].repeat(3, 2)
    pair = write_pair(tmp_path, raw, picture, 100.0)
    store = PairStore(tmp_path / "store")
    colours = np.tile(raw.cfa.channels, (side // period, side // period)).ravel()
    random, ways = np.random.default_rng(3), set()
    for _ in range(40):
        window = cut_turned(store, pair, 48, random)
        found = np.rint(window.mosaic * (16383 - 512)).astype(int) + 512
        assert found.shape == (48, 48)
        assert np.array_equal(found, window.picture[:, :, 1])
        ways.add((found[1, 0] - found[0, 0], found[0, 1] - found[0, 0]))
        kinds = pack(colours[found - 600].astype(np.float32), window.cfa)
        for plane, colour in zip(kinds, COLORS_OF_CHANNELS[len(kinds)], strict=True):
            assert (plane == colour).all()
    assert len(ways) == 8


def literal_step(
    network: Safelight, window: safelight_pairs.Window, gain: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one crop written out in plain torch, in float64, and the weights."""
    state = {k: v.detach().double() for k, v in network.state_dict().items()}
    for name, _ in network.named_parameters():
        state[name].requires_grad_()
    raw = window.raw
    assert raw.color.white_balance is not None
    balance = torch.from_numpy(raw.color.white_balance / raw.color.white_balance.min())
    light = torch.from_numpy(window.mosaic.copy()).double() * gain
    sites = ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2))
    packed = torch.stack([light[row::2, col::2] * balance[i] for row, col, i in sites])[None]
    noise = measure_noise(raw)
    exact = Safelight(4)
    conditions = Conditions(
        shot=torch.tensor([noise.shot * gain], dtype=torch.float64),
        read=torch.tensor([noise.read * gain], dtype=torch.float64),
        clipped=torch.tensor([noise.clipped]),
        white_balance=balance[None],
        black_known=torch.tensor([noise.black_known]),
    )
    camera: Tensor = torch.func.functional_call(exact.double(), state, (packed, conditions))
    to_xyz = np.array(
        [
            [0.4123908, 0.3575843, 0.1804808],
            [0.2126390, 0.7151687, 0.0721923],
            [0.0193308, 0.1191948, 0.9505322],
        ]
    )
    matrix = torch.from_numpy(raw.color.xyz_to_camera @ to_xyz)
    matrix = torch.inverse(matrix / matrix.sum(1, keepdim=True))
    linear = torch.tensordot(matrix, camera[0].clamp(max=1), 1)
    alpha, beta = 1.0992968, 0.0180540
    curve = alpha * linear.clamp(min=beta) ** 0.45 - (alpha - 1)
    found = torch.where(linear < beta, 4.5 * linear, curve)
    wanted = torch.from_numpy(window.picture / 65535).permute(2, 0, 1)
    found = torch.where((wanted >= 1) & (found > 1), 1.0, found)
    found = torch.where((wanted <= 0) & (found < 0), 0.0, found)

    def decode(code: Tensor) -> Tensor:
        bent = ((code.clamp(min=4.5 * beta) + alpha - 1) / alpha) ** (1 / 0.45)
        return torch.where(code < 4.5 * beta, code / 4.5, bent)

    loss = 0.5 * (found - wanted).abs().mean()
    loss = loss + 0.4 * ((found - wanted).square().mean() + 1e-7).sqrt()
    loss = loss + 0.1 * (decode(found) - decode(wanted)).abs().mean()
    x, y = (functional.unfold(z[:, None], 7, stride=3) for z in (found, wanted))
    mx, my = x.mean(1), y.mean(1)
    covariance = ((x - mx[:, None]) * (y - my[:, None])).sum(1) / 48
    likeness = (2 * mx * my + 1e-4) * (2 * covariance + 9e-4)
    likeness = likeness / ((mx**2 + my**2 + 1e-4) * (x.var(1) + y.var(1) + 9e-4))
    loss = loss + 0.1 * (1 - likeness.mean())
    return loss * (0.03 / (loss.detach() + 0.005)).sqrt(), state


def test_a_training_step_is_the_literal_one(tmp_path: Path) -> None:
    """Loss and gradients, from the same crop; the network and what it is fed in float64.

    What the photo's colours and noise are is float32: seen are 2e-8.
    """
    pair, store = dark_pair(tmp_path), PairStore(tmp_path / "store")
    gain = 50.0
    window = cut_turned(store, pair, 64, np.random.default_rng(4))
    batch = develop_window(window, gain, measure(store.folder, pair.short))
    torch.manual_seed(2)
    network = Safelight(4).double()
    told = [getattr(batch.conditions, name) for name in Conditions.__slots__]
    exact = [one if one.dtype == torch.bool else one.double() for one in told]
    batch = replace(
        batch,
        packed=batch.packed.double(),
        targets=batch.targets.double(),
        matrices=batch.matrices.double(),
        conditions=Conditions(*exact),
    )
    with torch.no_grad():
        for one in network.tuner[-1].parameters():  # else what it is told would change nothing
            one.normal_(0, 0.05)
        network.body.spread.weight.normal_(0, 0.05)  # nor would its gates
    loss = safelight_loss(paint(network, batch), batch.targets, network, 0)
    loss.backward()
    wanted, state = literal_step(network, window, gain)
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    for name, parameter in network.named_parameters():
        gradient = state[name].grad
        assert gradient is not None
        assert parameter.grad is not None
        bound = 1e-5 * gradient.abs().max().item()
        assert (parameter.grad - gradient).abs().max().item() < bound, name


def test_batches_are_decided_by_seed_and_step_alone(tmp_path: Path) -> None:
    source = PairSource(PairStore(tmp_path / "s"), ((dark_pair(tmp_path),),), Sensor.BAYER)
    one, again, other = (draw_developed(source, RECIPE, step) for step in (3, 3, 4))
    assert torch.equal(one.packed, again.packed)
    assert torch.equal(one.targets, again.targets)
    assert not torch.equal(one.packed, other.packed)
    halves = [draw_developed(source, RECIPE, 3, rank, 2) for rank in (0, 1)]
    assert torch.equal(one.packed, torch.cat([half.packed for half in halves]))
    assert one.packed.shape == (2, 4, 32, 32)
    assert one.targets.shape == (2, 3, 64, 64)


def test_simulated_sensors_are_mixed_in(tmp_path: Path) -> None:
    """They are a share of each batch, the first, and have no exposure of their own."""
    photo = np.random.default_rng(2).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    store = PairStore(tmp_path / "s")
    source = PairSource(store, ((dark_pair(tmp_path),),), Sensor.BAYER, photos=(photo,))
    batch = draw_developed(source, replace(RECIPE, batch=4, mix=0.5), 0)
    assert batch.ratios[:2].tolist() == [1, 1]
    assert batch.ratios[2:].min() >= 25
    network = find_network("safelight", Sensor.BAYER).make()
    with torch.no_grad():
        picture = paint(network, batch)
    assert picture.shape == batch.targets.shape == (4, 3, 64, 64)
    # safelight has learned such scenes: it is nearer to them than a gray picture is.
    error = (picture - batch.targets)[:2].square().mean((1, 2, 3))
    gray = batch.targets[:2].mean((2, 3), keepdim=True)
    assert (error < (gray - batch.targets[:2]).square().mean((1, 2, 3))).all()
    loss = safelight_loss(picture, batch.targets, network, 0)
    assert torch.isfinite(loss)


def test_the_light_is_what_the_reference_has_more_of(tmp_path: Path) -> None:
    """Of the bundled network's own picture with other red, green and blue: to 1 %."""
    ratio, factors = 20.0, np.array([0.8, 0.7, 0.6])
    raw = synthetic_raw(240, 240, exposure=1 / ratio, read_noise=1.0)
    pair = write_pair(tmp_path / "a", raw, np.zeros((240, 240, 3)), ratio)
    batch = cut_middle(PairStore(tmp_path / "s"), pair, 192)
    assert batch.ratios.item() == ratio
    network = find_network("safelight", Sensor.BAYER).make().eval()
    with torch.no_grad():
        camera = network(batch.packed, batch.conditions)[0] * torch.tensor(factors)[:, None, None]
    linear = torch.einsum("ij,jhw->ihw", batch.matrices[0], camera.float())
    picture = np.zeros((240, 240, 3))
    middle = slice((240 - 192) // 2, (240 + 192) // 2)
    picture[middle, middle] = bt709_encode(linear).permute(1, 2, 0)
    bright = write_pair(tmp_path / "b", raw, picture, ratio)
    assert fit_light(tmp_path / "s", bright) == pytest.approx(factors, rel=0.01)
    # It is what the batch is amplified by, white balance and gain together.
    window = cut_turned(PairStore(tmp_path / "s"), bright, 64, np.random.default_rng(0))
    noise = measure(tmp_path / "s", bright.short)
    plain, fitted = (
        develop_window(window, ratio, noise, light) for light in ((1.0, 1.0, 1.0), tuple(factors))
    )
    light = torch.tensor(factors)[[0, 1, 1, 2]][:, None, None]
    assert torch.allclose(fitted.packed, (plain.packed * light).float(), rtol=1e-5)


def test_a_clipped_reference_says_no_more_than_that() -> None:
    target = torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]).expand(1, 3, 20, 5)
    target = target.repeat(1, 1, 1, 4).contiguous()
    beyond = torch.tensor([-0.3, 0.0, 0.5, 1.0, 1.4]).repeat(4).expand(1, 3, 20, 20)
    network = torch.nn.Identity()
    least = safelight_loss(target, target, network, 0)
    assert safelight_loss(beyond, target, network, 0).item() == pytest.approx(least.item())
    short = torch.tensor([0.1, 0.0, 0.5, 1.0, 0.8]).repeat(4).expand(1, 3, 20, 20)
    assert safelight_loss(short, target, network, 0).item() > 2 * least.item()


def test_photos_that_are_too_small_are_told(tmp_path: Path) -> None:
    pair, store = dark_pair(tmp_path, side=80), PairStore(tmp_path / "s")
    with pytest.raises(UsageError, match=r"80x80 photosites are too few for crops of 80"):
        cut_turned(store, pair, 80, np.random.default_rng(0))
    with pytest.raises(UsageError, match="is smaller than 96 photosites"):
        fit_light(store.folder, pair)


def test_it_learns_two_pairs_by_heart(tmp_path: Path) -> None:
    """The scaled form of fine-tuning: the loss of two small pairs falls by a third in 12 steps."""
    pairs = tuple((dark_pair(tmp_path / name),) for name in "ab")
    source = PairSource(PairStore(tmp_path / "s"), pairs, Sensor.BAYER)
    network = find_network("safelight", Sensor.BAYER).make()
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    batch = draw_developed(source, RECIPE, 0)
    for step in range(12):
        loss = safelight_loss(paint(network, batch), batch.targets, network, step)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < 0.67 * losses[0]


@pytest.mark.parametrize("name", ["safelight", "safelight-large"])
@pytest.mark.parametrize("sensor", Sensor)
def test_it_begins_with_bundled_weights_and_stays_a_checkpoint(name: str, sensor: Sensor) -> None:
    network = find_network(name, sensor)
    state = network.make().state_dict()
    twin = "-xtrans" * (sensor is Sensor.XTRANS)
    bundled = read_checkpoint(bundled_folder() / f"{name}{twin}.safetensors")
    for key in dict(network.make().named_parameters()):
        value = bundled[key]  # older ones are told of less
        kept = tuple(slice(side) for side in value.shape)
        assert torch.equal(state[key][kept], value.float())
    known = identify(shapes_of(state), find_architectures(network.architecture))
    assert known.sensor is sensor


def test_a_run_leaves_weights_that_enhance_as_it_scored(tmp_path: Path) -> None:
    """The middle's picture before and after the file, through folded conditions: to 1e-4."""
    pair, store = dark_pair(tmp_path), PairStore(tmp_path / "s")
    source = PairSource(store, ((pair,),), Sensor.BAYER)
    known = find_network("safelight", Sensor.BAYER)
    recipe = replace(RECIPE, steps=2, rate=1e-3)
    for _ in train_pairs(PairJob(known, recipe, source), tmp_path / "run"):
        pass
    model = load_model(tmp_path / "run" / "safelight.safetensors", "cpu", "fp32")
    batch = cut_middle(store, pair, 96)
    noise = measure(store.folder, pair.short).amplified(pair.ratio)
    told = model.conditioned(noise, store.raw(pair.short).color)
    trained, begun = known.make(), known.make()
    trained.load_state_dict(read_checkpoint(tmp_path / "run" / "safelight.safetensors"))
    with torch.no_grad():
        wanted = trained(batch.packed, batch.conditions)
        before = begun(batch.packed, batch.conditions)
    assert (told(batch.packed) - wanted).abs().max() < 1e-4
    assert (before - wanted).abs().max() > 1e-3
    assert "colours of the cameras" not in (tmp_path / "run" / "safelight.md").read_text()


@pytest.mark.parametrize(
    ("name", "mix", "photos", "words"),
    [
        ("sid", 0.5, False, "--mix is for safelight; leave it out for sid"),
        ("safelight", 0.5, False, "--mix: give --photos FOLDER too"),
        ("safelight", 1.0, True, "--mix 1: give a number from 0 to below 1"),
    ],
)
def test_a_mix_that_cannot_be_is_told(name: str, mix: float, photos: bool, words: str) -> None:
    known = find_network(name, Sensor.BAYER)
    photo = np.zeros((80, 80, 3), np.uint8)
    source = PairSource(PairStore(Path("s")), (), Sensor.BAYER, photos=(photo,) * photos)
    with pytest.raises(UsageError, match=words):
        PairJob(known, replace(known.recipe, mix=mix, crop=64), source)


def test_in_half_precision_neither_what_it_is_told_nor_colours_are_rounded(tmp_path: Path) -> None:
    """Convolutions alone are: bfloat16 has 3 digits, and what it is told spans nine decades."""
    batch = cut_middle(PairStore(tmp_path / "s"), dark_pair(tmp_path), 96)
    network = find_network("safelight", Sensor.BAYER).make()
    with torch.no_grad():
        exact, picture = network.modulation(batch.conditions), paint(network, batch)
        with torch.autocast("cpu", torch.bfloat16):
            told, half = network.modulation(batch.conditions), paint(network, batch)
    assert torch.equal(told.head, exact.head)
    assert all(torch.equal(a.scale, b.scale) for a, b in zip(told.films, exact.films, strict=True))
    assert half.dtype == torch.float32
    assert 0 < (half - picture).abs().mean() < 0.01
