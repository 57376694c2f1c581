"""One file over HTTP: resumed where it broke off, bounded in size and pace, never a web page.

Our own on requests, as pooch 1.9's downloader resumes nothing, and of 32 answers of a server as in
tests/misbehaving.py takes 7 that are no file (6 web pages) for weights and puts no bound on 3.
"""

import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import IO
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import urllib3

from darkroom import __version__
from darkroom.errors import WeightsError, printable
from darkroom.weights.bounded_http import Allowance, BoundedSession, EndlessError

MAX_BYTES = 512 * 2**20  # no published network here has more than 94 MB with its training state
MAX_PAGE_BYTES = 2**20
MAX_REDIRECTS = 5
MAX_HEAD_BYTES = 2**16  # of one answer, and of what stands between the pieces of its body
CHUNK_BYTES = 2**16
MIN_PACE = 1024  # bytes/s over `stall` seconds; less is a stall
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})

# In time linear in the page's length, unlike html.parser: a hostile 1 MB took it 109 s.
_PAGE_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html)", re.IGNORECASE)
_TITLE = re.compile(r"<title\b[^<>]*>([^<]*)", re.IGNORECASE)
_FORM = re.compile(r'<form\b[^<>]*\sid="download-form"[^<>]*>', re.IGNORECASE)
_INPUT = re.compile(r"<input\b[^<>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r'\s([\w-]+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long and how often to try a server, in seconds; `backoff` doubles each time.

    `stall`: without a byte, or with fewer than MIN_PACE a second. `head`: until the body begins,
    redirects and all.
    """

    attempts: int = 4
    backoff: float = 1.0
    max_wait: float = 30.0
    connect: float = 10.0
    stall: float = 30.0
    head: float = 60.0


class TransientError(WeightsError):
    """A failure that may not happen again; `after` is the server's own wish in seconds."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class MissingError(WeightsError):
    """The server has no such file."""


@dataclass(frozen=True, slots=True)
class Download:
    """A file to bring into `part`, where its bytes wait between attempts and between runs.

    `size`: what it must be, if known. `hashed`: whether a hash is known. `progress` is called with
    bytes done and in all (None if unknown), `note` with a line of words.
    """

    url: str
    part: Path
    size: int | None
    hashed: bool
    policy: RetryPolicy
    progress: Callable[[int, int | None], None]
    note: Callable[[str], None]
    _allowance: Allowance = field(default_factory=Allowance, init=False)

    def run(self) -> None:
        """Leave the whole file in `part`; raises WeightsError, in one line, when it cannot."""
        for attempt in itertools.count(1):
            try:
                self._attempt()
                return
            except TransientError as error:
                if error.after > self.policy.max_wait:
                    raise WeightsError(f"{error}, try again in {error.after:,.0f} s") from error
                if attempt == self.policy.attempts:
                    raise WeightsError(f"{error} ({attempt} attempts)") from error
                wait = max(self.policy.backoff * 2 ** (attempt - 1), error.after)
                self.note(f"{error}; trying again in {wait:g} s")
                time.sleep(wait)

    def _discard(self) -> None:
        """Delete the bytes so far."""
        self.part.unlink(missing_ok=True)
        self._notes_path.unlink(missing_ok=True)

    @property
    def _notes_path(self) -> Path:
        """Of the notes that say of which URL and version the bytes so far are."""
        return self.part.with_name(self.part.name + ".json")

    def _attempt(self) -> None:
        start, validator = self._resume_point()
        headers = {"Accept-Encoding": "identity", "User-Agent": f"darkroom/{__version__}"}
        if start:
            headers |= {"Range": f"bytes={start}-"} | ({"If-Range": validator} if validator else {})
        try:
            with (
                BoundedSession(self._allowance) as session,
                self._open(session, self.url, headers) as response,
            ):
                self._receive(response, start)
        except EndlessError as error:
            raise TransientError(f"{self.url}: {error}") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise self._network_error(error) from error

    def _resume_point(self) -> tuple[int, str | None]:
        """Return where to go on, and the validator for it; (0, None) to start anew.

        Bytes of another URL, or bytes that neither a validator nor a hash vouches for, are dropped.
        """
        try:
            notes = json.loads(self._notes_path.read_text(encoding="utf-8"))
            size = self.part.stat().st_size
        except (OSError, ValueError, RecursionError):
            return 0, None
        match notes:
            case {"url": self.url, "validator": str() | None as known} if known or self.hashed:
                return size, known
        return 0, None

    def _open(
        self, session: BoundedSession, url: str, headers: dict[str, str], confirmed: bool = False
    ) -> requests.Response:
        """Ask for the file, if need be by the form that Google Drive puts before large files."""
        response = self._follow_redirects(session, url, headers)
        kind = response.headers.get("Content-Type", "").lower()
        if response.status_code != 200 or not kind.startswith(("text/html", "application/xhtml")):
            return response
        with response:
            body = b"".join(self._read_body(response, MAX_PAGE_BYTES))
        page = body.decode("utf-8", "replace")
        target = None if confirmed else _form_target(page, response.url)
        if target is None:
            title = printable(unescape("".join(_TITLE.findall(page)[:1])))[:60]
            words = f" ({title!r})" if title else ""
            raise WeightsError(f"{self.url}: got a web page{words} instead of the file")
        return self._open(session, target, headers, confirmed=True)

    def _follow_redirects(
        self, session: BoundedSession, url: str, headers: dict[str, str]
    ) -> requests.Response:
        """Return the first answer that is no redirect; the bodies of those are dropped unread."""
        timeout = (self.policy.connect, self.policy.stall)
        self._allowance.give_seconds(self.policy.head)
        for _ in range(MAX_REDIRECTS + 1):
            if self.url.startswith("https:") and not url.startswith("https:"):
                raise WeightsError(f"{self.url}: redirected to an unencrypted address: refused")
            self._allowance.give_bytes(MAX_HEAD_BYTES)
            response = session.get(url, headers=headers, stream=True, timeout=timeout)
            target = session.find_redirect(response)
            if target is None:
                return response
            response.close()
            url = urljoin(response.url, target)
        raise WeightsError(f"{self.url}: redirected more than {MAX_REDIRECTS} times: refused")

    def _receive(self, response: requests.Response, start: int) -> None:
        start, total = self._check_head(response, start)
        if not start:
            # Source: RFC 9110, section 13.1.5: If-Range takes a strong ETag, else the date.
            etag = response.headers.get("ETag", "W/")
            validator = response.headers.get("Last-Modified") if etag.startswith("W/") else etag
            notes = json.dumps({"url": self.url, "validator": validator})
            self._notes_path.write_text(notes, encoding="utf-8")
        needed = (total or 0) - start
        if needed > shutil.disk_usage(self.part.parent).free:
            raise disk_full(self.part.parent, f"{needed:,} bytes more needed")
        done, bound = start, MAX_BYTES if self.size is None else self.size
        with self._open_part(start) as file:
            for chunk in self._read_body(response, bound - start):
                if not done and _PAGE_START.match(chunk):
                    raise WeightsError(f"{self.url}: got a web page instead of the file")
                file.write(chunk)
                file.flush()
                done += len(chunk)
                self.progress(done, total)
        if done > bound:
            self._discard()
            raise WeightsError(f"{self.url}: sends more than {bound:,} bytes: refused")
        if total is not None and done < total:
            raise TransientError(f"{self.url}: dropped with {total - done:,} bytes to come")

    def _check_head(self, response: requests.Response, start: int) -> tuple[int, int | None]:
        """Return the position of the body's first byte, and the size of the whole if it is known.

        Without a hash, a stated end is the only proof that nothing is missing.
        """
        status, headers = response.status_code, response.headers
        span = headers.get("Content-Range", "")
        if status in (206, 416) and not (start and span.startswith(f"bytes {start}-")):
            self._discard()
            raise TransientError(f"{self.url}: cannot resume at {start:,} bytes")
        if status in RETRIED:
            after = headers.get("Retry-After", "")
            seconds = float(after) if after.isdecimal() else 0.0
            raise TransientError(f"{self.url}: HTTP {status}", seconds)
        if status not in (200, 206):
            refusal = MissingError if status in (404, 410) else WeightsError
            raise refusal(f"{self.url}: HTTP {status}")
        if headers.get("Content-Encoding", "identity") != "identity":
            raise WeightsError(f"{self.url}: the server sends it compressed though asked not to")
        start = start if status == 206 else 0
        stated = headers.get("Content-Length", "")
        chunked = headers.get("Transfer-Encoding", "").lower() == "chunked"
        if stated.isdecimal() and not chunked:
            total = start + int(stated[:16])  # more digits are too much, and not all are a number
            check_size(self.url, total, self.size)
            return start, total
        if self.size is None and not self.hashed and not chunked:
            raise WeightsError(f"{self.url}: neither a length nor a hash is known: refused")
        return start, self.size

    def _open_part(self, start: int) -> IO[bytes]:
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        flags |= os.O_APPEND if start else os.O_TRUNC
        return os.fdopen(os.open(self.part, flags, 0o666), "wb")

    def _read_body(self, response: requests.Response, limit: int) -> Iterator[bytes]:
        """Yield the body as it arrives, up to the chunk that exceeds `limit` bytes.

        Raises TransientError once it only trickles.
        """
        response.raw.enforce_content_length = False  # `_receive` tells what is missing
        gained, window, before = 0, time.monotonic(), 0
        while gained <= limit:
            self._allowance.give_seconds(self.policy.stall)
            self._allowance.give_bytes(CHUNK_BYTES + MAX_HEAD_BYTES)
            chunk = response.raw.read1(CHUNK_BYTES, decode_content=False)
            if not chunk:
                return
            yield chunk
            gained += len(chunk)
            passed = time.monotonic() - window
            if passed > self.policy.stall:
                if gained - before < MIN_PACE * passed:
                    raise TransientError(
                        f"{self.url}: only {gained - before:,} bytes in {passed:.0f} s"
                    )
                window, before = time.monotonic(), gained

    def _network_error(self, error: Exception) -> WeightsError:
        """Translate what requests and urllib3 raise into one line."""
        cause: BaseException = error
        while isinstance(cause.__context__, Exception):
            cause = cause.__context__
        words = printable(getattr(cause, "strerror", None) or str(cause))[:120]
        match error:
            case requests.exceptions.SSLError():
                return WeightsError(f"{self.url}: no trusted encryption: {words}")
            case ValueError():
                return WeightsError(f"{self.url}: not an address to download from")
            case requests.Timeout() | urllib3.exceptions.TimeoutError():
                return TransientError(f"{self.url}: silent for {self.policy.stall:g} s")
        return TransientError(f"{self.url}: connection failed: {words}")


def _form_target(page: str, base: str) -> str | None:
    """Return the URL that a download form asks for; None without one, or if it leaves the site."""
    form = _FORM.search(page)
    if form is None:
        return None
    inputs = _INPUT.findall(page[form.end() :].partition("</form")[0])
    action, *fields = (
        {name.lower(): unescape(value) for name, value in _ATTRIBUTE.findall(tag)}
        for tag in (form[0], *inputs)
    )
    target = urlsplit(urljoin(base, action.get("action", "")))
    if target[:2] != urlsplit(base)[:2]:
        return None
    query = {field["name"]: field.get("value", "") for field in fields if "name" in field}
    return target._replace(query=urlencode(query), fragment="").geturl()


def check_size(place: str, size: int, published: int | None) -> None:
    """Raise WeightsError where a place offers another size than published, or far too much."""
    if published is not None and size != published:
        raise WeightsError(f"{place}: offers {size:,} bytes, {published:,} expected: refused")
    if size > MAX_BYTES:
        raise WeightsError(f"{place}: offers {size:,} bytes, more than {MAX_BYTES:,}: refused")


def disk_full(folder: Path, words: str) -> WeightsError:
    """Build the error for a folder whose disk is full, or would be."""
    return WeightsError(
        f"disk full: {words}, {shutil.disk_usage(folder).free:,} free in {folder}; "
        "free some, or set DARKROOM_WEIGHTS to another folder"
    )
