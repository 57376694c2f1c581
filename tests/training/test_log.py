"""Scores along the way, the log that survives resuming, and the curves."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.color.render import render
from darkroom.errors import UsageError
from darkroom.evaluation.simulated import COLOR, NOISE_FREE, Scene, Score, compare, label
from darkroom.models.architectures.base import Conditions, State
from darkroom.mosaic.packing import BAYER, XTRANS
from darkroom.training import log as logging
from darkroom.training import trainer
from darkroom.training import validation as validating
from darkroom.training.curves import PANEL_HEIGHT, WIDTH, Axis, Curve, Panel, draw, nice_step
from darkroom.training.log import Log, Report, panels
from darkroom.training.trainer import Recipe, Run, fit
from darkroom.training.validation import Validation

RECIPE = Recipe(steps=6, batch=1, size=32)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "WIDTHS", (8, 8, 8, 8))
    monkeypatch.setattr(logging, "REPORT_EVERY", 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one picture of 100x130, waves of all channels."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rows, columns = np.mgrid[:100, :130] / 30
    codes = [127 + 100 * np.sin(rows + phase) * np.cos(columns) for phase in range(3)]
    Image.fromarray(np.stack(codes, axis=2).astype(np.uint8)).save(pictures / "waves.png")
    return pictures


def photographs() -> list[np.ndarray]:
    return [np.random.default_rng(5).integers(0, 256, (80, 80, 3), dtype=np.uint8)]


def train(out: Path, log: Log, stop: int = RECIPE.steps) -> list[float]:
    """Train, saving every second step, and stop after `stop` steps as an interruption does."""
    losses = []
    run = fit(photographs(), RECIPE, out, save_every=2, watch=log)
    for progress in run:
        losses.append(progress.loss)
        if progress.step == stop:
            break
    run.close()
    return losses


def lines(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("cfa", [BAYER, XTRANS], ids=["bayer", "xtrans"])
def test_the_network_is_scored_as_its_definition_says(folder: Path, cfa: object) -> None:
    """Against the network itself, run with the true conditions, not folded: equal to 1e-3 dB."""
    validation = Validation.of(folder, cfa)  # type: ignore[arg-type]
    run = Run(replace(RECIPE, xtrans=cfa == XTRANS))
    with torch.no_grad():
        run.network.tuner[-1].bias.normal_(0, 0.05)
    found = validation.score(run.network.state_dict())
    assert list(found) == ["noise-free", "x1", "x10", "x100", "x300"]
    for ratio, photos in validation.photos.items():
        (photo,) = photos
        noise = validating.true_noise(ratio)
        conditions = Conditions.of(noise, validating.WHITE_BALANCE)
        with torch.no_grad():
            camera = run.network(photo.packed[None], conditions)[0]
        expected = compare(render(camera, COLOR), photo.scene)
        assert found[label(ratio)].psnr == pytest.approx(expected.psnr, abs=1e-3)
        assert found[label(ratio)].ssim == pytest.approx(expected.ssim, abs=1e-4)


def test_scores_are_the_same_each_time_and_fall_with_the_light(folder: Path) -> None:
    """A network that only demosaics: the noisier the photo, the lower the score."""
    state = Run(RECIPE).network.state_dict()
    state = {k: v * (0 if "body.up" in k else 1) for k, v in state.items()}
    once, again = (Validation.of(folder).score(state) for _ in range(2))
    assert once == again
    values = [score.psnr for score in once.values()]
    assert values == sorted(values, reverse=True)


def test_small_pictures_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no JPEG or PNG"):
        Validation.of(tmp_path)
    Image.new("RGB", (200, 60)).save(tmp_path / "strip.png")
    with pytest.raises(UsageError, match=r"strip\.png: give pictures of 96x96 or more"):
        Validation.of(tmp_path)


def test_only_so_many_pictures_are_scored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validating, "PICTURES", 2)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (400, 300), "gray").save(folder / name)
    photos = Validation.of(folder).photos[NOISE_FREE]
    assert [photo.scene.name for photo in photos] == ["a.png", "b.png"]
    assert photos[0].scene.codes.shape == (288, 288, 3)


def test_reports_are_means_since_the_one_before(tmp_path: Path, folder: Path) -> None:
    told: list[Report] = []
    losses = train(tmp_path, Log(tmp_path, Validation.of(folder), 4, told.append))
    assert [report.step for report in told] == [2, 4, 6]
    for number, report in enumerate(told):
        assert report.loss == pytest.approx(np.mean(losses[2 * number : 2 * number + 2]))
        assert report.crops_per_second == pytest.approx(RECIPE.batch / report.seconds_per_step)
    assert [bool(report.scores) for report in told] == [False, True, True], "and at the end"
    written = lines(tmp_path)
    assert [line["step"] for line in written] == [2, 4, 6]
    assert written[1]["scores"]["x100"]["psnr"] == told[1].scores["x100"].psnr  # type: ignore[index]


@pytest.mark.parametrize("stop", [1, 3, 4, 5])
def test_stopping_and_resuming_leaves_one_line_per_step(tmp_path: Path, stop: int) -> None:
    """Steps after the last checkpoint are taken again, and their reports written again."""
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    train(straight, Log(straight))
    train(stopped, Log(stopped), stop)
    train(stopped, Log(stopped))
    for key in ("step", "loss", "rate"):
        assert [one[key] for one in lines(stopped)] == [one[key] for one in lines(straight)]


def test_another_run_in_the_folder_begins_another_log(tmp_path: Path) -> None:
    train(tmp_path, Log(tmp_path))
    (tmp_path / "run.pt").unlink()
    train(tmp_path, Log(tmp_path), 2)
    assert [line["step"] for line in lines(tmp_path)] == [2]


def test_scoring_changes_nothing_in_training(tmp_path: Path, folder: Path) -> None:
    train(tmp_path / "plain", Log(tmp_path / "plain"))
    train(tmp_path / "scored", Log(tmp_path / "scored", Validation.of(folder), 2))
    plain, scored = (
        (tmp_path / way / "safelight.safetensors").read_bytes() for way in ("plain", "scored")
    )
    assert plain == scored


def test_the_averaged_weights_are_scored(tmp_path: Path) -> None:
    class Noted(Validation):
        def score(self, state: State) -> dict[str, Score]:
            seen.append({key: value.clone() for key, value in state.items()})
            return {}

    seen: list[State] = []
    run = Run(RECIPE)
    log = Log(tmp_path, Noted({}), 1)
    log(run, run.advance(trainer.draw_batch(photographs(), RECIPE, 0)))
    assert torch.equal(seen[0]["body.enter.weight"], run.average["body.enter.weight"])
    assert not torch.equal(seen[0]["body.enter.weight"], run.network.body.enter.weight)


def test_curves_are_drawn_beside_the_log(tmp_path: Path, folder: Path) -> None:
    train(tmp_path, Log(tmp_path, Validation.of(folder), 2))
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size == (WIDTH, 2 * PANEL_HEIGHT)
    loss, scores = panels(lines(tmp_path))
    assert [step for step, _ in loss.curves[0].points] == [2, 4, 6]
    assert [curve.label for curve in scores.curves][:2] == ["noise-free", "x1"]


def test_a_curve_stands_where_its_values_are() -> None:
    """A falling line: its colour is high on the left and low on the right, never the reverse."""
    drawn = draw([Panel("falling", (Curve("a", [(step, 100.0 - step) for step in range(101)]),))])
    assert drawn.shape == (PANEL_HEIGHT, WIDTH, 3)
    line = (np.abs(drawn.astype(int) - (240, 180, 60)).sum(2) < 60).nonzero()
    left = line[0][(line[1] > 110) & (line[1] < 150)].mean()
    right = line[0][(line[1] > 1020) & (line[1] < 1060)].mean()
    assert right - left > 200
    axis = Axis(0, 100, 10, 30)
    assert (axis(0), axis(50), axis(100)) == (10, 20, 30)


@pytest.mark.parametrize("points", [[(1.0, 5.0)], [(100.0, 0.02), (200.0, 0.02)]])
def test_a_single_point_and_a_level_curve_can_be_drawn(points: list[tuple[float, float]]) -> None:
    assert draw([Panel("flat", (Curve("a", points),))]).shape == (PANEL_HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("span", "step"), [(20000, 5000), (1, 0.2), (0.013, 0.002), (7, 1), (7.1, 2)]
)
def test_ticks_are_round(span: float, step: float) -> None:
    assert nice_step(span) == pytest.approx(step)
    assert Axis(0, span, 0, 1).ticks()[1] == pytest.approx(step)


def test_a_scene_is_cut_to_the_networks_grid() -> None:
    scene = Scene("s", np.zeros((300, 200, 3), np.uint8)).middle(288, 96)
    assert scene.codes.shape == (288, 192, 3)
