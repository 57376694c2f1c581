"""What `darkroom fetch-weights` shows: lines or JSON, progress bars, words for sizes and trust."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from darkroom.cli import output
from darkroom.errors import WeightsError
from darkroom.weights import store
from darkroom.weights.registry import FileEntry, WeightsEntry
from darkroom.weights.store import Trust

if TYPE_CHECKING:
    from darkroom.weights.fetch import Watcher


class WeightsReport:
    """What was done, as lines or as one JSON document, and what failed."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.done: list[dict[str, Any]] = []
        self.errors: dict[str, WeightsError] = {}

    def say(self, entry: WeightsEntry, line: str) -> None:
        """Tell what was done with an entry, and keep it for the JSON document."""
        self.done.append(describe_entry(entry))
        if not self.as_json:
            typer.echo(line)

    @contextmanager
    def each(self, entry: WeightsEntry) -> Iterator[None]:
        """Keep one entry's failure from ending the work on the others."""
        try:
            yield
        except WeightsError as error:
            self.errors[entry.name] = error


@contextmanager
def open_report(as_json: bool) -> Iterator[WeightsReport]:
    """Print JSON at the end; a lone failure is raised as it is, several as their count."""
    report = WeightsReport(as_json)
    yield report
    if as_json:
        errors = [{"name": name, "error": str(error)} for name, error in report.errors.items()]
        output.print_json({"weights": report.done, "errors": errors})
    if len(report.errors) == 1:
        raise next(iter(report.errors.values()))
    if report.errors:
        for error in report.errors.values():
            typer.secho(f"error: {error}", fg="red", err=True)
        raise WeightsError(f"{len(report.errors)} failed: {', '.join(report.errors)}")


@contextmanager
def show_progress() -> Iterator["Watcher"]:
    """Show progress bars on a terminal, and notes always, on standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    name = TextColumn("{task.description}", markup=False)
    bars = Progress(
        name,
        BarColumn(),
        *columns,
        console=console,
        transient=True,
        redirect_stdout=False,
        disable=not console.is_terminal,
    )

    class Bars:
        def __init__(self) -> None:
            self.tasks: dict[FileEntry, Any] = {}

        def progress(self, file: FileEntry, done: int, total: int | None) -> None:
            if file not in self.tasks:
                self.tasks[file] = bars.add_task(file.name, total=total)
            bars.update(self.tasks[file], completed=done, total=total)

        def note(self, text: str) -> None:
            console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)

    with bars:
        yield Bars()


def find_size(entry: WeightsEntry) -> int | None:
    """Return the bytes of an entry's files: as published, else as recorded, else None."""
    recorded = {} if entry.bundled else store.record(entry)
    if entry.size is None and recorded:
        return sum(file.size for file in recorded.values())
    return entry.size


def format_size(size: int | None) -> str:
    """Return bytes as MB, which are 10^6."""
    return "unknown" if size is None else f"{size / 1e6:.1f} MB"


def describe_trust(entry: WeightsEntry) -> str:
    """Say how far the entry's bytes can be trusted: as its least known file."""
    if all(file.sha256 for file in entry.files) and entry.licence != store.OWN_LICENCE:
        return Trust.REGISTRY.value
    recorded = {} if entry.bundled else store.record(entry)
    return Trust.FIRST_USE.value if recorded else "not known yet"


def describe_entry(entry: WeightsEntry) -> dict[str, Any]:
    """Describe an entry for --json."""
    recorded = {} if entry.bundled else store.record(entry)
    return {
        "name": entry.name,
        "state": store.state(entry).value,
        "path": str(store.folder(entry)),
        "architecture": entry.architecture,
        "sensor": entry.sensor.value,
        "size": find_size(entry),
        "trust": describe_trust(entry),
        "licence": {
            "name": entry.licence.name,
            "open": entry.licence.open,
            "url": entry.licence.url,
            "notice": entry.licence.notice,
        },
        "source": entry.source,
        "description": entry.description,
        "files": [
            {
                "name": file.name,
                "urls": file.urls,
                "size": recorded[file.name].size if file.name in recorded else file.size,
                "sha256": recorded[file.name].sha256 if file.name in recorded else file.sha256,
            }
            for file in entry.files
        ],
    }
