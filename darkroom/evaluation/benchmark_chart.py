"""Seconds over megapixels, and the limit that the machine's matrix rate sets, as a figure."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from darkroom.errors import UsageError
from darkroom.evaluation.benchmark import Measurement, Rates

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT, DPI = 1200, 900, 100
"""Pixels."""
DRAWN = {"network": "-o", "whole": "--s"}
"""Stages that are drawn, and how."""
FORMATS = (".png", ".svg")


def check_chart(out: Path) -> None:
    """Raise UsageError where a chart could not be drawn, or not into such a file."""
    if out.suffix.lower() not in FORMATS:
        raise UsageError(f"{out}: a chart is a picture: end its name in .png or .svg")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("-o: charts need matplotlib: pip install 'darkroom[train]'") from None


def draw_speeds(measured: Sequence[Measurement], rates: Rates, machine: str) -> "Figure":
    """Draw seconds over megapixels on logarithmic axes, a colour for each variant.

    Beneath each network's curve its limit is dotted: its work at the rate of the machine.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    def variant(one: Measurement) -> tuple[str, ...]:
        return str(one.model), str(one.form), str(one.device), str(one.precision)

    with style.context("dark_background"):
        figure = Figure((WIDTH / DPI, HEIGHT / DPI), DPI, layout="constrained")
        axes = figure.subplots()
        drawn = [one for one in measured if one.stage in DRAWN and one.megapixels]
        for number, (name, group) in enumerate(groupby(sorted(drawn, key=variant), variant)):
            points = sorted(group, key=lambda one: one.megapixels or 0.0)
            label = " ".join(part for part in name if part != "darkroom")
            for stage, look in DRAWN.items():
                own = [one for one in points if one.stage == stage]
                x, y = [one.megapixels or 0.0 for one in own], [one.median_s for one in own]
                if own:
                    axes.plot(x, y, look, color=f"C{number}", label=f"{label}, {stage}")
                limits = [one.median_s * (one.share_of_matrix_rate or 0.0) for one in own]
                if own and all(limits):
                    axes.plot(x, limits, ":", color=f"C{number}", label=f"{label}, limit")
        ticks = sorted({one.megapixels for one in drawn if one.megapixels})
        axes.set(xscale="log", yscale="log", xlabel="megapixels", ylabel="seconds", title=machine)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.25, which="both")
        axes.legend(frameon=False, title=_list_rates(rates))
    return figure


def _list_rates(rates: Rates) -> str:
    return ", ".join(
        f"{device} {precision}: {rate / 1e9:,.0f} GFLOP/s"
        for device, known in rates.items()
        for precision, rate in known.items()
    )


def write_chart(figure: "Figure", stream: BinaryIO, ending: str) -> None:
    """Write a figure as PNG or SVG, by its file's ending."""
    figure.savefig(stream, format=ending.lower().removeprefix("."))
