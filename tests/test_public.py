"""The names that `import darkroom` offers, and what the pages for people say of the commands."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from places import ROOT

import darkroom
from darkroom.cli import EPILOG, app

README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PAGES = [
    page
    for folder in (ROOT, ROOT / ".github", ROOT / "weights")
    for page in sorted(folder.glob("*.md"))
] + sorted((ROOT / "darkroom").rglob("*.md"))
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", darkroom.__all__)
def test_public_names_exist(name: str) -> None:
    assert getattr(darkroom, name) is not None


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'enhanced'"):
        _ = darkroom.enhanced


def test_importing_darkroom_imports_no_torch() -> None:
    code = "import sys, darkroom; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_an_example_and_a_place_in_the_readme(name: str) -> None:
    text = COMMANDS[name].help or ""
    assert f"darkroom {name}" in text, "an example in --help"
    assert f"darkroom {name}" in README


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_only_what_exists(page: Path) -> None:
    """Commands and their options in blocks of code, and links to files."""
    text = page.read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"^```(?:sh|yaml)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    for name, rest in re.findall(
        r"(?:^| )darkroom ([a-z][a-z-]+)(?= |$)(.*)", blocks, re.MULTILINE
    ):
        options = {
            known for one in COMMANDS[name].params for known in one.opts + one.secondary_opts
        }
        assert set(re.findall(r" (--?[a-z][a-z-]*)", rest.partition("#")[0])) <= options, rest
    for link in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert (page.parent / link).exists(), link


def test_the_readme_is_short() -> None:
    assert README.count("\n") <= 150


def test_the_readmes_python_runs(
    dng_path: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    shutil.copy(dng_path(name="IMG.ARW"), tmp_path / "folder")
    (code,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    exec(code, {})
    assert (tmp_path / "bright" / "IMG.png").is_file()


def test_exit_codes_are_the_same_everywhere() -> None:
    in_readme = {int(code) for code in re.findall(r"^\| (\d+) \|", README, flags=re.MULTILINE)}
    in_help = {int(code) for code in re.findall(r"\b(\d+) [a-z]", EPILOG)}
    classes = [darkroom.DarkroomError, *subclasses(darkroom.DarkroomError)]
    assert {cls.exit_code for cls in classes} <= in_readme
    assert in_readme == in_help == {0, 1, 2, 3, 4, 5, 130, 143}


def subclasses(cls: type[darkroom.DarkroomError]) -> list[type[darkroom.DarkroomError]]:
    direct = cls.__subclasses__()
    return direct + [deeper for one in direct for deeper in subclasses(one)]


def test_changelog_is_ready_for_the_next_change() -> None:
    assert "## [Unreleased]" in CHANGELOG
