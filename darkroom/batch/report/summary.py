"""What a journal comes to: counts, times, and as many photos as a page can hold."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from darkroom.batch.record import Outcome, Status

MAX_PAIRS = 400
"""Photos shown with both pictures, the latest ones: some 30 MB of page."""
MAX_ROWS = 5000
"""Photos told of in one line each, and failures; the journal has all."""


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """Numbers over all photos of a journal, and the photos themselves, each part by name.

    `warned`: photos done with warnings. `worked`: seconds in which at least one photo was at hand,
    over all runs; pauses between them do not count. `stages`: seconds by stage, summed over photos.
    `first`, `last`: when the first was begun and the last ended. `failures`, `shown`, `rows`: what
    the page holds, the latest of all: at most MAX_ROWS, MAX_PAIRS, MAX_ROWS.
    """

    done: int
    failed: int
    warned: int
    worked: float
    stages: dict[str, float]
    first: datetime | None
    last: datetime | None
    failures: list[Outcome]
    shown: list[Outcome]
    rows: list[Outcome]

    @property
    def per_hour(self) -> float | None:
        """Photos done in an hour of work; None where no time was measured."""
        return self.done / self.worked * 3600 if self.worked > 0 else None


def summarize_outcomes(outcomes: Iterable[Outcome]) -> BatchSummary:
    """Read outcomes once, oldest first, keeping no more of them than the page holds."""
    failures: deque[Outcome] = deque(maxlen=MAX_ROWS)
    done: deque[Outcome] = deque(maxlen=MAX_PAIRS + MAX_ROWS)
    counts: Counter[str] = Counter()
    stages: dict[str, float] = {}
    spans: list[tuple[float, float]] = []
    for outcome in outcomes:
        failed = outcome.status is Status.FAILED
        (failures if failed else done).append(outcome)
        counts["failed" if failed else "done"] += 1
        counts["warned"] += not failed and bool(outcome.warnings)
        for stage, seconds in outcome.seconds.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
        if not outcome.time:
            continue
        end = datetime.fromisoformat(outcome.time).timestamp()
        _join(spans, end - sum(outcome.seconds.values()), end)
    latest = list(done)
    return BatchSummary(
        counts["done"],
        counts["failed"],
        counts["warned"],
        sum(end - start for start, end in spans),
        stages,
        datetime.fromtimestamp(spans[0][0]).astimezone() if spans else None,
        datetime.fromtimestamp(spans[-1][1]).astimezone() if spans else None,
        sorted(failures, key=attrgetter("output")),
        sorted(latest[-MAX_PAIRS:], key=attrgetter("output")),
        sorted(latest[:-MAX_PAIRS], key=attrgetter("output")),
    )


def _join(spans: list[tuple[float, float]], start: float, end: float) -> None:
    """Add a span of time to disjoint ones in order; photos end in about the order of records."""
    while spans and spans[-1][1] >= start:
        before = spans.pop()
        start, end = min(start, before[0]), max(end, before[1])
    spans.append((start, end))
