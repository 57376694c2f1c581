"""Curves over training steps, drawn with labelled axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from darkroom.evaluation.image_grid import BACKGROUND, TEXT

WIDTH, PANEL_HEIGHT = 1200, 440
LEFT, RIGHT, ABOVE, BELOW = 100, 130, 50, 60
"""Pixels around the axes of a panel; labels of curves stand on the right."""
SAMPLES = 2
"""Drawn this many times larger each way and averaged, against jagged lines."""
FONT = 18
GRID = (58, 58, 62)
COLOURS = ((240, 180, 60), (90, 180, 250), (120, 210, 130), (235, 110, 110), (190, 140, 240))
TICKS = 7
"""At most about so many numbers along an axis."""


class Curve(NamedTuple):
    """A line with its label; points are step and value, in the order of steps."""

    label: str
    points: list[tuple[float, float]]


class Panel(NamedTuple):
    """Curves that share a pair of axes."""

    title: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high`, on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value stands."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers between the ends."""
        step = nice_step(self.high - self.low)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def draw(panels: Sequence[Panel]) -> NDArray[np.uint8]:
    """Draw panels one above the other: (H, W, 3) uint8."""
    size = (WIDTH * SAMPLES, PANEL_HEIGHT * SAMPLES * len(panels))
    image = Image.new("RGB", size, BACKGROUND)
    pen = ImageDraw.Draw(image)
    for number, panel in enumerate(panels):
        _panel(pen, panel, number * PANEL_HEIGHT * SAMPLES)
    return np.array(image.reduce(SAMPLES))


def nice_step(span: float) -> float:
    """Return the smallest of 1, 2 and 5 times powers of ten that splits a span in few parts."""
    power = 10.0 ** math.floor(math.log10(span / TICKS))
    return next(part * power for part in (1, 2, 5, 10, 20) if part * power * TICKS >= span)


def _panel(pen: ImageDraw.ImageDraw, panel: Panel, top: int) -> None:
    """Draw one panel, `top` pixels below the picture's upper edge."""
    font = ImageFont.load_default(FONT * SAMPLES)
    steps = [step for curve in panel.curves for step, _ in curve.points]
    values = [value for curve in panel.curves for _, value in curve.points]
    left, right = LEFT * SAMPLES, (WIDTH - RIGHT) * SAMPLES
    upper, lower = top + ABOVE * SAMPLES, top + (PANEL_HEIGHT - BELOW) * SAMPLES
    across = Axis(0, max(steps), left, right)
    up = Axis(*_rounded(min(values), max(values)), lower, upper)
    for value in across.ticks():
        pen.line([(across(value), upper), (across(value), lower)], GRID, SAMPLES)
        pen.text((across(value), lower + FONT), f"{value:g}", TEXT, font, anchor="ma")
    for value in up.ticks():
        pen.line([(left, up(value)), (right, up(value))], GRID, SAMPLES)
        pen.text((left - FONT, up(value)), f"{value:.10g}", TEXT, font, anchor="rm")
    pen.text((left, upper - FONT), panel.title, TEXT, font, anchor="ls")
    pen.text((right, lower + 3 * FONT), "step", TEXT, font, anchor="ra")
    places = _apart([up(curve.points[-1][1]) for curve in panel.curves], 1.2 * FONT * SAMPLES)
    for number, (curve, place) in enumerate(zip(panel.curves, places, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        line = [(across(step), up(value)) for step, value in curve.points]
        pen.line(line, colour, 2 * SAMPLES, joint="curve")
        for x, y in line if len(line) < 60 else line[-1:]:
            pen.circle((x, y), 3 * SAMPLES, fill=colour)
        pen.text((right + FONT, place), curve.label, colour, font, anchor="lm")


def _rounded(low: float, high: float) -> tuple[float, float]:
    """Widen a range to round numbers, which the wider one's ticks are too."""
    span = max(high - low, 1e-3 * abs(high), 1e-9)
    step = nice_step(span + 2 * nice_step(span))
    return math.floor(low / step) * step, (math.floor(high / step) + 1) * step


def _apart(places: list[float], distance: float) -> list[float]:
    """Move labels down where they would stand on each other, the order kept."""
    moved, least = list(places), -math.inf
    for index in sorted(range(len(places)), key=places.__getitem__):
        moved[index] = least = max(places[index], least)
        least += distance
    return moved
