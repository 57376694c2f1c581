"""Curves as SVG for a page: drawn here, so that they are there without scripts."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from darkroom.training.layer_statistics import STATISTICS
from darkroom.training.report.runs import MEASURES, Points, RunRecord, thin_points

MAX_POINTS = 400
"""Of a curve, about; more lie closer together than a screen's pixels."""

MAX_NAMED = 12
"""Curves that a legend names; of more the first and the last, whose colours others lie between."""

WIDTH, HEIGHT = 640.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 12.0, 12.0, 26.0
"""Pixels of a chart, and around what is drawn in it."""

PALETTE = ("#ff9a62", "#6cb6ff", "#7ee0b0", "#e58cff", "#f2c14e", "#ff7d93", "#8f9bff", "#5fd4d6")


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One curve: its name, colour and points, each of them also as (x, y) in the chart."""

    name: str
    color: str
    points: Points
    path: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A value beside an axis, and where."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over steps, ready to be put on a page; `log`: whether values are on a log axis.

    `steps`, `values`: the ranges of both axes.
    """

    title: str
    log: bool
    steps: tuple[float, float]
    values: tuple[float, float]
    lines: tuple[ChartLine, ...]
    step_ticks: tuple[Tick, ...]
    value_ticks: tuple[Tick, ...]

    @property
    def named(self) -> tuple[ChartLine, ...]:
        """The curves that the legend names."""
        few = len(self.lines) <= MAX_NAMED
        return self.lines if few else (self.lines[0], self.lines[-1])

    def describe(self) -> dict[str, object]:
        """Return what a script needs to say the values under a pointer."""
        return {
            "log": self.log,
            "steps": self.steps,
            "values": self.values,
            "lines": [
                {"name": line.name, "color": line.color, "points": line.points}
                for line in self.lines
            ],
        }


def compare_runs(runs: list[RunRecord]) -> list[Chart]:
    """Draw loss and scores of all runs, a chart for each metric of each thing that was scored."""
    charts = [draw_chart("loss", {run.name: run.curves.get("loss", []) for run in runs}, log=True)]
    metrics = dict.fromkeys(metric for run in runs for metric in run.scores)
    for metric in metrics:
        names = dict.fromkeys(name for run in runs for name in run.scores.get(metric, {}))
        for name in names:
            lines = {run.name: run.scores.get(metric, {}).get(name, []) for run in runs}
            charts.append(draw_chart(f"{_title(metric)}, {name}", lines))
    return [chart for chart in charts if chart is not None]


def chart_run(run: RunRecord) -> list[Chart]:
    """Draw the curves of one run."""
    charts = [
        draw_chart(title, {title: run.curves[name]}, log=name in ("loss", "rate"))
        for name, title in MEASURES.items()
        if name in run.curves
    ]
    charts += [draw_chart(_title(metric), lines) for metric, lines in run.scores.items()]
    return [chart for chart in charts if chart is not None]


def chart_layers(run: RunRecord) -> list[Chart]:
    """Draw what each layer did, from the first layer in blue to the last in yellow."""
    charts = [
        draw_chart(f"{title}, root mean square by layer", run.layers[name], True, spectrum=True)
        for name, title in STATISTICS.items()
        if name in run.layers
    ]
    return [chart for chart in charts if chart is not None]


def draw_chart(
    title: str, curves: Mapping[str, Points], log: bool = False, spectrum: bool = False
) -> Chart | None:
    """Draw curves by name; None where no value can be drawn. On a log axis only what is above 0."""
    thinned = {}
    for name, points in curves.items():
        kept = thin_points([p for p in points if p[1] > 0] if log else points, MAX_POINTS)
        if kept:
            thinned[name] = kept
    if not thinned:
        return None
    everything = [point for points in thinned.values() for point in points]
    steps = _widen(min(p[0] for p in everything), max(p[0] for p in everything))
    values = _widen(min(p[1] for p in everything), max(p[1] for p in everything), log)
    lines = []
    places = list(curves)  # a run keeps its colour where another has no such curve
    for name, points in thinned.items():
        number = places.index(name)
        color = _spectrum(number, len(curves)) if spectrum else PALETTE[number % len(PALETTE)]
        corners = [
            f"{_across(step, steps):.1f},{_down(value, values, log):.1f}" for step, value in points
        ]
        lines.append(ChartLine(name, color, points, " ".join(corners)))
    return Chart(
        title,
        log,
        steps,
        values,
        tuple(lines),
        tuple(Tick(_across(step, steps), write_number(step)) for step in _find_ticks(*steps)),
        tuple(
            Tick(_down(value, values, log), write_number(value))
            for value in (_find_log_ticks(*values) if log else _find_ticks(*values))
        ),
    )


def write_number(value: float) -> str:
    """Write a number shortly: 20k, 1.5M, 0.001, 2e-05."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def _title(metric: str) -> str:
    return {"psnr": "PSNR in dB", "ssim": "SSIM"}.get(metric, metric)


def _spectrum(number: int, count: int) -> str:
    """Return one of many colours from blue over red to yellow."""
    return f"hsl({(225 + 190 * number / max(count - 1, 1)) % 360:.0f} 85% 66%)"


def _widen(low: float, high: float, log: bool = False) -> tuple[float, float]:
    """Return a range that is not empty."""
    if high > low:
        return low, high
    if log:
        return low / 2, high * 2
    spare = abs(low) * 0.1 or 1.0
    return low - spare, high + spare


def _across(step: float, steps: tuple[float, float]) -> float:
    return LEFT + (step - steps[0]) / (steps[1] - steps[0]) * (WIDTH - LEFT - RIGHT)


def _down(value: float, values: tuple[float, float], log: bool) -> float:
    low, high = values
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _find_ticks(low: float, high: float) -> Iterator[float]:
    """Yield round numbers in a range, at most six."""
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * size for size in (1, 2, 5, 10) if power * size >= rough)
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        yield float(f"{number * step:.6g}")


def _find_log_ticks(low: float, high: float) -> list[float]:
    """List round numbers in a range by their ratios: powers of 10, or more where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for sizes in ((1,), (1, 2, 5), tuple(range(1, 10))):
        found = [size * 10.0**power for power in powers for size in sizes]
        inside = [value for value in found if low <= value <= high]
        if len(inside) >= 3:
            return inside[:: -(-len(inside) // 8)]
    return [low, high]
