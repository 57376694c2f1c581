"""Where the results of one or several photos go: a file, a folder, standard output."""

import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from darkroom.cli import output
from darkroom.cli.inputs import STANDARD
from darkroom.errors import DarkroomError, UsageError

if TYPE_CHECKING:
    from darkroom.output.picture import SaveOptions


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """Photos and the files made of them, in order; at least one.

    `several`: a failure costs one of them, not the command. `folder`: whether the files go to one,
    which may have to be made. `companions`: one line about the files beside the photos that are
    left as they are, or "".
    """

    pairs: Sequence[tuple[Path, Path]]
    several: bool = False
    folder: bool = False
    companions: str = ""


def plan_targets(photos: Sequence[Path], out: str | None, ending: str) -> TargetPlan:
    """Name a file for each photo, as a batch would; one photo's may be given.

    `out`: a file, a folder, - for standard output, or None for this folder. `ending`: of files in
    folders, without the dot. Raises UsageError where several photos would go to one file, RawError
    for a photo or folder that is not there.
    """
    if len(photos) > 1 and STANDARD in photos:
        raise UsageError("- stands for one photo on standard input and goes alone")
    name = out or ""
    is_folder = name.endswith(("/", os.sep)) or os.path.isdir(name)  # noqa: PTH112 - long names
    several = len(photos) > 1 or (photos[0] != STANDARD and not names_a_file(photos[0]))
    if photos[0] == STANDARD and (out is None or is_folder):
        raise UsageError("the photo comes from standard input: name the output with -o")
    if not several and not is_folder:
        return TargetPlan([(photos[0], Path(out or f"{photos[0].stem}.{ending}"))])
    if name == str(STANDARD):
        raise UsageError("-o - takes one picture; name a folder for several")
    if name and not is_folder and Path(name).suffix:
        raise UsageError(f"{name}: is one file; several photos need a folder, as in -o bright/")
    return _plan_folder(photos, Path(name), f".{ending.lower().removeprefix('.')}", several)


def names_a_file(photo: Path) -> bool:
    """Whether a name is that of one photo, no folder's and no pattern that the shell left alone."""
    name = str(photo)
    if os.path.isdir(name):  # noqa: PTH112 - Path's raises for long names
        return False
    return os.path.lexists(name) or not glob.has_magic(name)


def _plan_folder(photos: Sequence[Path], folder: Path, ending: str, several: bool) -> TargetPlan:
    from darkroom.batch.jobs import (
        OutputNaming,
        Search,
        describe_companions,
        find_jobs,
        is_companion,
    )

    jobs = find_jobs(photos, OutputNaming(ending), Search(skip=folder if folder.name else None))
    if not jobs:
        raise UsageError(f"{photos[0]}: no RAW photo in there; name photos, or another folder")
    said = any(photo.is_dir() or is_companion(photo, jobs) for photo in photos)
    pairs = [(Path(job.source), folder / job.target) for job in jobs]
    return TargetPlan(pairs, several, True, describe_companions(jobs) if said else "")


def make_each(
    plan: TargetPlan,
    make: Callable[[Path, Path], None],
    save: "SaveOptions",
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make each photo's file, one after the other; one that fails costs only itself.

    Folders are made where they are not there. Raises typer.Exit(1) at the end where one failed, and
    OutputError at once where none can be written any more.
    """
    from darkroom.batch.failures import ends_all, reason
    from darkroom.output.atomic import check_target, make_folder

    failed = 0
    for photo, target in plan.pairs:
        try:
            make_folder(target.parent)
            check_target(target, save.overwrite, save.inputs)
            make(photo, target)
        except DarkroomError as error:
            if ends_all(error):
                raise
            failed += 1
            line = reason(error, str(photo))
            output.report(line)
            if as_json:
                facts = {"error": line, "exit_code": error.exit_code}
                output.print_json({"photo": str(photo), "output": str(target), **facts})
    if failed and not quiet:
        output.say(f"{failed} of {len(plan.pairs)} photos failed")
    if failed:
        raise typer.Exit(1)
