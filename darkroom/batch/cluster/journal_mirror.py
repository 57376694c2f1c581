"""The copy of a journal beside the pictures of a URL, and where the original lies."""

import hashlib
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

    Object stores cannot add to a file. The longer one counts, so that a batch can go on elsewhere.
    """

    def __init__(self, url: str) -> None:
        """Find the folder for a URL's journal, and fetch the journal if it is longer there."""
        self._url = storage.join(url, JOURNAL)
        self.folder = journal_folder(url)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path = self.folder / JOURNAL
        self._next = monotonic() + PUSH_SECONDS
        there, here = storage.state(self._url), local_state(str(self._path))
        if there is not None and (here is None or there.size > here.size):
            storage.fetch(self._url, self._path)

    def push(self, now: bool = False) -> None:
        """Copy the journal to its URL if it is time to, or `now`. Raises OutputError."""
        started = monotonic()
        if now or started >= self._next:
            storage.publish(self._path, self._url, replace=True)
            took = monotonic() - started
            self._next = monotonic() + max(PUSH_SECONDS, PUSH_SHARE * took)
