"""Imports point down, every module has a layer, and `--help` needs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import darkroom

PACKAGE = Path(darkroom.__file__).parent

# Lowest first; the longest prefix of a module's name decides. A layer may import from those below
# it, and modules of one package from each other.
LAYERS = (
    ("errors",),
    ("files",),
    ("gain", "mosaic", "defects", "noise"),
    ("weights",),
    ("memory", "shoulder"),
    ("nets", "tiling", "color", "tracing", "demosaic"),
    ("model",),
    ("denoising", "highlights"),
    ("pipeline", "anatomy"),
    (
        "journal",
        "sources",
        "decoding",
        "resume",
        "failures",
        "devices",
        "assembly",
        "batch",
        "claim",
        "cluster",
        "crew",
        "remote",
        "worker",
        "workers",
        "report",
        "training",
        "evaluation",
    ),
    ("cli",),
)
TOP_LAYER = ("", "__main__")


def modules() -> list[str]:
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names.append(".".join(part for part in parts if part != "__init__"))
    return names


def layer(module: str) -> int:
    if module in TOP_LAYER:
        return len(LAYERS)
    first = module.split(".")[0]
    found = [index for index, names in enumerate(LAYERS) if first in names]
    assert found, f"{module}: give it a layer in this test"
    return found[0]


def imports(module: str) -> set[str]:
    """Names of darkroom's modules that a module imports anywhere, in functions too."""
    path = PACKAGE / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "darkroom":
            found |= {f"darkroom.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    ours = {name.removeprefix("darkroom.") for name in found if name.startswith("darkroom.")}
    return ours - {"__version__"}


@pytest.mark.parametrize("module", [name for name in modules() if name not in TOP_LAYER])
def test_imports_point_down(module: str) -> None:
    package = module.split(".")[0]
    for other in imports(module):
        same = other.split(".")[0] == package or layer(other) == layer(module) == 9
        assert same or layer(other) < layer(module), f"{module} imports {other}"


def test_lower_layers_do_not_need_torch() -> None:
    """Weights are listed and fetched, and photos inspected, without the cost of torch."""
    code = (
        "import sys, darkroom.gain, darkroom.mosaic, darkroom.files.raw, darkroom.files.picture, "
        "darkroom.weights.fetch, darkroom.weights.checkpoint; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["enhance", "--help"], ["models"], ["models", "--json"]],
)
def test_quick_commands_import_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys, darkroom.cli\n"
        f"sys.argv = ['darkroom', *{arguments!r}]\n"
        "try: darkroom.cli.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
