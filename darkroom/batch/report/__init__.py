"""One self-contained page about a batch, made from its journal: failures, before and after."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import quote

from darkroom.batch.decoders import Decoders
from darkroom.batch.jobs import is_report
from darkroom.batch.journal import JOURNAL, read_outcomes
from darkroom.batch.report.html import render_page
from darkroom.batch.report.summary import summarize_outcomes
from darkroom.batch.report.thumbnails import read_before_after
from darkroom.errors import UsageError
from darkroom.output.atomic import atomic_write, check_target, spare_inputs

__all__ = ["check_report", "write_report"]

ENDINGS = (".html", ".htm")


def check_report(path: Path, folder: Path, overwrite: bool = False) -> None:
    """Raise now what would keep a report about `folder` from being written later.

    `folder` need not exist yet. An earlier report is replaced, anything else only with `overwrite`.
    Raises UsageError for a name that is no page's, OutputError where it cannot be written.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"--report {path}: is a page; end its name in .html")
    spare_inputs(path, [folder / JOURNAL])
    if folder.exists() or path.resolve().parent != folder.resolve():
        check_target(path, overwrite or is_report(path))


def write_report(
    path: Path, folder: Path, decoders: int = 1, timeout: float = 60.0, overwrite: bool = False
) -> None:
    """Write a page about everything that the journal in `folder` tells of, whichever run did it.

    The latest `summary.MAX_PAIRS` photos come with a slider over before and after, for which the
    photos are decoded again by `decoders` processes, each given up after `timeout` seconds; earlier
    ones are rows, MAX_ROWS at most. Memory stays bounded. The page appears whole or not at all.
    Raises OutputError where there is no journal or the page cannot be written.
    """
    check_report(path, folder, overwrite)
    found = summarize_outcomes(read_outcomes(folder / JOURNAL))
    spare_inputs(path, (Path(one.input) for one in (*found.shown, *found.rows, *found.failures)))
    with (
        atomic_write(path, overwrite or is_report(path)) as stream,
        ThreadPoolExecutor(decoders, thread_name_prefix="report") as pool,
        Decoders(decoders, timeout) as workers,
    ):
        read = partial(read_before_after, folder=folder, decoders=workers)
        pairs = zip(found.shown, pool.map(read, found.shown), strict=True)
        for piece in render_page(found, pairs, str(folder), _find_links(path, folder)):
            stream.write(piece.encode("utf-8"))


def _find_links(path: Path, folder: Path) -> str | None:
    """Return where the pictures are, seen from the page; None on another drive."""
    try:
        way = os.path.relpath(folder.resolve(), path.resolve().parent)
    except ValueError:
        return None
    return quote(Path(way).as_posix(), errors="surrogateescape") + "/"
