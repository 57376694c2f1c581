"""The scripts for editors and file managers, run under stand-ins for what calls them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from batches import environment, tiny_weights, write_photos
from typer.testing import CliRunner

from darkroom.cli import app

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")

FAKE = """#!/bin/sh
# darkroom enhance PHOTO -o OUT ...: fails for photos called bad, else writes what it was given
printf '%s\\n' "$*" >> "$(dirname "$0")/calls"
case "$2" in *bad*) echo 'warning: odd' >&2; echo 'error: not a RAW photo' >&2; exit 4 ;; esac
echo picture > "$4"
"""


def path_of(name: str) -> Path:
    result = CliRunner().invoke(app, ["integrations", name])
    assert result.exit_code == 0, result.output
    return Path(result.stdout.removesuffix("\n"))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A stand-in for darkroom, in a folder whose name asks for quotes."""
    folder = tmp_path / "it's here"
    folder.mkdir()
    program = folder / "darkroom"
    program.write_text(FAKE)
    program.chmod(0o755)
    return program


def calls(program: Path) -> list[str]:
    return (program.parent / "calls").read_text().splitlines()


def test_every_script_is_listed_where_it_is() -> None:
    lines = CliRunner().invoke(app, ["integrations"]).stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        name, _, path = line.partition(" ")
        assert path_of(name) == Path(path.strip())
        assert Path(path.strip()).is_file()
    result = CliRunner().invoke(app, ["integrations", "gimp"])
    assert result.exit_code == 2
    assert result.stderr == "error: gimp: give one of darktable, nautilus, finder\n"


# darktable


def lua() -> Any:
    """The Lua that darktable has."""
    return pytest.importorskip("lupa.lua54", reason="no Lua: pip install lupa")


class Darktable:
    """What the script uses of darktable's Lua interface, version 8 and newer.

    Source: darktable's Lua API reference.
    """

    def __init__(self, settings: dict[str, str]) -> None:
        self.lua = lua().LuaRuntime()
        self.settings, self.said, self.errors = settings, list[str](), list[str]()
        self.imported, self.jobs = list[Any](), list[Any]()
        self.actions: dict[str, Any] = {}
        self.shortcuts: dict[str, Any] = {}
        self.refused = False
        self.cancel_after: int | None = None
        self.table = self.lua.table_from
        self.lua.globals().package.loaded["darktable"] = self._interface()
        path = path_of("darktable")
        self.script = self.lua.execute(f"return dofile([[{path}]])")

    def _interface(self) -> Any:
        table = self.table
        return table(
            {
                "configuration": table({"running_os": "linux"}),
                "preferences": table({"register": self._register, "read": self._read}),
                "control": table({"execute": self._execute}),
                "database": table({"import": self._import}),
                "tags": table(
                    {
                        "get_tags": lambda image: image.tags,
                        "attach": lambda tag, image: image.attached.append(tag.name),
                    }
                ),
                "gui": table(
                    {
                        "create_job": self._create_job,
                        "action_images": table([]),
                        "libs": table(
                            {
                                "image": table(
                                    {
                                        "register_action": self._register_action,
                                        "destroy_action": self.actions.pop,
                                    }
                                )
                            }
                        ),
                    }
                ),
                "register_event": lambda name, kind, call, label: self.shortcuts.update(
                    {name: call}
                ),
                "destroy_event": lambda name, kind: self.shortcuts.pop(name),
                "print": self.said.append,
                "print_error": self.errors.append,
            }
        )

    def _register(self, *words: str) -> None:
        _, name, _, _, _, default = words
        self.settings.setdefault(name, default)

    def _read(self, module: str, name: str, kind: str) -> str:
        return self.settings[name]

    def _execute(self, command: str) -> int:
        if self.cancel_after == 0:
            self.jobs[-1].cancel(self.jobs[-1])
        self.cancel_after = None if self.cancel_after is None else self.cancel_after - 1
        return subprocess.run(["sh", "-c", command], env=environment(), check=False).returncode

    def _import(self, path: str) -> Any:
        if self.refused:
            return None
        image = self.lua.eval(
            "function(path, attached) return {path = path, attached = attached, "
            "group_with = function(self, leader) self.leader = leader end} end"
        )(path, [])
        self.imported.append(image)
        return image

    def _create_job(self, text: str, progress: bool, cancel: Any) -> Any:
        job = self.table({"text": text, "valid": True, "percent": 0.0, "cancel": cancel})
        self.jobs.append(job)
        return job

    def _register_action(self, name: str, label: str, call: Any, tip: str) -> None:
        self.actions[name] = call

    def image(self, path: Path) -> Any:
        known = {"path": str(path.parent), "filename": path.name, "rating": 3}
        tags = [self.table({"name": name}) for name in ("owl", "darktable|format|dng")]
        image = self.table(known | {"red": True, "blue": False, "tags": self.table(tags)})
        image.group_leader = image
        return image

    def enhance(self, *images: Any) -> None:
        self.actions["darkroom"]("event", self.table(list(images)))


@pytest.fixture
def darktable(program: Path) -> Darktable:
    return Darktable({"program": str(program)})


def test_darktable_gets_the_results_grouped_with_their_originals(
    darktable: Darktable, program: Path, tmp_path: Path
) -> None:
    photo = tmp_path / "an owl's.nest.NEF"
    original = darktable.image(photo)
    darktable.settings["options"] = "--ev 0.5"
    darktable.enhance(original, darktable.image(tmp_path / "b.JPG"))
    (result,) = darktable.imported
    assert result.path == str(tmp_path / "an owl's.nest-darkroom.dng")
    assert result.leader is not None
    assert result.leader.filename == photo.name
    assert (result.rating, result.red, result.blue, result.attached) == (3, True, False, ["owl"])
    assert calls(program) == [
        f"enhance {photo} -o {result.path} --quiet --dng bright --ev 0.5",
    ]
    assert darktable.said == ["darkroom: 1 of 1 photos enhanced"]
    assert [(job.valid, job.percent) for job in darktable.jobs] == [(False, 1.0)]
    darktable.settings["format"] = "tif"
    darktable.enhance(original)
    darktable.enhance(original)
    ends = [Path(one.path).name for one in darktable.imported[1:]]
    assert ends == ["an owl's.nest-darkroom.tif", "an owl's.nest-darkroom-2.tif"]
    assert calls(program)[-1].endswith("--quiet --bits 16 --ev 0.5")


def test_darktable_hears_what_went_wrong_and_goes_on(darktable: Darktable, tmp_path: Path) -> None:
    darktable.enhance(*(darktable.image(tmp_path / name) for name in ("bad.NEF", "good.NEF")))
    assert darktable.errors == ["darkroom: bad.NEF: error: not a RAW photo"]
    assert darktable.said[-1] == "darkroom: 1 of 2 photos enhanced"
    darktable.refused = True
    darktable.enhance(darktable.image(tmp_path / "c.NEF"))
    assert "its result cannot be imported" in darktable.errors[-1]
    darktable.settings["program"] = str(tmp_path / "nowhere")
    darktable.enhance(darktable.image(tmp_path / "d.NEF"))
    assert "not found" in darktable.errors[-1]


def test_darktable_can_cancel(darktable: Darktable, tmp_path: Path) -> None:
    darktable.cancel_after = 1
    darktable.enhance(*(darktable.image(tmp_path / f"{name}.NEF") for name in "abc"))
    assert len(darktable.imported) == 2, "the photo at work is finished"
    assert darktable.said == ["darkroom: 2 of 3 photos enhanced"]


def test_darktable_says_that_nothing_is_selected(darktable: Darktable) -> None:
    darktable.shortcuts["darkroom"]()
    assert darktable.said == ["darkroom: select at least one RAW photo"]
    darktable.script.destroy()
    assert not darktable.actions
    assert not darktable.shortcuts


def test_darktable_without_windows_is_left_alone() -> None:
    runtime = lua().LuaRuntime()
    runtime.globals().package.loaded["darktable"] = runtime.table()
    assert runtime.execute(f"return dofile([[{path_of('darktable')}]])") is None


def test_darktable_runs_the_darkroom_that_it_came_with(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "python3" / "site-packages" / "darkroom" / "integrations"
    package.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "darkroom").write_text("")
    shutil.copy(path_of("darktable"), package)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "path_of", lambda name: package / "darktable.lua")
        found = Path(Darktable({}).settings["program"])
    assert found.resolve() == tmp_path / "bin" / "darkroom"


def test_darktable_and_darkroom_together(tmp_path: Path) -> None:
    """The real darkroom, called as the script calls it."""
    (photo,) = write_photos(tmp_path, 1)
    program = tmp_path / "darkroom"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m darkroom "$@"\n')
    program.chmod(0o755)
    model = tiny_weights(tmp_path / "tiny.safetensors")
    darktable = Darktable({"program": str(program), "options": f"--model {model}"})
    darktable.enhance(darktable.image(photo))
    assert not darktable.errors
    (result,) = darktable.imported
    assert Path(result.path).read_bytes()[:2] in (b"II", b"MM")


# File managers


NOTIFY = """#!/bin/sh
printf '%s\\n' "$3" >> "$(dirname "$0")/told"
"""


def run_script(program: Path, *arguments: object, **more: str) -> tuple[int, list[str]]:
    """Run the script; its exit code and the notifications that it showed."""
    notify = program.with_name("notify-send")
    notify.write_text(NOTIFY)
    notify.chmod(0o755)
    places = {"PATH": f"{program.parent}:/usr/bin:/bin", "HOME": str(program.parent)}
    done = subprocess.run(
        [str(path_of("nautilus")), *map(str, arguments)],
        env=places | more,
        capture_output=True,
        check=False,
    )
    assert not done.stderr, done.stderr.decode()
    return done.returncode, (program.parent / "told").read_text().splitlines()


@pytest.mark.parametrize("manager", ["NAUTILUS", "NEMO", "CAJA"])
def test_file_managers_name_photos_a_line_each(program: Path, tmp_path: Path, manager: str) -> None:
    photos = [tmp_path / "a b.c" / "an owl's * nest.ARW", tmp_path / "a b.c" / "good"]
    photos[0].parent.mkdir()
    selected = {f"{manager}_SCRIPT_SELECTED_FILE_PATHS": "".join(f"{one}\n" for one in photos)}
    code, told = run_script(program, **selected, DARKROOM_OPTIONS="--ev 1")
    assert (code, told) == (0, ["2 of 2 photos enhanced"])
    wanted = [tmp_path / "a b.c" / f"{stem}-darkroom.jpg" for stem in ("an owl's * nest", "good")]
    assert calls(program) == [
        f"enhance {photo} -o {out} --quiet --ev 1"
        for photo, out in zip(photos, wanted, strict=True)
    ]
    assert all(out.is_file() for out in wanted)


def test_finder_names_photos_as_arguments(program: Path, tmp_path: Path) -> None:
    code, told = run_script(program, tmp_path / "bad.ARW", tmp_path / "good.ARW")
    assert (code, told) == (1, ["bad.ARW: error: not a RAW photo", "1 of 2 photos enhanced"])
    assert (tmp_path / "good-darkroom.jpg").is_file()
    assert calls(program)[1].startswith(f"enhance {tmp_path}/good.ARW -o {tmp_path}/good-darkroom")


def test_names_may_begin_with_a_dash_and_hold_a_newline(program: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        code, told = run_script(program, "-dash.ARW", tmp_path / "two\nlines.ARW")
    assert (code, told) == (0, ["2 of 2 photos enhanced"])
    assert calls(program)[0] == "enhance ./-dash.ARW -o ./-dash-darkroom.jpg --quiet"
    assert (tmp_path / "-dash-darkroom.jpg").is_file()
    assert (tmp_path / "two\nlines-darkroom.jpg").is_file()


def test_nothing_selected(program: Path) -> None:
    code, told = run_script(program)
    assert (code, told) == (2, ["select at least one RAW photo"])
