"""One batch at a time writes to a URL: a file there says which machine's it is.

On one machine the journal's lock sees to that. Object stores have no locks: a lease that is not
renewed runs out, and of two that are taken at the same moment the earlier one's batch ends.
"""

import json
import secrets
import socket
import tempfile
from pathlib import Path
from time import monotonic, time

from darkroom.batch import storage
from darkroom.errors import OutputError

NAME = ".darkroom-writer.json"
"""Of the lease at the URL."""
RENEW_SECONDS = 60.0
VALID_SECONDS = 300.0
"""Longer than clocks of machines differ, and than a renewal takes."""


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
