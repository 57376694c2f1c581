"""Write darkroom/cli/README.md, what `--help` says of every command: `python tests/reference.py`.

Typer's own `utils docs` writes such a page too, but each release of it another one.
"""

from itertools import dropwhile
from pathlib import Path
from typing import Any

import typer
from places import ROOT

from darkroom.cli import EPILOG, app

PAGE = ROOT / "darkroom" / "cli" / "README.md"
HEAD = f"""# Every command and its options

What `--help` (or `-h`) says of each command; `python tests/reference.py` writes this page.
Words with | between them: one of these. An option without a default is off, or decides by itself.

{EPILOG}
"""


def reference() -> str:
    """Return the whole page, Markdown."""
    program = typer.main.get_command(app)
    commands: dict[str, Any] = program.commands  # type: ignore[attr-defined]
    return "\n".join([HEAD, *(section(name, commands[name]) for name in commands)])


def section(name: str, command: Any) -> str:
    """Return a command's part of the page: usage, what it does, its arguments and options."""
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    usage = [one.metavar if one.required else f"[{one.metavar.strip('[]')}]" for one in arguments]
    lines = [f"## darkroom {name}\n", "```", " ".join(["darkroom", name, *usage, "[OPTIONS]"])]
    lines += ["```\n", explanation(command.help)]
    lines += [f"- `{one.metavar}`: {one.help}" for one in arguments]
    lines += [f"- `{label(one)}`: {one.help}{default(one)}" for one in options]
    return "\n".join([*lines, ""])


def explanation(text: str) -> str:
    """Return a command's text with its examples, a line each, in a block of code."""
    paragraphs = text.split("\n\n")
    start = 1 + next(i for i, words in enumerate(paragraphs) if words.startswith("Example"))
    rest = list(dropwhile(lambda words: " darkroom " in f" {words}", paragraphs[start:]))
    examples = paragraphs[start : len(paragraphs) - len(rest)]
    return (
        "\n\n".join([*paragraphs[: start - 1], "\n".join(["```sh", *examples, "```"]), *rest])
        + "\n"
    )


def label(option: Any) -> str:
    """Return an option's names, long ones last, and what it takes."""
    names = sorted(option.opts, key=len) + option.secondary_opts
    takes = option.metavar or max(option.opts, key=len).lstrip("-").upper()
    return ", ".join(names) + ("" if option.is_flag else f" {takes}")


def default(option: Any) -> str:
    """Return what holds without the option, where it is a value."""
    if option.is_flag:
        return f" Default: `{option.opts[0]}`." if option.secondary_opts else ""
    value = option.default[0] if isinstance(option.default, list) else option.default
    if "Default" in option.help or not (value and isinstance(value, str | int | float | Path)):
        return " Required." if option.required else ""
    return f" Default: `{value:.3g}`." if isinstance(value, float) else f" Default: `{value}`."


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
