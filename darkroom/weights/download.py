"""One file over HTTP, whatever the server does: resumed, bounded, never a web page in its stead.

`Download` is a downloader in pooch's sense: pooch gives it a temporary name, checks the SHA-256 of
what it leaves there and moves it into place. Between attempts, and between runs, the bytes so far
wait in `part`, with the server's validator beside it.
"""

import contextlib
import errno
import http.client
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import requests
import urllib3

from darkroom import __version__
from darkroom.errors import WeightsError
from darkroom.weights.page import Page, looks_like_page, printable

MAX_BYTES = 512 * 2**20  # no published network here has more than 94 MB with its training state
MAX_PAGE_BYTES = 2**20
MAX_REDIRECTS = 5
CHUNK = 2**16
SLOWEST = 1024  # bytes/s over `stall` seconds; less is a stall
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to put up with a server; all times in seconds, `backoff` doubles each time."""

    attempts: int = 4
    backoff: float = 1.0
    longest_wait: float = 30.0
    connect: float = 10.0
    stall: float = 30.0


class PassingError(WeightsError):
    """A failure that may not happen again; `after` is the server's own wish in seconds."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class MissingError(WeightsError):
    """The server has no such file."""


@dataclass(frozen=True, slots=True)
class Download:
    """Downloads one file. `size`: what it must be, if known. `hashed`: whether a hash is known.

    `progress` is called with bytes done and in all (None if unknown), `note` with a line of words.
    """

    part: Path
    size: int | None
    hashed: bool
    patience: Patience
    progress: Callable[[int, int | None], None]
    note: Callable[[str], None]

    def __call__(self, url: str, output_file: Any, pooch: object = None) -> None:
        """Download `url` to `output_file`; raises WeightsError, in one line, when it cannot."""
        with requests.Session() as session:
            session.max_redirects = MAX_REDIRECTS
            self._attempts(session, url)
        self.part.replace(output_file)
        _notes(self.part).unlink(missing_ok=True)

    def _attempts(self, session: requests.Session, url: str) -> None:
        for attempt in range(1, self.patience.attempts + 1):
            try:
                self._attempt(session, url)
                return
            except PassingError as error:
                if error.after > self.patience.longest_wait:
                    raise WeightsError(f"{error}, try again in {error.after:,.0f} s") from error
                if attempt == self.patience.attempts:
                    raise WeightsError(f"{error} ({attempt} attempts)") from error
                wait = max(self.patience.backoff * 2 ** (attempt - 1), error.after)
                self.note(f"{error}; trying again in {wait:g} s")
                time.sleep(wait)

    def _attempt(self, session: requests.Session, url: str) -> None:
        start, validator = self._resume_point(url)
        try:
            with contextlib.closing(self._open(session, url, (start, validator))) as response:
                self._receive(url, response, start)
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _network_error(url, error, self.patience) from error

    def _resume_point(self, url: str) -> tuple[int, str | None]:
        """Return where to go on, and the validator for it; (0, None) to start anew.

        Bytes of another URL, or bytes that neither a validator nor a hash vouches for, are dropped.
        """
        try:
            size = self.part.stat().st_size
            notes = json.loads(_notes(self.part).read_text(encoding="utf-8"))
            validator = notes["validator"]
            usable = notes["url"] == url and size > 0
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return 0, None
        vouched = isinstance(validator, str) or (validator is None and self.hashed)
        return (size, validator) if usable and vouched else (0, None)

    def _open(
        self, session: requests.Session, url: str, resume: tuple[int, str | None]
    ) -> requests.Response:
        start, validator = resume
        headers = {"Accept-Encoding": "identity", "User-Agent": f"darkroom/{__version__}"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if validator:
                headers["If-Range"] = validator
        response = self._get(session, url, headers)
        if not _is_page(response):
            return response
        page = self._read_page(url, response)
        target = page.submit(response.url)
        if target is None:
            raise WeightsError(f"{url}: got a web page{page.titled()} instead of the file")
        response = self._get(session, target, headers)
        if _is_page(response):
            titled = self._read_page(url, response).titled()
            raise WeightsError(f"{url}: got a web page{titled} instead of the file")
        return response

    def _get(
        self, session: requests.Session, url: str, headers: dict[str, str]
    ) -> requests.Response:
        response = session.get(
            url, headers=headers, stream=True, timeout=(self.patience.connect, self.patience.stall)
        )
        hops = [hop.url for hop in (*response.history, response)]
        if url.startswith("https:") and not all(hop.startswith("https:") for hop in hops):
            response.close()
            raise WeightsError(f"{url}: redirected to an unencrypted address: refused")
        return response

    def _read_page(self, url: str, response: requests.Response) -> Page:
        page, read = Page(), 0
        with response:
            for chunk in _chunks(url, response, self.patience.stall):
                page.feed(chunk.decode("utf-8", "replace"))
                read += len(chunk)
                if read > MAX_PAGE_BYTES:
                    break
        return page

    def _receive(self, url: str, response: requests.Response, start: int) -> None:
        start = self._accepted_start(url, response, start)
        total = self._total(url, response, start)
        if not start:
            notes = {"url": url, "validator": _validator(response)}
            _notes(self.part).write_text(json.dumps(notes), encoding="utf-8")
        needed = (total or 0) - start
        if needed > shutil.disk_usage(self.part.parent).free:
            raise _full(self.part.parent, needed)
        done = start
        bound = MAX_BYTES if self.size is None else self.size
        with self._part_file(start) as file:
            for chunk in _chunks(url, response, self.patience.stall):
                if not done and looks_like_page(chunk):
                    raise WeightsError(f"{url}: got a web page instead of the file")
                done += len(chunk)
                if done > bound:
                    file.close()
                    self._discard()
                    raise WeightsError(f"{url}: sends more than {bound:,} bytes: refused")
                self._write(file, chunk)
                self.progress(done, total)
        if total is not None and done < total:
            raise PassingError(f"{url}: dropped after {done:,} of {total:,} bytes")

    def _accepted_start(self, url: str, response: requests.Response, start: int) -> int:
        """Return the position of the response's first byte; raises for every status but success."""
        status = response.status_code
        if status == 200:
            return 0
        if status == 206 and start and _range_start(response) == start:
            return start
        if status in (206, 416):
            self._discard()
            raise PassingError(f"{url}: cannot resume at {start:,} bytes")
        if status in RETRIED:
            raise PassingError(f"{url}: HTTP {status}", after=_retry_after(response))
        raise (MissingError if status in (404, 410) else WeightsError)(f"{url}: HTTP {status}")

    def _total(self, url: str, response: requests.Response, start: int) -> int | None:
        """Return the size of the whole file as the server states it, checked; None if it does not.

        Without a hash, a stated end is the only proof that nothing is missing.
        """
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise WeightsError(f"{url}: the server sends it compressed though asked not to")
        stated = response.headers.get("Content-Length", "")
        chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
        if chunked or not stated.isdecimal():
            if self.size is None and not self.hashed and not chunked:
                raise WeightsError(f"{url}: neither a length nor a hash is known: refused")
            return self.size
        total = start + int(stated)
        if self.size is not None and total != self.size:
            raise WeightsError(f"{url}: offers {total:,} bytes, {self.size:,} expected: refused")
        if total > MAX_BYTES:
            raise WeightsError(f"{url}: offers {total:,} bytes, more than {MAX_BYTES:,}: refused")
        return total

    def _part_file(self, start: int) -> IO[bytes]:
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        flags |= os.O_APPEND if start else os.O_TRUNC
        return os.fdopen(os.open(self.part, flags, 0o644), "wb", buffering=0)

    def _write(self, file: IO[bytes], chunk: bytes) -> None:
        view = memoryview(chunk)
        try:
            while view:
                view = view[file.write(view) :]
        except OSError as error:
            if error.errno not in FULL:
                raise
            file.close()
            self._discard()
            raise _full(self.part.parent, len(chunk)) from error

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        _notes(self.part).unlink(missing_ok=True)


def _is_page(response: requests.Response) -> bool:
    kind = response.headers.get("Content-Type", "").lower()
    return response.status_code == 200 and kind.startswith(("text/html", "application/xhtml"))


def _chunks(url: str, response: requests.Response, stall: float) -> Iterator[bytes]:
    """Yield the body as it arrives; PassingError once it only trickles."""
    window, gained = time.monotonic(), 0
    while chunk := response.raw.read1(CHUNK, decode_content=False):
        yield chunk
        gained += len(chunk)
        passed = time.monotonic() - window
        if passed > stall:
            if gained < SLOWEST * passed:
                raise PassingError(f"{url}: only {gained:,} bytes in {passed:.0f} s")
            window, gained = time.monotonic(), 0


def _network_error(url: str, error: Exception, patience: Patience) -> WeightsError:
    """Translate what requests and urllib3 raise into one line."""
    if isinstance(error, requests.exceptions.TooManyRedirects):
        return WeightsError(f"{url}: redirected more than {MAX_REDIRECTS} times: refused")
    if isinstance(error, requests.exceptions.SSLError):
        return WeightsError(f"{url}: no trusted encryption: {printable(str(error))[:120]}")
    if isinstance(error, ValueError):
        return WeightsError(f"{url}: not an address to download from")
    if isinstance(error, requests.exceptions.Timeout | urllib3.exceptions.TimeoutError):
        return PassingError(f"{url}: silent for {patience.stall:g} s")
    cause: BaseException = error
    while isinstance(cause.__context__, Exception):
        cause = cause.__context__
    if isinstance(cause, http.client.IncompleteRead):
        return PassingError(f"{url}: dropped with {cause.expected:,} bytes to come")
    words = printable(getattr(cause, "strerror", None) or str(cause))[:120]
    return PassingError(f"{url}: connection failed: {words}")


def _validator(response: requests.Response) -> str | None:
    """Return what If-Range may ask for: a strong ETag, else the date.  Source: RFC 9110 13.1.5."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _range_start(response: requests.Response) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _retry_after(response: requests.Response) -> float:
    seconds = response.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdecimal() else 0.0


def _full(place: Path, needed: int) -> WeightsError:
    free = shutil.disk_usage(place).free
    return WeightsError(
        f"disk full: {needed:,} bytes more needed, {free:,} free in {place}; "
        "free some, or set DARKROOM_WEIGHTS to another folder"
    )


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")
