"""Words and progress on standard error, data on standard output."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

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


class Stages:
    """A progress line on a terminal, nothing where standard error is piped or `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.seconds: dict[str, float] = {}
        self._live = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=quiet or not sys.stderr.isatty(),
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[float], None]]:
        """Show a stage while it lasts and time it; yields what to call with the share done."""
        task = self._live.add_task(name, total=None)
        started = perf_counter()
        yield lambda share: self._live.update(task, total=1.0, completed=share)
        self.seconds[name] = perf_counter() - started
        self._live.remove_task(task)
