"""Which photos a batch works on, and what their pictures are called."""

import glob
import os
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from darkroom.batch.journal import JOURNAL, list_pictures
from darkroom.errors import OutputError, RawError, UsageError
from darkroom.output.atomic import TEMPORARY_PATTERN
from darkroom.raw.endings import COMPANION_ENDINGS, RAW_ENDINGS

URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
"""Two characters at least: C:/ is a drive."""
PNG_BEGIN = b"\x89PNG\r\n\x1a\n"
JPEG_BEGIN = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
"""Source: PNG, 5.2, "PNG signature"; ITU-T T.81, table B.1, SOI and EOI."""
REPORT_MARK = '<meta name="generator" content="darkroom batch">'
REPORT_MARK_BYTES = 200
"""Tells a report from other pages; within so many of its first bytes."""


@dataclass(frozen=True, slots=True)
class Job:
    """One photo to do.

    `source`: absolute path (or URL, for a cluster) of the RAW photo. `target`: the picture's name
    with ending, "/" between folders, relative to the output folder.
    """

    source: str
    target: str


class Inputs:
    """What a batch reads, which its pictures never replace, by whatever name; for many threads.

    Files are told by device and inode, so that links and other spellings count; URLs by their name.
    """

    def __init__(self, jobs: Iterable[Job | None] = (), others: Iterable[Path] = ()) -> None:
        """Look at no file yet. `jobs` that come one by one are told by `add`."""
        self._all_known = isinstance(jobs, Sequence)
        known = jobs if isinstance(jobs, Sequence) else ()
        self._new = [job.source for job in known if job is not None] + [str(one) for one in others]
        self._seen: set[tuple[int, int] | str] = set()
        self._lock = threading.Lock()

    def add(self, job: Job) -> None:
        """Note the file of a photo that has come."""
        if not self._all_known:
            with self._lock:
                self._new.append(job.source)

    def spare(self, target: str, remedy: str = "choose another folder, or add --suffix") -> None:
        """Raise OutputError where a file at a path or URL would replace what is read."""
        with self._lock:
            identity = _identify(target)
            if identity is None:
                return
            self._seen.update(one for name in self._new if (one := _identify(name)) is not None)
            self._new.clear()
        if identity in self._seen:
            raise OutputError(f"{target}: is a file that this batch reads; {remedy}")


def _identify(name: str) -> tuple[int, int] | str | None:
    """Return what tells a file from all others; None where there is none."""
    if URL.match(name):
        return name
    try:
        status = Path(name).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


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

    Pictures that a batch's journal tells of are no photos. `recursive`: their subfolders too.
    `everything`: files of any ending, but for whole PNGs and JPEGs, and reports. `skip`: a folder
    that is left out, the output's; `skip_file`: a file, the report. `missing`: names of nothing
    count as photos, to fail one by one.
    """

    recursive: bool = False
    everything: bool = False
    skip: Path | None = None
    skip_file: Path | None = None
    missing: bool = False


def find_jobs(
    sources: Iterable[str | Path], naming: OutputNaming = OutputNaming(), search: Search = Search()
) -> list[Job]:
    """Return the jobs of files, folders and globs, in order, each photo once.

    Files are taken as they are named; in folders, only those with a RAW photo's ending, hidden
    ones and DNGs that a batch made never. What belongs to a RAW photo, its JPEG or sidecar, is
    left alone beside it, even if named. Where two photos of one folder would get one name (IMG.ARW
    and IMG.DNG), both keep their ending (IMG.ARW.png). Raises RawError for a source that is not
    there, UsageError where a photo lies outside `naming.base`.
    """
    found: dict[Path, None] = {}
    roots: list[Path] = []
    for source in sources:
        for path in expand_glob(source, search.missing):
            is_folder = path.is_dir()
            if path.match(TEMPORARY_PATTERN):
                raise UsageError(f"{path}: is an unfinished file of darkroom's; rename it first")
            roots.append(path if is_folder else path.parent)
            found |= dict.fromkeys(_photos(path, search) if is_folder else [path])
    if not found:
        return []
    owners = _owners(found)
    found = {path: None for path in found if not _belongs(path, owners)}
    base = common_folder(roots) if naming.base is None else _absolute(naming.base)
    return name_jobs(list(found), naming, base)


def describe_companions(jobs: Sequence[Job]) -> str:
    """Say in a line how many JPEGs and sidecars lie beside photos on this machine; "" for none."""
    photos = [Path(job.source) for job in jobs if not URL.match(job.source)]
    owners = _owners(photos)
    counts: Counter[str] = Counter()
    for folder in {photo.parent for photo in photos}:
        with suppress(OSError):  # gone meanwhile
            beside = (path for path in folder.iterdir() if path.name[0] != ".")
            found = (path.suffix.lower() for path in beside if _belongs(path, owners))
            counts.update(COMPANION_ENDINGS[ending] for ending in found)
    if not counts:
        return ""
    kinds = ", ".join(f"{number} {kind}{'s' * (number > 1)}" for kind, number in counts.items())
    return f"{len(jobs)} photo{'s' * (len(jobs) > 1)}; left as they are beside: {kinds}"


def is_companion(path: Path, jobs: Sequence[Job]) -> bool:
    """Whether a file is the JPEG or a sidecar of one of these photos."""
    return _belongs(_absolute(path), _owners(Path(job.source) for job in jobs))


def _owners(photos: Iterable[Path]) -> set[str]:
    """Return what is told from RAW photos: their paths with and without ending, in any case."""
    raws = [path for path in photos if path.name.lower().endswith(RAW_ENDINGS)]
    return {str(name).casefold() for path in raws for name in (path, path.with_suffix(""))}


def _belongs(path: Path, owners: set[str]) -> bool:
    """Whether a file is called like a photo: IMG.jpg, or IMG.ARW.xmp, beside IMG.ARW."""
    if path.suffix.lower() not in COMPANION_ENDINGS:
        return False
    return str(path.with_suffix("")).casefold() in owners


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
    finished = set() if search.skip_file is None else {_absolute(search.skip_file)}
    for name, folders, files in os.walk(folder, onerror=fail):
        place = Path(name)
        folders[:] = sorted(
            name for name in folders if search.recursive and name[0] != "." and place / name != skip
        )
        if JOURNAL in files:
            finished |= _list_finished(place)
        for name in sorted(files):
            path = place / name
            if (name[0] != "." and path not in finished) and (
                name.lower().endswith(RAW_ENDINGS) or (search.everything and not _is_finished(path))
            ):
                yield path


def _list_finished(folder: Path) -> set[Path]:
    """Return the pictures that a batch made in a folder, and its journal."""
    with suppress(OutputError):  # no journal of ours
        return {folder / JOURNAL} | {folder / name for name in list_pictures(folder / JOURNAL)}
    return set()


def is_report(path: Path) -> bool:
    """Whether a file is a report that a batch wrote."""
    with suppress(OSError), path.open("rb") as file:
        return REPORT_MARK.encode("ascii") in file.read(REPORT_MARK_BYTES)
    return False


def _is_finished(path: Path) -> bool:
    """Whether a file is a whole PNG or JPEG, or a batch's report, or not even a file.

    RAW photos within a JPEG, as of some small cameras, lie behind its end.
    """
    if not path.is_file():
        return path.exists()
    with suppress(OSError), path.open("rb") as file:
        begin = file.read(len(PNG_BEGIN))
        if begin == PNG_BEGIN:
            return True
        if begin.startswith(JPEG_BEGIN):
            file.seek(-len(JPEG_END), os.SEEK_END)
            return file.read() == JPEG_END
    return is_report(path)


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
