"""What `darkroom fetch-weights` does and shows: list, verify, remove, fetch and import."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from darkroom.cli import output
from darkroom.errors import WeightsError
from darkroom.weights import registry, store
from darkroom.weights.registry import FileEntry, WeightsEntry
from darkroom.weights.store import State, Trust

if TYPE_CHECKING:
    from darkroom.weights.fetch import FetchSource, Watcher


class WeightsReport:
    """What was done, as lines or as one JSON document, and what failed."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.done: list[dict[str, Any]] = []
        self.errors: dict[str, WeightsError] = {}

    def say(self, entry: WeightsEntry, *lines: str) -> None:
        """Tell what was done with an entry, and keep it for the JSON document."""
        self.done.append(describe_entry(entry))
        if not self.as_json:
            for line in lines:
                output.show(line)

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
            output.report(str(error))
        raise WeightsError(f"{len(report.errors)} failed: {', '.join(report.errors)}")


@contextmanager
def show_progress() -> Iterator["Watcher"]:
    """Show progress bars on a terminal, and notes always, on standard error."""
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    bars = progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
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
            console.print(output.plain(text), style="yellow", soft_wrap=True)

    with bars:
        yield Bars()


def find_size(entry: WeightsEntry) -> int | None:
    """Return the bytes of an entry's files: as published, else as recorded, else None."""
    return entry.size or sum(file.size for file in store.record(entry).values()) or None


def format_size(size: int | None) -> str:
    """Return bytes as MB, which are 10^6."""
    return "unknown" if size is None else f"{size / 1e6:.1f} MB"


def describe_trust(entry: WeightsEntry) -> str:
    """Say how far the entry's bytes can be trusted: as its least known file."""
    if all(file.sha256 for file in entry.files) and entry.licence != store.OWN_LICENCE:
        return Trust.REGISTRY.value
    return Trust.FIRST_USE.value if store.record(entry) else "not known yet"


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
                "size": recorded.get(file.name, file).size,
                "sha256": recorded.get(file.name, file).sha256,
            }
            for file in entry.files
        ],
    }


def list_published() -> list[WeightsEntry]:
    """Return the entries that can be downloaded."""
    return [entry for entry in registry.ENTRIES.values() if not entry.bundled]


def _list_known() -> list[WeightsEntry]:
    return [*registry.ENTRIES.values(), *store.imported().values()]


def list_present() -> list[WeightsEntry]:
    """Return the entries that are on this machine, whole or damaged."""
    return [entry for entry in _list_known() if store.state(entry) is not State.ABSENT]


def list_entries(report: WeightsReport) -> None:
    """Print every entry and what this machine has of it."""
    rows = [("NAME", "STATE", "SIZE", "HASH", "LICENCE", "WHAT")]
    entries = _list_known()
    for entry in entries:
        size, trust = format_size(find_size(entry)), describe_trust(entry)
        state, licence = store.state(entry).value, entry.licence.name
        rows.append((entry.name, state, size, trust, licence, entry.description))
    widths = [max(len(row[column]) for row in rows) for column in range(5)] + [0]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    if not report.as_json:
        output.show(lines[0])
    for entry, line in zip(entries, lines[1:], strict=True):
        report.say(entry, line)
    if not report.as_json:
        output.say(f"Weights are kept in {store.root()} (DARKROOM_WEIGHTS changes it).")


def verify_entries(entries: list[WeightsEntry], report: WeightsReport) -> None:
    """Check the SHA-256 of each entry."""
    for entry in entries:
        with report.each(entry):
            place = store.verify(entry).parent
            report.say(entry, f"{entry.name}: whole in {place}; SHA-256 {describe_trust(entry)}")


def remove_entries(entries: list[WeightsEntry], dry_run: bool, report: WeightsReport) -> None:
    """Delete each entry, or say what would be deleted."""
    for entry in entries:
        if dry_run:
            report.say(entry, f"{entry.name}: would remove {store.folder(entry)}")
            continue
        with report.each(entry):
            gone = store.remove(entry)
            report.say(entry, f"{entry.name}: {'removed' if gone else 'was not installed'}")


def fetch_entries(
    entries: list[WeightsEntry], place: str | None, flags: tuple[bool, bool], report: WeightsReport
) -> None:
    """Fetch each entry, after its licence was agreed to; `flags`: dry run, licence accepted."""
    from darkroom.weights.fetch import AUTHORS, RETRY_POLICY, FetchSource, fetch

    dry_run, accept = flags
    source = AUTHORS if place is None else FetchSource.parse(place)
    wanted = []
    for entry in entries:
        with report.each(entry):
            if entry.name not in registry.ENTRIES:
                raise WeightsError(f"{entry.name} is your own import: nowhere to fetch it from")
            if dry_run:
                report.say(entry, *_describe_plan(entry, source))
            else:
                if not entry.licence.open and store.state(entry) is State.ABSENT:
                    _ask_for_consent(entry, accept)
                wanted.append(entry)
    for entry in wanted:
        with report.each(entry):
            with show_progress() as watcher:
                fetched = fetch(entry, source, RETRY_POLICY, watcher)
            state = "installed" if fetched else f"{store.state(entry).value} already"
            where = store.folder(entry)
            report.say(entry, f"{entry.name}: {state} in {where}; SHA-256 {describe_trust(entry)}")


def _ask_for_consent(entry: WeightsEntry, accept: bool) -> None:
    """Show a licence that is not open; WeightsError unless the user agrees to it."""
    licence = entry.licence
    output.say(f"{entry.name}: licence {licence.name}: {licence.notice}. {licence.url}")
    if accept:
        return
    if not on_terminal():
        raise WeightsError(f"{entry.name}: licence {licence.name}: agree with --accept-license")
    if not typer.confirm("Do you agree to it?", err=True):
        raise WeightsError(f"{entry.name}: not fetched, as its licence was declined")


def on_terminal() -> bool:
    """Return whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _describe_plan(entry: WeightsEntry, source: "FetchSource") -> list[str]:
    if store.state(entry) in (State.BUNDLED, State.INSTALLED):
        return [f"{entry.name}: {store.state(entry).value} already"]
    lines = [f"{entry.name}: licence {entry.licence.name}, into {store.folder(entry)}"]
    for file in entry.files:
        places = " or ".join(source.list_places(entry, file)) or "no published address is known"
        known = "known" if file.sha256 else "not known, would be trusted on first use"
        lines.append(f"  {file.name} ({format_size(file.size)}, SHA-256 {known}) from {places}")
    return lines


def import_checkpoint(checkpoint: Path, name: str, dry_run: bool, report: WeightsReport) -> None:
    """Identify a checkpoint and install it as safetensors, its tensors and names unchanged."""
    registry.check_name(name)
    from safetensors.torch import save

    from darkroom.models.architectures.base import shapes_of
    from darkroom.models.loading import find_source
    from darkroom.weights.checkpoint import read_checkpoint
    from darkroom.weights.fetch import install_own

    source = find_source(checkpoint)
    state = read_checkpoint(source.path)
    network = source.identify(shapes_of(state))
    for line in source.list_notes(state, network, "--import"):
        output.warn(line)
    entry = WeightsEntry(
        name=name,
        architecture=network.name,
        sensor=network.sensor,
        output=network.output,
        gain_rule=network.gain_rule,
        trained_on=(),
        files=(FileEntry(f"{name}.safetensors", ()),),
        licence=store.OWN_LICENCE,
        source=source.path.name,
        description=f"{network.name}, {network.sensor.value}, imported from {source.path.name}",
    )
    if dry_run:
        report.say(entry, f"{name}: {entry.description}; would go to {store.folder(entry)}")
        return
    content = save({key: tensor.clone().contiguous() for key, tensor in state.items()})
    (file,) = install_own(entry, content, str(source.path.resolve()))
    report.say(entry, f"{name}: {entry.description}; SHA-256 {file.sha256}")
