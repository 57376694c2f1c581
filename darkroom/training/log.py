"""What a training run leaves to read: log.jsonl, one line per report, and curves.png."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from darkroom.evaluation.simulated import Score
from darkroom.output.atomic import atomic_write
from darkroom.training.curves import Curve, Panel, draw
from darkroom.training.trainer import Progress, Run
from darkroom.training.validation import Validation

REPORT_EVERY = 100
SCORE_EVERY = 1000
LOG, CURVES = "log.jsonl", "curves.png"


@dataclass(frozen=True, slots=True)
class Report:
    """The steps since the report before: their mean loss and speed; scores where it was time.

    `rate`: the last step's. `scores`: by ratio, empty where none were taken, of the averaged
    weights. `scoring_seconds`: what they took, not counted in the speed.
    """

    step: int
    loss: float
    rate: float
    seconds_per_step: float
    crops_per_second: float
    scores: dict[str, Score] = field(default_factory=dict)
    scoring_seconds: float = 0.0


class Log:
    """Watches a run of `fit` and writes its reports to a folder.

    What an earlier run reported of steps that are taken again is left out, so that each step is
    there once however often training was stopped.
    """

    def __init__(
        self,
        folder: Path,
        validation: Validation | None = None,
        score_every: int = SCORE_EVERY,
        tell: Callable[[Report], None] = lambda report: None,
    ) -> None:
        """Watch for `folder`; `tell` is handed each report."""
        self._folder = folder
        self._validation = validation
        self._score_every = score_every
        self._tell = tell
        self._records: list[dict[str, Any]] | None = None
        self._losses: list[float] = []
        self._since = time.perf_counter()

    def __call__(self, run: Run, progress: Progress) -> None:
        """Take note of one step."""
        if self._records is None:
            self._records = _known(self._folder / LOG, before=progress.step)
        self._losses.append(progress.loss)
        last = progress.step == run.recipe.steps
        to_score = progress.step % self._score_every == 0 or last
        if progress.step % REPORT_EVERY == 0 or to_score:
            report = self._report(run, progress, to_score)
            self._records.append(asdict(report))
            self._write(self._records, with_curves=to_score)
            self._tell(report)
            self._losses, self._since = [], time.perf_counter()

    def _report(self, run: Run, progress: Progress, to_score: bool) -> Report:
        now = time.perf_counter()
        seconds = (now - self._since) / len(self._losses)
        scores = {}
        if self._validation is not None and to_score:
            scores = self._validation.score(run.average)
        return Report(
            step=progress.step,
            loss=sum(self._losses) / len(self._losses),
            rate=progress.rate,
            seconds_per_step=seconds,
            crops_per_second=run.recipe.batch / seconds,
            scores=scores,
            scoring_seconds=time.perf_counter() - now,
        )

    def _write(self, records: list[dict[str, Any]], with_curves: bool) -> None:
        """Write the log whole, so that no line of it is ever torn."""
        lines = "".join(json.dumps(record) + "\n" for record in records)
        with atomic_write(self._folder / LOG, overwrite=True) as stream:
            stream.write(lines.encode())
        if with_curves:
            with atomic_write(self._folder / CURVES, overwrite=True) as stream:
                Image.fromarray(draw(panels(records))).save(stream, "PNG")


def panels(records: list[dict[str, Any]]) -> list[Panel]:
    """Return what to draw of a log: the loss, and PSNR at each ratio where there are scores."""
    loss = [(record["step"], record["loss"]) for record in records]
    drawn = [Panel("loss, mean of the steps between reports", (Curve("loss", loss),))]
    scored = [record for record in records if record["scores"]]
    if scored:
        curves = tuple(
            Curve(name, [(record["step"], record["scores"][name]["psnr"]) for record in scored])
            for name in scored[0]["scores"]
        )
        drawn.append(Panel("PSNR in dB on simulated photos, by ratio", curves))
    return drawn


def _known(path: Path, before: int) -> list[dict[str, Any]]:
    """Read the reports of steps before `before`; none where there is no log."""
    if not path.exists():
        return []
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [record for record in records if record["step"] < before]
