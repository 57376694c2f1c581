"""The page about training runs: their records in, HTML out, piece by piece."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup

from darkroom.output.page import find_pages
from darkroom.training.report import charts
from darkroom.training.report.charts import Chart, chart_layers, chart_run, compare_runs
from darkroom.training.report.runs import RunRecord
from darkroom.training.report.sheets import Sample, Sheet, read_samples, read_sheets

REPORT_MARK = '<meta name="generator" content="darkroom report">'
"""Tells a report about training from other pages."""


@dataclass
class RunSection:
    """One run on the page; its pictures are read when the page comes to them."""

    run: RunRecord
    charts: list[Chart]
    layers: list[Chart]

    @cached_property
    def samples(self) -> list[Sample]:
        """Targets and outputs, where the sheets of samples are so."""
        return read_samples(self.run.samples)

    @cached_property
    def sheets(self) -> list[tuple[str, list[Sheet]]]:
        """Sheets that are shown whole, under their titles."""
        samples = [] if self.samples else read_sheets(self.run.samples)
        found = {"Samples": samples, "Feature maps": read_sheets(self.run.features)}
        return [(title, sheets) for title, sheets in found.items() if sheets]


@dataclass(frozen=True, slots=True)
class Variants:
    """A table of runs: a row for each, what their recipes differ in, and how far they came."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    same: dict[str, str]


def render_report(runs: Sequence[RunRecord]) -> Iterator[str]:
    """Yield the page, piece by piece."""
    shared = compare_runs(list(runs)) if len(runs) > 1 else []
    sections = [RunSection(run, chart_run(run), chart_layers(run)) for run in runs]
    everything = [*shared, *(c for one in sections for c in (*one.charts, *one.layers))]
    numbers = {id(chart): number for number, chart in enumerate(everything)}
    facts = {
        "mark": REPORT_MARK,
        "geometry": charts,
        "variants": compare_recipes(runs),
        "shared": shared,
        "sections": sections,
        "number": lambda chart: numbers[id(chart)],
        "data": _write_data([chart.describe() for chart in everything]),
    }
    pages = find_pages("darkroom.training.report")
    return pages.get_template("page.html.j2").generate(facts)


def compare_recipes(runs: Sequence[RunRecord]) -> Variants:
    """Make the table of runs, how far they came first; `same` is what all recipes share."""
    names = dict.fromkeys(key for run in runs for key in run.recipe)
    same = {
        key: runs[0].recipe[key]
        for key in names
        if len({run.recipe.get(key) for run in runs}) == 1 and key in runs[0].recipe
    }
    differing = [key for key in names if key not in same]
    scored = dict.fromkeys(
        (metric, name) for run in runs for metric in run.scores for name in run.scores[metric]
    )
    columns = ("run", "step", *(_title(*one) for one in scored), "loss", *differing)
    rows = []
    for run in runs:
        last = [
            f"{points[-1][1]:.4g}" if (points := run.scores.get(metric, {}).get(name)) else ""
            for metric, name in scored
        ]
        loss = run.curves.get("loss")
        rows.append(
            (
                run.name,
                f"{run.last_step:,}",
                *last,
                f"{loss[-1][1]:.4g}" if loss else "",
                *(run.recipe.get(key, "") for key in differing),
            )
        )
    return Variants(columns, tuple(rows), same)


def _title(metric: str, name: str) -> str:
    return f"{ {'psnr': 'PSNR', 'ssim': 'SSIM'}.get(metric, metric) } {name}"


def _write_data(records: list[dict[str, object]]) -> Markup:
    """Write JSON that can stand in a script element, whatever is in it."""
    text = json.dumps(records, allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)
