"""What a batch shows: a live table on a terminal, lines where it is piped, JSON events, or nothing.

Words go to standard error; with --json, one event per photo and a summary to standard output.
"""

import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from heapq import nlargest
from itertools import islice
from operator import attrgetter
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Self

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from darkroom.batch.journal import JOURNAL
from darkroom.batch.record import Outcome, Status
from darkroom.cli import output
from darkroom.errors import DarkroomError

if TYPE_CHECKING:
    from darkroom.batch.stages import PhotoProgress

SHOWN = 10
"""Failures and warnings that are repeated at the end, at most; the journal has all."""
REFRESHES = 8
"""Per second."""
BAR = 30
NUMBERS = 56
"""Columns of the terminal for the bar, at most, and for the numbers beside it."""
STAGE = 20
"""Columns for the stage before a photo's name and the share behind it."""
NUMBER = re.compile(r"\d[\d.,]*")


class Display:
    """Counts and shows what becomes of photos; `total` is None where more may arrive.

    `said`: warnings about all photos that are said already.
    """

    def __init__(
        self,
        total: int | None,
        out: Path,
        *,
        quiet: bool,
        as_json: bool,
        said: Collection[str] = (),
    ) -> None:
        self._total = total
        self._out = out
        self._quiet = quiet
        self._as_json = as_json
        self._said = said
        self._counts: Counter[Status] = Counter()
        self._failures: dict[str, Outcome] = {}
        self._warnings = Warnings()
        self._at_hand: dict[str, PhotoProgress] = {}
        self._started = monotonic()
        self._console = console = Console(stderr=True)
        mixed = as_json and sys.stdout.isatty()  # two streams on one terminal
        self._live = _Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=REFRESHES,
            transient=True,
        )
        self._is_live = console.is_terminal and not quiet and not mixed
        self._lines = not self._is_live and not quiet and not as_json

    def __enter__(self) -> Self:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._is_live:
            self._live.stop()
        began = kind is None or not issubclass(kind, DarkroomError) or self._counts.total() > 0
        if kind is not BrokenPipeError and (began or self._as_json):
            self._sum_up(finished=kind is None)

    @property
    def failed(self) -> int:
        """Photos that failed; those that were half copied and done later do not count."""
        return len(self._failures)

    def watch(self, progress: "PhotoProgress") -> None:
        """Note where a photo is; called from several threads."""
        self._at_hand[progress.job.target] = progress

    def warn(self, text: str) -> None:
        """Say what is odd about the batch as a whole."""
        if self._is_live:
            self._live.say(Text(f"warning: {text}", style="yellow"))
        elif not self._quiet:
            output.warn(text)

    def show(self, outcome: Outcome) -> None:
        """Count what became of a photo, and say it."""
        self._at_hand.pop(outcome.output, None)
        self._counts[outcome.status] += 1
        if outcome.status is not Status.SKIPPED:
            self._warnings.add(text for text in outcome.warnings if text not in self._said)
        self._failures.pop(outcome.output, None)
        if outcome.status is Status.FAILED:
            self._failures[outcome.output] = outcome
        if self._as_json:
            output.print_json({"event": "photo", **outcome.record()})
        if self._lines and outcome.status is not Status.SKIPPED:
            total = "" if self._total is None else f"/{self._total}"
            output.say(f"[{self._counts.total()}{total}] {line(outcome)}")
        elif self._is_live and outcome.status is Status.FAILED:
            self._live.say(Text(output.escape(f"failed: {outcome.error}"), style="red"))

    def _sum_up(self, finished: bool) -> None:
        counts, seconds = self._counts, monotonic() - self._started
        if self._as_json:
            summary = {
                "event": "summary",
                "finished": finished,
                "done": counts[Status.DONE],
                "failed": self.failed,
                "skipped": counts[Status.SKIPPED],
                "total": self._total,
                "seconds": round(seconds, 3),
            }
            output.print_json(summary)
        if self._quiet:
            return
        for text in self._warnings.lines():
            output.warn(text)
        if not self._as_json:
            parts = [f"{counts[Status.DONE]} done"]
            if counts[Status.SKIPPED]:
                parts.append(f"{counts[Status.SKIPPED]} done before")
            if self.failed:
                parts.append(f"{self.failed} failed")
            if self._total is not None and counts.total() < self._total:
                parts.append(f"{self._total - counts.total()} left, run it again to go on")
            output.say(f"{', '.join(parts)} in {clock(seconds)}; see {self._out / JOURNAL}")
        if self._lines and self.failed > 1:
            for outcome in islice(self._failures.values(), SHOWN):
                output.say(f"failed: {outcome.error}")
            if self.failed > SHOWN:
                output.say(f"failed: {self.failed - SHOWN} more; the journal has all")

    def _render(self) -> Group:
        """Draw photos done, rate, time left, failures, and where each photo at hand is."""
        number, fresh = self._counts.total(), self._counts[Status.DONE] + self.failed
        seconds = monotonic() - self._started
        head = Table.grid(padding=(0, 2))
        cells = [f"{number} photos" if self._total is None else f"{number}/{self._total} photos"]
        if fresh:
            cells.append(f"{seconds / fresh:.2f} s each")
            if self._total is not None:
                cells.append(f"{clock((self._total - number) * seconds / fresh)} left")
        if self.failed:
            cells.append(f"[red]{self.failed} failed[/red]")
        width = self._console.width
        if self._total is not None and width > NUMBERS:
            head.add_row(ProgressBar(self._total, number, width=min(BAR, width - NUMBERS)), *cells)
        else:
            head.add_row(*cells)
        stages = Table.grid(padding=(0, 2))
        for target, progress in sorted(self._at_hand.copy().items()):
            share = f"{progress.share:.0%}" if progress.share else ""
            name = Text(shortened(output.escape(target), width - STAGE), no_wrap=True)
            stages.add_row(Text(progress.stage.value, style="cyan"), name, share)
        return Group(head, stages)


class _Live(Live):
    """Rich's, which would lose lines that are printed while another thread draws it anew."""

    def say(self, text: Text) -> None:
        """Print above what is live."""
        with self._lock:
            self.console.print(text)


@dataclass(slots=True)
class _Kind:
    """Warnings of one kind: the `first` that was met, how many, and whether they `differ`."""

    first: str
    count: int = 0
    differ: bool = False


class Warnings:
    """Counts warnings; those that differ in their numbers only are one, and only one is kept."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def add(self, texts: Iterable[str]) -> None:
        """Count the warnings about one photo."""
        for text in texts:
            kind = self._kinds.setdefault(NUMBER.sub("0", text), _Kind(text))
            kind.count += 1
            kind.differ |= text != kind.first

    def lines(self) -> Iterator[str]:
        """Yield the most frequent, as first met, with how many photos they are about."""
        for kind in nlargest(SHOWN, self._kinds.values(), attrgetter("count")):
            like = ", and the like" if kind.differ else ""
            photos = f" ({kind.count} photos)" if kind.count > 1 else ""
            yield f"{kind.first}{like}{photos}"
        if len(self._kinds) > SHOWN:
            yield f"{len(self._kinds) - SHOWN} more kinds of warnings; the journal has all"


def shortened(name: str, width: int) -> str:
    """Leave the beginning of a path out where it is wider than `width` columns."""
    if cell_len(name) <= width:
        return name
    while name and cell_len(name) >= width:
        name = name[1:]
    return f"\N{HORIZONTAL ELLIPSIS}{name}"


def line(outcome: Outcome) -> str:
    """Return one line about a photo."""
    if outcome.error is not None:
        return f"failed: {outcome.error}"
    times = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in outcome.seconds.items())
    return f"{outcome.output}: x{outcome.gain:.4g} on {outcome.device}, {times}"


def clock(seconds: float) -> str:
    """Return a duration as people write it: 12.3 s, 4:05, 1:02:03."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
