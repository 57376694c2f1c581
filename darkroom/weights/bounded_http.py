"""HTTP whose answers are bounded in time and size before their body as well as in it.

Our own over requests' connections: its timeout is for each byte alone, so a head, an endless row of
interim answers or a chunk's size, sent a byte at a time, hold it for ever; and it reads the body of
a redirect, of whatever size.
"""

import http.client
import io
import time
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter


class EndlessError(Exception):
    """An answer takes longer, or has more to it, than was allowed; `str()` says which."""


class Allowance:
    """What a server may still send, and until when; shared by all connections of a session."""

    def __init__(self) -> None:
        self._bytes, self._seconds, self._ends = 0, 0.0, 0.0

    def give_seconds(self, seconds: float) -> None:
        """Allow for so much time, from now on."""
        self._seconds, self._ends = seconds, time.monotonic() + seconds

    def give_bytes(self, size: int) -> None:
        """Allow for so many bytes, whatever was left."""
        self._bytes = size

    def take_bytes(self, count: int) -> None:
        """Note that so many bytes came."""
        self._bytes -= count

    def check(self) -> tuple[int, float]:
        """Return the bytes and seconds left; raises EndlessError where there are none."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise EndlessError(f"no whole answer in {self._seconds:g} s")
        if self._bytes <= 0:
            raise EndlessError("an answer without an end")
        return self._bytes, left


class BoundedSession(requests.Session):
    """A session within an allowance, that follows no redirects but says where they lead."""

    def __init__(self, allowance: Allowance) -> None:
        super().__init__()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(allowance))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Say that there is none, or requests would read the redirect's body."""

    def find_redirect(self, response: requests.Response) -> str | None:
        """Return the address that an answer redirects to, as it stands there; None without one."""
        return super().get_redirect_target(response)


class _Adapter(HTTPAdapter):
    def __init__(self, allowance: Allowance) -> None:
        super().__init__()
        self._allowance = allowance

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return requests' pool, but of connections within the allowance; proxies' too."""
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        bounded = {"response_class": staticmethod(partial(_read_response, self._allowance))}
        pool.ConnectionCls = type("BoundedConnection", (pool.ConnectionCls,), bounded)
        return pool


def _read_response(
    allowance: Allowance, connection: Any, *args: Any, **kwargs: Any
) -> http.client.HTTPResponse:
    """Return http.client's reader of an answer, over a connection within the allowance."""
    response = http.client.HTTPResponse(connection, *args, **kwargs)
    bounded = _BoundedReader(connection, response.fp.detach(), allowance)
    response.fp = io.BufferedReader(bounded)
    return response


class _BoundedReader(io.RawIOBase):
    """What comes over a socket, within an allowance."""

    def __init__(self, connection: Any, raw: Any, allowance: Allowance) -> None:
        self._connection, self._raw, self._allowance = connection, raw, allowance
        self._patience = connection.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        size, seconds = self._allowance.check()
        self._connection.settimeout(min(seconds, self._patience))
        try:
            count: int | None = self._raw.readinto(memoryview(buffer)[:size])
        except TimeoutError:
            self._allowance.check()  # which says it better, where its time is over
            raise
        self._allowance.take_bytes(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
