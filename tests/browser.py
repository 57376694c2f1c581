"""A real headless Chromium for tests, driven through chromedriver's HTTP protocol (W3C)."""

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from programs import find_program

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""Source: W3C WebDriver, section 12.1, web element identifier."""
START_SECONDS = 30
DRIVER = find_program("chromedriver", says=r"ChromeDriver \d")
CHROMIUM = find_program(
    "chromium", "chromium-browser", "google-chrome", "chrome", says=r"Chrom(e|ium) \d"
)
PHONE = {"deviceMetrics": {"width": 390, "height": 844, "pixelRatio": 2, "touch": True}}


class Browser:
    """One page in one window."""

    def __init__(self, address: str, phone: bool) -> None:
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"]
        options: dict[str, Any] = {"binary": CHROMIUM, "args": arguments}
        if phone:
            options["mobileEmulation"] = PHONE
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._address = address
        given = {"capabilities": {"alwaysMatch": wanted}}
        self._address += "/session/" + self._post("/session", given)["sessionId"]

    def open(self, page: Path) -> None:
        self._post("/url", {"url": page.as_uri()})

    def run(self, script: str) -> Any:
        """Run the body of a JavaScript function and give its result."""
        return self._post("/execute/sync", {"script": script, "args": []})

    def press(self, selector: str, *keys: str) -> None:
        """Press keys with an element focused."""
        found = self._post("/element", {"using": "css selector", "value": selector})[ELEMENT]
        self._post(f"/element/{found}/value", {"text": "".join(keys)})

    def touch(self, across: float, down: float) -> None:
        """Tap on a place of the window."""
        place = {"type": "pointerMove", "duration": 0, "x": round(across), "y": round(down)}
        actions = [place, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        finger = {"type": "pointer", "id": "finger", "parameters": {"pointerType": "touch"}}
        self._post("/actions", {"actions": [finger | {"actions": actions}]})

    def log(self) -> list[str]:
        """Give what the console says since the last call."""
        return [entry["message"] for entry in self._post("/se/log", {"type": "browser"})]

    def close(self) -> None:
        self._send("DELETE", "", None)

    def _post(self, path: str, given: object) -> Any:
        return self._send("POST", path, given)

    def _send(self, method: str, path: str, given: object) -> Any:
        data = None if given is None else json.dumps(given).encode()
        kind = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._address + path, data, kind, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()) from None


@contextmanager
def driver() -> Iterator[str]:
    """Start chromedriver and give its address."""
    assert DRIVER is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = os.environ | {"no_proxy": "127.0.0.1"}
    command = [DRIVER, f"--port={port}"]
    with subprocess.Popen(command, env=environment, **quiet) as process:  # type: ignore[call-overload]
        try:
            _wait_until_ready(address)
            yield address
        finally:
            process.terminate()


def _wait_until_ready(address: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/status", timeout=5) as answer:
                if json.load(answer)["value"]["ready"]:
                    return
        except URLError:
            time.sleep(0.1)
    raise TimeoutError("chromedriver did not start")
