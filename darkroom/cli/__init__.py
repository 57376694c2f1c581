"""The command line: the only code that prints or exits. Parse, call, print; nothing else."""

import errno
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from darkroom import __version__
from darkroom.cli import output
from darkroom.cli.allocator import check_address_space, use_one_blas_thread
from darkroom.cli.choices import expand_groups
from darkroom.cli.completion import add_completion
from darkroom.errors import DISK_FULL, DarkroomError, OutputError

INTERRUPTED = 130
"""Exit code after Ctrl-C. Source: shells report 128 + the signal's number."""

NEED_PHOTOS = ("enhance", "batch", "compare", "estimate")
"""Commands that without arguments show their help."""
OTHERS = (
    "inspect",
    "models",
    "fetch_weights",
    "demo",
    "evaluate",
    "simulate",
    "bench",
    "calibrate",
    "train",
    "report",
    "export",
    "integrations",
)

EPILOG = (
    "Exit codes: 0 done · 1 a photo failed · 2 usage · 3 weights missing or rejected · "
    "4 unsupported or damaged RAW · 5 output could not be written · 130 interrupted · "
    "143 terminated."
)


WRONG_USAGE: Any = typer.BadParameter.__mro__[1]
"""Typer's error for whatever is wrong on the command line, which has no public name."""
TORCH_MEMORY = ("DefaultCPUAllocator", "could not create a primitive")
"""What torch's plain RuntimeErrors say where memory ends.

Source: PyTorch, c10/core/impl/alloc_cpu.cpp; oneDNN, as measured with little address space.
"""
MEMORY = "there is not enough memory: close other programs, or raise the limit (ulimit -v)"
FILES = "too many files are open: raise the limit, as with: ulimit -n 1024"


class Commands(TyperGroup):
    """What goes wrong becomes one line and its exit code; anything else is a bug and says so."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Read what comes before the command's name."""
        with _report_errors():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _report_errors():
            return super().invoke(ctx)


@contextmanager
def _report_errors() -> Iterator[None]:
    """Catch what goes wrong; the one place that does."""
    try:
        yield
    except DarkroomError as error:
        _fail(str(error), error.exit_code)
    except WRONG_USAGE as error:
        if not (words := error.format_message().rstrip(".")):
            raise  # nothing was given, and the help has been shown
        command = error.ctx.command_path if error.ctx else "darkroom"
        _fail(f"{words}; see {command} --help", error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; nothing half-written was left behind", INTERRUPTED)
    except BrokenPipeError:
        _end_quietly()
    except MemoryError:
        _fail(MEMORY, DarkroomError.exit_code)
    except RuntimeError as error:
        if not any(words in str(error) for words in TORCH_MEMORY):
            raise
        _fail(MEMORY, DarkroomError.exit_code)
    except ImportError as error:
        _fail(describe_import(error), DarkroomError.exit_code)
    except OSError as error:
        unwritable = error.filename is None and error.errno in (*DISK_FULL, errno.EBADF)
        if output.drop_unwritable() or unwritable:  # unbuffered, nothing is left to tell by
            reason = " is closed" if error.errno == errno.EBADF else f": {error.strerror}"
            _fail(f"standard output{reason}; redirect it elsewhere", OutputError.exit_code)
        if error.errno in (errno.EMFILE, errno.ENFILE):
            _fail(FILES, DarkroomError.exit_code)
        if error.errno == errno.ENOMEM:
            _fail(MEMORY, DarkroomError.exit_code)
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", DarkroomError.exit_code)
    except SystemExit as error:  # rich's, which exits by itself where a pipe is closed
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        _end_quietly()


def _end_quietly() -> NoReturn:
    """End well: whoever read our output had enough."""
    output.drop_unwritable()
    raise typer.Exit(0) from None


def describe_import(error: ImportError) -> str:
    """Say in one line that a library is not there or cannot be loaded, and what to do."""
    *_, reason = str(error).strip().splitlines() or [type(error).__name__]
    return (
        f"a library cannot be loaded ({reason}): raise the limit of memory (ulimit -v), if "
        "there is one, or install darkroom again"
    )


def _fail(message: str, code: int) -> NoReturn:
    output.report(message)
    output.drop_unwritable()
    raise typer.Exit(code)


def _print_version(asked: bool) -> None:
    if asked:
        output.show(f"darkroom {__version__}")
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
    check_address_space()
    use_one_blas_thread()


for _name in NEED_PHOTOS + OTHERS:
    _command = getattr(import_module(f"darkroom.cli.{_name}"), _name)
    app.command(_name.replace("_", "-"), no_args_is_help=_name in NEED_PHOTOS)(
        add_completion(expand_groups(_command))
    )


def main() -> None:
    """Run the command line."""
    output.prepare_streams()
    if not sys.warnoptions:  # Python's warnings are for who writes programs
        warnings.simplefilter("ignore")
    app()
