"""Curves over training steps, drawn by matplotlib."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEEDED = "curves need matplotlib: pip install 'darkroom[train]'"
WIDTH, PANEL_HEIGHT = 1200, 440
"""Pixels."""
DPI = 100
MARKED = 60
"""Curves of fewer points have a dot at each."""

Curves = dict[str, dict[str, list[tuple[float, float]]]]
"""By title of a panel and label of a curve: step and value, in the order of steps."""


def has_matplotlib() -> bool:
    """Whether curves can be drawn."""
    return find_spec("matplotlib") is not None


def draw_curves(curves: Curves) -> "Figure":
    """Draw panels one above the other, without a display; needs matplotlib."""
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context("dark_background"):
        figure = Figure((WIDTH / DPI, PANEL_HEIGHT / DPI * len(curves)), DPI, layout="constrained")
        rows = figure.subplots(len(curves), squeeze=False)[:, 0]
        for axes, (title, lines) in zip(rows, curves.items(), strict=True):
            axes.set(title=title, xlabel="step")
            axes.set_xlim(0, max(step for points in lines.values() for step, _ in points))
            axes.grid(alpha=0.25)
            for label, points in lines.items():
                marker = "o" if len(points) < MARKED else ""
                axes.plot(*zip(*points, strict=True), label=label, marker=marker, markersize=4)
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure
