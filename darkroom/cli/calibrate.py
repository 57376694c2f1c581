"""darkroom calibrate: dark and flat frames in, a camera's profile out."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darkroom.cli import inputs, output
from darkroom.cli.options import Json, Overwrite, Quiet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from darkroom.calibration.measure import Calibration
    from darkroom.calibration.profile import CameraProfile, Estimate, IsoProfile


def calibrate(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Dark frames (lens cap on) and pairs of flat frames (evenly lit) of one camera, "
            "at any ISOs; in sub-folders dark and flat, or told apart by what they show.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where the profile goes. Default: the camera's name with .json, in this folder.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a camera's black, noise and hot pixels on dark and flat frames, for a profile.

    Examples:

    darkroom calibrate frames/ -o a7s2.json

    darkroom batch card/DCIM -o bright --profile a7s2.json

    darkroom train photos/ -o runs/mine --sensor a7s2.json

    Each ISO needs two dark frames or more: they tell black, read noise, rows, shading and hot
    pixels. Two flat frames of one brightness tell the shot noise; three brightnesses tell it well.
    """
    from darkroom.calibration.measure import MEASURING, calibrate
    from darkroom.output.atomic import atomic_write, check_target

    inputs.refuse_folder(out)
    if out is not None:
        check_target(out, overwrite)

    def name(camera: str) -> Path:
        return out or Path(f"{_file_name(camera)}.json")

    def check(camera: str, files: "Sequence[Path]") -> None:
        check_target(name(camera), overwrite, files)

    with output.Stages(quiet) as stages, stages.stage("measure") as progress:
        found = calibrate(
            folder, lambda what, share: progress((share + (what == MEASURING)) / 2), check
        )
    profile = found.profile
    target = name(profile.camera)
    content = (json.dumps(profile.record(), separators=(",", ":")) + "\n").encode()
    with atomic_write(target, overwrite, size=len(content), inputs=found.files) as stream:
        stream.write(content)
    if not quiet:
        for line in found.notes:
            output.warn(line)
        counts = ", ".join(f"{count} {role}" for role, count in sorted(found.found.items()))
        output.say(f"{target}: {profile.camera}, {profile.width} x {profile.height}; {counts}")
    if as_json:
        output.print_json({"profile": str(target), **_summary(found)})
    else:
        output.show_table(_table(profile), width=120)


def _file_name(camera: str) -> str:
    """Return a camera's name as that of a file."""
    return re.sub(r"[^a-z0-9]+", "-", camera.lower()).strip("-") or "camera"


def _table(profile: "CameraProfile") -> "Table":
    """Show the figures of every ISO, in sensor units."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, caption="in sensor units (DN); ± standard errors")
    for name in ("ISO", "frames", "black", "shot gain", "read noise", "tails", "rows", "columns"):
        table.add_column(name, justify="right")
    for name in ("hot", "fixed"):
        table.add_column(name, justify="right")
    for level in profile.levels:
        table.add_row(
            f"{level.iso:g}",
            f"{level.darks} + {level.flats}",
            f"{level.black.mean():.2f} ± {level.black_error.max():.2f}",
            "not known" if level.shot_gain is None else _estimate(level.shot_gain),
            _estimate(level.read_noise),
            f"λ {level.tukey_lambda.value:.2f}",
            _estimate(level.row_noise),
            _estimate(level.column_noise),
            str(len(level.hot_pixels)),
            ", ".join(_fixed(level)) or "nothing",
        )
    return table


def _estimate(found: "Estimate") -> str:
    return f"{found.value:.4g} ± {found.error:.1g}"


def _fixed(level: "IsoProfile") -> list[str]:
    """Name the parts of the pattern that dark frames always have, with their std or range."""
    parts = []
    if level.rows is not None:
        parts.append(f"rows {level.rows.std():.2f}")
    if level.columns is not None:
        parts.append(f"columns {level.columns.std():.2f}")
    if level.shading is not None:
        parts.append(f"shading {level.shading.max() - level.shading.min():.2f}")
    return parts


def _summary(found: "Calibration") -> dict[str, Any]:
    """Return the profile with counts and stds in the place of lines and sites."""
    record = found.profile.record()
    for level, values in zip(found.profile.levels, record["levels"], strict=True):
        values["hot_pixels"] = len(level.hot_pixels)
        for name in ("rows", "columns", "shading"):
            pattern = getattr(level, name)
            values[name] = None if pattern is None else round(float(pattern.std()), 4)
    own = {key: value for key, value in record.items() if key not in ("kind", "schema")}
    return {**own, "found": found.found, "notes": list(found.notes)}
