"""darkroom batch: many dark RAW photos in, many finished pictures out."""

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from darkroom.cli import inputs, output
from darkroom.cli.batch_display import Display
from darkroom.cli.options import (
    Ev,
    GainRule,
    Json,
    ModelName,
    Overwrite,
    Precision,
    Quiet,
    Tile,
)
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from darkroom.batch import BatchOptions
    from darkroom.sources import Job, Naming, Search

SIGNALS = ("SIGTERM", "SIGHUP")
"""What ends a batch like Ctrl-C does; the exit code is 128 + the signal's number."""


def batch(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="RAW photos, folders, globs, or - for a list of paths on standard input.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the pictures go.")
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Search subfolders too.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Try every file of a folder, whatever its ending.")
    ] = False,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="The list on standard input ends lines with NUL.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with what arrives in the folders, until Ctrl-C.")
    ] = False,
    model: ModelName = "safelight",
    ratio: Annotated[
        float | None,
        typer.Option("--ratio", help="Amplify so many times, 1 to 1000. Default: automatic."),
    ] = None,
    ev: Ev = 0.0,
    gain: GainRule = None,
    file_format: Annotated[
        str, typer.Option("--format", metavar="png|tif|jpg", help="Of the pictures.")
    ] = "png",
    suffix: Annotated[
        str, typer.Option("--suffix", help="Added to each picture's name, before its ending.")
    ] = "",
    base: Annotated[
        Path | None,
        typer.Option(
            help="Keep the folder tree below this one. Default: the folder that all sources share.",
        ),
    ] = None,
    bits: Annotated[int, typer.Option("--bits", help="8 or 16 per sample (PNG and TIFF).")] = 8,
    quality: Annotated[int, typer.Option("--quality", help="Of JPEG, 1 to 100.")] = 92,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Skip what is done, or do all again.")
    ] = True,
    check_hash: Annotated[
        bool,
        typer.Option("--check-hash", help="Tell changed photos by SHA-256, not size and time."),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", metavar="N", help="Photos decoded at the same time."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="Give a photo's decoding up then.")
    ] = 60.0,
    tile: Tile = "auto",
    device: Annotated[
        str,
        typer.Option("--device", metavar="auto|cpu|cuda[:N|:all]", help="Where networks run."),
    ] = "auto",
    precision: Precision = "auto",
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE.html", help="Write a page with before and after."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Brighten many dark RAW photos; run it again to go on where it ended.

    Examples:

    darkroom batch card/DCIM -r -o bright

    find . -name '*.ARW' -print0 | darkroom batch -0 - -o bright --format jpg

    darkroom batch incoming --watch -o bright

    The folder of the pictures gets a journal, darkroom.jsonl, one line per photo. A photo that
    fails costs only itself; the exit code is then 1. Terminated: 143; disk full: 5. --report makes
    a page of the whole journal, with --watch when it is ended: up to 400 photos with before and
    after, which are read again for it, the others in one line each.
    """
    from darkroom.batch import BatchOptions, enhance_all, load_models
    from darkroom.files.picture import PictureFormat, SaveOptions
    from darkroom.report import check_report
    from darkroom.sources import Naming, Search, watch_folders

    save = SaveOptions(PictureFormat.from_name(file_format), bits, quality, overwrite)
    picture = inputs.enhance_options(ratio, gain, ev, tile, bits)
    options = BatchOptions(picture, save, jobs, timeout, resume, check_hash)
    naming = Naming(f".{file_format.lower().removeprefix('.')}", suffix, base)
    search = Search(recursive, everything, out, missing=sources == ["-"])
    if report is not None:
        check_report(report, out, overwrite)
    with _ended_by_signals():
        found: Iterable[Job | None]
        if watch:
            total, found = None, watch_folders(_no_list(sources), naming, search)
        else:
            listed = _find(sources, null, naming, search)
            total, found = len(listed), listed
        models = load_models(model, device, precision)
        with (
            _reported(report, out, options, live=watch, quiet=quiet),
            Display(total, out, quiet=quiet, as_json=as_json) as display,
            closing(enhance_all(found, out, models, options, display.watch)) as outcomes,
        ):
            for outcome in outcomes:
                display.show(outcome)
    if display.failed:
        raise typer.Exit(1)


@contextmanager
def _reported(
    path: Path | None, out: Path, options: "BatchOptions", *, live: bool, quiet: bool
) -> Iterator[None]:
    """Write the report, if any, once a batch is through; `live`: also when a signal ended it."""
    from darkroom.journal import JOURNAL
    from darkroom.report import write_report

    ended: BaseException | None = None
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as signalled:
        if not (live and (out / JOURNAL).exists()):
            raise
        ended = signalled
    if path is not None:
        if not quiet:
            output.say(f"writing {path}")
        write_report(path, out, options.decoders, options.timeout, options.save.overwrite)
    if ended is not None:
        raise ended


def _find(sources: list[str], null: bool, naming: "Naming", search: "Search") -> "list[Job]":
    """Find the photos. Raises UsageError where named folders hold none."""
    from darkroom.sources import find_jobs

    if sources == ["-"]:
        return find_jobs(_listed(null), naming, search)
    found = find_jobs(_no_list(sources), naming, search)
    if not found:
        more = "add --all for files of any ending" if search.recursive else "add -r for subfolders"
        raise UsageError(f"{', '.join(sources)}: no RAW photo in there; {more}")
    return found


def _no_list(sources: list[str]) -> list[str]:
    if "-" in sources:
        raise UsageError("- stands for a list of photos and goes alone, without --watch")
    return sources


def _listed(null: bool) -> list[str]:
    """Read paths from standard input, one a line or ended by NUL."""
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal; pipe a list of paths into it")
    lines = sys.stdin.buffer.read().split(b"\0" if null else b"\n")
    return [os.fsdecode(line) for line in lines if line]


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let signals end the command as an exception does: everything is cleaned up on the way."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {}
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
