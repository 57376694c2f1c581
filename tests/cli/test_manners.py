"""Hostile names, standard streams that are closed or full, and systems with little to give."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from batches import environment, tiny_weights
from places import ROOT
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from darkroom.cli import allocator, app, output
from darkroom.errors import DarkroomError

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
Dng = Callable[..., Path]

HOSTILE = "e\x1b[31mvil\r\n[red]\x9b\u202e\udcff\u2028"
"""Colours, a line's end, rich's markup, C1, right to left, a byte that is no UTF-8."""
SHOWN = r"e\x1b[31mvil\r\n[red]\x9b\u202e\xff\u2028"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def shell(script: str, folder: Path, **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script where `darkroom` is that of the tests."""
    head = f'darkroom() {{ "{sys.executable}" -m darkroom "$@"; }}\n'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", head + script],
        cwd=folder,
        env=environment() | more,
        capture_output=True,
        check=False,
        timeout=120,
    )


def one_line(done: subprocess.CompletedProcess[bytes], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr.decode()
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


@pytest.fixture
def hostile(dng_path: Dng, tmp_path: Path, weights: Path) -> tuple[Path, Path]:
    """A photo and weights of hostile names in a folder of such a name."""
    folder = tmp_path / HOSTILE
    folder.mkdir()
    photo, model = folder / f"a{HOSTILE}.dng", folder / f"m{HOSTILE}.safetensors"
    photo.write_bytes(dng_path().read_bytes())
    model.write_bytes(weights.read_bytes())
    return photo, model


def unfolded(text: str) -> str:
    """Undo what tables do to long names."""
    return re.sub(r"\n *", "", text)


@pytest.mark.parametrize("command", ["enhance", "estimate", "inspect", "models"])
def test_names_cannot_drive_a_terminal(hostile: tuple[Path, Path], command: str) -> None:
    """Shown whole and visibly, whether the file is there or not."""
    photo, model = hostile
    words = {
        "enhance": ["-o", photo.with_suffix(".png"), "-m", model],
        "estimate": ["-m", model.with_suffix(".gone")],
    }
    subject = model if command == "models" else photo
    for path in (subject, f"{subject}.gone"):
        line = [command, path, *words.get(command, ())]
        result = CliRunner().invoke(app, [str(word) for word in line])
        assert all(one == "\n" or one.isprintable() for one in result.output)
        if result.stderr or command == "inspect":
            assert SHOWN in unfolded(result.output)


@pytest.mark.parametrize("encoding", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_names_can_be_printed_under_any_locale(
    hostile: tuple[Path, Path], tmp_path: Path, encoding: dict[str, str]
) -> None:
    photo = hostile[0].rename(hostile[0].with_name(f"é写{HOSTILE}.dng"))
    script = 'darkroom inspect */*.dng --json && darkroom inspect */*.dng && darkroom inspect "$x"'
    done = shell(script, tmp_path, **encoding, x=f"{photo}.gone")
    assert done.returncode == 4, done.stderr
    record, _, words = done.stdout.partition(b"\n")
    assert json.loads(record)["photo"] == str(photo.relative_to(tmp_path))
    assert SHOWN in unfolded(words.decode())
    assert SHOWN in done.stderr.decode()


@pytest.mark.parametrize(
    "words",
    [
        ["enhance", HOSTILE, "one.dng"],
        ["enhance", "one.dng", "-o", f"{HOSTILE}.png", "--tile", HOSTILE],
        ["enhance", "one.dng", "-o", HOSTILE],
        ["enhance", "one.dng", "-o", "x.png", "-m", HOSTILE],
        ["batch", HOSTILE, "-o", "out"],
        ["evaluate", HOSTILE],
        ["train", HOSTILE, "-o", "out"],
        ["fetch-weights", HOSTILE],
        ["bench", HOSTILE],
    ],
)
def test_every_command_escapes_what_it_complains_of(words: list[str]) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code in (2, 3, 4), result.output
    assert all(one == "\n" or one.isprintable() for one in result.output)
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "\\x1b[31mvil" in line


def test_names_of_tensors_are_escaped(tmp_path: Path, weights: Path) -> None:
    state = load_file(weights)
    state["\x1b[31mred\n"] = next(iter(state.values())).clone()
    save_file(state, tmp_path / "odd.safetensors")
    result = CliRunner().invoke(app, ["models", str(tmp_path / "odd.safetensors")])
    assert result.exit_code in (0, 3)
    assert all(one == "\n" or one.isprintable() for one in result.output)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words: \N{EM DASH} é 写真 [red]", "plain words: \N{EM DASH} é 写真 [red]"),
        ("a\tb\\c", r"a\tb\c"),
        ("\x00\x7f\x85\u200d\ufeff", r"\x00\x7f\x85\u200d\ufeff"),
        ("\ud800\udc80\U000e0001", r"\ud800\x80\U000e0001"),
    ],
)
def test_escape(text: str, shown: str) -> None:
    assert output.escape(text) == shown


def test_only_one_module_prints() -> None:
    """What is not printed there is not escaped; rich's consoles on standard error are live."""
    for path in (ROOT / "darkroom" / "cli").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != "output.py":
            assert not re.search(
                r"typer\.(echo|secho)|^ *print\(|Console\(\)", text, re.MULTILINE
            ), path


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["inspect p.dng", "inspect --json p.dng", "models", "--help"])
def test_output_that_takes_nothing_is_one_line(dng_path: Dng, tmp_path: Path, command: str) -> None:
    dng_path(name="p.dng")
    full = shell(f"darkroom {command} > /dev/full", tmp_path, PYTHONUNBUFFERED="")
    one_line(full, 5, "standard output", "No space left")
    direct = shell(f"darkroom {command} > /dev/full", tmp_path, PYTHONUNBUFFERED="1")
    one_line(direct, 5, "standard output", "No space left")
    left = shell(f"darkroom {command} | true", tmp_path)
    assert (left.returncode, left.stderr) == (0, b"")


def test_closed_streams_are_no_traceback(dng_path: Dng, tmp_path: Path, weights: Path) -> None:
    """And their numbers do not go to the picture, which words would end up in."""
    dng_path(name="p.dng")
    enhance = f"darkroom enhance p.dng --tile off -m {weights} --overwrite"
    one_line(shell("darkroom inspect - <&-", tmp_path), 4, "standard input was empty")
    one_line(shell("darkroom inspect --json p.dng >&-", tmp_path), 5, "standard output is closed")
    one_line(shell(f"{enhance} -o - --format png >&-", tmp_path), 5, "standard output is closed")
    pictures = []
    for closed in ("", "<&- >&- 2>&-", "2> /dev/full"):
        done = shell(f"{enhance} -o out.png {closed}", tmp_path)
        assert done.returncode == 0, done.stderr
        pictures.append((tmp_path / "out.png").read_bytes())
    assert len(set(pictures)) == 1


@pytest.mark.parametrize("command", ["inspect p.dng", "enhance p.dng -o out.png"])
def test_little_memory_is_one_line(dng_path: Dng, tmp_path: Path, command: str) -> None:
    dng_path(name="p.dng")
    done = shell(f"ulimit -v 300000; darkroom {command}", tmp_path)
    one_line(done, 1, "307 MB", "ulimit -v")


def test_enough_memory_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in (allocator.MIN_ADDRESS_SPACE, resource.RLIM_INFINITY):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=limit: (soft, soft))
        allocator.check_address_space()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (allocator.MIN_ADDRESS_SPACE - 1, 0))
    with pytest.raises(DarkroomError, match="ulimit -v"):
        allocator.check_address_space()


def test_blas_has_one_thread_but_where_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(allocator.BLAS_THREADS, raising=False)
    allocator.use_one_blas_thread()
    assert os.environ[allocator.BLAS_THREADS] == "1"
    monkeypatch.setenv(allocator.BLAS_THREADS, "7")
    allocator.use_one_blas_thread()
    assert os.environ[allocator.BLAS_THREADS] == "7"


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (MemoryError(), 1, "memory"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), 1, "memory"),
        (OSError(24, "Too many open files", "x"), 1, "ulimit -n"),
        (OSError(12, "Cannot allocate memory"), 1, "memory"),
        (OSError(5, "Input/output error", "card.dng"), 1, "card.dng: Input/output error"),
        (ImportError("intro\n\nlibtorch.so: failed to map segment"), 1, "failed to map"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, word: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("darkroom.raw.reader.read_raw", fail)
    result = CliRunner().invoke(app, ["inspect", "x.dng"])
    assert result.exit_code == code
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert word in line


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        ("MemoryError", 1, "error: darkroom cannot be loaded: MemoryError; raise the limits\n"),
        ("KeyboardInterrupt", 130, ""),
    ],
)
def test_ends_while_loading_are_no_traceback(error: str, code: int, line: str) -> None:
    script = (
        "import sys, darkroom.__main__\n"
        "class Finder:\n"
        f"    def find_spec(self, *_): raise {error}\n"
        "sys.meta_path.insert(0, Finder())\n"
        "darkroom.__main__.main()"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, line)


def test_wrong_usage_of_any_kind_is_one_line() -> None:
    """Typer's own boxes are no lines, and hold what was typed as it is."""
    for words in (["train"], ["enhance", "--nothing"], ["nothing"], ["--nothing"], ["batch", "x"]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert re.match(r"error: .*; see .* --help$", line)
    shown = CliRunner().invoke(app, ["enhance"])
    assert shown.exit_code == 2
    assert "Usage" in shown.output
