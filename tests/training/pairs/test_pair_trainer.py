"""Runs on pairs: stopped and gone on with, shared by processes, and what comes out of them."""

import csv
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pair_photos import XTRANS_PHASE, make_source
from pair_runs import SID, SMALL, measure_gradients, small_job
from PIL import Image
from safetensors import safe_open

from darkroom.errors import UsageError
from darkroom.models.loading import load_model
from darkroom.training.pairs.batches import draw_batch
from darkroom.training.pairs.log import PairLog, PairReport
from darkroom.training.pairs.networks import find_network
from darkroom.training.pairs.scores import TestPairs
from darkroom.training.pairs.trainer import PairJob, PairRun, train_pairs
from darkroom.training.state import read_state, write_state

TESTS = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks are tiny, and threads that wait for each other cost more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tensors(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("name", ["sid", "sid-batch-norm-double"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_stopping_and_resuming_equals_not_stopping(tmp_path: Path, name: str, ema: float) -> None:
    """The same machine, the same order of sums: equal to the last bit; norms' statistics too."""
    job = small_job(replace(SMALL, ema=ema, drop_at=0.5), name=name)
    straight = list(train_pairs(job, tmp_path / "straight"))
    halves = []
    for stop in (1, 2, 3):  # each time the last step was not kept, and is taken again
        run = train_pairs(job, tmp_path / "stopped", save_seconds=0)
        halves += [next(run) for _ in range(stop)]
        run.close()
    halves += list(train_pairs(job, tmp_path / "stopped"))
    assert [step.loss for step in halves] == [step.loss for step in straight]
    assert [step.rate for step in straight] == [1e-4] * 3 + [1e-5] * 3
    weights = [
        (tmp_path / way / f"{name}.safetensors").read_bytes() for way in ("straight", "stopped")
    ]
    assert weights[0] == weights[1]


def test_what_was_not_kept_is_done_again_to_the_same_bits(tmp_path: Path) -> None:
    job = small_job()
    list(train_pairs(job, tmp_path / "straight"))
    run = train_pairs(job, tmp_path / "stopped", save_seconds=0)
    next(run), next(run)
    run.close()
    state = (tmp_path / "stopped" / "state.safetensors").read_bytes()
    run = train_pairs(job, tmp_path / "stopped")  # nothing is kept for a minute
    next(run), next(run)
    run.close()
    assert (tmp_path / "stopped" / "state.safetensors").read_bytes() == state
    list(train_pairs(job, tmp_path / "stopped"))
    same = [(tmp_path / way / "sid.safetensors").read_bytes() for way in ("straight", "stopped")]
    assert same[0] == same[1]


def test_another_run_does_not_go_on(tmp_path: Path) -> None:
    list(train_pairs(small_job(), tmp_path))
    with pytest.raises(UsageError, match=r"begun with seed 5, not 6; give the same options"):
        list(train_pairs(small_job(replace(SMALL, seed=6)), tmp_path))
    job = small_job()
    other = replace(job, source=make_source(scenes=2, size=(64, 64)))
    with pytest.raises(UsageError, match="begun with data"):
        list(train_pairs(other, tmp_path))


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": "3"},
        {"step": -1},
        {"step": 10**30},
        {"step": None},
        {"scores": [1]},
        {"scores": {"all": {"psnr": "high", "ssim": 1.0}}},
        {"scores": {"all": 1.0}},
    ],
)
def test_a_state_that_no_run_wrote_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    run = train_pairs(small_job(), tmp_path, save_seconds=0)
    next(run), next(run)
    run.close()
    path = tmp_path / "state.safetensors"
    write_state(path, read_state(path) | wrong)
    with pytest.raises(UsageError, match="is damaged, or of another kind of training"):
        list(train_pairs(small_job(), tmp_path))


def test_weights_that_are_gone_are_written_again(tmp_path: Path) -> None:
    """As the command says that they are there; what a killed run left behind goes, too."""
    list(train_pairs(small_job(), tmp_path))
    path = tmp_path / "sid.safetensors"
    weights = path.read_bytes()
    path.unlink()
    (tmp_path / ".darkroom-0123.part").write_bytes(b"half")
    assert list(train_pairs(small_job(), tmp_path)) == []
    assert path.read_bytes() == weights
    assert not list(tmp_path.glob(".darkroom-*"))


@pytest.mark.parametrize("broken", ["write_weights", "write_state"])
def test_a_run_that_ends_between_its_last_two_files_is_made_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Where the state says that all is done, the weights are the last ones."""
    list(train_pairs(small_job(), tmp_path / "straight"))

    def fail(*given: object) -> None:
        raise KeyboardInterrupt

    run = train_pairs(small_job(), tmp_path / "killed", look=lambda step: step == 3)
    for _ in range(5):
        next(run)
    with monkeypatch.context() as patched:
        patched.setattr(f"darkroom.training.pairs.trainer.{broken}", fail)
        with pytest.raises(KeyboardInterrupt):
            next(run)
    list(train_pairs(small_job(), tmp_path / "killed"))
    same = [(tmp_path / way / "sid.safetensors").read_bytes() for way in ("straight", "killed")]
    assert same[0] == same[1]


def test_test_pairs_that_do_not_fit_are_refused_before_the_run() -> None:
    xtrans = make_source(scenes=1, cfa=XTRANS_PHASE)
    tests = TestPairs.choose(xtrans.store, xtrans.scenes[0], scored=True)
    with pytest.raises(UsageError, match="X-Trans, and Bayer is learned"):
        tests.check(SID, 32)
    small = make_source(scenes=1, size=(20, 20))
    tests = TestPairs.choose(small.store, small.scenes[0], scored=True)
    with pytest.raises(UsageError, match="smaller than 32 photosites"):
        tests.check(SID, 32)


@pytest.mark.parametrize(
    ("name", "m", "words"),
    [
        ("redi-two-blocks", 5.0, "amplified by REDI's estimate with m = 5, not by the true ratio"),
        ("llpacknet-2020-amplifier", 0.0, "amplified by the network itself, not by the true"),
        ("redi-two-blocks", 0.0, "pairs, at the true ratio"),
    ],
)
def test_cards_say_what_photos_were_amplified_by(
    tmp_path: Path, name: str, m: float, words: str
) -> None:
    known = find_network(name)
    recipe = replace(known.recipe, steps=1, batch=1, crop=192, m=m)
    list(train_pairs(PairJob(known, recipe, make_source(1, (192, 192))), tmp_path))
    card = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
    assert words in card
    assert "| epochs |" not in card, "the steps count"


def test_two_processes_learn_as_one_does(tmp_path: Path) -> None:
    """Gradients to 1e-6 of the largest: half a batch each, averaged. Only the first writes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    shared = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    shared |= {"PYTHONPATH": path, "GLOO_SOCKET_IFNAME": "lo"}
    line = [sys.executable, str(TESTS / "pair_worker.py"), str(tmp_path)]
    workers = [
        subprocess.Popen(line, env=shared | {"RANK": rank, "LOCAL_RANK": rank}) for rank in "01"
    ]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    job = small_job()
    alone = measure_gradients(job)
    largest = max(float(one.abs().max()) for one in alone.values())
    for rank in "01":
        found = torch.load(tmp_path / f"gradients-{rank}.pt", weights_only=True)
        for name, gradient in alone.items():
            assert (found[name] - gradient).abs().max() <= 1e-6 * largest, name
    losses = [(tmp_path / f"losses-{rank}.txt").read_text() for rank in "01"]
    assert losses[0] == losses[1], "both tell the mean of both"
    assert (tmp_path / "run-0" / "sid.safetensors").exists()
    assert not (tmp_path / "run-1").exists()
    expected = [progress.loss for progress in train_pairs(job, tmp_path / "alone")]
    assert json.loads(losses[0]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["sid", "sid-batch-norm-single-last", "perceptilabs", "redi"])
def test_what_is_exported_loads_without_asking(tmp_path: Path, name: str) -> None:
    """As the network that was trained, to 1e-5, with no word about other readings, and a card."""
    known = find_network(name)
    recipe = replace(known.recipe, steps=2, batch=1, crop=192, ema=0.5)
    job = PairJob(known, recipe, make_source(scenes=1, size=(192, 192)))
    run = PairRun(job)
    for progress in train_pairs(job, tmp_path, watch=lambda own, _: setattr(run, "last", own)):
        assert progress.loss > 0
    path = tmp_path / f"{name}.safetensors"
    model = load_model(path, "cpu", "fp32")
    assert model.notes == ()
    assert model.architecture.name == known.architecture
    packed = 1.2 * torch.rand(1, 4, 64, 64) - 0.1
    with torch.no_grad():
        trained = run.last.finished_network()(packed)
    assert (model(packed) - trained).abs().max() <= 1e-5 * trained.abs().max().clamp(min=1)
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    assert facts["architecture"] == known.architecture
    assert json.loads(facts["recipe"])["crop"] == 192
    assert json.loads(facts["data"])["pairs"] == 2
    card = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
    assert "made-up: 2 pairs of 1 scenes" in card
    assert "| crop | 192 |" in card
    assert json.loads((tmp_path / "recipe.json").read_text())["steps"] == 2


def test_the_average_follows_the_weights(tmp_path: Path) -> None:
    """By hand: at step s it keeps (1 + s) / (10 + s), at most what the recipe says."""
    run = PairRun(small_job(replace(SMALL, ema=0.15)))
    expected = {name: one.clone() for name, one in run.network.state_dict().items()}
    for step in range(3):
        run.advance(draw_batch(run.job.source, run.job.recipe, step))
        keep = min(0.15, (2 + step) / (11 + step))
        for name, one in run.network.state_dict().items():
            expected[name] = keep * expected[name] + (1 - keep) * one
    for name, one in run.weights().items():
        assert torch.allclose(one, expected[name], atol=1e-7)
        assert not torch.equal(one, run.network.state_dict()[name])


def test_a_run_begins_with_weights_of_its_network(tmp_path: Path) -> None:
    list(train_pairs(small_job(name="sid-batch-norm-single"), tmp_path))
    path = tmp_path / "sid-batch-norm-single.safetensors"
    job = replace(small_job(name="sid-batch-norm-single"), begin=path)
    begun = PairRun(job).network.state_dict()
    assert all(torch.equal(begun[name], one) for name, one in tensors(path).items())
    with pytest.raises(UsageError, match="is of another network than is trained: "):
        PairRun(replace(small_job(), begin=path))


def test_crops_and_batches_that_do_not_fit_are_refused() -> None:
    job = small_job()
    with pytest.raises(UsageError, match=r"--crop 33: sid takes multiples of 32 .* such as 32"):
        replace(job, recipe=replace(SMALL, crop=33))
    with pytest.raises(UsageError, match="--batch 2 cannot be shared by 3 processes"):
        replace(job, processes=replace(job.processes, count=3))
    with pytest.raises(UsageError, match="--loss l3: unknown; give one of l1, l2"):
        replace(job, recipe=replace(SMALL, loss="l3"))


def test_a_run_leaves_a_log_a_table_curves_and_sheets(tmp_path: Path) -> None:
    job = small_job()
    told: list[PairReport] = []
    pairs = [pair for scene in job.source.scenes for pair in scene]
    tests = TestPairs.choose(job.source.store, pairs, scored=True)
    log = PairLog(tmp_path, job.steps, tests, 2, told.append)
    list(train_pairs(job, tmp_path, log, log.is_scored))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6] == [report.step for report in told]
    assert list(lines[0]["scores"]) == ["x100", "x250", "all"]
    both = [lines[2]["scores"][name]["psnr"] for name in ("x100", "x250")]
    assert lines[2]["scores"]["all"]["psnr"] == pytest.approx(sum(both) / 2)
    assert {"gradient", "activation", "weight"} == set(lines[2]["layers"]["conv1_1"])
    assert all(0 <= line["busy"] <= 1 for line in lines)
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert float(rows[2]["psnr all"]) == lines[2]["scores"]["all"]["psnr"]
    assert (tmp_path / "curves.png").stat().st_size > 0
    sheets = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert sheets == [f"step-0000000{step}.png" for step in (2, 4, 6)]
    assert sorted(path.name for path in (tmp_path / "features").iterdir()) == sheets
    assert (tmp_path / "layers.png").stat().st_size > 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "PSNR all" in page
    assert "output at step 6" in page
    assert "Feature maps" in page
    with Image.open(tmp_path / "samples" / sheets[0]) as sheet:
        assert sheet.width > 2 * 384, "targets beside outputs"
    assert "| all |" in (tmp_path / "sid.md").read_text()


def test_scoring_and_looking_change_nothing(tmp_path: Path) -> None:
    job = small_job(name="sid-batch-norm-double")
    list(train_pairs(job, tmp_path / "plain"))
    tests = TestPairs.choose(job.source.store, [job.source.scenes[0][0]], scored=False)
    log = PairLog(tmp_path / "scored", job.steps, tests, 1, with_curves=False)
    list(train_pairs(job, tmp_path / "scored", log, log.is_scored))
    name = "sid-batch-norm-double.safetensors"
    plain, scored = (tensors(tmp_path / way / name) for way in ("plain", "scored"))
    assert all(torch.equal(one, scored[key]) for key, one in plain.items())
    assert SID.recipe.epochs == 4000


@pytest.mark.parametrize(("name", "rate"), [("sid", 1e-3), ("sid-batch-norm-none", 1e-3)])
def test_the_loss_falls_on_one_batch(name: str, rate: float) -> None:
    run = PairRun(small_job(replace(SMALL, rate=rate, steps=1000), name=name))
    batch = draw_batch(run.job.source, run.job.recipe, 0)
    losses = [run.advance(batch).loss for _ in range(80)]
    assert losses[-1] < 0.8 * losses[0]


def test_bfloat16_is_near_float32(tmp_path: Path) -> None:
    """It keeps 8 bits, 0.4 %; the weights and what is exported stay float32."""
    plain, half = small_job(), replace(small_job(), bfloat16=True)
    runs = [list(train_pairs(job, tmp_path / way)) for job, way in ((plain, "a"), (half, "b"))]
    for one, other in zip(*runs, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=0.02)
        assert other.loss != one.loss
    kept = tensors(tmp_path / "b" / "sid.safetensors").values()
    assert all(one.dtype is torch.float32 for one in kept)
    with pytest.raises(UsageError, match="begun with precision bf16, not fp32"):
        list(train_pairs(plain, tmp_path / "b"))
