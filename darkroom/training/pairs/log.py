"""What a run on pairs leaves to read: log.jsonl, log.csv, curves, sheets, and a page of all."""

import csv
import io
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from darkroom.evaluation.simulated import PictureScore
from darkroom.output.atomic import atomic_write
from darkroom.training.feature_sheets import write_feature_sheet
from darkroom.training.layer_statistics import LayerValues, write_layer_curves
from darkroom.training.log import (
    LOG,
    REPORT_EVERY,
    SCORE_EVERY,
    TrainingReport,
    collect_curves,
    read_records,
    write_curves,
    write_log,
)
from darkroom.training.pairs.scores import TestPairs, write_sheet
from darkroom.training.pairs.trainer import PairProgress, PairRun
from darkroom.training.report import write_report
from darkroom.training.report.runs import REPORT

CSV, LAYER_CURVES = "log.csv", "layers.png"
COLUMNS = ("step", "loss", "rate", "seconds_per_step", "crops_per_second", "busy")


@dataclass(frozen=True, slots=True)
class PairReport(TrainingReport):
    """As TrainingReport; `busy`: the share of the time that was not waited for crops.

    `layers`: root mean squares of each layer in the last step, where it was scored.
    """

    busy: float = 1.0
    layers: LayerValues = field(default_factory=dict)


@dataclass
class PairLog:
    """Watches a run of `train_pairs` and writes its reports to `folder`; `tell` is handed each.

    What an earlier run reported of steps that are taken again is left out.
    """

    folder: Path
    steps: int
    tests: TestPairs
    score_every: int = SCORE_EVERY
    tell: Callable[[PairReport], None] = lambda report: None
    with_curves: bool = True
    _records: list[dict[str, Any]] | None = field(default=None, init=False)
    _losses: list[float] = field(default_factory=list, init=False)
    _waited: float = field(default=0.0, init=False)
    _since: float = field(default_factory=time.perf_counter, init=False)

    def is_scored(self, step: int) -> bool:
        """Say whether the step of this number, counted from 1, is scored."""
        return step % self.score_every == 0 or step == self.steps

    def __call__(self, run: PairRun, progress: PairProgress) -> None:
        """Take note of one step."""
        if self._records is None:
            self._records = read_records(self.folder / LOG, before=progress.step)
        self._losses.append(progress.loss)
        self._waited += progress.waited
        to_score = self.is_scored(progress.step)
        if progress.step % REPORT_EVERY and not to_score:
            return
        report = self._report(run, progress, to_score)
        self._records.append(asdict(report))
        write_log(self.folder, self._records)
        write_table(self.folder, self._records)
        if to_score and self.with_curves:
            write_curves(self.folder, collect_curves(self._records, "the middles of test pairs"))
            history = [(one["step"], one["layers"]) for one in self._records if one["layers"]]
            write_layer_curves(self.folder / LAYER_CURVES, history)
        if to_score:
            write_report([self.folder], self.folder / REPORT)
        self.tell(report)
        self._losses, self._waited, self._since = [], 0.0, time.perf_counter()

    def _report(self, run: PairRun, progress: PairProgress, to_score: bool) -> PairReport:
        now = time.perf_counter()
        passed = now - self._since
        scores: dict[str, PictureScore] = {}
        if to_score:
            job = run.job
            network = run.finished_network()
            scores, sheet = self.tests.score(network, job.network, job.grid)
            run.scores = {name: asdict(score) for name, score in scores.items()}
            write_sheet(self.folder, progress.step, sheet)
            middle = self.tests.cut(self.tests.pairs[0], job.network, job.grid)
            middle = middle.to(next(network.parameters()).device)
            see = partial(job.network.forward, network, middle)
            write_feature_sheet(self.folder, progress.step, network, see)
        seconds = passed / len(self._losses)
        return PairReport(
            step=progress.step,
            loss=sum(self._losses) / len(self._losses),
            rate=progress.rate,
            seconds_per_step=seconds,
            crops_per_second=run.job.recipe.batch / seconds,
            scores=scores,
            scoring_seconds=time.perf_counter() - now,
            busy=max(0.0, 1 - self._waited / passed),
            layers=progress.layers,
        )


def write_table(folder: Path, records: list[dict[str, Any]]) -> None:
    """Write the log as a table for spreadsheets; scores that were not taken stay empty."""
    names = dict.fromkeys(name for record in records for name in record["scores"])
    scores = [f"{metric} {name}" for name in names for metric in ("psnr", "ssim")]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*COLUMNS, *scores])
    for record in records:
        taken = (record["scores"].get(name, {}) for name in names)
        values = [one.get(metric, "") for one in taken for metric in ("psnr", "ssim")]
        table.writerow([*(record[column] for column in COLUMNS), *values])
    with atomic_write(folder / CSV, overwrite=True) as stream:
        stream.write(text.getvalue().encode())
