"""Pictures below a URL: their journal is kept here, and one machine's batch writes at a time."""

from collections.abc import Mapping
from pathlib import Path, PurePath

from darkroom.batch import storage
from darkroom.batch.cluster.journal_mirror import JournalMirror
from darkroom.batch.cluster.lease import Lease
from darkroom.batch.jobs import FileState


class Bucket:
    """A URL. What is there is listed once, for asking for each photo would take longer."""

    def __init__(self, url: str, known: Mapping[str, FileState]) -> None:
        """Fetch the journal. `known`: states of URLs that a listing told."""
        self.root = Path()
        self._url = url
        self._known = known
        self._there: dict[str, FileState] = {}
        self._mirror = JournalMirror(url)
        self.journal_folder = self._mirror.folder
        self._lease = Lease(url, self.journal_folder)

    def begin(self) -> None:
        """List what is there, remove what lost workers left, and see that it can be written to.

        Raises OutputError where it cannot, or another machine's batch is writing there.
        """
        self._lease.renew()
        self._there = storage.states(self._url)
        storage.remove_strays(self._url, self._there)
        self._mirror.push(now=True)

    def prepare(self, target: str) -> None:
        """Copy the journal and renew the lease if it is time to. Raises OutputError."""
        self._lease.renew()
        self._mirror.push()

    def locate(self, target: str) -> str:
        """Return where a picture goes: its URL."""
        return storage.join(self._url, target)

    def look(self, name: str) -> FileState | None:
        """Return the state of a photo by its URL or absolute path, or of a picture by its name."""
        if storage.is_url(name) or PurePath(name).is_absolute():
            return self._known.get(name) or storage.state(name)
        return self._there.get(PurePath(name).as_posix())

    def end(self) -> None:
        """Copy the journal, and remove what lost workers left; nothing where another writes."""
        if self._lease.release():
            self._mirror.push(now=True)
            storage.remove_strays(self._url, storage.states(self._url))
