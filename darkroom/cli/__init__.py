"""The command line: the only code that prints or exits. Parse, call, print; nothing else."""

import os
import sys
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from darkroom import __version__
from darkroom.cli.allocator import use_large_pages
from darkroom.errors import DarkroomError

INTERRUPTED = 130
"""Exit code after Ctrl-C. Source: shells report 128 + the signal's number."""

NEED_PHOTOS = ("enhance", "batch", "estimate")
"""Commands that without arguments show their help."""
OTHERS = ("inspect", "models", "fetch_weights", "demo", "evaluate", "bench", "train")

EPILOG = (
    "Exit codes: 0 done · 1 a photo failed · 2 usage · 3 weights missing or rejected · "
    "4 unsupported or damaged RAW · 5 output could not be written · 130 interrupted · "
    "143 terminated."
)


class Commands(TyperGroup):
    """Our own errors become one line and their exit code; anything else is a bug and says so."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; the one place that catches."""
        try:
            return super().invoke(ctx)
        except DarkroomError as error:
            _fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            _fail("interrupted; nothing half-written was left behind", INTERRUPTED)
        except BrokenPipeError:
            # Whoever read our output had enough; Python would complain once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None


def _fail(message: str, code: int) -> NoReturn:
    typer.secho(f"error: {' '.join(message.split())}", fg="red", err=True)
    raise typer.Exit(code)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"darkroom {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="darkroom",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)


@app.callback()
def darkroom(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Brighten extremely dark RAW photos: RAW in, finished picture out, for any camera."""
    use_large_pages()


for _name in NEED_PHOTOS + OTHERS:
    _command = getattr(import_module(f"darkroom.cli.{_name}"), _name)
    app.command(_name.replace("_", "-"), no_args_is_help=_name in NEED_PHOTOS)(_command)


def main() -> None:
    """Run the command line."""
    app()
