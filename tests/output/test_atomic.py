"""Files appear whole or not at all, and no failure leaves anything behind."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from darkroom.errors import OutputError
from darkroom.output import atomic
from darkroom.output.atomic import (
    TEMPORARY_PATTERN,
    atomic_write,
    check_target,
    make_folder,
    remove_strays,
    spare_inputs,
)

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX file systems only")


def write(path: Path, data: bytes = b"new", overwrite: bool = False) -> None:
    with atomic_write(path, overwrite) as stream:
        stream.write(data)


def write_and_raise(path: Path, failure: type[BaseException]) -> None:
    with atomic_write(path, overwrite=True) as stream:
        stream.write(b"half")
        raise failure


def write_too_late(path: Path) -> None:
    with atomic_write(path) as stream:
        stream.write(b"slow")
        path.write_bytes(b"quick")


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_the_name_appears_only_when_the_block_is_done(tmp_path: Path) -> None:
    target = tmp_path / "photo.png"
    with atomic_write(target) as stream:
        stream.write(b"half")
        stream.flush()
        assert not target.exists()
        (temporary,) = tmp_path.glob(TEMPORARY_PATTERN)
        assert temporary.read_bytes() == b"half"
        stream.seek(0)
        assert stream.read() == b"half"
    assert target.read_bytes() == b"half"
    assert names(tmp_path) == ["photo.png"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, FileNotFoundError])
def test_a_failure_inside_passes_and_leaves_nothing(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(b"old")
    for target in (tmp_path / "new", kept):
        with pytest.raises(failure):
            write_and_raise(target, failure)
    assert names(tmp_path) == ["kept"]
    assert kept.read_bytes() == b"old"


def test_overwrite_is_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "photo.png"
    write(target, b"old")
    for attempt in (check_target, write):
        with pytest.raises(OutputError, match=r"exists already.*--overwrite"):
            attempt(target)
    assert target.read_bytes() == b"old"
    check_target(target, overwrite=True)
    write(target, b"new", overwrite=True)
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["photo.png"]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "photo.png"
    with pytest.raises(OutputError, match="exists already"):
        write_too_late(target)
    assert target.read_bytes() == b"quick"
    assert names(tmp_path) == ["photo.png"]


def test_of_many_writers_exactly_one_wins(tmp_path: Path) -> None:
    target, won, lost = tmp_path / "photo.png", [], []
    together = threading.Barrier(8)

    def race(number: int) -> None:
        try:
            with atomic_write(target) as stream:
                stream.write(bytes([number]) * 1000)
                together.wait(timeout=30)
            won.append(number)
        except OutputError:
            lost.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == 7
    assert target.read_bytes() == bytes(won) * 1000
    assert names(tmp_path) == ["photo.png"]


@posix
def test_a_claimed_name_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has no hard links and a signal comes between the two steps."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "photo.png")
    assert names(tmp_path) == []


@posix
@pytest.mark.parametrize("taken", [False, True])
def test_file_systems_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    target = tmp_path / "photo.png"
    if not taken:
        write(target)
        assert target.read_bytes() == b"new"
    else:
        with pytest.raises(OutputError, match="exists already"):
            write_too_late(target)
        assert target.read_bytes() == b"quick"
    assert names(tmp_path) == ["photo.png"]


@posix
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "photo.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "photo.png").stat().st_mode) == 0o640


@posix
def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "real" / "photo.png")
    write(link, b"first")
    write(link, b"second", overwrite=True)
    assert link.is_symlink()
    assert (tmp_path / "real" / "photo.png").read_bytes() == b"second"
    assert names(tmp_path / "real") == ["photo.png"]


@posix
@pytest.mark.parametrize("way", ["itself", "symbolic link", "hard link", "a link to its folder"])
def test_what_is_read_is_never_replaced(tmp_path: Path, way: str) -> None:
    photo, target = tmp_path / "photo.tif", tmp_path / "out.tif"
    photo.write_bytes(b"RAW")
    if way == "itself":
        target = photo
    elif way == "symbolic link":
        target.symlink_to(photo)
    elif way == "hard link":
        target.hardlink_to(photo)
    else:
        (tmp_path / "folder").symlink_to(tmp_path)
        target = tmp_path / "folder" / "photo.tif"
    with photo.open("rb") as opened:
        for inputs in ([tmp_path / "gone", photo], [opened.fileno()]):
            for overwrite in (False, True):
                with pytest.raises(OutputError, match="is a file that is read for it"):
                    check_target(target, overwrite, inputs)
                with (
                    pytest.raises(OutputError, match="is a file that is read for it"),
                    atomic_write(target, overwrite, inputs=inputs),
                ):
                    pass
    assert photo.read_bytes() == b"RAW"
    check_target(tmp_path / "other.tif", True, [photo])
    spare_inputs(Path(os.devnull), [Path(os.devnull)])  # nothing is lost there


@posix
def test_what_is_read_may_not_be_put_in_the_way(tmp_path: Path) -> None:
    photo, target = tmp_path / "photo.tif", tmp_path / "out.tif"
    photo.write_bytes(b"RAW")

    def put_in_the_way() -> None:
        with atomic_write(target, overwrite=True, inputs=[photo]) as stream:
            stream.write(b"picture")
            photo.rename(target)
            photo.hardlink_to(target)

    with pytest.raises(OutputError, match="is a file that is read for it"):
        put_in_the_way()
    assert target.read_bytes() == b"RAW"
    assert names(tmp_path) == ["out.tif", "photo.tif"]


@posix
def test_whole_disks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = os.stat_result((stat.S_IFBLK | 0o660, *[0] * 9))
    monkeypatch.setattr(Path, "stat", lambda *_, **__: disk)
    with pytest.raises(OutputError, match="is a whole disk; name a file on it"):
        check_target(tmp_path / "sda", overwrite=True)


@posix
def test_what_signals_left_is_removed_at_the_end(tmp_path: Path) -> None:
    """As if one had come before the block that removes it, or within; a child leaves it alone."""
    script = (
        "import os, pathlib, sys\n"
        "from darkroom.output import atomic\n"
        "name, stream = atomic._unfinished(pathlib.Path(sys.argv[1]))\n"
        "if not (child := os.fork()):\n"
        "    sys.exit()\n"
        "os.waitpid(child, 0)\n"
        "print(name.exists())\n"
        "sys.exit(143)\n"
    )
    found = subprocess.run([sys.executable, "-c", script, tmp_path / "a"], capture_output=True)
    assert (found.returncode, found.stdout) == (143, b"True\n"), found.stderr
    assert names(tmp_path) == []


@posix
def test_devices_are_written_in_place() -> None:
    write(Path(os.devnull))
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def _missing(folder: Path) -> Path:
    return folder / "missing" / "photo.png"


def _folder(folder: Path) -> Path:
    return folder


def _below_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "photo.png"


def _long(folder: Path) -> Path:
    return folder / ("a" * 300 + ".png")


@posix
@pytest.mark.parametrize(
    ("place", "message"),
    [
        (_missing, "missing does not exist; create it first"),
        (_folder, "is a folder; name a file in it"),
        (_below_file, "is not a folder but a file; choose another place"),
        (_long, "the name is too long; choose a shorter one"),
    ],
)
@pytest.mark.parametrize("attempt", [check_target, write])
def test_impossible_places(
    tmp_path: Path,
    attempt: Callable[[Path], None],
    place: Callable[[Path], Path],
    message: str,
) -> None:
    with pytest.raises(OutputError, match=message) as raised:
        attempt(place(tmp_path))
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob(TEMPORARY_PATTERN))


def test_folders_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root
    with pytest.raises(OutputError, match="no permission to write there; choose another folder"):
        check_target(tmp_path / "photo.png")
    monkeypatch.setattr(atomic, "_is_read_only", lambda _: True)
    with pytest.raises(OutputError, match="the file system is read-only; choose another folder"):
        check_target(tmp_path / "photo.png")


def test_a_full_disk_says_how_much_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    wanted = r"photo.png: the disk is full; needs up to 36.0 MB, [\d.]+ MB were free; free some"
    with (
        pytest.raises(OutputError, match=wanted),
        atomic_write(tmp_path / "photo.png", size=36_000_000) as stream,
    ):
        stream.write(b"half")
    assert names(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_the_full_device() -> None:
    with pytest.raises(OutputError, match=r"the disk is full; [^,]+ MB were free"):
        write(Path("/dev/full"))


@posix
def test_what_a_killed_process_leaves_is_a_stray_at_once(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, signal, sys\n"
        "from darkroom.output.atomic import atomic_write\n"
        "with atomic_write(pathlib.Path(sys.argv[1])) as stream:\n"
        "    stream.write(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with atomic_write(tmp_path / "living.png") as stream:
        stream.write(b"half")
        killed = subprocess.run([sys.executable, "-c", script, tmp_path / "killed.png"])
        assert killed.returncode == -signal.SIGKILL
        assert len(list(tmp_path.glob(TEMPORARY_PATTERN))) == 2
        assert remove_strays(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["living.png"]


@posix
def test_a_file_taken_for_a_stray_before_its_lock_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = atomic._locked, []

    def late(stream: BinaryIO, wait: bool) -> bool:
        if wait and not taken:
            taken.append(remove_strays(tmp_path))
        return lock(stream, wait)

    monkeypatch.setattr(atomic, "_locked", late)
    with atomic_write(tmp_path / "photo.png") as stream:
        stream.write(b"whole")
    assert taken == [1]
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    make_folder(tmp_path / "one" / "two")
    make_folder(tmp_path / "one" / "two")
    assert (tmp_path / "one" / "two").is_dir()
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=r"cannot be made a folder .*; choose another place"):
            make_folder(path)
