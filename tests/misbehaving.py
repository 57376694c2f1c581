"""An HTTP server on 127.0.0.1 that misbehaves on request: the path says how."""

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

CONFIRM_PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head>
<body><form id="download-form" action="{action}" method="get">
<input type="hidden" name="id" value="abc"><input type="hidden" name="confirm" value="t">
<input type="hidden" name="uuid" value="1-2&amp;3"><input type="submit" value="Download anyway">
</form></body></html>"""
QUOTA_PAGE = (
    "<html><head><title>Google Drive -\x1b[31m Quota exceeded</title></head><body></body></html>"
)


class Handler(BaseHTTPRequestHandler):
    server: "Server"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        how = parts.path.split("/")[1]
        self.server.seen[how] += 1
        self.server.requests.append((self.path, self.headers.get("Range")))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, f"serve_{how}".replace("-", "_"), self.serve_missing)(
                parse_qs(parts.query)
            )

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        for key, value in ({"Content-Length": str(len(body))} | given).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def send_from(self, start: int, etag: str = '"v1"') -> None:
        body = self.server.payload[start:]
        total = len(self.server.payload)
        if start:
            span = f"bytes {start}-{total - 1}/{total}"
            self.send(206, body, ETag=etag, Content_Range=span)
        else:
            self.send(200, body, ETag=etag)

    def hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    @property
    def start(self) -> int:
        wanted = self.headers.get("Range")
        return int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0

    def begin(self, length: int | None, **headers: str) -> None:
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    # What each first part of a path does.

    def serve_good(self, query: object) -> None:
        self.send_from(self.start)

    def serve_drops(self, query: object) -> None:
        """Half of what remains, then the line is cut; the third time, all."""
        if self.server.seen["drops"] % 3 == 0:
            return self.send_from(self.start)
        payload, start = self.server.payload, self.start
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(payload) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(payload) - 1}/{len(payload)}")
        self.send_header("ETag", '"v1"')
        self.end_headers()
        self.wfile.write(payload[start : start + (len(payload) - start) // 2])
        return self.hang_up()

    def serve_cuts(self, query: dict[str, list[str]]) -> None:
        """Hangs up at the n-th of the given places at the n-th request, later no more."""
        cuts, nth = [int(cut) for cut in query.get("at", [])], self.server.seen["cuts"] - 1
        if nth >= len(cuts):
            return self.send_from(self.start)
        start, total = self.start, len(self.server.payload)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(total - start))
        self.send_header("ETag", '"v1"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        self.wfile.write(self.server.payload[start : max(start, cuts[nth])])
        return self.hang_up()

    def serve_drops_no_range(self, query: object) -> None:
        """Cut in the middle the first time; knows no Range at all."""
        if self.server.seen["drops-no-range"] > 1:
            return self.send(200, self.server.payload)
        self.begin(len(self.server.payload))
        self.wfile.write(self.server.payload[:5000])
        return self.hang_up()

    def serve_always_drops(self, query: object) -> None:
        self.begin(len(self.server.payload))
        self.wfile.write(self.server.payload[:5000])
        self.hang_up()

    def serve_changes(self, query: object) -> None:
        """Another version behind the same URL once the first was cut: the ETag says so."""
        if self.server.seen["changes"] > 1:
            return self.send(200, self.server.payload, ETag='"v2"')
        self.begin(len(self.server.payload), ETag='"v1"')
        self.wfile.write(b"\xff" * 5000)
        return self.hang_up()

    def serve_wrong_range(self, query: object) -> None:
        """Answers a Range with the bytes of another place."""
        start = self.start
        if not start and self.server.seen["wrong-range"] == 1:
            self.begin(len(self.server.payload), ETag='"v1"')
            self.wfile.write(self.server.payload[:5000])
            return self.hang_up()
        return self.send_from(start + 7 if start else 0)

    def serve_stalls(self, query: object) -> None:
        self.begin(len(self.server.payload))
        self.wfile.write(self.server.payload[:100])
        self.server.closing.wait(5)

    def serve_silent(self, query: object) -> None:
        self.server.closing.wait(5)

    def serve_trickles(self, query: object) -> None:
        self.begin(len(self.server.payload))
        for byte in self.server.payload:
            self.wfile.write(bytes([byte]))
            if self.server.closing.wait(0.05):
                return

    def serve_wrong(self, query: object) -> None:
        self.send(200, bytes(len(self.server.payload)))

    def serve_flaky(self, query: object) -> None:
        if self.server.seen["flaky"] == 1:
            return self.send(500, b"oops")
        return self.send_from(self.start)

    def serve_busy(self, query: object) -> None:
        self.send(503, b"", Retry_After="100000")

    def serve_overloaded(self, query: object) -> None:
        self.send(503, b"")

    def serve_html(self, query: object) -> None:
        self.send(200, b"<html><title>Please log in</title></html>", Content_Type="text/html")

    def serve_disguised(self, query: object) -> None:
        page = b"\n <!DOCTYPE html><p>no file here</p>"
        self.send(200, page, Content_Type="application/octet-stream")

    def serve_quota(self, query: object) -> None:
        self.send(200, QUOTA_PAGE.encode(), Content_Type="text/html; charset=utf-8")

    def serve_loop(self, query: object) -> None:
        self.send(302, b"", Location="/loop/again")

    def serve_moved(self, query: object) -> None:
        self.send(302, b"", Location="/good/weights")

    def serve_to_file(self, query: object) -> None:
        self.send(302, b"", Location="file:///etc/passwd")

    def serve_to_nowhere(self, query: object) -> None:
        self.send(302, b"", Location="http://[")

    def serve_long(self, query: object) -> None:
        """States 100 bytes more than it has."""
        self.begin(len(self.server.payload) + 100)
        self.wfile.write(self.server.payload)
        self.hang_up()

    def serve_short(self, query: object) -> None:
        """States and sends 100 bytes less than the file has."""
        self.send(200, self.server.payload[:-100])

    def serve_huge(self, query: object) -> None:
        self.begin(10**13)
        self.endless()

    def serve_endless(self, query: object) -> None:
        """Sends chunks without an end, and without saying how many."""
        self.begin(None, **{"Transfer-Encoding": "chunked"})
        self.endless(b"10000\r\n%s\r\n")

    def serve_chunked(self, query: object) -> None:
        self.begin(None, **{"Transfer-Encoding": "chunked"})
        body = self.server.payload
        self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))

    def serve_chunked_drops(self, query: object) -> None:
        """Hangs up in the middle of a chunk."""
        self.begin(None, **{"Transfer-Encoding": "chunked"})
        self.wfile.write(b"%x\r\n%s" % (len(self.server.payload), self.server.payload[:5000]))
        self.hang_up()

    def serve_unstated(self, query: object) -> None:
        """Sends all, says not how much, and ends by hanging up: indistinguishable from a drop."""
        self.begin(None, Connection="close")
        self.wfile.write(self.server.payload)
        self.hang_up()

    def serve_compressed(self, query: object) -> None:
        self.send(200, b"\x1f\x8b", Content_Encoding="gzip")

    def serve_confirm(self, query: dict[str, list[str]]) -> None:
        if query.get("confirm") == ["t"] and query.get("uuid") == ["1-2&3"]:
            return self.send_from(self.start)
        page = CONFIRM_PAGE.format(action="/confirm/weights").encode()
        return self.send(200, page, Content_Type="text/html; charset=utf-8")

    def serve_confirm_elsewhere(self, query: object) -> None:
        page = CONFIRM_PAGE.format(action="http://localhost.invalid/x").encode()
        self.send(200, page, Content_Type="text/html")

    def serve_confirm_nowhere(self, query: object) -> None:
        page = CONFIRM_PAGE.format(action="http://[").encode()
        self.send(200, page, Content_Type="text/html")

    def serve_maze(self, query: object) -> None:
        """A page that is one tag without an end, in small pieces."""
        self.begin(2**20, **{"Content-Type": "text/html"})
        for piece in range(2**9):
            self.wfile.write(b"a " * 2**10 if piece else b"<a" + b" a" * (2**10 - 1))
            self.server.closing.wait(0.001)

    # Heads and frames without an end, quick or a byte at a time.

    def serve_heavy_redirect(self, query: object) -> None:
        """Redirects, with a body that never ends."""
        self.send_response(302)
        self.send_header("Location", "/good/weights")
        self.end_headers()
        self.endless()

    def serve_slow_redirects(self, query: object) -> None:
        if self.server.closing.wait(0.2):
            return
        self.send(302, b"", Location="/slow-redirects/again")

    def serve_slow_status(self, query: object) -> None:
        self.drip(b"HTTP/1.1 200 O" + b"K" * 2**10)

    def serve_slow_head(self, query: object) -> None:
        self.drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 2**10)

    def serve_slow_interim(self, query: object) -> None:
        self.drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2**10)

    def serve_endless_interim(self, query: object) -> None:
        self.flood(b"HTTP/1.1 100 Continue\r\n\r\n" * 2**10)

    def serve_endless_status(self, query: object) -> None:
        self.flood(b"HTTP/1.1 200 " * 2**10)

    def serve_endless_header(self, query: object) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self.flood(b"y" * 2**16)

    def serve_many_headers(self, query: object) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.flood(b"X: y\r\n" * 2**10)

    def serve_slow_chunk(self, query: object) -> None:
        """A chunk's size that is preceded by zeros."""
        self.begin(None, **{"Transfer-Encoding": "chunked"})
        self.drip(b"3\r\nabc\r\n", b"0" * 2**10)

    def serve_endless_chunk(self, query: object) -> None:
        """A chunk's extension that never ends."""
        self.begin(None, **{"Transfer-Encoding": "chunked"})
        self.wfile.write(b"3\r\nabc\r\n5;")
        self.flood(b"x" * 2**16)

    def serve_endless_trailers(self, query: object) -> None:
        self.begin(None, **{"Transfer-Encoding": "chunked"})
        self.wfile.write(b"3\r\nabc\r\n0\r\n")
        self.flood(b"X: y\r\n" * 2**10)

    def serve_slow_trailers(self, query: object) -> None:
        self.begin(None, **{"Transfer-Encoding": "chunked"})
        self.drip(b"3\r\nabc\r\n0\r\n", b"X: y\r\n" * 2**10)

    def serve_tiny_chunks(self, query: object) -> None:
        """Chunks of a byte, each in time."""
        self.begin(None, **{"Transfer-Encoding": "chunked"})
        for _ in range(2**10):
            self.wfile.write(b"1\r\nx\r\n")
            if self.server.closing.wait(0.02):
                return

    def serve_absurd_length(self, query: object) -> None:
        self.begin(None, **{"Content-Length": "9" * 5000})

    def drip(self, quick: bytes, slow: bytes | None = None) -> None:
        """Send the one at once, the other (the first, if it is alone) a byte at a time."""
        if slow is None:
            quick, slow = b"", quick
        self.wfile.write(quick)
        for byte in slow:
            self.wfile.write(bytes([byte]))
            if self.server.closing.wait(0.02):
                return

    def flood(self, block: bytes) -> None:
        """Send the same again and again, for five seconds or until the client hangs up."""
        limit = time.monotonic() + 5
        while time.monotonic() < limit and not self.server.closing.is_set():
            self.wfile.write(block)
            self.server.flooded += len(block)

    def serve_missing(self, query: object) -> None:
        self.send(404, b"nothing here")

    def endless(self, form: bytes = b"%s") -> None:
        with contextlib.suppress(OSError):
            self.flood(form % bytes(2**16))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, payload: bytes, host: str = "127.0.0.1") -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), Handler)
        self.payload = payload
        self.flooded = 0
        self.seen: Counter[str] = Counter()
        self.requests: list[tuple[str, str | None]] = []
        self.closing = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are what this server is for."""

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{f'[{host}]' if ':' in str(host) else host}:{port}"


@contextlib.contextmanager
def running(payload: bytes, host: str = "127.0.0.1") -> Iterator[Server]:
    with Server(payload, host) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
