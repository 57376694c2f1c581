"""darkroom batch: many dark RAW photos in, many finished pictures out."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from darkroom.batch.journal import JOURNAL
from darkroom.cli import config, options, output
from darkroom.cli.allocator import share_one_arena
from darkroom.cli.choices import FileChoices, PictureChoices
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from darkroom.batch.request import BatchRequest


def batch(
    ctx: typer.Context,
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
        bool,
        typer.Option(
            "--all",
            help="Try every file of a folder, whatever its ending, but PNG and JPEG pictures.",
        ),
    ] = False,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="The list on standard input ends lines with NUL.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with what arrives in the folders, until Ctrl-C.")
    ] = False,
    model: options.ModelName = "safelight",
    norm_statistics: options.NormStatistics = "stored",
    ratio: Annotated[
        float | None,
        typer.Option("--ratio", help="Amplify so many times, 1 to 1000. Default: automatic."),
    ] = None,
    choices: PictureChoices = PictureChoices(),
    file_format: Annotated[
        str,
        typer.Option(
            "--format", metavar="png|tif|jpg|webp|avif|jxl|exr|dng", help="Of the pictures."
        ),
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
    file: FileChoices = FileChoices(),
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
    device: Annotated[
        str,
        typer.Option(
            "--device",
            metavar="auto|cpu|cuda[:N|:all]|mps|xpu",
            help="Where networks run: auto is the first CUDA device, else the processor. All but "
            "cpu are experimental.",
        ),
    ] = "auto",
    precision: options.Precision = "auto",
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
    as_json: options.Json = False,
    no_config: config.NoConfig = False,
    preset: config.Preset = None,
    quiet: options.Quiet = False,
    verbose: config.Verbose = False,
) -> None:
    """Brighten many dark RAW photos; run it again to go on where it ended.

    Examples:

    darkroom batch card/DCIM -r -o bright

    find . -name '*.ARW' -print0 | darkroom batch -0 - -o bright --format jpg

    darkroom batch incoming --watch -o bright

    darkroom batch s3://survey/raw -r -o s3://survey/bright --cluster auto

    The folder of the pictures gets a journal, darkroom.jsonl, one line per photo. A photo that
    fails costs only itself; the exit code is then 1; disk full: 5. --report makes
    a page of the whole journal, with --watch when it is ended: up to 400 photos with before and
    after, which are read again for it, the others in one line each.
    """
    config.tell_options(ctx, quiet=quiet, verbose=verbose)
    share_one_arena()
    from darkroom.batch.jobs import OutputNaming, Search, describe_companions
    from darkroom.batch.options import BatchOptions
    from darkroom.batch.request import BatchRequest, prepare
    from darkroom.batch.run import run
    from darkroom.cli.batch_display import Display
    from darkroom.output.picture import PictureFormat

    kind = PictureFormat.from_name(file_format, dng=True)
    save = file.read(kind)
    picture = choices.read(save.picture_bits, kind, ratio)
    request = BatchRequest(
        out,
        BatchOptions(picture, save, jobs, timeout, resume, check_hash),
        OutputNaming(f".{file_format.lower().removeprefix('.')}", suffix, base),
        Search(recursive, everything, missing=sources == ["-"]),
        watch,
        model,
        device,
        precision,
        cluster,
        report,
        norm_statistics,
        choices.profile,
    )
    found = prepare(request, _read_sources(sources, null, watch))
    notes = found.models[0].notes if found.models else ()  # those of a cluster come with photos
    if not quiet:
        for line in notes:
            output.warn(line)
        if isinstance(found.jobs, Sequence) and (line := describe_companions(found.jobs)):
            output.say(line)
    with (
        _report_afterwards(request, quiet=quiet),
        Display(found.total, request.folder, quiet=quiet, as_json=as_json, said=notes) as display,
        closing(run(found, display.watch, display.warn)) as outcomes,
    ):
        for outcome in outcomes:
            display.show(outcome)
    if display.failed:
        raise typer.Exit(1)


@contextmanager
def _report_afterwards(request: "BatchRequest", *, quiet: bool) -> Iterator[None]:
    """Write the report, if any, once a batch is through; also when a signal ended watching."""
    try:
        yield
    except KeyboardInterrupt:
        if request.watch and (request.folder / JOURNAL).exists():
            _write_report(request, quiet=quiet)
        raise
    _write_report(request, quiet=quiet)


def _write_report(request: "BatchRequest", *, quiet: bool) -> None:
    from darkroom.batch.report import write_report

    if request.report is not None:
        if not quiet:
            output.say(f"writing {request.report}")
        asked, folder = request.options, request.folder
        write_report(request.report, folder, asked.decoders(), asked.timeout, asked.save.overwrite)


def _read_sources(sources: list[str], null: bool, watch: bool) -> list[str]:
    """Return the sources; for a lone - the paths on standard input, one a line or ended by NUL."""
    if sources == ["-"] and not watch:
        if sys.stdin.isatty():
            raise UsageError("standard input is a terminal; pipe a list of paths into it")
        lines = sys.stdin.buffer.read().split(b"\0" if null else b"\n")
        return [os.fsdecode(line) for line in lines if line]
    if "-" in sources:
        raise UsageError("- stands for a list of photos and goes alone, without --watch")
    return sources
