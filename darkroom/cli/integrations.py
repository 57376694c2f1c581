"""darkroom integrations: where the scripts for editors and file managers are."""

from importlib.resources import files
from typing import Annotated

import typer

from darkroom.cli import output
from darkroom.errors import UsageError

FILES = {"darktable": "darktable.lua", "nautilus": "desktop.sh", "finder": "desktop.sh"}


def integrations(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help=f"{', '.join(FILES)}; without, all of them."),
    ] = None,
) -> None:
    """Print where darkroom's scripts for editors and file managers are.

    They enhance the photos that are selected there, and are used in place: darktable's luarc, the
    folder of Nautilus' scripts or a Quick Action of Finder names them, as their first lines say.

    Examples:

    darkroom integrations

    darkroom integrations darktable
    """
    folder = files("darkroom") / "integrations"
    if name is None:
        for known, file in FILES.items():
            output.show(f"{known:<10} {folder / file}")
        return
    if name not in FILES:
        raise UsageError(f"{name}: give one of {', '.join(FILES)}")
    output.show(str(folder / FILES[name]))
