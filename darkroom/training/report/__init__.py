"""One self-contained page about training runs: curves, samples, features, recipes, cards."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from darkroom.errors import UsageError
from darkroom.output.atomic import atomic_write, check_target, spare_inputs
from darkroom.training.report.html import REPORT_MARK, render_report
from darkroom.training.report.runs import read_runs

__all__ = ["check_report", "write_report"]

ENDINGS = (".html", ".htm")
MARK_BYTES = 200
"""The page's mark is within so many of its first bytes."""


def check_report(runs: Sequence[Path], out: Path, overwrite: bool = False) -> None:
    """Raise now what would keep a report about these run folders from being written.

    An earlier report is replaced, anything else only with `overwrite`. Raises UsageError for a name
    that is no page's, OutputError where it cannot be written.
    """
    if out.suffix.lower() not in ENDINGS:
        raise UsageError(f"{out}: a report is a page; end its name in .html")
    check_target(out, overwrite or _is_report(out))
    spare_inputs(out, (path for run in runs for path in run.glob("**/*")))


def write_report(runs: Sequence[Path], out: Path, overwrite: bool = False) -> None:
    """Write one page about training runs, by their folders; whole or not at all.

    With several, their curves come together and a table tells what their recipes differ in. Curves
    of long runs are thinned, and of many samples some are shown. Raises UsageError for a folder
    without a log and for a damaged one, OutputError where the page cannot be written.
    """
    own = [run for run in runs if out.resolve().parent == run.resolve()]
    found = read_runs(runs)
    check_report([run for run in runs if run not in own], out, overwrite)
    with atomic_write(out, overwrite or _is_report(out)) as stream:
        for piece in render_report(found):
            stream.write(piece.encode("utf-8"))


def _is_report(path: Path) -> bool:
    """Whether a file is a report about training."""
    with suppress(OSError), path.open("rb") as file:
        return REPORT_MARK.encode("ascii") in file.read(MARK_BYTES)
    return False
