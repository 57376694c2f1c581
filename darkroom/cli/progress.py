"""What a command is doing, live on standard error, and how long each stage took."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


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
