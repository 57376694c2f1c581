"""Pictures below a URL: their journal is kept here, and one machine's batch writes at a time.

On one machine the journal's lock sees to that. Object stores have no locks: a lease, a file at the
URL that says which machine's it is, runs out if it is not renewed, and of two that are taken at the
same moment the earlier one's batch ends.
"""

import hashlib
import json
import secrets
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePath
from time import monotonic, time

import platformdirs

from darkroom.batch import storage
from darkroom.batch.jobs import FileState, local_state
from darkroom.batch.journal import JOURNAL
from darkroom.errors import OutputError

NAME = ".darkroom-writer.json"
"""Of the lease at the URL."""
RENEW_SECONDS = 60.0
VALID_SECONDS = 300.0
"""Longer than clocks of machines differ, and than a renewal takes."""
PUSH_SECONDS = 60.0
PUSH_SHARE = 20
"""Copying the journal takes a twentieth of the time at most."""


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


class Lease:
    """The right of this machine's batch to write below a URL; used by one thread."""

    def __init__(self, url: str, folder: Path) -> None:
        """Take nothing yet. `folder`: of the journal here; batches that share it share leases."""
        self._url = storage.join(url, NAME)
        self._place = url
        token = folder / "machine"
        if not token.exists():
            token.write_text(secrets.token_hex(8), encoding="ascii")
        self._machine = token.read_text(encoding="ascii")
        self._renew_at = 0.0

    def renew(self) -> None:
        """Take the lease, or renew it if it is time to.

        Raises OutputError where another machine's batch is writing.
        """
        if monotonic() < self._renew_at:
            return
        found = self._read()
        if self._is_others(found):
            raise OutputError(
                f"{self._place}: another darkroom batch is writing there, on {found.get('host')}; "
                f"wait for it, or if it is dead for {VALID_SECONDS / 60:g} minutes"
            )
        record = {"machine": self._machine, "host": socket.gethostname(), "time": time()}
        with tempfile.TemporaryDirectory(prefix="darkroom-") as name:
            file = Path(name) / NAME
            file.write_text(json.dumps(record), encoding="utf-8")
            storage.publish(file, self._url, replace=True)
        self._renew_at = monotonic() + RENEW_SECONDS

    def release(self) -> bool:
        """Give the URL free; False where another machine's batch has it."""
        found = self._read()
        if found.get("machine") == self._machine:
            storage.remove(self._url)
        return not self._is_others(found)

    def _read(self) -> dict[str, object]:
        """Return the lease that is there, empty where there is none or it cannot be made out."""
        try:
            found = json.loads(storage.read(self._url) or b"{}")
        except ValueError:  # half-written elsewhere
            return {}
        return found if isinstance(found, dict) else {}

    def _is_others(self, found: dict[str, object]) -> bool:
        made = found.get("time")
        fresh = isinstance(made, int | float) and time() - made < VALID_SECONDS
        return fresh and found.get("machine") != self._machine
