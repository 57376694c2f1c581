"""What a training run leaves to read: log.jsonl, one line per report, and curves.png."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from darkroom.errors import UsageError
from darkroom.evaluation.simulated import PictureScore
from darkroom.output.atomic import atomic_write
from darkroom.training.curves import NEEDED, Curves, draw_curves, has_matplotlib
from darkroom.training.trainer import TrainingProgress, TrainingRun
from darkroom.training.validation import Validation

REPORT_EVERY = 100
SCORE_EVERY = 1000
LOG, CURVES = "log.jsonl", "curves.png"


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """The steps since the report before: their mean loss and speed; scores where it was time.

    `rate`: the last step's. `scores`: by ratio, empty where none were taken, of the averaged
    weights. `scoring_seconds`: what they took, not counted in the speed.
    """

    step: int
    loss: float
    rate: float
    seconds_per_step: float
    crops_per_second: float
    scores: dict[str, PictureScore] = field(default_factory=dict)
    scoring_seconds: float = 0.0


@dataclass
class TrainingLog:
    """Watches a run of `train_network` and writes its reports to `folder`; `tell` is handed each.

    What an earlier run reported of steps that are taken again is left out, so that each step is
    there once however often training was stopped. Raises UsageError where curves are wanted and
    matplotlib is not there to draw them.
    """

    folder: Path
    validation: Validation | None = None
    score_every: int = SCORE_EVERY
    tell: Callable[[TrainingReport], None] = lambda report: None
    with_curves: bool = True
    _records: list[dict[str, Any]] | None = field(default=None, init=False)
    _losses: list[float] = field(default_factory=list, init=False)
    _since: float = field(default_factory=time.perf_counter, init=False)

    def __post_init__(self) -> None:
        if self.with_curves and not has_matplotlib():
            raise UsageError(NEEDED)

    def __call__(self, run: TrainingRun, progress: TrainingProgress) -> None:
        """Take note of one step."""
        if self._records is None:
            self._records = read_records(self.folder / LOG, before=progress.step)
        self._losses.append(progress.loss)
        last = progress.step == run.recipe.steps
        to_score = progress.step % self.score_every == 0 or last
        if progress.step % REPORT_EVERY == 0 or to_score:
            report = self._report(run, progress, to_score)
            self._records.append(asdict(report))
            write_log(self.folder, self._records)
            if to_score and self.with_curves:
                write_curves(self.folder, collect_curves(self._records))
            self.tell(report)
            self._losses, self._since = [], time.perf_counter()

    def _report(
        self, run: TrainingRun, progress: TrainingProgress, to_score: bool
    ) -> TrainingReport:
        now = time.perf_counter()
        seconds = (now - self._since) / len(self._losses)
        scores = self.validation.score(run.average) if self.validation and to_score else {}
        return TrainingReport(
            step=progress.step,
            loss=sum(self._losses) / len(self._losses),
            rate=progress.rate,
            seconds_per_step=seconds,
            crops_per_second=run.recipe.batch / seconds,
            scores=scores,
            scoring_seconds=time.perf_counter() - now,
        )


def write_log(folder: Path, records: list[dict[str, Any]]) -> None:
    """Write the log whole, so that no line of it is ever torn."""
    lines = "".join(json.dumps(record) + "\n" for record in records)
    with atomic_write(folder / LOG, overwrite=True) as stream:
        stream.write(lines.encode())


def write_curves(folder: Path, curves: Curves) -> None:
    """Draw curves into a run's folder; needs matplotlib."""
    with atomic_write(folder / CURVES, overwrite=True) as stream:
        draw_curves(curves).savefig(stream, format="png")


def read_records(path: Path, before: int) -> list[dict[str, Any]]:
    """Read the reports of steps before `before`; none where there is no log.

    Raises UsageError for a file that no training wrote: it is not to be replaced.
    """
    if not path.exists():
        return []
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        earlier = [record for record in records if record["step"] < before]
        collect_curves(earlier)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} is no log of a training run; move it away") from error
    return earlier


SIMULATED = "simulated photos"


def collect_curves(records: list[dict[str, Any]], scored_on: str = SIMULATED) -> Curves:
    """Return what to draw of a log: the loss, and PSNR at each ratio where there are scores."""
    loss = [(record["step"], record["loss"]) for record in records]
    curves = {"loss, mean of the steps between reports": {"loss": loss}}
    scored = [record for record in records if record["scores"]]
    if scored:
        curves[f"PSNR in dB on {scored_on}, by ratio"] = {
            name: [(record["step"], record["scores"][name]["psnr"]) for record in scored]
            for name in scored[0]["scores"]
        }
    return curves
