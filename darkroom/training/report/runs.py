"""What a training run left in its folder: its log, recipe, card, samples and feature sheets."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.errors import UsageError
from darkroom.training.log import LOG

RECIPE, SAMPLES, FEATURES = "recipe.json", "samples", "features"
REPORT = "report.html"
"""Name of a run's own page in its folder."""
PREFIX = "step-"
"""Pictures of a step are called step-00000500.png."""

MAX_SHEETS = 24
"""Steps whose pictures are shown of a run, evenly spread, the first and the last among them."""

MAX_TEXT = 1 << 20
"""Bytes read of a recipe or a card."""

Points = list[tuple[float, float]]
"""Step and value, in the order of steps."""

MEASURES = {
    "loss": "loss",
    "rate": "learning rate",
    "crops_per_second": "crops per second",
    "busy": "share of the time not waited for crops",
}
"""Numbers that a line of the log may have, and what they are."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run, as its folder tells it.

    `name`: by which the page calls it. `curves`: by name of a measure. `scores`, `layers`: by
    metric or statistic, then by name of what was scored or of the layer. `samples`, `features`:
    pictures by step. `recipe`: nested names joined by dots. `weights`: the file that came out, if
    it has.
    """

    name: str
    folder: Path
    curves: dict[str, Points]
    scores: dict[str, dict[str, Points]] = field(default_factory=dict)
    layers: dict[str, dict[str, Points]] = field(default_factory=dict)
    recipe: dict[str, str] = field(default_factory=dict)
    card: str = ""
    weights: str = ""
    samples: dict[int, Path] = field(default_factory=dict)
    features: dict[int, Path] = field(default_factory=dict)

    @property
    def last_step(self) -> int:
        """The step that it has come to."""
        return max(int(points[-1][0]) for points in self.curves.values())


def read_runs(folders: Sequence[Path]) -> list[RunRecord]:
    """Read runs' folders; each is called by its folder's name where no two have the same.

    Raises UsageError where one has no log or a damaged file, and for one that is given twice.
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    for number, folder in enumerate(folders):
        if folder.resolve() in [one.resolve() for one in folders[:number]]:
            raise UsageError(f"{folder}: is given twice; name each run once")
    return [read_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def read_run(folder: Path, name: str) -> RunRecord:
    """Read a run's folder; raises UsageError where it has no log, or a damaged file."""
    path = folder / LOG
    curves: dict[str, Points] = {}
    scores: dict[str, dict[str, Points]] = {}
    layers: dict[str, dict[str, Points]] = {}
    for number, record in _read_lines(path):
        try:
            step = int(record["step"])
            for measure in MEASURES:
                if record.get(measure) is not None:
                    curves.setdefault(measure, []).append((step, float(record[measure])))
            for target, key in ((scores, "scores"), (layers, "layers")):
                for what, values in (record.get(key) or {}).items():
                    for measure, value in values.items():
                        line = target.setdefault(measure, {}).setdefault(what, [])
                        line.append((step, float(value)))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise _damaged(path, number) from error
    if not curves:
        raise UsageError(f"{path}: is empty; report on it once it has been scored")
    weights = sorted(one for one in folder.glob("*.safetensors") if one.name != "state.safetensors")
    card = weights[0].with_suffix(".md") if weights else folder / "none.md"
    return RunRecord(
        name,
        folder,
        curves,
        scores,
        layers,
        _read_recipe(folder / RECIPE),
        _read_text(card) if card.is_file() else "",
        weights[0].name if weights else "",
        _find_sheets(folder / SAMPLES),
        _find_sheets(folder / FEATURES),
    )


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read a log line by line, so that a long one never lies in memory; with the lines' numbers."""
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise _damaged(path, number) from error
                yield number, record
    except FileNotFoundError as error:
        raise UsageError(
            f"{path} is not there; give the folder of a training run, as darkroom train made it"
        ) from error
    except NotADirectoryError as error:
        raise UsageError(f"{path.parent}: is no folder; give that of a training run") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is no text; move it away") from error


def _damaged(path: Path, number: int) -> UsageError:
    return UsageError(f"{path}, line {number}: is no record of a training run; delete that line")


def _read_recipe(path: Path) -> dict[str, str]:
    """Read a recipe as flat text; none where there is no file."""
    if not path.is_file():
        return {}
    try:
        recipe = json.loads(_read_text(path))
        return dict(_flatten(recipe))
    except (ValueError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: is no recipe of a training run; move it away") from error


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """List what is in nested mappings, names joined by dots."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def _read_text(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(MAX_TEXT).decode("utf-8", "replace")


def _find_sheets(folder: Path) -> dict[int, Path]:
    """Find the pictures of steps, and choose at most MAX_SHEETS of them."""
    found = {
        int(path.stem.removeprefix(PREFIX)): path
        for path in folder.glob(f"{PREFIX}*.png")
        if path.stem.removeprefix(PREFIX).isdecimal()
    }
    steps = sorted(found)
    places = np.linspace(0, len(steps) - 1, min(len(steps), MAX_SHEETS)).round().astype(int)
    return {steps[place]: found[steps[place]] for place in places}


def thin_points(points: Points, most: int) -> Points:
    """Leave of many points about `most`: the lowest and the highest of equal parts, and the ends.

    Numbers that are not finite are left out.
    """
    finite = [point for point in points if math.isfinite(point[1])]
    if len(finite) <= most:
        return finite
    size = -(-2 * len(finite) // most)
    kept = {0, len(finite) - 1}
    for first in range(0, len(finite), size):
        part = range(first, min(first + size, len(finite)))
        kept |= {min(part, key=lambda i: finite[i][1]), max(part, key=lambda i: finite[i][1])}
    return [finite[place] for place in sorted(kept)]
