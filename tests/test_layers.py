"""Imports point down, every module has a layer, and `--help` needs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import darkroom

PACKAGE = Path(darkroom.__file__).parent

ORDER = (
    "errors",
    "parallel",
    "raw",
    "mosaic",
    "calibration",
    "gain",
    "weights",
    "models",
    "color",
    "output",
    "options",
    "prepared",
    "pipeline",
    "pairs",
    "evaluation",
    "training",
    "batch",
    "cli",
    "__main__",
)
"""A module imports its own room and those before it; `darkroom` itself imports none."""


def modules() -> list[str]:
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names.append(".".join(part for part in parts if part != "__init__"))
    return names


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


def test_every_room_has_its_place() -> None:
    assert {name.partition(".")[0] for name in modules() if name} == set(ORDER)


@pytest.mark.parametrize("module", [name for name in modules() if name])
def test_imports_go_one_way(module: str) -> None:
    place = ORDER.index(module.partition(".")[0])
    for other in imports(module):
        assert ORDER.index(other.partition(".")[0]) <= place, f"{module} imports {other}"


def test_the_page_on_the_house_names_every_module() -> None:
    """But those of the commands, each named as it is called."""
    page = (PACKAGE / "README.md").read_text(encoding="utf-8")
    for path in PACKAGE.rglob("[a-z]*.py"):
        if path.parent.name != "cli":
            assert f"`{path.stem}`" in page or f"`{path.name}`" in page, path


def definitions(kind: type[ast.AST]) -> list[tuple[str, ast.AST]]:
    """(module, node) of every definition of a kind, nested ones too."""
    return [
        (str(path.relative_to(PACKAGE)), node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, kind)
    ]


def test_a_public_class_has_its_name_for_itself() -> None:
    places: dict[str, list[str]] = {}
    for module, node in definitions(ast.ClassDef):
        if not node.name.startswith("_"):
            places.setdefault(node.name, []).append(module)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_function_takes_more_than_twelve_parameters() -> None:
    """But the commands, whose parameters are their options."""
    for module, node in definitions(ast.FunctionDef):
        arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        assert len(arguments) <= 12 or module.startswith("cli/"), f"{module}: {node.name}"


def test_lower_layers_do_not_need_torch() -> None:
    """Weights are listed and fetched, and photos inspected, without the cost of torch."""
    code = (
        "import sys, darkroom.gain, darkroom.mosaic.packing, darkroom.raw.reader, "
        "darkroom.calibration.measure, darkroom.output.picture, "
        "darkroom.pairs.store, darkroom.pairs.layouts, "
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
