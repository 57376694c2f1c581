"""`darkroom batch` as a user meets it: real processes, signals, kills, full disks."""

import hashlib
import json
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from batches import environment, start, tiny_weights, write_photos
from PIL import Image
from rich.cells import cell_len
from typer.testing import CliRunner

from darkroom.batch.journal import JOURNAL
from darkroom.cli import app
from darkroom.cli.batch_display import Warnings, shortened
from darkroom.output.atomic import TEMPORARY_PATTERN

KILLS = int(os.environ.get("DARKROOM_KILLS", "2"))
"""Kills of one batch; 50 take some minutes."""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and terminals")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def arguments(weights: Path, *more: object) -> list[str]:
    """Give the arguments that make a batch quick and the same on every machine."""
    fixed = ("--model", weights, "--device", "cpu", "--precision", "fp32", "--tile", "off")
    return [str(argument) for argument in ("batch", *more, *fixed)]


def wait_for(path: Path, lines: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a journal has so many lines."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if path.exists() and path.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.01)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.png")
    }


def test_words_events_and_exit_codes(tmp_path: Path, weights: Path) -> None:
    """In this process, for the commands that need none of their own."""
    write_photos(tmp_path / "in/sub", 2)
    (tmp_path / "in/sub/bad.dng").write_text("no photo", encoding="utf-8")
    out, runner = tmp_path / "out", CliRunner()
    command = arguments(weights, tmp_path / "in", "-r", "-o", out, "--jobs", 1)
    first = runner.invoke(app, command)
    assert first.exit_code == 1
    assert first.stdout == ""
    assert "[3/3]" in first.stderr
    assert "failed: " in first.stderr
    assert "2 done, 1 failed in " in first.stderr
    assert (out / "sub/p000.png").exists()
    (tmp_path / "in/sub/bad.dng").unlink()
    second = runner.invoke(app, [*command, "--json"])
    assert second.exit_code == 0
    events = [json.loads(line) for line in second.stdout.splitlines()]
    assert [event["event"] for event in events] == ["photo", "photo", "summary"]
    assert {event["status"] for event in events[:-1]} == {"skipped"}
    assert events[-1] | {"seconds": 0} == {
        "schema": 1,
        "event": "summary",
        "finished": True,
        "done": 0,
        "failed": 0,
        "skipped": 2,
        "total": 2,
        "seconds": 0,
    }
    quiet = runner.invoke(app, [*command, "--suffix", "_x", "--format", "jpg", "-q"])
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")
    assert (out / "sub/p001_x.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_a_batch_with_cropped_edges_is_another_one(tmp_path: Path, weights: Path) -> None:
    """The journal has the sizes and the option, and its pictures are made again without it."""
    (photo,) = write_photos(tmp_path / "in", 1, (75, 100))
    command = arguments(weights, photo, "-o", tmp_path / "out", "--jobs", 1, "--json")
    sizes = []
    for more, status in ((["--edges", "crop"], "done"), ([], "done"), ([], "skipped")):
        result = CliRunner().invoke(app, [*command, *more])
        assert json.loads(result.stdout.splitlines()[0])["status"] == status
        line = (tmp_path / "out" / JOURNAL).read_text(encoding="utf-8").splitlines()[-1]
        record = json.loads(line)
        assert record["options"]["edges"] == ("crop" if more else "reflect")
        sizes.append((record["width"], record["height"]))
    assert sizes[0] == tuple(size // 32 * 32 for size in sizes[1])
    assert sizes[0] != sizes[1]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["missing", "-o", "out"], 4, "no such file"),
        ([".", "-o", "out"], 2, "add -r"),
        (["a.dng", "-", "-o", "out"], 2, "goes alone"),
        ([".", "-o", "out", "--watch", "--format", "gif"], 2, "no picture format"),
        ([".", "-r", "-o", "out", "--jobs", "0"], 2, "at least 1"),
        ([".", "-r", "-o", "in/a.dng"], 5, "choose another place"),
        ([".", "-r", "-o", "out", "--bits", "16", "--format", "jpg"], 2, "JPEG holds 8 bits"),
        ([".", "-r", "-o", "out", "--model", "nothing.pt"], 3, "is not there"),
    ],
)
def test_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.dng").write_bytes(b"x")
    found = CliRunner().invoke(app, ["batch", *more])
    assert found.exit_code == code, found.stderr
    assert message in " ".join(found.stderr.split())


@pytest.mark.parametrize("file_format", ["png", "tif"])
def test_a_folder_may_hold_its_own_pictures(
    tmp_path: Path, weights: Path, file_format: str
) -> None:
    """With --all, neither the first run nor the next takes them for photos, nor the report."""
    write_photos(tmp_path, 2)[0].rename(tmp_path / "p000.xyz")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "mine.jpg")
    command = arguments(weights, tmp_path, "--all", "-o", tmp_path, "--format", file_format)
    report = ("--report", str(tmp_path / "r.html"))
    for more, expected in (
        (report, "2 done in"),
        (report, "0 done, 2 done before in"),
        ((), "0 done, 2 done before in"),
        (("--report", str(tmp_path / "other.html")), "0 done, 2 done before in"),
    ):
        found = CliRunner().invoke(app, [*command, *more])
        assert found.exit_code == 0, found.stderr
        assert expected in found.stderr, more
    assert {path.name for path in tmp_path.iterdir()} == {
        *("p000.xyz", "p001.dng", f"p000.{file_format}", f"p001.{file_format}"),
        *("mine.jpg", JOURNAL, "r.html", "other.html"),
    }


def test_overwrite_spares_the_photos(tmp_path: Path, weights: Path) -> None:
    """Nothing is done, and the exit code is 5."""
    photo = write_photos(tmp_path, 2)[0].rename(tmp_path / "photo.tif")
    before = photo.read_bytes()
    more = ("--all", "-o", tmp_path, "--format", "tif", "--overwrite")
    found = CliRunner().invoke(app, arguments(weights, tmp_path, *more))
    assert found.exit_code == 5
    assert found.stderr.startswith(f"error: {photo}: is a file that this batch reads")
    assert photo.read_bytes() == before
    assert not (tmp_path / "p001.tif").exists()
    assert (
        CliRunner().invoke(app, arguments(weights, tmp_path, *more, "--suffix", "_b")).exit_code
        == 0
    )


def test_the_report_spares_the_photos(tmp_path: Path, weights: Path) -> None:
    photo = write_photos(tmp_path / "in", 1)[0].rename(tmp_path / "in/photo.html")
    before = photo.read_bytes()
    more = (photo, "-o", tmp_path / "out", "--report", photo, "--overwrite")
    found = CliRunner().invoke(app, arguments(weights, *more))
    assert found.exit_code == 5
    assert "is a file that this batch reads; choose another name for the report" in found.stderr
    assert photo.read_bytes() == before


def test_a_place_that_is_no_folder_is_one_line(tmp_path: Path, weights: Path) -> None:
    write_photos(tmp_path / "in", 1)
    place = tmp_path / "file"
    place.write_bytes(b"mine")
    found = CliRunner().invoke(app, arguments(weights, tmp_path / "in", "-o", place))
    assert found.exit_code == 5
    assert found.stderr == (
        f"error: {place}: cannot be made a folder (File exists); choose another place\n"
    )
    place.unlink()
    place.mkdir()
    os.mkfifo(place / JOURNAL)
    found = CliRunner().invoke(app, arguments(weights, tmp_path / "in", "-o", place))
    assert found.exit_code == 5
    assert found.stderr.startswith(f"error: {place / JOURNAL}: is no regular file")


def test_a_long_list_of_failures_says_that_it_goes_on(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(14):
        (tmp_path / f"in/{number}.dng").write_bytes(b"no photo")
    found = CliRunner().invoke(app, arguments(weights, tmp_path / "in", "-o", tmp_path / "out"))
    assert found.exit_code == 1
    lines = found.stderr.splitlines()
    repeated = lines[lines.index(next(line for line in lines if line.startswith("0 done"))) + 1 :]
    assert [line.startswith(f"failed: {tmp_path}/in/") for line in repeated] == [True] * 10 + [
        False
    ]
    assert repeated[-1] == "failed: 4 more; the journal has all"
    with (tmp_path / "out" / JOURNAL).open("rb") as journal:
        errors = [json.loads(line)["error"] for line in journal]  # as the README's jq prints them
    assert sorted(error.partition(":")[0] for error in errors) == sorted(
        str(tmp_path / f"in/{number}.dng") for number in range(14)
    )


def test_a_list_of_paths(tmp_path: Path, weights: Path) -> None:
    """One that is missing costs itself; names may hold anything but NUL."""
    good, odd = write_photos(tmp_path / "in", 2)
    odd = odd.rename(odd.with_name("odd\n\udcff.dng"))
    listed = b"\0".join(map(os.fsencode, (good, odd, tmp_path / "in/gone.dng")))
    command = arguments(weights, "-0", "-", "-o", tmp_path / "out", "--json")
    found = CliRunner().invoke(app, command, input=listed)
    assert found.exit_code == 1
    photos = [json.loads(line) for line in found.stdout.splitlines()][:-1]
    assert sorted((photo["status"], photo["exit_code"]) for photo in photos) == [
        *(("done", 0), ("done", 0), ("failed", 4))
    ]
    assert (tmp_path / "out" / "odd\n\udcff.png").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_signals_end_cleanly(tmp_path: Path, weights: Path, number: int, code: int) -> None:
    write_photos(tmp_path / "in", 60)
    out = tmp_path / "out"
    with start(*arguments(weights, tmp_path / "in", "-o", out)) as process:
        wait_for(out / JOURNAL, 3, process)
        process.send_signal(number)
        _, words = process.communicate(timeout=30)
    assert process.returncode == code, words
    assert b"left, run it again to go on" in words
    assert b"Traceback" not in words
    assert list(out.rglob(TEMPORARY_PATTERN)) == []
    records = [json.loads(line) for line in (out / JOURNAL).read_bytes().splitlines()]
    done = {record["output"] for record in records if record["status"] == "done"}
    assert done == set(hashes(out))


def test_kills_lose_nothing(tmp_path: Path, weights: Path) -> None:
    """Killed at random moments again and again, the pictures are those of a quiet run."""
    count = 30 if KILLS > 2 else 8
    write_photos(tmp_path / "in", count, (200, 300))
    runner, out, chance = CliRunner(), tmp_path / "out", random.Random(KILLS)
    assert (
        runner.invoke(app, arguments(weights, tmp_path / "in", "-o", tmp_path / "quiet")).exit_code
        == 0
    )
    expected = hashes(tmp_path / "quiet")
    for kill in range(KILLS):
        process = start(*arguments(weights, tmp_path / "in", "-o", out), stderr=subprocess.DEVNULL)
        with process:
            before = (out / JOURNAL).read_bytes().count(b"\n") if (out / JOURNAL).exists() else 0
            wait_for(out / JOURNAL, before + chance.randrange(3), process)
            time.sleep(chance.uniform(0, 0.1))
            process.kill()
        whole = {name: found for name, found in hashes(out).items() if expected[name] != found}
        assert whole == {}, f"kill {kill}"
        if KILLS > 2:
            sys.stderr.write(f"kill {kill}: {len(hashes(out))} pictures\n")
            if len(hashes(out)) == count:  # all done: begin anew
                shutil.rmtree(out)
    last = runner.invoke(app, arguments(weights, tmp_path / "in", "-o", out))
    assert last.exit_code == 0, last.stderr
    assert hashes(out) == expected
    assert list(out.rglob(TEMPORARY_PATTERN)) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with 100 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(place)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(tmp_path: Path, weights: Path, small_disk: Path) -> None:
    write_photos(tmp_path / "in", 8)
    command = arguments(weights, tmp_path / "in", "-o", small_disk / "out")
    runner = CliRunner()
    first = runner.invoke(app, command)
    assert first.exit_code == 5, first.stderr
    assert "photos are left and need about" in " ".join(first.stderr.split())
    done = hashes(small_disk / "out")
    assert 0 < len(done) < 8
    assert list(small_disk.rglob(TEMPORARY_PATTERN)) == []
    subprocess.run(["mount", "-o", "remount,size=10M", str(small_disk)], check=True)
    assert runner.invoke(app, command).exit_code == 0
    assert hashes(small_disk / "out").items() >= done.items()
    assert len(hashes(small_disk / "out")) == 8


def test_watching(tmp_path: Path, weights: Path) -> None:
    """What arrives is done, also while nobody watched or in halves; what was done is left."""
    done, first = write_photos(tmp_path / "in", 2)
    out = tmp_path / "out"
    command = arguments(weights, tmp_path / "in", "-o", out, "--json")
    first.rename(tmp_path / "first.dng")
    assert CliRunner().invoke(app, command).exit_code == 0
    shutil.copy(tmp_path / "first.dng", first)
    found, halves = {}, []
    with start(*command, "--watch") as process:
        assert process.stdout is not None
        for _ in range(2):
            event = json.loads(process.stdout.readline())
            found[event["output"]] = event["status"]
        shutil.copy(done, tmp_path / "in" / "later.dng")
        event = json.loads(process.stdout.readline())
        found[event["output"]] = event["status"]
        copied = done.read_bytes()
        for part in (copied[: len(copied) // 2], copied):
            (tmp_path / "in" / "copied.dng").write_bytes(part)
            event = json.loads(process.stdout.readline())
            assert event["output"] == "copied.png"
            halves.append(event["status"])
        process.send_signal(signal.SIGINT)
        summary = json.loads(process.communicate(timeout=30)[0].splitlines()[-1])
    assert process.returncode == 130
    assert halves == ["failed", "done"]
    assert (summary["done"], summary["failed"], summary["skipped"]) == (3, 0, 1)
    assert found == {"p000.png": "skipped", "p001.png": "done", "later.png": "done"}


def test_the_terminal_shows_a_live_table(tmp_path: Path, weights: Path) -> None:
    write_photos(tmp_path / "in", 12)
    (tmp_path / "in/bad.dng").write_text("no photo", encoding="utf-8")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "darkroom",
            *arguments(weights, tmp_path / "in", "-o", tmp_path / "out"),
        ],
        env=environment() | {"TERM": "xterm-256color", "COLUMNS": "100"},
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait(30) == 1
    text = shown.decode()
    for word in ("/13 photos", "s each", "left", "1 failed", "network", "p00", "12 done, 1 failed"):
        assert word in text, word


def test_long_names_lose_their_beginning() -> None:
    assert shortened("DCIM/100MSDCF/DSC00001.png", 26) == "DCIM/100MSDCF/DSC00001.png"
    assert shortened("DCIM/100MSDCF/DSC00001.png", 25) == "…IM/100MSDCF/DSC00001.png"
    wide = shortened("写真/写真/写真.png", 9)  # each of these takes two columns
    assert wide == "…写真.png"
    assert cell_len(wide) <= 9


def test_warnings_that_differ_in_numbers_are_one() -> None:
    warnings = Warnings()
    for count in (54, 1_200, 3):
        warnings.add([f"repaired {count:,} photosites", "the photo is sharp"])
    warnings.add(["alone 5"])
    for letter in "abcdefghi":
        warnings.add([letter])
    assert list(warnings.lines()) == [
        "repaired 54 photosites, and the like (3 photos)",
        "the photo is sharp (3 photos)",
        "alone 5",
        *"abcdefg",
        "2 more kinds of warnings; the journal has all",
    ]


def test_a_second_batch_waits_its_turn(tmp_path: Path, weights: Path) -> None:
    from darkroom.batch.journal import Journal

    write_photos(tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    with Journal(tmp_path / "out"):
        found = CliRunner().invoke(app, arguments(weights, tmp_path / "in", "-o", tmp_path / "out"))
    assert found.exit_code == 5
    assert "another darkroom batch is writing there" in " ".join(found.stderr.split())
