"""Measured artifacts as a table: a row for each measure, a column for each model."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from statistics import fmean
from typing import NamedTuple

from darkroom.evaluation.artifact_scenes import ArtifactScore
from darkroom.evaluation.simulated import name_ratio


class Measure(NamedTuple):
    """How a measure's values become one, and the decimals that people read."""

    combine: Callable[[Iterable[float]], float]
    decimals: int = 2


MEASURES = {
    "chroma": Measure(fmean),
    "rows": Measure(fmean),
    "columns": Measure(fmean),
    "streaks": Measure(fmean),
    "noise": Measure(fmean),
    "weave": Measure(fmean),
    "blotches": Measure(fmean),
    "shadow": Measure(partial(max, key=abs), 1),
    "hue": Measure(max, 1),
    "kept": Measure(min),
    "speckle": Measure(max),
    "gray_cast": Measure(max, 1),
    "false_color": Measure(fmean, 1),
    "detail": Measure(min),
    "lamp_size": Measure(partial(max, key=lambda size: abs(size - 1))),
    "lamp_hue": Measure(max, 1),
    "lamp_cast": Measure(max, 1),
    "lamp_speckle": Measure(max),
}


@dataclass(frozen=True, slots=True)
class ArtifactSummary:
    """A model's figures at one ratio, in the order of `MEASURES`."""

    model: str
    ratio: float
    figures: dict[str, float]


def summarise_artifacts(scores: Iterable[ArtifactScore]) -> list[ArtifactSummary]:
    """Combine scores by model and ratio, models and ratios in their order.

    Patches of a ColorChecker in which the sensor is saturated are left out.
    """
    groups: dict[tuple[str, float], dict[str, list[float]]] = {}
    for one in scores:
        if not one.saturated:
            group = groups.setdefault((one.model, one.ratio), {})
            group.setdefault(one.measure, []).append(one.value)
    models = list(dict.fromkeys(model for model, _ in groups))
    return [
        ArtifactSummary(
            *group,
            {name: one.combine(found[name]) for name, one in MEASURES.items() if name in found},
        )
        for group, found in sorted(groups.items(), key=lambda one: models.index(one[0][0]))
    ]


def list_saturated(scores: Iterable[ArtifactScore]) -> list[str]:
    """Say in a line for each ratio and scene which patches saturate the sensor."""
    found: dict[str, dict[str, None]] = {}
    for one in scores:
        if one.saturated:
            group = f"{name_ratio(one.ratio)}, {one.scene}"
            found.setdefault(group, {})[one.part.removeprefix("patch ")] = None
    return [f"{group}: saturated and left out: {', '.join(ones)}" for group, ones in found.items()]


def tabulate_artifacts(summaries: Sequence[ArtifactSummary]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of a table for people: measures down, models across.

    A model's figures at each ratio stand in one cell.
    """
    models = list(dict.fromkeys(one.model for one in summaries))
    heads = ["measure", *models]
    rows = []
    for name in summaries[0].figures:
        decimals = MEASURES[name].decimals
        cells = [
            " / ".join(
                f"{one.figures[name]:.{decimals}f}" for one in summaries if one.model == model
            )
            for model in models
        ]
        rows.append([name.replace("_", " "), *cells])
    return heads, rows


def write_artifacts_csv(scores: Iterable[ArtifactScore]) -> str:
    """Write a row for each measured value, every digit of it."""
    text = io.StringIO()
    table = csv.DictWriter(text, [one.name for one in fields(ArtifactScore)], lineterminator="\n")
    table.writeheader()
    for one in scores:
        table.writerow({**asdict(one), "saturated": int(one.saturated)})
    return text.getvalue()
