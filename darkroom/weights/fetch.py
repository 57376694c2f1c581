"""Fetching weights: from their authors, a mirror or a folder, checked, then installed at once.

Files are gathered in a hidden folder and appear under their entry's name only when all of them are
there and right: one rename. pooch checks each file's SHA-256 and moves it into place; `download`
does the talking. Only one process at a time fetches an entry.
"""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from darkroom.errors import UsageError, WeightsError
from darkroom.weights import registry, store
from darkroom.weights.download import CHUNK, MAX_BYTES, Download, MissingError, Patience
from darkroom.weights.registry import FileEntry, WeightsEntry
from darkroom.weights.store import InstalledFile, State, Trust

LOCK_SECONDS = 1800.0


class Watcher(Protocol):
    """Is told what happens while weights are fetched; the command line shows it."""

    def progress(self, file: FileEntry, done: int, total: int | None) -> None:
        """`done` bytes of `total` are there; None where the server does not say how many."""

    def note(self, text: str) -> None:
        """One line of words: a retry, a wait for another process."""


class Silent:
    """A watcher that watches nothing."""

    def progress(self, file: FileEntry, done: int, total: int | None) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""


SILENT = Silent()


@dataclass(frozen=True, slots=True)
class Source:
    """Where to fetch from: a mirror's URL or a folder; None is each file's own published place.

    Mirror and folder are laid out as the store (`NAME/FILE`), or hold one entry's files directly.
    """

    mirror: str | Path | None = None

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Read what the user gave: http(s) URL or existing folder; UsageError for others."""
        if urlsplit(text).scheme in ("http", "https"):
            return cls(text.rstrip("/"))
        if Path(text).is_dir():
            return cls(Path(text))
        raise UsageError(f"--from {text}: neither a folder nor an http(s) address")

    def places(self, entry: WeightsEntry, file: FileEntry) -> tuple[str, ...]:
        """Return the URLs, or paths in a folder, to try in turn for one file."""
        if self.mirror is None:
            return file.urls
        if isinstance(self.mirror, str):
            return (f"{self.mirror}/{entry.name}/{file.name}", f"{self.mirror}/{file.name}")
        nested = self.mirror / entry.name / file.name
        return (str(nested if nested.exists() else self.mirror / file.name),)


AUTHORS = Source()
PATIENCE = Patience()


def fetch(
    entry: WeightsEntry,
    source: Source = AUTHORS,
    patience: Patience = PATIENCE,
    watcher: Watcher = SILENT,
) -> tuple[InstalledFile, ...]:
    """Fetch and install an entry; returns its files, none if it was there, whole and right, before.

    Raises WeightsError; then nothing has changed under the entry's name, and what was downloaded so
    far waits to be resumed.
    """
    if entry.bundled:
        store.verify(entry)
        return ()
    if _right(entry):
        return ()
    _warn_unencrypted(entry, source, watcher)
    with _installing(entry, watcher) as staging:
        if _right(entry):
            return ()
        expected = store.expected_hashes(entry)
        files = tuple(
            _gather(_Job(entry, file, expected.get(file.name), staging), source, patience, watcher)
            for file in entry.files
        )
        _install(entry, staging, files, own=None)
    return files


def install_own(
    entry: WeightsEntry, write: Callable[[Path], None], origin: str
) -> tuple[InstalledFile, ...]:
    """Install weights of the user's own: `write` puts them into the one file of `entry`.

    Raises WeightsError where the name is taken, or `write` or the disk fails.
    """
    if entry.name in registry.ENTRIES:
        raise WeightsError(f"{entry.name} names published weights: choose another name")
    with _installing(entry, SILENT) as staging:
        if store.state(entry) is not State.ABSENT:
            raise WeightsError(
                f"{entry.name} is taken: darkroom fetch-weights {entry.name} --remove frees it"
            )
        path = staging / entry.files[0].name
        write(path)
        files = (
            InstalledFile(
                path.name, path.stat().st_size, store.sha256(path), origin, Trust.FIRST_USE
            ),
        )
        _install(entry, staging, files, own=entry)
    return files


@dataclass(frozen=True, slots=True)
class _Job:
    entry: WeightsEntry
    file: FileEntry
    expected: str | None
    staging: Path


@contextmanager
def _installing(entry: WeightsEntry, watcher: Watcher) -> Iterator[Path]:
    """Hold the entry's lock and give its staging folder; disk trouble becomes one line."""
    staging = store.partial_folder(entry)
    store.refuse_links(store.folder(entry))
    store.refuse_links(staging)

    def waiting() -> None:
        watcher.note(f"{entry.name}: another darkroom is at it; waiting")

    with store.lock_entry(entry, LOCK_SECONDS, waiting):
        try:
            staging.mkdir(exist_ok=True)
            yield staging
        except OSError as error:
            raise WeightsError(
                f"cannot write {error.filename or staging}: {error.strerror}; "
                "set DARKROOM_WEIGHTS to another folder"
            ) from error
        finally:
            if staging.is_dir() and not any(staging.iterdir()):
                staging.rmdir()


def _right(entry: WeightsEntry) -> bool:
    """Whether an entry is installed and whole; asked again once its lock is ours."""
    if store.state(entry) is not State.INSTALLED:
        return False
    try:
        store.verify(entry)
    except WeightsError:
        return False
    return True


def _warn_unencrypted(entry: WeightsEntry, source: Source, watcher: Watcher) -> None:
    plain = isinstance(source.mirror, str) and urlsplit(source.mirror).scheme == "http"
    if plain and any(file.sha256 is None for file in entry.files):
        watcher.note(f"{entry.name}: unencrypted, and no hash is known: nobody vouches for it")


def _gather(job: _Job, source: Source, patience: Patience, watcher: Watcher) -> InstalledFile:
    """Bring one file into the staging folder, from the first place that has it right."""
    failures = []
    for place in source.places(job.entry, job.file):
        part = job.staging / f"{job.file.name}.part"

        def progress(done: int, total: int | None) -> None:
            watcher.progress(job.file, done, total)

        downloader: Download | _Copy
        if isinstance(source.mirror, Path):
            downloader = _Copy(job.file)
        else:
            hashed = job.expected is not None
            downloader = Download(part, job.file.size, hashed, patience, progress, watcher.note)
        try:
            path = _retrieve(job, place, downloader, part)
        except WeightsError as error:
            failures.append(str(error))
            if source.mirror is None or isinstance(error, MissingError):
                continue
            break
        trust = Trust.FIRST_USE if job.file.sha256 is None else Trust.REGISTRY
        size = path.stat().st_size
        return InstalledFile(job.file.name, size, store.sha256(path), place, trust)
    failures = failures or ["no published address is known"]
    hint = "--from DIR|URL takes another" if source.mirror is None else "try another --from"
    raise WeightsError(f"{job.entry.name}: {'; '.join(failures)}; {hint}")


def _retrieve(job: _Job, place: str, downloader: Any, part: Path) -> Path:
    """Let pooch fetch and check one file; a wrong hash after a resume is given one fresh start."""
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    target = job.staging / job.file.name
    if job.expected is None:
        target.unlink(missing_ok=True)
    resumed = part.exists()
    known = None if job.expected is None else f"sha256:{job.expected}"
    try:
        pooch.retrieve(place, known, target.name, job.staging, downloader=downloader)
    except ValueError as error:
        if resumed:
            return _retrieve(job, place, downloader, part)
        raise _differs(job, place) from error
    return target


def _differs(job: _Job, place: str) -> WeightsError:
    if job.file.sha256 is not None:
        return WeightsError(
            f"{place}: SHA-256 is not the published {job.file.sha256[:12]}…: refused"
        )
    return WeightsError(
        f"{place}: SHA-256 is not the one recorded at first use: refused; "
        f"if its authors replaced it: darkroom fetch-weights {job.entry.name} --remove"
    )


@dataclass(frozen=True, slots=True)
class _Copy:
    """A downloader in pooch's sense for files on this machine."""

    file: FileEntry

    def __call__(self, path: str, output_file: Any, pooch: object = None) -> None:
        source = Path(path)
        if not source.is_file():
            raise WeightsError(f"{path}: no such file")
        size = source.stat().st_size
        if self.file.size is not None and size != self.file.size:
            raise WeightsError(f"{path}: {size:,} bytes, {self.file.size:,} expected: refused")
        if size > MAX_BYTES:
            raise WeightsError(f"{path}: {size:,} bytes, more than {MAX_BYTES:,}: refused")
        Path(output_file).unlink(missing_ok=True)  # a temporary file is readable by us alone
        with source.open("rb") as inward, Path(output_file).open("xb") as outward:
            shutil.copyfileobj(inward, outward, CHUNK)


def _install(
    entry: WeightsEntry,
    staging: Path,
    files: tuple[InstalledFile, ...],
    own: WeightsEntry | None,
) -> None:
    """Give the gathered files their entry's name: renames only, so never half of them."""
    store.write_record(staging, files, own)
    wanted = {file.name for file in files} | {store.RECORD}
    for leftover in staging.iterdir():
        if leftover.name not in wanted:
            leftover.unlink()
    place = store.folder(entry)
    old = store.root() / f".{entry.name}.old"
    if old.is_dir():
        shutil.rmtree(old)
    if place.exists():
        place.replace(old)
    staging.replace(place)
    if old.is_dir():
        shutil.rmtree(old)
