from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator

from darkroom.errors import UsageError
from darkroom.training import fit as training
from darkroom.training.fit import Recipe, Run, bayer, draw_batch, fit, rate_at
from darkroom.training.noise import Sensors, draw_sensors, expose, tukey
from darkroom.training.scenes import Scenes, draw_cameras, draw_scenes, load_photos, relight

RECIPE = Recipe(steps=4, batch=2, size=32)


@pytest.fixture(autouse=True)
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    make = training.Safelight
    monkeypatch.setattr(training, "Safelight", lambda: make(widths=(8, 8, 8, 8)))


def photographs(count: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [random.integers(0, 256, (96, 80, 3), dtype=np.uint8) for _ in range(count)]


def sensors(count: int, **values: float) -> Sensors:
    """Sensors all alike; unless given: no noise to speak of, no clipping."""
    plain = {"shot": 1e-9, "read": 0.0, "shape": 0.14, "step": 1e-9, "white": 100.0}
    filled = {key: torch.full((count, 1, 1), value) for key, value in (plain | values).items()}
    return Sensors(**filled, clips_black=torch.zeros(count, 1, 1, dtype=torch.bool))


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
    noise = tukey((1, 512, 512), torch.full((1, 1, 1), shape), Generator().manual_seed(3))
    assert noise.std().item() == pytest.approx(1, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)


def test_tails_grow_as_lambda_falls() -> None:
    def kurtosis(shape: float) -> float:
        noise = tukey((1, 512, 512), torch.full((1, 1, 1), shape), Generator().manual_seed(4))
        return float((noise**4).mean())

    assert kurtosis(-0.1) > kurtosis(0.0) > kurtosis(0.14)
    assert kurtosis(0.14) == pytest.approx(3, abs=0.1)  # nearly Gaussian


def test_sensors_saturate_and_clip() -> None:
    mosaic = torch.linspace(0, 5, 32 * 32).reshape(1, 32, 32)
    plain = sensors(1, white=1.0, read=0.01)
    clipping = Sensors(
        plain.shot, plain.read, plain.shape, plain.step, plain.white, torch.ones(1, 1, 1) > 0
    )
    exposed = expose(mosaic, clipping, Generator().manual_seed(5))
    assert exposed.max() == 1
    assert exposed.min() == 0
    kept = expose(torch.zeros(1, 32, 32), plain, Generator().manual_seed(5))
    assert kept.min() < 0, "negative noise is signal unless the camera clips it"


def test_drawn_sensors_stay_in_their_ranges() -> None:
    drawn = draw_sensors(500, Generator().manual_seed(6))
    assert 5e-5 < drawn.shot.min() < 5e-4
    assert 5e-3 < drawn.shot.max() < 3.1e-2
    assert drawn.read.max() <= 0.1
    assert drawn.white.min() == 1
    assert 0.4 < drawn.clips_black.float().mean() < 0.6


def test_bayer_samples_the_right_colours() -> None:
    picture = torch.tensor([1.0, 2.0, 3.0])[None, :, None, None].expand(1, 3, 4, 4)
    assert bayer(picture)[0, :2, :2].tolist() == [[1, 2], [2, 3]]


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


def test_relighting_only_touches_highlights() -> None:
    image = torch.tensor([0.1, 0.5, 0.79, 1.0]).expand(3, 1, 4)
    lit = relight(image, 4.0)
    assert torch.equal(lit[..., :3], image[..., :3])
    assert lit[0, 0, 3].item() == pytest.approx(5.0)


def test_batches_depend_on_seed_and_step_alone() -> None:
    photos = photographs()
    first, again = (draw_batch(photos, RECIPE, 3)[0] for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, draw_batch(photos, RECIPE, 4)[0])


def test_learning_rate_rises_then_falls() -> None:
    recipe = Recipe(steps=1000)
    assert rate_at(0, recipe) < rate_at(100, recipe) < rate_at(199, recipe) == recipe.rate
    assert rate_at(999, recipe) == pytest.approx(0.005 * recipe.rate, rel=0.1)


def test_loss_falls_on_one_batch() -> None:
    run = Run(Recipe(steps=1000, batch=2, size=32, rate=3e-3))
    packed, scenes = draw_batch(photographs(), run.recipe, 0)
    losses = [run.advance(packed, scenes).loss for _ in range(60)]
    assert losses[-1] < 0.7 * losses[0]


def test_stopping_and_resuming_equals_not_stopping(tmp_path: Path) -> None:
    """The same machine, the same order of sums: equal to the last bit."""
    photos = photographs()
    straight = list(fit(photos, RECIPE, tmp_path / "straight"))
    stopped = fit(photos, RECIPE, tmp_path / "stopped", save_every=1)
    halves = [next(stopped), next(stopped)]
    stopped.close()
    halves += list(fit(photos, RECIPE, tmp_path / "stopped"))
    assert [step.loss for step in halves] == [step.loss for step in straight]
    weights = [
        (tmp_path / way / "safelight.safetensors").read_bytes() for way in ("straight", "stopped")
    ]
    assert weights[0] == weights[1]


def test_another_recipe_does_not_resume(tmp_path: Path) -> None:
    photos = photographs()
    list(fit(photos, RECIPE, tmp_path))
    with pytest.raises(UsageError, match="begun with"):
        list(fit(photos, Recipe(steps=5, batch=2, size=32), tmp_path))


def test_photos_are_read_in_order(tmp_path: Path) -> None:
    for name, value in (("b.png", 9), ("a.png", 7)):
        Image.new("RGB", (40, 40), (value, value, value)).save(tmp_path / name)
    assert [int(photo[0, 0, 0]) for photo in load_photos(tmp_path)] == [7, 9]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no JPEG or PNG"):
        load_photos(tmp_path / "empty")


def test_an_error_costs_more_in_the_shadows() -> None:
    def cost(level: float) -> float:
        truth = torch.full((1, 3, 8, 8), level)
        scenes = Scenes(truth, torch.ones(1, 3), torch.eye(3)[None])
        return float(training.loss_between(truth + 0.01, scenes))

    assert cost(0.01) > 3 * cost(0.5)
