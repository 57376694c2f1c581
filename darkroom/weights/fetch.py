"""Fetching weights: from their authors, a mirror or a folder, checked, then installed at once.

Files are gathered in a hidden folder and appear under their entry's name only when all of them are
there and right: one rename. Only one process at a time fetches an entry.
"""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from darkroom.errors import DISK_FULL, UsageError, WeightsError
from darkroom.weights import registry, store
from darkroom.weights.download import Download, MissingError, RetryPolicy, check_size, disk_full
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
class FetchSource:
    """Where to fetch from: a mirror's URL or a folder; None is each file's own published place.

    Mirror and folder are laid out as the store (`NAME/FILE`), or hold one entry's files directly.
    """

    mirror: str | Path | None = None

    @classmethod
    def parse(cls, text: str) -> "FetchSource":
        """Read what the user gave: http(s) URL or existing folder; UsageError for others."""
        if urlsplit(text).scheme in ("http", "https"):
            return cls(text.rstrip("/"))
        if Path(text).is_dir():
            return cls(Path(text))
        raise UsageError(f"--from {text}: neither a folder nor an http(s) address")

    def list_places(self, entry: WeightsEntry, file: FileEntry) -> tuple[str, ...]:
        """Return the URLs, or paths in a folder, to try in turn for one file."""
        if self.mirror is None:
            return file.urls
        if isinstance(self.mirror, str):
            return (f"{self.mirror}/{entry.name}/{file.name}", f"{self.mirror}/{file.name}")
        nested = self.mirror / entry.name / file.name
        return (str(nested if nested.exists() else self.mirror / file.name),)


AUTHORS = FetchSource()
RETRY_POLICY = RetryPolicy()


def fetch(
    entry: WeightsEntry,
    source: FetchSource = AUTHORS,
    policy: RetryPolicy = RETRY_POLICY,
    watcher: Watcher = SILENT,
) -> tuple[InstalledFile, ...]:
    """Fetch and install an entry; returns its files, none if it was there, whole and right, before.

    Raises WeightsError; then nothing has changed under the entry's name, and what was downloaded so
    far waits to be resumed.
    """
    if entry.bundled:
        store.verify(entry)
        return ()
    if _is_whole(entry):
        return ()
    plain = isinstance(source.mirror, str) and urlsplit(source.mirror).scheme == "http"
    if plain and any(file.sha256 is None for file in entry.files):
        watcher.note(f"{entry.name}: unencrypted, and no hash is known: nobody vouches for it")
    with _installing(entry, watcher) as staging:
        if _is_whole(entry):
            return ()
        jobs = [_Job(entry, file, staging, source, policy, watcher) for file in entry.files]
        files = tuple(_gather(job) for job in jobs)
        _install(entry, staging, files, own=None)
    return files


def install_own(entry: WeightsEntry, content: bytes, origin: str) -> tuple[InstalledFile, ...]:
    """Install weights of the user's own: `content` becomes the one file of `entry`.

    Raises WeightsError where the name is taken or the disk fails.
    """
    if entry.name in registry.ENTRIES:
        raise WeightsError(f"{entry.name} names published weights: choose another name")
    with _installing(entry, SILENT) as staging:
        if store.state(entry) is not State.ABSENT:
            raise WeightsError(
                f"{entry.name} is taken: darkroom fetch-weights {entry.name} --remove frees it"
            )
        path = staging / entry.files[0].name
        path.write_bytes(content)
        found = store.sha256(path)
        files = (InstalledFile(path.name, len(content), found, origin, Trust.FIRST_USE),)
        _install(entry, staging, files, own=entry)
    return files


@contextmanager
def _installing(entry: WeightsEntry, watcher: Watcher) -> Iterator[Path]:
    """Hold the entry's lock and give its staging folder; disk trouble becomes one line."""
    staging = store.partial_folder(entry)
    store.refuse_links(store.folder(entry))
    store.refuse_links(staging)
    waiting = partial(watcher.note, f"{entry.name}: another darkroom is at it; waiting")
    with store.lock_entry(entry, LOCK_SECONDS, waiting):
        try:
            staging.mkdir(exist_ok=True)
            yield staging
        except OSError as error:
            if error.errno in (*DISK_FULL, errno.EFBIG):
                shutil.rmtree(staging, ignore_errors=True)
                raise disk_full(staging.parent, f"{error.strerror}") from error
            raise WeightsError(
                f"cannot write {error.filename or staging}: {error.strerror}; "
                "set DARKROOM_WEIGHTS to another folder"
            ) from error
        finally:
            if staging.is_dir() and not any(staging.iterdir()):
                staging.rmdir()


def _is_whole(entry: WeightsEntry) -> bool:
    """Whether an entry is installed and whole; asked again once its lock is ours."""
    if store.state(entry) is State.INSTALLED:
        with suppress(WeightsError):
            store.verify(entry)
            return True
    return False


@dataclass(frozen=True, slots=True)
class _Job:
    entry: WeightsEntry
    file: FileEntry
    staging: Path
    source: FetchSource
    policy: RetryPolicy
    watcher: Watcher


def _gather(job: _Job) -> InstalledFile:
    """Bring one file into the staging folder, from the first place that has it right."""
    failures = []
    for place in job.source.list_places(job.entry, job.file):
        try:
            return _gather_from(place, job)
        except WeightsError as error:
            failures.append(str(error))
            if job.source.mirror is not None and not isinstance(error, MissingError):
                break
    failures = failures or ["no published address is known"]
    hint = "--from DIR|URL takes another" if job.source.mirror is None else "try another --from"
    raise WeightsError(f"{job.entry.name}: {'; '.join(failures)}; {hint}")


def _gather_from(place: str, job: _Job) -> InstalledFile:
    """Bring one file from one place; a wrong hash after a resume is given one fresh start."""
    expected = store.expected_hashes(job.entry).get(job.file.name)
    path = job.staging / job.file.name
    part = path.with_name(f"{path.name}.part")
    found = store.sha256(path) if expected is not None and path.is_file() else None
    while found is None or found != expected:
        resumed = part.exists()
        if isinstance(job.source.mirror, Path):
            _copy(Path(place), part, job.file.size)
        else:
            tell = partial(job.watcher.progress, job.file), job.watcher.note
            Download(place, part, job.file.size, expected is not None, job.policy, *tell).run()
        found = store.sha256(part)
        if expected is None or found == expected:
            part.replace(path)
            break
        part.unlink()
        if not resumed and job.file.sha256 is not None:
            raise WeightsError(f"{place}: SHA-256 is not the published {expected[:12]}…: refused")
        if not resumed:
            raise WeightsError(
                f"{place}: SHA-256 is not the one recorded at first use: refused; "
                f"if its authors replaced it: darkroom fetch-weights {job.entry.name} --remove"
            )
    trust = Trust.FIRST_USE if job.file.sha256 is None else Trust.REGISTRY
    return InstalledFile(path.name, path.stat().st_size, found, place, trust)


def _copy(source: Path, part: Path, size: int | None) -> None:
    if not source.is_file():
        raise WeightsError(f"{source}: no such file")
    check_size(str(source), source.stat().st_size, size)
    part.unlink(missing_ok=True)
    with source.open("rb") as inward, part.open("xb") as outward:
        shutil.copyfileobj(inward, outward)


def _install(
    entry: WeightsEntry, staging: Path, files: tuple[InstalledFile, ...], own: WeightsEntry | None
) -> None:
    """Give the gathered files their entry's name: renames only, so never half of them."""
    store.write_record(staging, files, own)
    wanted = {file.name for file in files} | {store.RECORD}
    for leftover in staging.iterdir():
        if leftover.name not in wanted:
            leftover.unlink()
    place = store.folder(entry)
    old = store.root() / f".{entry.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.replace(old)
    staging.replace(place)
    shutil.rmtree(old, ignore_errors=True)
