"""Words and progress on standard error, data on standard output: the one place that prints.

Names of files and tensors, a photo's tags, servers' answers: what others wrote is escaped here, as
it could otherwise move a terminal's cursor, hide a line, or be no text at all.
"""

import io
import json
import math
import os
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self, TextIO

import typer

if TYPE_CHECKING:  # rich takes 27 ms, and is for tables and terminals
    from rich.progress import Progress
    from rich.table import Table
    from rich.text import Text

SCHEMA = 1
"""Version of every JSON record that darkroom prints; it grows when a key changes its meaning."""
BYTES = range(0xDC80, 0xDD00)
"""Where Python puts the bytes of file names that are no text. Source: PEP 383."""


def prepare_streams() -> None:
    """Make the standard streams safe to use: none closed, none that cannot take a letter.

    The number of a closed one would go to the next file that is opened, a picture perhaps. Input
    that is closed is empty, to output that is closed nothing can be written, words are dropped.
    """
    for number, (name, flags, mode) in enumerate(
        (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w"))
    ):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def escape(text: str) -> str:
    r"""Return foreign words as one line that people can see through: \x1b, \n, \u202e."""
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(one: str) -> str:
    if ord(one) in BYTES:
        return f"\\x{ord(one) - 0xDC00:02x}"
    return one.encode("unicode_escape").decode("ascii")


def plain(text: str) -> "Text":
    """Return foreign words for a table: escaped, and not read as rich's markup."""
    from rich.text import Text

    return Text(escape(text))


def say(text: str) -> None:
    """Print one line of words for people, on standard error."""
    _print_words(escape(text))


def warn(text: str) -> None:
    """Print one warning, on standard error."""
    _print_words(typer.style(f"warning: {escape(text)}", fg="yellow"))


def report(error: str) -> None:
    """Print one error, on standard error."""
    _print_words(typer.style(f"error: {escape(error)}", fg="red"))


def show(text: str = "") -> None:
    """Print one line of data for people, on standard output."""
    typer.echo(escape(text))


def show_table(table: "Table | Text", width: int | None = None) -> None:
    """Print a table or styled text, on standard output; `width` in columns where it is piped.

    What others wrote has to be escaped in it already.
    """
    from rich.console import Console

    console = Console()
    if width is not None and not console.is_terminal:
        console = Console(width=width)
    with console.capture() as captured:  # rich would end the program where a pipe is closed
        console.print(table)
    typer.echo(captured.get(), nl=False)


def show_rows(
    heads: Sequence[str], rows: Iterable[Sequence[str]], width: int, words: Container[str]
) -> None:
    """Print a table of what others wrote or not; headings in `words` have columns set left."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, justify="left" if head in words else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(plain, row))
    show_table(table, width)


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON record, on standard output; what cannot be printed, as JSON's escapes.

    JSON has no infinite numbers, such as the PSNR of two equal pictures: they are null.
    """
    known = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }
    line = json.dumps({"schema": SCHEMA, **known}, ensure_ascii=not shows_unicode())
    typer.echo("".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in line))


def shows_unicode() -> bool:
    """Whether standard output takes any letter."""
    return "utf" in (sys.stdout.encoding or "").lower()


def drop_unwritable() -> bool:
    """Forget what a stream does not take, or Python would try once more at exit, and complain.

    Returns whether standard output is such a stream.
    """
    return [_drop_unwritable(stream) for stream in (sys.stderr, sys.stdout)][1]


def _drop_unwritable(stream: TextIO) -> bool:
    try:
        stream.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return True
    return False


def _print_words(line: str) -> None:
    try:
        typer.echo(line, err=True)
    except BrokenPipeError:
        raise
    except OSError:  # a full disk, say: there is nobody left to tell
        _drop_unwritable(sys.stderr)


class Stages:
    """A progress line on a terminal, nothing where standard error is piped or `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.seconds: dict[str, float] = {}
        self._live = None if quiet or not sys.stderr.isatty() else _make_progress()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[float], None]]:
        """Show a stage while it lasts and time it; yields what to call with the share done."""
        live, started = self._live, perf_counter()
        if live is None:
            yield lambda share: None
        else:
            task = live.add_task(name, total=None)
            yield lambda share: live.update(task, total=1.0, completed=share)
            live.remove_task(task)
        self.seconds[name] = perf_counter() - started


def _make_progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
