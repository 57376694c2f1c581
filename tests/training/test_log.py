"""Scores along the way, the log that survives resuming, and the curves."""

import io
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.color.render import render
from darkroom.errors import UsageError
from darkroom.evaluation.chart import COLOR
from darkroom.evaluation.simulated import NOISE_FREE, PictureScore, Scene, name_ratio, score_picture
from darkroom.models.architectures.base import Conditions, State
from darkroom.mosaic.packing import BAYER, XTRANS
from darkroom.training import log as logging
from darkroom.training import trainer
from darkroom.training import validation as validating
from darkroom.training.curves import PANEL_HEIGHT, WIDTH, draw_curves
from darkroom.training.log import TrainingLog, TrainingReport, collect_curves
from darkroom.training.trainer import Recipe, TrainingRun, train_network
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


def train(out: Path, log: TrainingLog, stop: int = RECIPE.steps) -> list[float]:
    """Train, and stop after `stop` steps as an interruption does; only even ones are kept."""
    losses = []
    for seconds, last in ((0.0, stop - stop % 2), (math.inf, stop)):
        run = train_network(photographs(), RECIPE, out, seconds, watch=log)
        for progress in run if len(losses) < last else ():
            losses.append(progress.loss)
            if progress.step == last:
                break
        run.close()
    return losses


def lines(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("cfa", [BAYER, XTRANS], ids=["bayer", "xtrans"])
def test_the_network_is_scored_as_its_definition_says(folder: Path, cfa: object) -> None:
    """Against the network itself, run with the true conditions, not folded: equal to 1e-3 dB."""
    validation = Validation.simulate(folder, cfa)  # type: ignore[arg-type]
    run = TrainingRun(replace(RECIPE, xtrans=cfa == XTRANS))
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
        expected = score_picture(render(camera, COLOR), photo.scene)
        assert found[name_ratio(ratio)].psnr == pytest.approx(expected.psnr, abs=1e-3)
        assert found[name_ratio(ratio)].ssim == pytest.approx(expected.ssim, abs=1e-4)


def test_scores_are_the_same_each_time_and_fall_with_the_light(folder: Path) -> None:
    """A network that only demosaics: the noisier the photo, the lower the score."""
    state = TrainingRun(RECIPE).network.state_dict()
    state = {k: v * (0 if "body.up" in k or "spread" in k else 1) for k, v in state.items()}
    once, again = (Validation.simulate(folder).score(state) for _ in range(2))
    assert once == again
    values = [score.psnr for score in once.values()]
    assert values == sorted(values, reverse=True)


def test_small_pictures_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no JPEG or PNG"):
        Validation.simulate(tmp_path)
    Image.new("RGB", (200, 60)).save(tmp_path / "strip.png")
    with pytest.raises(UsageError, match=r"strip\.png: give pictures of 96x96 or more"):
        Validation.simulate(tmp_path)


def test_only_so_many_pictures_are_scored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validating, "PICTURES", 2)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (400, 300), "gray").save(folder / name)
    photos = Validation.simulate(folder).photos[NOISE_FREE]
    assert [photo.scene.name for photo in photos] == ["a.png", "b.png"]
    assert photos[0].scene.codes.shape == (288, 288, 3)


def test_reports_are_means_since_the_one_before(tmp_path: Path, folder: Path) -> None:
    told: list[TrainingReport] = []
    losses = train(tmp_path, TrainingLog(tmp_path, Validation.simulate(folder), 4, told.append))
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
    train(straight, TrainingLog(straight))
    train(stopped, TrainingLog(stopped), stop)
    train(stopped, TrainingLog(stopped))
    for key in ("step", "loss", "rate"):
        assert [one[key] for one in lines(stopped)] == [one[key] for one in lines(straight)]


def test_another_run_in_the_folder_begins_another_log(tmp_path: Path) -> None:
    train(tmp_path, TrainingLog(tmp_path))
    (tmp_path / "state.safetensors").unlink()
    train(tmp_path, TrainingLog(tmp_path), 2)
    assert [line["step"] for line in lines(tmp_path)] == [2]


def test_scoring_changes_nothing_in_training(tmp_path: Path, folder: Path) -> None:
    train(tmp_path / "plain", TrainingLog(tmp_path / "plain"))
    train(tmp_path / "scored", TrainingLog(tmp_path / "scored", Validation.simulate(folder), 2))
    plain, scored = (
        (tmp_path / way / "safelight.safetensors").read_bytes() for way in ("plain", "scored")
    )
    assert plain == scored


def test_the_averaged_weights_are_scored(tmp_path: Path) -> None:
    class Noted(Validation):
        def score(self, state: State) -> dict[str, PictureScore]:
            seen.append({key: value.clone() for key, value in state.items()})
            return {}

    seen: list[State] = []
    run = TrainingRun(RECIPE)
    log = TrainingLog(tmp_path, Noted({}), 1)
    log(run, run.advance(trainer.draw_batch(photographs(), RECIPE, 0)))
    assert torch.equal(seen[0]["body.enter.weight"], run.average["body.enter.weight"])
    assert not torch.equal(seen[0]["body.enter.weight"], run.network.body.enter.weight)


def test_curves_are_drawn_beside_the_log(tmp_path: Path, folder: Path) -> None:
    train(tmp_path, TrainingLog(tmp_path, Validation.simulate(folder), 2))
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size == (WIDTH, 2 * PANEL_HEIGHT)
        assert np.ptp(np.asarray(image.convert("L"))) > 200, "something is drawn"
    loss, scores = collect_curves(lines(tmp_path)).values()
    assert [step for step, _ in loss["loss"]] == [2, 4, 6]
    assert list(scores)[:2] == ["noise-free", "x1"]


def test_curves_hold_their_values_and_say_what_they_are() -> None:
    falling = [(step, 100.0 - step) for step in range(101)]
    figure = draw_curves({"one": {"a": falling, "b": falling[:3]}, "two": {"c": falling}})
    first, second = figure.axes
    assert (first.get_title(), second.get_title(), second.get_xlabel()) == ("one", "two", "step")
    assert first.lines[0].get_xydata().tolist() == [list(point) for point in falling]
    legend = first.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert first.get_xlim() == (0, 100)


@pytest.mark.parametrize("points", [[(1.0, 5.0)], [(100.0, 0.02), (200.0, 0.02)]])
def test_a_single_point_and_a_level_curve_can_be_drawn(points: list[tuple[float, float]]) -> None:
    stream = io.BytesIO()
    draw_curves({"flat": {"a": points}}).savefig(stream, format="png")
    with Image.open(stream) as image:
        assert image.size == (WIDTH, PANEL_HEIGHT)


def test_without_matplotlib_curves_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'darkroom\[train\]'"):
        TrainingLog(tmp_path)
    train(tmp_path, TrainingLog(tmp_path, with_curves=False))
    assert [line["step"] for line in lines(tmp_path)] == [2, 4, 6]
    assert not (tmp_path / "curves.png").exists()


def test_a_scene_is_cut_to_the_networks_grid() -> None:
    scene = Scene("s", np.zeros((300, 200, 3), np.uint8)).crop_middle(288, 96)
    assert scene.codes.shape == (288, 192, 3)
