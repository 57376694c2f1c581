import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Generator, nn

from darkroom.color.transfer import srgb_encode
from darkroom.errors import CheckpointError, UsageError
from darkroom.models.architectures import find_architectures
from darkroom.models.architectures.base import Conditions
from darkroom.models.architectures.safelight import Safelight
from darkroom.mosaic.demosaic import demosaic, pack_mosaic, sample_mosaic
from darkroom.mosaic.packing import BAYER, XTRANS, pack
from darkroom.raw.image import CFA
from darkroom.training import loss, trainer
from darkroom.training.initialization import begin_as_demosaicing, begin_with
from darkroom.training.muon import Muon, orthogonalise
from darkroom.training.noise_model import (
    CLIPPED_GREEN_ERROR,
    KEPT_BLACK_ERROR,
    Sensors,
    draw_black_errors,
    draw_hot_pixels,
    draw_sensors,
    draw_shading,
    draw_tukey,
    expose,
    quantise,
)
from darkroom.training.scenes import (
    Scenes,
    draw_cameras,
    draw_scenes,
    draw_windows,
    fade_detail,
    load_photos,
    relight,
)
from darkroom.training.trainer import (
    Recipe,
    TrainingRun,
    draw_batch,
    photograph_scenes,
    rate_at,
    train_network,
)

RECIPE = Recipe(steps=4, batch=2, size=32)


@pytest.fixture(autouse=True)
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "WIDTHS", (8, 8, 8, 8))


def photographs(count: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [random.integers(0, 256, (96, 80, 3), dtype=np.uint8) for _ in range(count)]


def sensors(count: int, **values: float) -> Sensors:
    """Sensors all alike; unless given: no noise to speak of, no clipping."""
    plain = {"shot": 1e-9, "read": 0.0, "shape": 0.14, "step": 1e-9, "white": 100.0}
    filled = {key: torch.full((count, 1, 1), value) for key, value in (plain | values).items()}
    never = torch.zeros(count, 1, 1, dtype=torch.bool)
    return Sensors(**filled, clips_black=never, compressed=never, knows_black=never)


def test_a_clean_sensor_changes_nothing() -> None:
    """Shot noise of 1e-9 leaves a standard deviation of 3e-5 at white; five of them bound it."""
    mosaic = torch.rand(2, 32, 32)
    exposed = expose(mosaic, sensors(2), Generator().manual_seed(1))
    assert (exposed - mosaic).abs().max() < 2e-4


@pytest.mark.parametrize("signal", [0.05, 0.5])
def test_shot_noise_has_poisson_variance(signal: float) -> None:
    """Variance = shot * signal; 65,536 samples give it to 0.6 %, four of these are allowed."""
    mosaic = torch.full((1, 256, 256), signal)
    exposed = expose(mosaic, sensors(1, shot=0.01), Generator().manual_seed(2))
    assert exposed.var().item() == pytest.approx(0.01 * signal, rel=0.025)
    assert exposed.mean().item() == pytest.approx(signal, rel=0.005)


@pytest.mark.parametrize("shape", [-0.1, 0.0, 0.14])
def test_read_noise_has_unit_std(shape: float) -> None:
    noise = draw_tukey((1, 512, 512), torch.full((1, 1, 1), shape), Generator().manual_seed(3))
    assert noise.std().item() == pytest.approx(1, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)


def test_tails_grow_as_lambda_falls() -> None:
    def kurtosis(shape: float) -> float:
        noise = draw_tukey((1, 512, 512), torch.full((1, 1, 1), shape), Generator().manual_seed(4))
        return float((noise**4).mean())

    assert kurtosis(-0.1) > kurtosis(0.0) > kurtosis(0.14)
    assert kurtosis(0.14) == pytest.approx(3, abs=0.1)  # nearly Gaussian


def test_sensors_saturate_and_clip() -> None:
    mosaic = torch.linspace(0, 5, 32 * 32).reshape(1, 32, 32)
    plain = sensors(1, white=1.0, read=0.01)
    clipping = replace(plain, clips_black=torch.ones(1, 1, 1) > 0)
    exposed = expose(mosaic, clipping, Generator().manual_seed(5))
    assert exposed.max() == 1
    assert exposed.min() == 0
    kept = expose(torch.zeros(1, 32, 32), plain, Generator().manual_seed(5))
    assert kept.min() < 0, "negative noise is signal unless the camera clips it"


def test_drawn_sensors_stay_in_their_ranges() -> None:
    drawn = draw_sensors(500, Generator().manual_seed(6))
    assert 1e-7 < drawn.shot.min() < 5e-6, "some need hardly any amplification"
    assert 2e-4 < drawn.shot.median() < 2e-3
    assert 5e-3 < drawn.shot.max() < 3.1e-2
    assert drawn.read.max() <= 0.1
    assert 0.15 < drawn.compressed.float().mean() < 0.25
    assert drawn.white.min() == 1
    assert 0.4 < drawn.clips_black.float().mean() < 0.6


def test_rows_and_columns_vary_together() -> None:
    """Row noise is uniform in 0 to 0.3 stds: 0.03 of variance in the means of long rows.

    Shading's slopes add a third of 0.15 squared, the pixels' own noise 1 / 512.
    """
    flat = sensors(200, read=1.0)
    exposed = expose(torch.full((200, 16, 512), 50.0), flat, Generator().manual_seed(11))
    rows = exposed.mean(2)
    spread = (rows - rows.mean(1, keepdim=True)).var(1).mean().item()
    assert spread == pytest.approx(0.03 + 0.15**2 / 3 + 1 / 512, rel=0.25)
    columns = exposed[:, :, :16].mean(1)
    assert (columns - columns.mean(1, keepdim=True)).var(1).mean().item() < 0.1


@pytest.mark.parametrize("cfa", [BAYER, XTRANS], ids=["bayer", "xtrans"])
def test_black_errors_follow_the_colour_filter_array(cfa: CFA) -> None:
    size = (cfa.period * 4, cfa.period * 3)
    wrong = draw_black_errors(sensors(400), size, Generator().manual_seed(12), cfa)
    assert wrong.shape == (400, *size)
    low, high = KEPT_BLACK_ERROR
    assert wrong.mean().item() == pytest.approx((low + high) / 2, abs=0.05)
    assert torch.equal(wrong[:, : cfa.period], wrong[:, cfa.period : 2 * cfa.period])
    clipping = replace(sensors(400), clips_black=torch.ones(400, 1, 1) > 0)
    wrong = draw_black_errors(clipping, size, Generator().manual_seed(13), cfa)
    green = torch.from_numpy(cfa.channels == 1).repeat(4, 3)
    further = wrong[:, green].mean() - wrong[:, ~green].mean()
    assert further.item() == pytest.approx(sum(CLIPPED_GREEN_ERROR) / 2, abs=0.03)


def test_shading_is_a_slope() -> None:
    """Its ends are draws of one std either way; the middle stays."""
    slopes = draw_shading(500, 9, 9, Generator().manual_seed(14))
    assert slopes[:, 4, 4].abs().max() < 1e-6
    assert slopes[:, 8, 4].std().item() == pytest.approx(1, rel=0.15)


def test_a_black_that_was_measured_is_hardly_off() -> None:
    """The errors' own std, 0.05 and each channel's 0.03, without a bias; a tenth for 2000 draws."""
    known = replace(sensors(2000), knows_black=torch.ones(2000, 1, 1, dtype=torch.bool))
    errors = draw_black_errors(known, (2, 2), Generator().manual_seed(3), BAYER)
    assert errors.std().item() == pytest.approx((0.05**2 + 0.03**2) ** 0.5, rel=0.1)
    assert abs(errors.mean().item()) < 0.005
    stated = draw_black_errors(sensors(2000), (2, 2), Generator().manual_seed(3), BAYER)
    assert stated.mean().item() == pytest.approx(-0.225, abs=0.03)
    photos = [np.random.default_rng(1).integers(0, 255, (96, 96, 3), np.uint8)]
    batch = draw_batch(photos, Recipe(batch=64, size=96), 1)
    assert 0.15 < batch.conditions.black_known.float().mean() < 0.55


def test_hot_pixels_are_few_and_bright() -> None:
    hot = draw_hot_pixels((300, 64, 64), Generator().manual_seed(15))
    assert hot.min() >= 0
    assert 1e-5 < (hot > 0).float().mean() < 3e-4
    assert hot[hot > 0].mean().item() == pytest.approx(40, rel=0.3)


def test_steps_are_even_or_grow_with_the_noise() -> None:
    """Plain files hold whole steps; compressed ones keep one share of the noise at any level."""
    light = torch.linspace(-0.05, 1, 5000).view(1, 1, -1)
    plain = sensors(1, shot=1e-3, read=5e-3, step=5e-3)
    even = quantise(light, plain)
    assert torch.allclose(even / 5e-3, (even / 5e-3).round(), atol=1e-4)
    growing = quantise(light, replace(plain, compressed=torch.ones(1, 1, 1) > 0))
    noise = (1e-3 * light.clamp(min=0) + 5e-3**2).sqrt()
    assert ((growing - light).abs() / noise).max() < 0.55, "half a step is half a std at most"
    assert len(growing.unique()) < len(even.unique()) / 2


@pytest.mark.parametrize("cfa", [BAYER, XTRANS], ids=["bayer", "xtrans"])
def test_mosaics_are_sampled_and_packed_as_photos_are(cfa: CFA) -> None:
    picture = torch.rand(1, 3, 24, 36)
    mosaic = sample_mosaic(picture, cfa)
    for row, column in np.ndindex(6, 6):
        color = cfa.channels[row % cfa.period, column % cfa.period]
        assert mosaic[0, row, column] == picture[0, color, row, column]
    packed = pack_mosaic(mosaic[:, None], cfa)[0].numpy()
    assert np.array_equal(packed, pack(mosaic[0].numpy(), cfa))


@pytest.mark.parametrize("channels", [4, 9])
def test_training_begins_at_linear_demosaicing(channels: int) -> None:
    """Of the bent mosaic, without features; away from the borders, to float32's rounding."""
    network = Safelight(channels, (8, 8, 8, 8)).requires_grad_(False)
    begin_as_demosaicing(network)
    network.body.leave.weight[:, : -channels * 4] = 0
    network.body.offset.fill_(0.02)
    packed = torch.rand(1, channels, 32, 32)
    root = 0.02**0.5
    bent = demosaic((packed + 0.02).sqrt() - root)
    expected = bent * (bent.abs() + 2 * root)
    inner = (..., slice(12, -12), slice(12, -12))
    assert torch.allclose(network.body(packed)[inner], expected[inner], atol=1e-5)


def test_the_network_is_told_the_noise_roughly() -> None:
    scenes = draw_scenes(photographs(), 64, 32, Generator().manual_seed(16))
    known = sensors(64, shot=1e-3, read=1e-2)
    told = photograph_scenes(scenes, known, Generator().manual_seed(17), BAYER).conditions
    for value, truth in ((told.shot, 1e-3), (told.read, 1e-2)):
        assert (value / truth).log().std().item() == pytest.approx(0.15, rel=0.4)
    assert torch.equal(told.white_balance, scenes.white_balance)


def test_white_stays_white_in_every_camera() -> None:
    matrices = draw_cameras(20, Generator().manual_seed(7))
    assert torch.allclose(matrices.sum(2), torch.ones(20, 3), atol=1e-6)


def test_scenes_are_what_a_camera_sees() -> None:
    scenes = draw_scenes(photographs(), 4, 32, Generator().manual_seed(8))
    assert scenes.camera_rgb.shape == (4, 3, 32, 32)
    assert scenes.camera_rgb.min() >= 0
    assert (scenes.white_balance[:, 1] == 1).all()
    back = scenes.camera_to_srgb @ torch.ones(3)
    assert torch.allclose(back, torch.ones(4, 3), atol=1e-5)


def test_faded_detail_keeps_luminance_and_large_areas() -> None:
    """What is left of colours that alternate is what is kept: a Gaussian of 2 leaves none."""
    checks = (torch.arange(32)[:, None] + torch.arange(32)) % 2 - 0.5
    image = 0.5 + 0.1 * torch.stack([checks, 0 * checks, -checks])
    faded = fade_detail(image, 0.4)
    weights = torch.tensor([0.2126, 0.7152, 0.0722])
    light = [torch.einsum("c,chw->hw", weights, picture) for picture in (image, faded)]
    assert torch.allclose(*light, atol=1e-4)
    detail = [float((one[0] - one[1]).std()) for one in (image, faded)]
    assert detail[1] == pytest.approx(0.4 * detail[0], rel=1e-3)
    even = torch.tensor([0.9, 0.1, 0.2])[:, None, None].expand(3, 32, 32)
    assert torch.allclose(fade_detail(even, 0.2), even, atol=1e-6)


def test_windows_are_lit_evenly_and_end_within_a_pixel() -> None:
    generator = torch.Generator().manual_seed(5)
    light = draw_windows(600, 48, generator)
    brightest = light.amax((1, 2, 3))
    lit = brightest > 1
    assert abs(float(lit.float().mean()) - 1 / 6) < 0.05  # three deviations of 600 draws
    assert light.min() == 1
    assert float(brightest.max()) <= 2**5
    levels = (light[lit] - 1) / (brightest[lit] - 1)[:, None, None, None]
    between = ((levels > 0) & (levels < 1)).float().mean((1, 2, 3))
    # Two edges at most, each through 48 * sqrt(2) pixels, and 2 pixels wide in their rows.
    assert float(between.max()) < 2 * 1.5 * 2 * 48 / 48**2


def test_relighting_only_touches_highlights() -> None:
    image = torch.tensor([0.1, 0.5, 0.79, 1.0]).expand(3, 1, 4)
    lit = relight(image, 4.0)
    assert torch.equal(lit[..., :3], image[..., :3])
    assert lit[0, 0, 3].item() == pytest.approx(5.0)


def test_batches_depend_on_seed_and_step_alone() -> None:
    photos = photographs()
    first, again = (draw_batch(photos, RECIPE, 3).packed for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, draw_batch(photos, RECIPE, 4).packed)


def test_one_photo_of_eight_is_told_of_more_noise_than_it_has() -> None:
    """It is the scene and the sensor before it, whose picture it is to become, without gradient."""
    photos = [np.random.default_rng(1).integers(0, 255, (96, 96, 3), np.uint8)]
    recipe = Recipe(batch=8, size=96, seed=5)
    noisier, quieter = [], []
    for step in range(12):
        batch = draw_batch(photos, recipe, step)
        assert batch.told_more == 1
        assert torch.equal(batch.scenes.camera_rgb[-1], batch.scenes.camera_rgb[-2])
        told = batch.conditions.read[-2:]
        assert float(told.max() / told.min()) < 3, "both are told of one noise, roughly"
        balance = batch.scenes.white_balance[:, :, None, None]
        light = sample_mosaic(batch.scenes.camera_rgb / balance, BAYER)
        clean = pack_mosaic(light[:, None], BAYER) * balance[:, [0, 1, 1, 2]]
        below_white = clean < 0.9  # above it all are cut off alike
        error = ((batch.packed - clean).clamp(-1, 1).square() * below_white).mean((1, 2, 3))
        noisier.append(float(error[-2]))
        quieter.append(float(error[-1]))
    assert sum(quieter) < 0.7 * sum(noisier)
    output = torch.rand(8, 3, 96, 96, requires_grad=True)
    targets = batch.targets(output)
    assert torch.equal(targets.camera_rgb[-1], output[-2])
    assert not targets.camera_rgb.requires_grad
    assert torch.equal(targets.camera_rgb[:-1], batch.scenes.camera_rgb[:-1])
    assert draw_batch(photos, Recipe(size=96), 0).told_more == 1, "by default too"
    few = draw_batch(photos, replace(recipe, batch=6), 0)
    assert few.told_more == 0
    assert few.targets(output) is few.scenes


def test_learning_rate_rises_then_falls() -> None:
    recipe = Recipe(steps=1000)
    assert rate_at(0, recipe) < rate_at(100, recipe) < rate_at(299, recipe) == recipe.rate
    assert rate_at(999, recipe) == pytest.approx(0.005 * recipe.rate, rel=0.1)


def test_loss_falls_on_one_batch() -> None:
    run = TrainingRun(Recipe(steps=1000, batch=2, size=32, rate=3e-2))
    batch = draw_batch(photographs(), run.recipe, 0)
    losses = [run.advance(batch).loss for _ in range(60)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("xtrans", [False, True], ids=["bayer", "xtrans"])
def test_stopping_and_resuming_equals_not_stopping(tmp_path: Path, xtrans: bool) -> None:
    """The same machine, the same order of sums: equal to the last bit."""
    recipe = replace(RECIPE, xtrans=xtrans, size=48 if xtrans else 32)
    photos = photographs()
    straight = list(train_network(photos, recipe, tmp_path / "straight"))
    stopped = train_network(photos, recipe, tmp_path / "stopped", save_seconds=0)
    halves = [next(stopped), next(stopped)]
    stopped.close()
    halves += list(train_network(photos, recipe, tmp_path / "stopped"))
    assert [step.loss for step in halves] == [step.loss for step in straight]
    weights = [
        (tmp_path / way / f"{recipe.name}.safetensors").read_bytes()
        for way in ("straight", "stopped")
    ]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_what_training_writes_follows_the_umask(
    tmp_path: Path, mask: int, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(partial(os.umask, os.umask(mask)))
    (tmp_path / "plain").touch()
    list(train_network(photographs(), replace(RECIPE, steps=1), tmp_path / "run"))
    modes = {path.name: path.stat().st_mode for path in (tmp_path / "run").iterdir()}
    plain = (tmp_path / "plain").stat().st_mode
    assert modes == {"state.safetensors": plain, "safelight.safetensors": plain}


def test_it_begins_with_weights_of_the_other_sensor(tmp_path: Path) -> None:
    list(train_network(photographs(), RECIPE, tmp_path))
    weights = tmp_path / "safelight.safetensors"
    twin = TrainingRun(
        replace(RECIPE, xtrans=True, size=48, begin=str(weights))
    ).network.state_dict()
    known = load_file(weights)
    assert torch.equal(twin["body.middle.first.weight"], known["body.middle.first.weight"].float())
    assert twin["body.enter.weight"].shape != known["body.enter.weight"].shape
    save_file({"other": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no known network"):
        TrainingRun(replace(RECIPE, begin=str(tmp_path / "other.safetensors")))


@pytest.mark.parametrize("channels", [4, 9])
def test_a_wider_network_begins_as_the_narrow_one(channels: int) -> None:
    """Features that are added change nothing yet, up to float32's rounding, whatever modulates."""
    torch.manual_seed(6)
    narrow = Safelight(channels, (8, 8, 12, 8), facts=5).requires_grad_(False)
    nn.init.normal_(narrow.tuner[-1].weight, std=0.1)
    nn.init.normal_(narrow.body.spread.weight, std=0.1)
    wide = Safelight(channels, (10, 16, 12, 20)).requires_grad_(False)
    begin_with(wide, narrow.state_dict())
    packed = torch.rand(2, channels, 32, 32)
    told = Conditions(
        torch.tensor([1e-3, 1e-2]),
        torch.tensor([1e-2, 1e-3]),
        torch.tensor([True, False]),
        torch.tensor([[2.0, 1.0, 1.5], [1.0, 1.0, 3.0]]),
        torch.tensor([True, False]),  # which the narrow one is not told
    )
    assert torch.allclose(wide(packed, told), narrow(packed, told), atol=1e-5)
    with pytest.raises(UsageError, match="wider"):
        begin_with(narrow, wide.state_dict())
    (other,) = find_architectures("perceptilabs")
    zeros = {name: torch.zeros(shape) for name, shape in other.dialects[0].items()}
    with pytest.raises(UsageError, match="not safelight's"):
        begin_with(narrow, zeros)


def test_another_recipe_does_not_resume(tmp_path: Path) -> None:
    photos = photographs()
    list(train_network(photos, RECIPE, tmp_path))
    with pytest.raises(UsageError, match="begun with"):
        list(train_network(photos, Recipe(steps=5, batch=2, size=32), tmp_path))


def test_photos_are_read_in_order(tmp_path: Path) -> None:
    for name, value in (("b.png", 9), ("a.png", 7)):
        Image.new("RGB", (40, 40), (value, value, value)).save(tmp_path / name)
    assert [int(photo[0, 0, 0]) for photo in load_photos(tmp_path)] == [7, 9]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no JPEG or PNG"):
        load_photos(tmp_path / "empty")


def test_the_loss_sees_srgb() -> None:
    """The curve of `darkroom.color`, gradient included; logarithm and power round differently."""
    linear = torch.linspace(-0.1, 1.2, 1301).requires_grad_()
    seen, reference = loss._Encoded.apply(linear), srgb_encode(linear)  # type: ignore[no-untyped-call]
    assert torch.allclose(seen, reference, atol=1e-6)
    slopes = [torch.autograd.grad(curve.square().sum(), linear)[0] for curve in (seen, reference)]
    assert torch.allclose(*slopes, rtol=1e-5, atol=1e-5)


def test_orthogonalising_keeps_the_vectors() -> None:
    """The singular vectors stay, all values come near 1, as the iteration's authors show."""
    torch.manual_seed(3)
    for shape in ((48, 432), (36, 20)):
        matrix = torch.randn(shape) @ torch.diag(torch.logspace(-1, 1, shape[1]))
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        turned = left.T @ orthogonalise(matrix) @ right.T
        values = turned.diagonal()
        assert values.min() > 0.6
        assert values.max() < 1.25
        assert (turned - values.diag()).abs().max() < 1e-4


def test_steps_equal_those_of_pytorchs_muon() -> None:
    """That one iterates in bfloat16, whose steps are 1/256."""
    torch.manual_seed(4)
    start, gradients = torch.randn(24, 12, 3, 3), torch.randn(5, 24, 12, 3, 3)
    own, matrix = nn.Parameter(start.clone()), nn.Parameter(start.clone().flatten(1))
    ours = Muon([own], lr=0.02, weight_decay=0.1)
    theirs = torch.optim.Muon(
        [matrix], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw", momentum=0.95
    )
    for gradient in gradients:
        own.grad, matrix.grad = gradient, gradient.flatten(1)
        ours.step()
        theirs.step()
    moved = (own - start).detach()
    assert torch.allclose(own.flatten(1), matrix, atol=0.03 * float(moved.abs().max()))


def test_an_error_costs_more_in_the_shadows() -> None:
    def cost(level: float) -> float:
        truth = torch.full((1, 3, 8, 8), level)
        scenes = Scenes(truth, torch.ones(1, 3), torch.eye(3)[None])
        return float(loss.measure_loss(truth + 0.01, scenes, structure=False))

    assert cost(0.01) > 1.7 * cost(0.5), "photos with small errors count for more"


def test_light_above_white_may_be_anything_from_white_on() -> None:
    """As far as it goes: what is shown of it is white. Below white it is as wrong as it is."""
    truth = torch.full((1, 3, 8, 8), 0.5)
    truth[..., :4] = 1.5
    scenes = Scenes(truth, torch.ones(1, 3), torch.eye(3)[None])

    def cost(bright: float) -> float:
        picture = truth.clone()
        picture[..., :4] = bright
        return float(loss.measure_loss(picture, scenes, structure=True))

    assert cost(1.0) == cost(1.2) == cost(1.5)
    assert cost(0.98) > 2 * cost(1.0)
    assert cost(1.52) > 2 * cost(1.0)


def test_a_cast_costs_more_than_noise_that_is_as_wrong() -> None:
    truth = torch.full((1, 3, 64, 64), 0.1)
    scenes = Scenes(truth, torch.ones(1, 3), torch.eye(3)[None])
    board = torch.ones(64, 64)
    board[::2, ::2] = board[1::2, 1::2] = -1
    cast, noise = (
        float(loss.measure_loss(truth + 0.01 * error, scenes, structure=False))
        for error in (torch.ones(64, 64), board)
    )
    # Of the rest it would be 1.0; the square root of the weight leaves half of the logarithm.
    assert 1.15 * noise < cast < 1.4 * noise
