"""Photos that arrive in folders while a batch runs."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from darkroom.batch.jobs import (
    FileState,
    Job,
    OutputNaming,
    Search,
    common_folder,
    expand_glob,
    find_jobs,
    local_state,
)
from darkroom.errors import RawError, UsageError

LOOK_SHARE = 10
"""Looking takes a tenth of the time at most: 10,000 photos in the folders take 0.4 s."""
SETTLE_SECONDS = 2.0
"""A file that has not grown or changed for so long is complete: cameras and copies write on."""


def watch_folders(
    folders: Sequence[str | Path],
    naming: OutputNaming = OutputNaming(),
    search: Search = Search(),
    poll_seconds: float = 1.0,
) -> Iterator[Job | None]:
    """Yield jobs as their photos arrive in folders, without end; None before each pause.

    A photo has arrived once it stayed the same for SETTLE_SECONDS; one that changes afterwards
    arrives anew. Folders may vanish and come back, but are there at the start: else RawError.
    """
    places = [path for folder in folders for path in expand_glob(folder)]
    if strange := [path for path in places if not path.is_dir()]:
        raise UsageError(f"{strange[0]}: is no folder; --watch looks at folders")
    fixed = naming if naming.base else replace(naming, base=common_folder(places))
    seen: dict[Job, tuple[FileState, float]] = {}
    arrived: dict[Job, FileState] = {}
    while True:
        started, complete = time.monotonic(), []
        for job in _there(places, fixed, search):
            state = local_state(job.source)
            if state is None or state == arrived.get(job):
                continue
            now = time.monotonic()
            before, since = seen.get(job, (None, now))
            if before != state:
                seen[job] = state, now
            elif now - since >= SETTLE_SECONDS:
                arrived[job] = state
                del seen[job]
                complete.append(job)
        now = time.monotonic()
        look_again = now + LOOK_SHARE * (now - started)
        yield from complete
        while True:
            yield None
            time.sleep(poll_seconds)
            if time.monotonic() >= look_again:
                break


def _there(folders: Sequence[Path], naming: OutputNaming, search: Search) -> Iterator[Job]:
    """Find what is there now; a folder that is gone for the moment holds nothing."""
    for folder in folders:
        with suppress(RawError):
            yield from find_jobs([folder], naming, search)
