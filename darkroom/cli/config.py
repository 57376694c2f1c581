"""Options that need not be typed: presets, and darkroom.toml of a folder and of the user.

What is typed goes before --preset, that before the nearest darkroom.toml of this folder and those
above it, that before the user's own, that before the defaults. A preset that a file names goes
below what files say besides.
"""

import difflib
import os
import stat
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from darkroom.cli import output
from darkroom.errors import UsageError

CONFIG = "darkroom.toml"
COMMANDS = ("enhance", "batch")
TYPED_ONLY = ("output", "overwrite", "no-config", "verbose", "help")
"""Options that files do not decide: where something is written, and what is replaced."""
MAX_BYTES = 1 << 16
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "night": {"ev": -0.5},
        "stars": {"denoise": 0.8, "ev": -0.5, "hot_pixels": "repair"},
        "indoor": {"ev": 0.5},
        "wildlife": {"denoise": 0.85},
        "document": {"ev": 1.5, "highlights": "clip"},
    }
)
"""Sets of options, by what is in the photo.

Measured on simulated photos, 2026-11-22 (read noise 6, shot noise 0.25 per step): faint stars stand
42 codes above the sky with denoise 0.7 and 24 with 1, whose sky is smoother (1.3 codes, not 5.7);
half a stop less takes the sky from 92 to 77. Fine texture of a Kodak picture (truth 11.6) is 5.1 at
denoise 1 and 10.2 at 0.8, for 0.7 dB. Paper of 200 comes out at 105, and 1.5 EV makes it 169;
more denoising only fades the ink. An indoor scene of 106 comes out at 74, with 0.3 EV at 82.
"""


def _take_files(ctx: typer.Context, no_config: bool) -> bool:
    """Put what darkroom.toml says below what is typed; a callback."""
    if not no_config and not ctx.resilient_parsing:
        for path in list_files(Path.cwd(), Path(typer.get_app_dir("darkroom"))):
            ctx.meta.setdefault("files", []).append((str(path), read_file(path, ctx)))
        _merge(ctx)
    return no_config


def _take_preset(ctx: typer.Context, preset: str | None) -> str | None:
    """Put a preset's options below what is typed; a callback."""
    if preset is not None and not ctx.resilient_parsing:
        source = ctx.get_parameter_source("preset")
        typed = source is not None and source.name == "COMMANDLINE"
        if preset not in PRESETS:
            files = (where for where, values in ctx.meta.get("files", ()) if "preset" in values)
            place = "--preset" if typed else f"{next(files)}: [{ctx.info_name}] preset ="
            raise UsageError(f"{place} {preset}: give one of {', '.join(PRESETS)}")
        ctx.meta["preset"] = (f"--preset {preset}", PRESETS[preset])
        ctx.meta["preset_typed"] = typed
        _merge(ctx)
    return preset


def _layers(ctx: typer.Context) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what options come from beside the command line, the strongest first."""
    files = list(ctx.meta.get("files", ()))
    preset = [ctx.meta["preset"]] if "preset" in ctx.meta else []
    return preset + files if ctx.meta.get("preset_typed") else files + preset


def _merge(ctx: typer.Context) -> None:
    ctx.default_map = {}
    for _, values in reversed(_layers(ctx)):
        ctx.default_map.update(values)


Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="|".join(PRESETS),
        callback=_take_preset,
        is_eager=True,
        help="Options for what is in the photo: "
        + "; ".join(
            f"{name}: "
            + ", ".join(f"{key.replace('_', '-')} {value}" for key, value in set_.items())
            for name, set_ in PRESETS.items()
        )
        + ". What is typed goes before it.",
    ),
]
NoConfig = Annotated[
    bool,
    typer.Option(
        "--no-config",
        callback=_take_files,
        is_eager=True,
        help="Read no darkroom.toml, neither of this folder or those above it nor the user's.",
    ),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say which options hold, and who decided each.")
]


def list_files(folder: Path, user: Path) -> list[Path]:
    """Return the darkroom.toml that count: the nearest at or above a folder, and the user's.

    One that somebody else owns, or anybody may write, is passed over with a warning.
    """
    nearest = next(
        (place / CONFIG for place in (folder, *folder.parents) if (place / CONFIG).is_file()), None
    )
    found = dict.fromkeys(path for path in (nearest, user / CONFIG) if path and path.is_file())
    return [path for path in found if _is_trusted(path)]


def _is_trusted(path: Path) -> bool:
    """Whether nobody but the user and root could have written a file."""
    if os.name == "nt":
        return True
    state = path.stat()
    if state.st_uid in (os.getuid(), 0) and not state.st_mode & stat.S_IWOTH:
        return True
    output.warn(f"{path}: not read, for others own it or may write it; chown and chmod o-w it")
    return False


def read_file(path: Path, ctx: typer.Context) -> dict[str, Any]:
    """Read a darkroom.toml's table of the command of `ctx`; paths are relative to its folder.

    Raises UsageError for what is no TOML, and for tables, options and values that there are not.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path}: is larger than {MAX_BYTES >> 10} KiB; shorten it")
    try:
        tables = tomllib.loads(data.decode("utf-8"))
    except ValueError as error:  # no UTF-8, or no TOML
        raise UsageError(f"{path}: is no TOML ({error}); correct it, or --no-config") from None
    for name, table in tables.items():
        if name not in COMMANDS or not isinstance(table, dict):
            known = ", ".join(f"[{command}]" for command in COMMANDS)
            raise UsageError(f"{path}: {name}: no table for it; put options below {known}")
    table = tables.get(ctx.info_name or "", {})
    options = {
        param.name: param
        for param in ctx.command.params
        if param.param_type_name == "option" and _spell(param) not in TYPED_ONLY
    }
    words = {_spell(param): name for name, param in options.items()}
    return {
        words[key]: _check(path, key, value, options[words[key]], ctx)
        for key, value in table.items()
        if _is_known(path, ctx, key, words)
    }


def _spell(param: Any) -> str:
    """Return an option's long name, without its dashes."""
    return str(max(param.opts, key=len)).lstrip("-")


def _is_known(path: Path, ctx: typer.Context, key: str, words: Mapping[str, str]) -> bool:
    """Whether there is an option of a name: True. Raises UsageError where there is not."""
    if key in words:
        return True
    if key.replace("-", "_") in TYPED_ONLY:
        raise UsageError(f"{path}: [{ctx.info_name}] {key}: has to be typed; leave it out")
    near = difflib.get_close_matches(key, words, 1)
    remedy = f"did you mean {near[0]}?" if near else f"see darkroom {ctx.info_name} --help"
    raise UsageError(f"{path}: [{ctx.info_name}] {key}: no such option; {remedy}")


def _check(path: Path, key: str, value: Any, param: Any, ctx: typer.Context) -> Any:
    """Return a value as its option takes it. Raises UsageError where it does not."""
    kinds: tuple[type, ...] = (bool,) if param.is_flag else (str, int, float)
    values = value if param.multiple and isinstance(value, list) else [value]
    wrong = any(
        not isinstance(one, kinds) or isinstance(one, bool) != param.is_flag for one in values
    )
    if not wrong and (param.multiple or value == values[0]):
        with suppress(typer.BadParameter):
            found = [_place(path, one) for one in values]
            taken = found if param.multiple else found[0]
            if not param.is_eager:  # a preset is looked up once all files are read
                param.process_value(ctx, taken)
            return taken
    what = "true or false" if param.is_flag else f"as --{key} takes it"
    raise UsageError(f"{path}: [{ctx.info_name}] {key} = {value!r}: give {what}")


def _place(path: Path, value: Any) -> Any:
    """Return a value; the name of a file beside darkroom.toml with its folder."""
    if isinstance(value, str) and ("/" in value or "." in value):
        beside = path.parent / value
        return str(beside) if beside.exists() else value
    return value


def _show(value: Any) -> str:
    """Say an option's value as it would be typed behind its name."""
    if isinstance(value, bool):
        return "" if value else " off"
    values = value if isinstance(value, list | tuple) else [value]
    return "".join(f" {one}" for one in values)


def tell_options(ctx: typer.Context, *, quiet: bool, verbose: bool) -> None:
    """Say which options come from files, or with `verbose` where each comes from."""
    layers = _layers(ctx)
    files = ctx.meta.get("files", ())
    sources: dict[str, list[str]] = {}
    for param in ctx.command.params:
        name = param.name or ""
        source = ctx.get_parameter_source(name)
        if param.param_type_name != "option" or source is None:
            continue
        origin = "default"
        if source.name == "COMMANDLINE":
            origin = "command line"
        elif source.name == "DEFAULT_MAP":
            origin = next(where for where, values in layers if name in values)
        value = ctx.params.get(name)
        if origin != "default" or value not in (None, False, ()):
            sources.setdefault(origin, []).append(f"{_spell(param)}{_show(value)}")
    if verbose:
        order = ("command line", *(where for where, _ in layers), "default")
        for origin in (one for one in order if one in sources):
            output.say(f"{origin}: {', '.join(sources[origin])}")
    elif not quiet:
        for where, _ in files:
            if where in sources:
                output.say(f"options from {where}: {', '.join(sources[where])}")
