"""What `darkroom fetch-weights` does: list, verify, remove, fetch and import."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from darkroom.cli import output
from darkroom.cli.weights_report import (
    WeightsReport,
    describe_trust,
    find_size,
    format_size,
    show_progress,
)
from darkroom.errors import WeightsError
from darkroom.weights import registry, store
from darkroom.weights.registry import FileEntry, WeightsEntry
from darkroom.weights.store import State

if TYPE_CHECKING:
    from darkroom.weights.fetch import FetchSource


def find_entries(names: Iterable[str]) -> list[WeightsEntry]:
    """Return the entries of these names, each once; WeightsError for a name nobody knows."""
    return [store.find(name) for name in dict.fromkeys(names)]


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
        rows.append(
            (
                entry.name,
                store.state(entry).value,
                format_size(find_size(entry)),
                describe_trust(entry),
                entry.licence.name,
                entry.description,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)] + [0]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    if not report.as_json:
        typer.echo(lines[0])
    for entry, line in zip(entries, lines[1:], strict=True):
        report.say(entry, line)
    if not report.as_json:
        output.say(f"Weights are kept in {store.root()} (DARKROOM_WEIGHTS changes it).")


def verify_entries(entries: list[WeightsEntry], report: WeightsReport) -> None:
    """Check the SHA-256 of each entry."""
    for entry in entries:
        with report.each(entry):
            path = store.verify(entry)
            words = describe_trust(entry)
            report.say(entry, f"{entry.name}: whole in {path.parent}; SHA-256 {words}")


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
                report.say(entry, _describe_plan(entry, source))
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


def _describe_plan(entry: WeightsEntry, source: "FetchSource") -> str:
    if store.state(entry) in (State.BUNDLED, State.INSTALLED):
        return f"{entry.name}: {store.state(entry).value} already"
    lines = [f"{entry.name}: licence {entry.licence.name}, into {store.folder(entry)}"]
    for file in entry.files:
        places = " or ".join(source.list_places(entry, file)) or "no published address is known"
        known = "known" if file.sha256 else "not known, would be trusted on first use"
        lines.append(f"  {file.name} ({format_size(file.size)}, SHA-256 {known}) from {places}")
    return "\n".join(lines)


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
