"""Photos and pictures at URLs: s3://, gs://, https:// and whatever else fsspec knows.

What is on a file system that every machine mounts needs none of this: file:// URLs become paths.
"""

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from darkroom.batch.failures import named
from darkroom.batch.jobs import (
    URL,
    FileState,
    Job,
    OutputNaming,
    Search,
    local_state,
    name_jobs,
)
from darkroom.errors import DarkroomError, OutputError, RawError, UsageError
from darkroom.output.atomic import TEMPORARY_PATTERN
from darkroom.raw.endings import RAW_ENDINGS

WHOLE_PUT = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory")
"""Object stores: what is put there appears whole or not at all, and replaces what was there."""
TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
"""Keys under which file systems say when a file was written."""


def is_url(name: str) -> bool:
    """Whether a name is a URL rather than a path."""
    return URL.match(name) is not None


def without_file(name: str) -> str:
    """Turn a file:// URL into its path; other names stay as they are."""
    return unquote(urlsplit(name).path) if name.lower().startswith("file://") else name


def join(url: str, name: str) -> str:
    """Return the URL of a name below another URL."""
    return f"{url.rstrip('/')}/{name}"


def state(name: str) -> FileState | None:
    """Return size and time of what is at a path or URL, None where there is nothing.

    The time is 0 where a server does not tell. Raises RawError where a server does not answer.
    """
    if not is_url(name):
        return local_state(name)
    with _Opened(name, RawError) as (fs, path), suppress(FileNotFoundError):
        return _state(fs.info(path))
    return None


def states(url: str) -> dict[str, FileState]:
    """Return the states of all files below a URL by their names relative to it, "/" between.

    Raises OutputError where a server does not answer.
    """
    with _Opened(url, OutputError) as (fs, path):
        fs.invalidate_cache()
        found = fs.find(path, detail=True)
    root = path.rstrip("/") + "/"
    return {name.removeprefix(root): _state(info) for name, info in found.items()}


def fetch(url: str, target: Path) -> None:
    """Copy what is at a URL into a local file. Raises RawError."""
    with _Opened(url, RawError) as (fs, path):
        fs.get_file(path, str(target))


def read(url: str) -> bytes | None:
    """Return what is at a URL, None where there is nothing. Raises OutputError."""
    with _Opened(url, OutputError) as (fs, path), suppress(FileNotFoundError):
        return bytes(fs.cat_file(path))
    return None


def sha256(name: str) -> str | None:
    """Return the SHA-256 of what is at a path or URL, None where nothing can be read.

    Raises RawError where a server does not answer.
    """
    if not is_url(name):
        with suppress(OSError), Path(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
        return None
    with _Opened(name, RawError) as (fs, path), suppress(FileNotFoundError), fs.open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def publish(source: Path, url: str, replace: bool) -> FileState:
    """Copy a local file to a URL, where it appears whole or not at all; returns its state there.

    Object stores take it in one request; elsewhere it gets its name once it is complete. Raises
    OutputError, also for what is there already unless `replace`.
    """
    with _Opened(url, OutputError) as (fs, path):
        there = fs.exists(path)
        if there and not replace:
            raise OutputError(f"{url}: exists already; choose another place or add --overwrite")
        if urlsplit(url).scheme.lower() in WHOLE_PUT:
            fs.put_file(str(source), path)
        else:
            folder, _, _ = path.rpartition("/")
            fs.makedirs(folder, exist_ok=True)
            temporary = f"{folder}/{TEMPORARY_PATTERN.replace('*', secrets.token_hex(8))}"
            try:
                fs.put_file(str(source), temporary)
                if there:  # not every file system renames onto an existing name
                    fs.rm_file(path)
                fs.mv(temporary, path)
            finally:
                if fs.exists(temporary):
                    fs.rm_file(temporary)
        return _state(fs.info(path))


def remove(url: str) -> None:
    """Remove what is at a URL. Raises OutputError."""
    with _Opened(url, OutputError) as (fs, path):
        fs.rm_file(path)


def remove_strays(url: str, names: Iterable[str]) -> None:
    """Remove the unfinished files of killed workers among the names below a URL."""
    with _Opened(url, OutputError) as (fs, path):
        for name in names:
            if PurePosixPath(name).match(TEMPORARY_PATTERN):
                fs.rm_file(join(path, name))


def find_url_jobs(
    sources: Iterable[str], naming: OutputNaming = OutputNaming(), search: Search = Search()
) -> tuple[list[Job], dict[str, FileState]]:
    """Return the jobs of URLs of photos, folders and globs, and the states that listing told.

    As `darkroom.batch.jobs.find_jobs`: a URL with a RAW photo's ending is a photo, anything else a
    folder. Raises RawError where nothing is there, UsageError for URLs of several servers.
    """
    known: dict[str, FileState | None] = {}
    roots: list[PurePosixPath] = []
    for source in sources:
        place = _place(source)
        if "*" not in source and (place.name.lower().endswith(RAW_ENDINGS) or search.missing):
            known.setdefault(source, None)
            roots.append(place.parent)
        else:
            known |= _list(source, search)
            roots.append(_place(_folder(source)))
    if not known:
        return [], {}
    servers = {source.partition("://")[0] for source in known}
    if len(servers) > 1:
        raise UsageError(f"{' and '.join(sorted(servers))}: run a batch for each kind of URL")
    if naming.base is not None:
        raise UsageError("--base is for paths; name the URL of the folder above instead")
    base = roots[0]
    while not all(root.is_relative_to(base) for root in roots):
        base = base.parent
    urls = {Path(_place(url)): url for url in known}
    jobs = [Job(urls[Path(j.source)], j.target) for j in name_jobs(list(urls), naming, Path(base))]
    return jobs, {url: found for url, found in known.items() if found is not None}


class _Opened:
    """Gives a URL's file system, whose errors become `kind`: they have no common base."""

    def __init__(self, url: str, kind: type[DarkroomError]) -> None:
        self._url = url
        self._kind = kind

    def __enter__(self) -> tuple[Any, str]:
        return _file_system(self._url)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, DarkroomError):
            what = "nothing is there" if isinstance(error, FileNotFoundError) else named(error)
            remedy = "check the address and the permission to use it"
            raise self._kind(f"{self._url}: {what}; {remedy}") from error


def _file_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it. Raises UsageError."""
    try:
        core = import_module("fsspec.core")
    except ImportError as error:
        raise UsageError(f"{url}: URLs need fsspec; pip install 'darkroom[cluster]'") from error
    try:
        fs, path = core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{url}: {named(error)}; pip install what it needs, everywhere") from error
    return fs, str(path)


def _state(info: Mapping[str, Any]) -> FileState:
    """Return a file's state; file systems tell when it was written as seconds, date or ISO 8601."""
    value = next((info[key] for key in TIMES if info.get(key) is not None), None)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    nanoseconds = round(value * 1e6) * 1000 if isinstance(value, int | float) else 0
    return FileState(int(info.get("size") or 0), nanoseconds)


def _place(url: str) -> PurePosixPath:
    """Return where a URL lies on its server, as an absolute path; queries are not part of it."""
    parts = urlsplit(url)
    return PurePosixPath("/", parts.netloc, unquote(parts.path).lstrip("/"))


def _folder(source: str) -> str:
    """Return the URL of the folder in which a glob begins, or of the folder itself."""
    return source.partition("*")[0].rpartition("/")[0] if "*" in source else source.rstrip("/")


def _list(source: str, search: Search) -> dict[str, FileState | None]:
    """List the photos of a folder's URL, or of a glob, in the order of their names."""
    folder = _folder(source)
    root = _file_system(folder)[1].rstrip("/") + "/"
    with _Opened(source, RawError) as (fs, path):
        if "*" in source:
            found = fs.glob(path, detail=True)
        else:
            found = fs.find(path, maxdepth=None if search.recursive else 1, detail=True)
        photos = {
            join(folder, name.removeprefix(root)): _state(info)
            for name, info in sorted(found.items())
            if info["type"] == "file"
            and not PurePosixPath(name).name.startswith(".")
            and (search.everything or name.lower().endswith(RAW_ENDINGS))
        }
    if not photos:
        more = "" if search.recursive or "*" in source else "; add -r for subfolders"
        raise RawError(f"{source}: no RAW photo is there{more or '; check the address'}")
    return dict(photos)
