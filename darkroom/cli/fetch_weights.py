"""`darkroom fetch-weights`: list, download, import, verify and remove weights."""

from pathlib import Path
from typing import Annotated

import typer

from darkroom.cli.options import Json
from darkroom.errors import UsageError


def fetch_weights(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Which weights; none lists what there is."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All published weights.")] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="DIR|URL", help="A folder or a mirror instead of the authors."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--import",
            metavar="FILE",
            help="Install a checkpoint of your own (with --as); NETWORK=FILE where two fit it.",
        ),
    ] = None,
    own_name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="What to call the imported checkpoint."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the SHA-256 of what is installed.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Delete installed weights.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept-license", help="Agree to licences that are not open.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Download published weights, checked and installed whole or not at all; or list them.

    Example:

    darkroom fetch-weights sid-sony
    """
    named = bool(names) or every
    acts = [checkpoint is not None, verify, remove, source is not None]
    for wrong, message in (
        (sum(acts) > 1, "choose one of --import, --verify, --remove and --from"),
        (every and bool(names), "give names or --all, not both"),
        (checkpoint is not None and named, "--import takes a file, and its name by --as"),
        ((checkpoint is None) != (own_name is None), "--import FILE and --as NAME go together"),
        ((remove or source is not None) and not named, "name the weights, or give --all"),
    ):
        if wrong:
            raise UsageError(message)
    from darkroom.cli import weights_actions as actions
    from darkroom.weights import store

    entries = [store.find(name) for name in dict.fromkeys(names or ())]
    with actions.open_report(as_json) as report:
        if checkpoint is not None and own_name is not None:
            actions.import_checkpoint(checkpoint, own_name, dry_run, report)
        elif verify:
            actions.verify_entries(entries or actions.list_present(), report)
        elif remove:
            actions.remove_entries(entries or actions.list_present(), dry_run, report)
        elif named:
            entries = entries or actions.list_published()
            actions.fetch_entries(entries, source, (dry_run, accept), report)
        else:
            actions.list_entries(report)
