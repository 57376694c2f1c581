"""Which photos a batch works on, and what their pictures are called."""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from darkroom.errors import RawError, UsageError

RAW_ENDINGS = (
    *(".3fr", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".cs1", ".dcr", ".dcs", ".dng"),
    *(".drf", ".eip", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kc2", ".kdc", ".mdc", ".mef"),
    *(".mos", ".mrw", ".nef", ".nrw", ".orf", ".ori", ".pef", ".ptx", ".pxn", ".raf", ".raw"),
    *(".rw2", ".rwl", ".rwz", ".sr2", ".srf", ".srw", ".sti", ".x3f"),
)
"""Endings of cameras' RAW files. Source: LibRaw's list of supported cameras, by maker."""


@dataclass(frozen=True, slots=True)
class Job:
    """One photo to do.

    `source`: absolute path (or URL, for a cluster) of the RAW photo. `target`: the picture's name
    with ending, "/" between folders, relative to the output folder.
    """

    source: str
    target: str


class FileState(NamedTuple):
    """What tells a changed file: bytes, and nanoseconds since 1970."""

    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class OutputNaming:
    """What pictures are called: the photo's place below `base`, its name, `suffix` and `ending`.

    `base`: None for the closest folder that all photos share. `ending`: with the dot.
    """

    ending: str = ".png"
    suffix: str = ""
    base: Path | None = None

    def __post_init__(self) -> None:
        if any(mark in self.suffix for mark in "/\\\0"):
            raise UsageError(f"--suffix {self.suffix}: is part of a name; leave slashes out")


@dataclass(frozen=True, slots=True)
class Search:
    """How folders are searched.

    `recursive`: their subfolders too. `everything`: files of any ending. `skip`: a folder that is
    left out, the output's. `missing`: names of nothing count as photos, to fail one by one.
    """

    recursive: bool = False
    everything: bool = False
    skip: Path | None = None
    missing: bool = False


def find_jobs(
    sources: Iterable[str | Path], naming: OutputNaming = OutputNaming(), search: Search = Search()
) -> list[Job]:
    """Return the jobs of files, folders and globs, in order, each photo once.

    Files are taken as they are named; in folders, only those with a RAW photo's ending, hidden
    ones never. Where two photos of one folder would get one name (IMG.ARW and IMG.DNG), both keep
    their ending (IMG.ARW.png). Raises RawError for a source that is not there, UsageError where a
    photo lies outside `naming.base`.
    """
    found: dict[Path, None] = {}
    roots: list[Path] = []
    for source in sources:
        for path in expand_glob(source, search.missing):
            is_folder = path.is_dir()
            roots.append(path if is_folder else path.parent)
            found |= dict.fromkeys(_photos(path, search) if is_folder else [path])
    if not found:
        return []
    base = common_folder(roots) if naming.base is None else _absolute(naming.base)
    return name_jobs(list(found), naming, base)


def common_folder(folders: Iterable[Path]) -> Path:
    """Return the closest folder that holds all of these. Raises UsageError where there is none."""
    try:
        return Path(os.path.commonpath(list(folders)))
    except ValueError as error:  # two drives of Windows
        raise UsageError("the photos lie on several drives; run a batch for each") from error


def local_state(path: str) -> FileState | None:
    """Return size and time of a file; None where there is none."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return FileState(status.st_size, status.st_mtime_ns)


def _absolute(path: str | Path) -> Path:
    """Make a path absolute; symbolic links stay, for their own names count."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow them


def expand_glob(source: str | Path, missing: bool = False) -> list[Path]:
    """Expand a glob that the shell left alone; a file of just that name goes first."""
    name = os.fspath(source)
    if missing or os.path.lexists(name):
        return [_absolute(name)]
    if not glob.has_magic(name):
        raise RawError(f"{name}: no such file or folder; check the name")
    names = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - patterns may be absolute
    if not names:
        raise RawError(f"{name}: no file fits; check the pattern")
    return [_absolute(name) for name in names]


def _photos(folder: Path, search: Search) -> Iterator[Path]:
    """Yield the photos of a folder in the order of their names."""

    def fail(error: OSError) -> None:
        raise RawError(f"{error.filename}: cannot be read ({error.strerror}); check permissions")

    skip = None if search.skip is None else _absolute(search.skip)
    for name, folders, files in os.walk(folder, onerror=fail):
        place = Path(name)
        folders[:] = sorted(
            name for name in folders if search.recursive and name[0] != "." and place / name != skip
        )
        for name in sorted(files):
            if name[0] != "." and (search.everything or name.lower().endswith(RAW_ENDINGS)):
                yield place / name


def name_jobs(paths: list[Path], naming: OutputNaming, base: Path) -> list[Job]:
    """Give each photo its picture's name; a shared name is told apart by the photo's ending.

    Raises UsageError where a photo lies outside `base`.
    """
    shared = Counter(str(path.with_suffix("")).casefold() for path in paths)
    jobs = []
    for path in paths:
        stem = path.with_suffix("")
        name = stem if shared[str(stem).casefold()] == 1 else path
        if not name.is_relative_to(base):
            raise UsageError(f"{path}: lies outside --base {base}; name a folder above it")
        target = name.relative_to(base).as_posix() + naming.suffix + naming.ending
        jobs.append(Job(str(path), target))
    return jobs
