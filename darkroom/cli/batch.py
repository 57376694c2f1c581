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
from darkroom.cli.allocator import share_one_arena
from darkroom.cli.batch_display import Display
from darkroom.cli.options import (
    Denoise,
    Ev,
    GainRule,
    Highlights,
    HotPixels,
    Json,
    ModelName,
    Overwrite,
    Precision,
    Quiet,
    Tile,
)
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from darkroom.batch.jobs import FileState, Job, Naming, Search
    from darkroom.batch.run import BatchOptions

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
        str,
        typer.Option(
            "-o", "--output", metavar="FOLDER|URL", help="Where the pictures go; URLs on a cluster."
        ),
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
    hot_pixels: HotPixels = None,
    denoise: Denoise = 1.0,
    highlights: Highlights = None,
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
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="auto|HOST:PORT",
            help="Work on all machines of a Ray cluster; paths that they share, or URLs.",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Brighten many dark RAW photos; run it again to go on where it ended.

    Examples:

    darkroom batch card/DCIM -r -o bright

    find . -name '*.ARW' -print0 | darkroom batch -0 - -o bright --format jpg

    darkroom batch incoming --watch -o bright

    darkroom batch s3://survey/raw -r -o s3://survey/bright --cluster auto

    The folder of the pictures gets a journal, darkroom.jsonl, one line per photo. A photo that
    fails costs only itself; the exit code is then 1. Terminated: 143; disk full: 5. --report makes
    a page of the whole journal, with --watch when it is ended: up to 400 photos with before and
    after, which are read again for it, the others in one line each.
    """
    share_one_arena()
    from darkroom.batch.cluster.run import Crew, enhance_on_cluster, journal_folder
    from darkroom.batch.jobs import Naming, Search
    from darkroom.batch.report import check_report
    from darkroom.batch.run import BatchOptions, enhance_all, load_models
    from darkroom.batch.storage import without_file
    from darkroom.batch.watch import watch_folders
    from darkroom.output.picture import PictureFormat, SaveOptions

    place = without_file(out)
    folder = journal_folder(place)
    _check_urls([place], cluster, report)
    save = SaveOptions(PictureFormat.from_name(file_format), bits, quality, overwrite)
    picture = inputs.enhance_options(ratio, gain, ev, tile, bits, hot_pixels, denoise, highlights)
    options = BatchOptions(picture, save, jobs, timeout, resume, check_hash)
    naming = Naming(f".{file_format.lower().removeprefix('.')}", suffix, base)
    search = Search(recursive, everything, folder, missing=sources == ["-"])
    if report is not None:
        check_report(report, folder, overwrite)
    with _ended_by_signals():
        found: Iterable[Job | None]
        known: dict[str, FileState] = {}
        if watch:
            total, found = None, watch_folders(_no_list(sources), naming, search)
        else:
            names = _listed(null) if sources == ["-"] else _no_list(sources)
            _check_urls(names, cluster)
            listed, known = _find(names, naming, search)
            total, found = len(listed), listed
        models = load_models(model, device, precision) if cluster is None else ()
        for network in models:
            picture.resolve(network)
        with (
            _reported(report, folder, options, live=watch, quiet=quiet),
            Display(total, folder, quiet=quiet, as_json=as_json) as display,
            closing(
                enhance_all(found, folder, models, options, display.watch)
                if cluster is None
                else enhance_on_cluster(
                    found, place, Crew(cluster, model, device, precision), options, known
                )
            ) as outcomes,
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
    from darkroom.batch.journal import JOURNAL
    from darkroom.batch.report import write_report

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


def _find(
    names: list[str], naming: "Naming", search: "Search"
) -> "tuple[list[Job], dict[str, FileState]]":
    """Find the photos, and what is known of them already. Raises UsageError where there are none.

    `search.missing`: the names are a list from standard input, which may be empty.
    """
    from darkroom.batch.jobs import find_jobs
    from darkroom.batch.storage import find_url_jobs, is_url, without_file

    names = [without_file(name) for name in names]
    if any(is_url(name) for name in names):
        return find_url_jobs(names, naming, search)
    found = find_jobs(names, naming, search)
    if not found and not search.missing:
        more = "add --all for files of any ending" if search.recursive else "add -r for subfolders"
        raise UsageError(f"{', '.join(names)}: no RAW photo in there; {more}")
    return found, {}


def _check_urls(names: list[str], cluster: str | None, report: Path | None = None) -> None:
    """Raise UsageError for URLs where only paths will do."""
    from darkroom.batch.storage import is_url, without_file

    urls = [name for name in names if is_url(without_file(name))]
    if urls and cluster is None:
        raise UsageError(f"{urls[0]}: URLs need --cluster; copy the photos to a folder instead")
    if urls and report is not None:
        raise UsageError(f"{urls[0]}: --report needs the pictures in a folder; leave it out")
    if urls and len(urls) < len(names):
        raise UsageError(f"{urls[0]}: paths and URLs do not mix; run a batch for each")


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
