"""Words on standard error, data on standard output."""

import json
from typing import Any

import typer

SCHEMA = 1
"""Version of every JSON record that darkroom prints; it grows when a key changes its meaning."""


def say(text: str) -> None:
    """Print one line of words for people, on standard error."""
    typer.echo(text, err=True)


def warn(text: str) -> None:
    """Print one warning, on standard error."""
    typer.secho(f"warning: {text}", fg="yellow", err=True)


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON record, on standard output."""
    line = json.dumps({"schema": SCHEMA, **record}, ensure_ascii=False)
    # Undecodable bytes of file names are lone surrogates; as \\udcxx they are valid JSON.
    typer.echo(line.encode("utf-8", "backslashreplace").decode("utf-8"))
