"""Files that appear whole or not at all."""

import atexit
import errno
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from darkroom.errors import DISK_FULL, OutputError

if sys.platform != "win32":
    import fcntl

TEMPORARY_PATTERN = ".darkroom-*.part"
"""What unfinished files are called; only a killed process leaves one behind."""
UNFINISHED: set[Path] = set()
"""This process's own, of which the last are removed as it ends.

A signal may raise between any two steps, also after a file is made and before the block that
removes it, or within that block. Hence this state, noted before there is a file.
"""
FRESH_SECONDS = 2.0
"""On Windows, where files are renamed closed, one written to so lately may be about to be."""

NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What link(2) answers on file systems without hard links (FAT, exFAT, some network shares)."""

REMEDIES = {
    errno.EEXIST: "exists already; choose another name or add --overwrite",
    errno.EISDIR: "is a folder; name a file in it",
    errno.ENOENT: "its folder does not exist; create the folder first",
    errno.ENOTDIR: "its folder is not a folder but a file; choose another place",
    errno.EACCES: "no permission to write there; choose another folder",
    errno.EPERM: "no permission to write there; choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EMFILE: "too many files are open; raise the limit with ulimit -n",
    errno.ENFILE: "too many files are open on this machine; close some programs",
    errno.EFBIG: "too large for this file system; choose another disk",
}


def spare_inputs(target: Path | int, inputs: Iterable[Path | int]) -> None:
    """Raise OutputError where a file to write is one of those that are read, by whatever name.

    Files are told by device and inode, so that links and other spellings count; an int is an open
    file's descriptor. Devices and pipes are none that could be lost.
    """
    for one in inputs:
        with suppress(OSError, ValueError):  # not there yet, or not at all
            found = os.stat(target)  # noqa: PTH116 - of a descriptor too
            if stat.S_ISREG(found.st_mode) and os.path.samestat(found, os.stat(one)):  # noqa: PTH116
                name = "standard output" if isinstance(target, int) else target
                raise OutputError(
                    f"{name}: is a file that is read for it; choose another name for the result"
                )


def check_target(path: Path, overwrite: bool = False, inputs: Iterable[Path | int] = ()) -> None:
    """Raise OutputError now if a file could not be written at `path` later.

    `inputs`: files that are never replaced, whatever `overwrite` says. For use before long work;
    `atomic_write` checks again.
    """
    spare_inputs(path, inputs)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise _output_error(path, error) from error
    if mode is not None and stat.S_ISDIR(mode):
        raise _output_error(path, OSError(errno.EISDIR, ""))
    if mode is not None and stat.S_ISBLK(mode):
        raise OutputError(f"{path}: is a whole disk; name a file on it")
    if mode is not None and stat.S_ISREG(mode) and not overwrite:
        raise _output_error(path, OSError(errno.EEXIST, ""))
    place = path if mode is not None and not stat.S_ISREG(mode) else _resolved(path).parent
    if not place.exists():
        raise OutputError(f"{path}: folder {place} does not exist; create it first")
    if not os.access(place, os.W_OK):
        code = errno.EROFS if _is_read_only(place) else errno.EACCES
        raise _output_error(path, OSError(code, ""))


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless they are there. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be made a folder ({error.strerror}); choose another place"
        ) from error


@contextmanager
def atomic_write(
    path: Path,
    overwrite: bool = False,
    *,
    size: int | None = None,
    inputs: Sequence[Path | int] = (),
    written: float | None = None,
) -> Iterator[BinaryIO]:
    """Open a binary file that gets its name only once it is complete and on the disk.

    Yields a readable, seekable stream on a hidden temporary file in the same folder; leaving the
    block without an exception renames it to `path`, any exception removes it. Without `overwrite`
    a file that appears there meanwhile is kept and OutputError raised. Devices and named pipes are
    written in place; a symbolic link is followed. `size`: the bytes needed at most, for the
    message when the disk is full. `inputs`: files that are never replaced, whatever `overwrite`
    says, and whatever was put in the way meanwhile. `written`: when the file is to say it was
    written, in seconds since 1970; None: now. Raises OutputError for whatever keeps the file
    from being written; other errors of the block pass unchanged.
    """
    check_target(path, overwrite, inputs)
    final = _resolved(path)
    room = _room(final.parent, size)
    if path.exists() and not path.is_file():
        with _reported(path, room), path.open("wb") as device:
            yield device
        return
    with _reported(path, room):
        temporary, stream = _unfinished(final)
    try:
        with _reported(path, room, only=DISK_FULL):
            yield stream
        with _reported(path, room):
            stream.flush()
            os.fsync(stream.fileno())
            if os.name == "nt":
                stream.close()
            if written is not None:
                os.utime(temporary, (written, written))
            spare_inputs(final, inputs)
            _publish(temporary, final, overwrite)
    finally:
        if os.name == "nt":
            _abandon(stream)
        temporary.unlink(missing_ok=True)
        UNFINISHED.discard(temporary)
        _abandon(stream)  # only now, as that unlocks it: others must not see it as a stray


def remove_strays(folder: Path) -> int:
    """Remove unfinished files that killed processes left in a folder; returns how many.

    Those of living processes stay: they hold a lock, or on Windows cannot be removed.
    """
    count = 0
    for stray in folder.glob(TEMPORARY_PATTERN):
        with suppress(OSError), stray.open("r+b") as stream:
            if os.name == "nt":
                if time.time() - os.fstat(stream.fileno()).st_mtime < FRESH_SECONDS:
                    continue
                stream.close()
            elif not _locked(stream, wait=False):
                continue
            stray.unlink()
            count += 1
    return count


def _unfinished(final: Path) -> tuple[Path, BinaryIO]:
    """Create a hidden file beside `final`, locked so that nobody takes it for a stray."""
    while True:
        temporary = final.with_name(TEMPORARY_PATTERN.replace("*", secrets.token_hex(8)))
        UNFINISHED.add(temporary)
        stream = temporary.open("x+b")
        _locked(stream, wait=True)
        if os.name == "nt" or os.fstat(stream.fileno()).st_nlink:
            return temporary, stream
        UNFINISHED.discard(temporary)
        stream.close()  # somebody took it for a stray before it was locked


@atexit.register
def _remove_unfinished() -> None:
    """Remove what signals kept `atomic_write` from removing."""
    for temporary in UNFINISHED:
        with suppress(OSError):
            temporary.unlink()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=UNFINISHED.clear)


def _abandon(stream: BinaryIO) -> None:
    """Close a stream, whatever state it is in."""
    with suppress(OSError):  # what is still buffered fails again on a full disk
        stream.close()


def _locked(stream: BinaryIO, wait: bool) -> bool:
    """Lock a file until it is closed or its process dies; False where that cannot be."""
    if sys.platform != "win32":
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:  # taken, or a file system without locks: there strays stay
            return False
    return True


def _publish(temporary: Path, final: Path, overwrite: bool) -> None:
    """Give the finished file its name, which nobody else may have taken unless `overwrite`."""
    if overwrite:
        temporary.replace(final)
    elif os.name == "nt":
        temporary.rename(final)  # refuses an existing name on Windows
    else:
        try:
            final.hardlink_to(temporary)
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            final.touch(exist_ok=False)  # claims the name against other writers
            try:
                temporary.replace(final)
            except BaseException:
                final.unlink()
                raise
    if os.name != "nt":
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            with suppress(OSError):  # some network file systems cannot sync a folder
                os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def _reported(path: Path, room: str, only: tuple[int, ...] = ()) -> Iterator[None]:
    """Turn the system's errors (`only` these numbers, if given) into OutputError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if only and error.errno not in only:
            raise
        raise _output_error(path, error, room) from error


def _output_error(path: Path, error: OSError, room: str = "") -> OutputError:
    """One line that says what is wrong with writing `path` and what to do."""
    if error.errno in DISK_FULL:
        return OutputError(
            f"{path}: the disk is full{room}; free some space or choose another disk"
        )
    default = f"cannot be written ({error.strerror}); choose another place"
    return OutputError(f"{path}: {REMEDIES.get(error.errno or 0, default)}")


def _room(folder: Path, size: int | None) -> str:
    """How much space a file needs and there was before it took any, for a full disk's message."""
    needed = f" needs up to {size / 1e6:.1f} MB," if size is not None else ""
    return f";{needed} {shutil.disk_usage(folder).free / 1e6:.1f} MB were free"


def _resolved(path: Path) -> Path:
    """Where a write to `path` ends up: a symbolic link's target stays a link's target."""
    return Path(os.path.realpath(path))


def _is_read_only(place: Path) -> bool:
    return hasattr(os, "statvfs") and bool(os.statvfs(place).f_flag & os.ST_RDONLY)
