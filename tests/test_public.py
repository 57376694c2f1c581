"""The names that `import darkroom` offers, and what the README says of the commands."""

import re
import subprocess
import sys

import pytest
import typer
from places import ROOT

import darkroom
from darkroom.cli import EPILOG, app

README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
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


def test_readme_names_only_commands_that_exist() -> None:
    named = re.findall(r"^(?:.*\| )?darkroom ([a-z-]+)", README, flags=re.MULTILINE)
    assert named
    assert set(named) <= set(COMMANDS)


def test_exit_codes_are_the_same_everywhere() -> None:
    in_readme = {int(code) for code in re.findall(r"^\| (\d+) \|", README, flags=re.MULTILINE)}
    in_help = {int(code) for code in re.findall(r"\b(\d+) [a-z]", EPILOG)}
    classes = [darkroom.DarkroomError, *subclasses(darkroom.DarkroomError)]
    assert {cls.exit_code for cls in classes} <= in_readme
    assert in_readme == in_help == {0, 1, 2, 3, 4, 5, 130}


def subclasses(cls: type[darkroom.DarkroomError]) -> list[type[darkroom.DarkroomError]]:
    direct = cls.__subclasses__()
    return direct + [deeper for one in direct for deeper in subclasses(one)]


def test_changelog_is_ready_for_the_next_change() -> None:
    assert "## [Unreleased]" in CHANGELOG
