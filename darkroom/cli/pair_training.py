"""What `train --network` does: a published network, on pairs, by its recipe with changes."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.cli import output
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from darkroom.pairs.exposures import ExposurePair
    from darkroom.pairs.store import PairStore
    from darkroom.training.pairs.distributed import Processes
    from darkroom.training.pairs.log import PairReport
    from darkroom.training.pairs.trainer import PairJob

PAPER = "paper"
SECONDS_PER_LINE = 20
"""Files of 12 MP that two cores decode meanwhile, about; a line is told after each so many."""


@dataclass(frozen=True, slots=True)
class PairRequest:
    """What the user asked for; `changes`: to the recipe, by its fields, what was given alone."""

    place: Path
    out: Path
    network: str
    recipe: str
    changes: dict[str, Any]
    longs: Path | None
    photos: Path | None
    test: Path | None
    cache: Path | None
    begin: Path | None
    device: str
    precision: str
    score_every: int
    quiet: bool


def train_on_pairs(request: PairRequest) -> None:
    """Train, or go on where an earlier run stopped; one of several processes under torchrun."""
    from darkroom.models.device import find_device
    from darkroom.training.pairs.distributed import join_processes

    if request.device == "auto":
        raise UsageError("--device auto: name the device to train on, cpu or cuda")
    find_device(request.device)
    with join_processes(request.device) as processes:
        _train(request, processes)


def _train(request: PairRequest, processes: "Processes") -> None:
    from darkroom.training.curves import NEEDED, has_matplotlib
    from darkroom.training.log import CURVES, LOG
    from darkroom.training.pairs.log import PairLog
    from darkroom.training.pairs.scores import TestPairs
    from darkroom.training.pairs.trainer import train_pairs
    from darkroom.training.report import write_report
    from darkroom.training.report.runs import REPORT

    quiet = request.quiet or not processes.first
    job, tests = _prepare(request, processes)
    if not (with_curves := has_matplotlib()) and processes.first:
        output.warn(f"{CURVES} is left out: {NEEDED}")
    if not quiet:
        scenes = job.source.scenes
        output.say(
            f"{request.network}: {len(scenes)} scenes, {sum(map(len, scenes))} pairs, "
            f"{job.steps} steps; {len(tests)} test pairs"
        )

    def tell(report: "PairReport") -> None:
        if not quiet:
            _tell(report, job.steps)

    shown = tests or [scene[0] for scene in job.source.scenes]
    chosen = TestPairs.choose(job.source.store, shown, scored=bool(tests))
    chosen.check(job.network, job.grid)
    log = PairLog(request.out, job.steps, chosen, request.score_every, tell, with_curves)
    for _ in train_pairs(job, request.out, log, log.is_scored):
        pass
    if processes.first and (request.out / LOG).exists():  # once more, for the card has come since
        write_report([request.out], request.out / REPORT)
    if not quiet:
        weights = request.out / f"{request.network}.safetensors"
        output.say(f"{weights}: done, beside {LOG}, the card and {REPORT}")


def _prepare(
    request: PairRequest, processes: "Processes"
) -> tuple["PairJob", list["ExposurePair"]]:
    """Find the pairs, decode what is not kept yet, and settle the recipe: a job and test pairs."""
    from darkroom.output.atomic import spare_inputs
    from darkroom.pairs.exposures import Split
    from darkroom.pairs.layouts import read_pairs
    from darkroom.pairs.store import PairStore, default_store
    from darkroom.training.pairs.batches import (
        PairSource,
        amplify_by_redi,
        choose_scenes,
        group_scenes,
        keep_first_of_bursts,
    )
    from darkroom.training.pairs.networks import find_network
    from darkroom.training.pairs.trainer import PairJob
    from darkroom.training.scenes import load_photos

    find_network(request.network)
    store = default_store() if request.cache is None else PairStore(request.cache)
    pairs = read_pairs(request.place, longs=request.longs)
    learned = [pair for pair in pairs if pair.split in (None, Split.TRAIN)]
    if request.test is None:
        tests = [pair for pair in pairs if pair.split is Split.TEST]
    else:
        tests = read_pairs(request.test)
    held = {path.resolve() for pair in tests for path in (pair.short, pair.long)}
    learned = [
        pair for pair in learned if held.isdisjoint((pair.short.resolve(), pair.long.resolve()))
    ]
    if not learned:
        raise UsageError(f"{request.place}: no pairs are left to learn from; test with fewer")
    sensor = store.raw(learned[0].short).cfa.sensor
    network = find_network(request.network, sensor)
    recipe = replace(read_recipe(request.recipe, network.recipe), **request.changes)
    scenes = choose_scenes(group_scenes(learned), recipe.fraction, recipe.seed)
    scenes = scenes if recipe.bursts else keep_first_of_bursts(scenes)
    learned = [pair for scene in scenes for pair in scene]
    written = [f"{network.name}.safetensors", f"{network.name}.md"]
    inputs = [path for pair in (*learned, *tests) for path in (pair.short, pair.long)]
    for name in written:
        spare_inputs(request.out / name, [*inputs, *filter(None, (request.begin,))])
    if recipe.m:
        tests = [amplify_by_redi(store, pair, recipe.m) for pair in tests]
    photos = () if request.photos is None else tuple(load_photos(request.photos, recipe.crop))
    source = PairSource(store, scenes, sensor, request.place.absolute().name, photos)
    job = PairJob(network, recipe, source, processes, _takes_bfloat16(request), request.begin)
    if processes.first:
        _decode(store, [*learned, *tests], request.quiet)
    processes.wait()
    return job, tests


def read_recipe(name: str, paper: Any) -> Any:
    """Return the paper's recipe, or that of an earlier run's recipe.json. Raises UsageError."""
    if name == PAPER:
        return paper
    try:
        recipe = json.loads(Path(name).read_text(encoding="utf-8"))["recipe"]
        return replace(paper, **recipe | {"betas": tuple(recipe["betas"])})
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"--recipe {name}: give paper, or the recipe.json of an earlier run"
        ) from error


def _takes_bfloat16(request: PairRequest) -> bool:
    from darkroom.models.device import prefers_bfloat16

    if request.precision not in ("fp32", "bf16", "auto"):
        raise UsageError(f"--precision {request.precision}: give fp32, bf16 or auto")
    native = request.device != "cpu" or prefers_bfloat16()
    return request.precision == "bf16" or (request.precision == "auto" and native)


def _decode(store: "PairStore", pairs: list["ExposurePair"], quiet: bool) -> None:
    """Keep what is not kept yet, saying what it takes and how far it is."""
    plan = store.plan(pairs)
    if plan.missing and not quiet:
        output.say(str(plan))

    def tell(done: int, total: int) -> None:
        if plan.missing and not quiet and (done % SECONDS_PER_LINE == 0 or done == total):
            output.say(f"decoded {done} of {total}")

    store.build(pairs, tell=tell)


def _tell(report: "PairReport", steps: int) -> None:
    left = (steps - report.step) * report.seconds_per_step / 60
    output.say(
        f"step {report.step} of {steps}: loss {report.loss:.4f}, "
        f"{report.seconds_per_step:.2f} s a step, {report.crops_per_second:.1f} crops/s, "
        f"{report.busy:.0%} busy, {left:.0f} min left"
    )
    if report.scores:
        scores = (f"{name} {score.psnr:.2f} dB" for name, score in report.scores.items())
        output.say(f"  test PSNR {', '.join(scores)}")
