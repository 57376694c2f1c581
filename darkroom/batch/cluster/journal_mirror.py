"""The copy of a journal beside the pictures of a URL, and where the original lies."""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from time import monotonic

import platformdirs

from darkroom.batch import storage
from darkroom.batch.jobs import local_state
from darkroom.batch.journal import JOURNAL

PUSH_SECONDS = 60.0
PUSH_SHARE = 20
"""Copying the journal takes a twentieth of the time at most."""


def journal_folder(url: str) -> Path:
    """Return the folder on this machine for the journal of a URL's pictures."""
    name = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    return platformdirs.user_state_path("darkroom") / "journals" / name


class JournalMirror:
    """A journal that is kept on this machine's disk and copied to the pictures' URL.

    Object stores cannot add to a file: 1.6 kB for each photo are sent anew each time. The longer
    one counts, so that a batch can go on elsewhere.
    """

    def __init__(self, url: str) -> None:
        """Find the folder for a URL's journal, and fetch the journal if it is longer there."""
        self._url = storage.join(url, JOURNAL)
        self.folder = journal_folder(url)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path = self.folder / JOURNAL
        self._next = monotonic() + PUSH_SECONDS
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._pushing: Future[None] | None = None
        there, here = storage.state(self._url), local_state(str(self._path))
        if there is not None and (here is None or there.size > here.size):
            storage.fetch(self._url, self._path)

    def push(self, now: bool = False) -> None:
        """Have the journal copied to its URL if it is time to, while others work; or at once.

        Raises OutputError; of a copy made meanwhile at the next call, unless that copies anew.
        """
        if now:
            wait([self._pushing] if self._pushing else [])
            self._publish()
        elif self._pushing is None:
            if monotonic() >= self._next:
                self._pushing = self._pool.submit(self._publish)
        elif self._pushing.done():
            pushing, self._pushing = self._pushing, None
            pushing.result()

    def _publish(self) -> None:
        started = monotonic()
        storage.publish(self._path, self._url, replace=True)
        self._next = monotonic() + max(PUSH_SECONDS, PUSH_SHARE * (monotonic() - started))
