"""darkroom report: training runs on one page."""

from pathlib import Path
from typing import Annotated

import typer

from darkroom.cli import inputs, output
from darkroom.cli.options import Overwrite
from darkroom.errors import UsageError


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders that darkroom train has written to."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="The page; of one run RUN/report.html."
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write one HTML page about training runs: curves, samples by step, layers, recipe, card.

    Of several, curves come side by side, and a table says what their recipes differ in and how far
    they came. The page needs no network and no other file. An earlier report is replaced.

    Examples:

    darkroom report runs/first

    darkroom report runs/none runs/single runs/double -o batch-norm.html
    """
    from darkroom.training.report import write_report
    from darkroom.training.report.runs import REPORT

    if out is None and len(runs) > 1:
        raise UsageError("a page about several runs goes nowhere by itself; give -o FILE.html")
    place = out or runs[0] / REPORT
    inputs.refuse_folder(place)
    write_report(runs, place, overwrite)
    output.say(f"{place}: {len(runs)} training run{'s' * (len(runs) > 1)}")
