"""Fetching against a server that misbehaves in every way, and against hostile folders."""

import errno
import hashlib
import io
import json
import os
import signal as signals
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import misbehaving
import pytest
import requests
from entries import HASTY, PAYLOAD, SHA256, an_entry, entry_at
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import ROOT, SHARED

from darkroom.errors import UsageError, WeightsError
from darkroom.weights import download, registry, store
from darkroom.weights.download import RetryPolicy
from darkroom.weights.fetch import SILENT, FetchSource, Silent, fetch, install_own
from darkroom.weights.registry import FileEntry, Output
from darkroom.weights.store import State, Trust

IMPATIENT = replace(HASTY, stall=0.3, head=0.5)
REDI = SHARED / "weights" / "redi"


class Notebook(Silent):
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.seen: list[tuple[int, int | None]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, file: FileEntry, done: int, total: int | None) -> None:
        self.seen.append((done, total))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("DARKROOM_WEIGHTS", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def server() -> Iterator[misbehaving.Server]:
    with misbehaving.running(PAYLOAD) as running:
        yield running


def nothing_installed(place: Path) -> bool:
    """Only the lock and the hidden partial folder may be there, and no temporary file in it."""
    partial = place / ".tiny.partial"
    left = {path.name for path in partial.iterdir()} if partial.is_dir() else set()
    return not (place / "tiny").exists() and left <= {"weights.part", "weights.part.json"}


def test_a_good_server_needs_one_request(server: misbehaving.Server, place: Path) -> None:
    watcher = Notebook()
    entry = entry_at(f"{server.url}/good/weights", size=len(PAYLOAD), sha256=SHA256)
    (file,) = fetch(entry, policy=HASTY, watcher=watcher)
    assert (place / "tiny" / "weights").read_bytes() == PAYLOAD
    assert (file.trust, file.sha256, file.size) == (Trust.REGISTRY, SHA256, len(PAYLOAD))
    assert store.state(entry) is State.INSTALLED
    assert store.verify(entry) == place / "tiny" / "weights"
    assert watcher.seen[-1] == (len(PAYLOAD), len(PAYLOAD))
    assert watcher.notes == []
    assert sorted(path.name for path in (place / "tiny").iterdir()) == [store.RECORD, "weights"]
    assert fetch(entry, policy=HASTY) == ()
    assert len(server.requests) == 1


def test_an_unknown_hash_is_recorded_and_held_to(server: misbehaving.Server, place: Path) -> None:
    entry = entry_at(f"{server.url}/good/weights")
    (file,) = fetch(entry, policy=HASTY)
    assert (file.trust, file.sha256) == (Trust.FIRST_USE, SHA256)
    assert store.record(entry)["weights"] == file

    (place / "tiny" / "weights").write_bytes(b"tampered")
    assert store.state(entry) is State.DAMAGED
    with pytest.raises(WeightsError, match="SHA-256"):
        store.verify(entry)

    server.payload = PAYLOAD[::-1]
    with pytest.raises(WeightsError, match=r"recorded at first use.*--remove"):
        fetch(entry, policy=HASTY)
    assert (place / "tiny" / "weights").read_bytes() == b"tampered"
    assert store.remove(entry)
    (file,) = fetch(entry, policy=HASTY)
    assert file.sha256 == hashlib.sha256(server.payload).hexdigest()


@pytest.mark.parametrize("how", ["moved", "chunked", "flaky", "confirm", "drops-no-range"])
@pytest.mark.parametrize("known", [True, False])
def test_what_a_server_may_do(server: misbehaving.Server, how: str, known: bool) -> None:
    entry = entry_at(f"{server.url}/{how}/weights?id=abc", sha256=SHA256 if known else None)
    fetch(entry, policy=HASTY)
    assert store.verify(entry).read_bytes() == PAYLOAD


def test_a_cut_download_goes_on_where_it_stopped(server: misbehaving.Server) -> None:
    watcher = Notebook()
    fetch(entry_at(f"{server.url}/drops/weights"), policy=HASTY, watcher=watcher)
    half = len(PAYLOAD) // 2
    ranges = [wanted for _, wanted in server.requests]
    assert ranges == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]
    assert len(watcher.notes) == 2
    assert "trying again in 0.01 s" in watcher.notes[0]


@given(st.lists(st.integers(0, len(PAYLOAD) - 1), max_size=2))
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_wherever_it_is_cut_the_file_is_whole(cuts: list[int]) -> None:
    with misbehaving.running(PAYLOAD) as server:
        url = f"{server.url}/cuts/weights?" + "&".join(f"at={cut}" for cut in cuts)
        entry = entry_at(url)
        try:
            fetch(entry, policy=HASTY)
            assert store.verify(entry).read_bytes() == PAYLOAD
            sent = [int(wanted[6:-1]) for _, wanted in server.requests if wanted]
            assert sent == sorted(sent), "no byte that was received is asked for again"
        finally:
            store.remove(entry)


def test_a_later_run_goes_on_too(server: misbehaving.Server) -> None:
    entry = entry_at(f"{server.url}/drops/weights", sha256=SHA256)
    with pytest.raises(WeightsError, match=r"\(1 attempts\)|dropped|connection"):
        fetch(entry, policy=RetryPolicy(attempts=1))
    fetch(entry, policy=HASTY)
    assert server.requests[1][1] == f"bytes={len(PAYLOAD) // 2}-"
    assert store.verify(entry).read_bytes() == PAYLOAD


@pytest.mark.parametrize("how", ["changes", "wrong-range"])
def test_bytes_of_two_versions_are_never_joined(server: misbehaving.Server, how: str) -> None:
    entry = entry_at(f"{server.url}/{how}/weights")
    fetch(entry, policy=HASTY)
    assert store.verify(entry).read_bytes() == PAYLOAD


def test_a_spoilt_partial_file_costs_one_fresh_start(server: misbehaving.Server) -> None:
    entry = entry_at(f"{server.url}/good/weights", sha256=SHA256)
    staging = store.partial_folder(entry)
    staging.mkdir(parents=True)
    (staging / "weights.part").write_bytes(b"\xff" * 999)
    notes = {"url": entry.files[0].urls[0], "validator": '"v1"'}
    (staging / "weights.part.json").write_text(json.dumps(notes))
    fetch(entry, policy=HASTY)
    assert [wanted for _, wanted in server.requests] == ["bytes=999-", None]
    assert store.verify(entry).read_bytes() == PAYLOAD


@pytest.mark.parametrize("notes", ["", "[]", "{}", "[" * 9999, '{"url": 1, "validator": 2}'])
def test_odd_notes_beside_a_partial_file_are_ignored(
    server: misbehaving.Server, notes: str
) -> None:
    entry = entry_at(f"{server.url}/good/weights")
    staging = store.partial_folder(entry)
    staging.mkdir(parents=True)
    (staging / "weights.part").write_bytes(b"\xff" * 999)
    (staging / "weights.part.json").write_text(notes)
    fetch(entry, policy=HASTY)
    assert store.verify(entry).read_bytes() == PAYLOAD
    assert server.requests[0][1] is None


REFUSED = [
    ("missing", {}, "HTTP 404", 1),
    ("wrong", {"sha256": SHA256}, "SHA-256 is not the published", 1),
    ("busy", {}, "HTTP 503, try again in 100,000 s", 1),
    ("overloaded", {}, r"HTTP 503 \(3 attempts\)", 3),
    ("always-drops", {}, r"dropped with 46,200 bytes to come \(3 attempts\)", 3),
    ("silent", {}, r"silent for 0.3 s \(3 attempts\)", 3),
    ("stalls", {}, r"\(3 attempts\)", 3),
    ("trickles", {}, r"only .* bytes in", 3),
    ("html", {}, "web page .'Please log in'. instead of the file", 1),
    ("disguised", {}, "web page instead of the file", 1),
    ("quota", {}, r"'Google Drive - \[31m Quota exceeded'", 1),
    ("confirm-elsewhere", {}, "web page .*Virus scan warning", 1),
    ("loop", {}, "redirected more than 5 times", 6),
    ("to-file", {}, "not an address", 1),
    ("to-nowhere", {}, "not an address", 1),
    ("confirm-nowhere", {}, "not an address", 1),
    ("chunked-drops", {}, r"connection failed: .* \(3 attempts\)", 3),
    ("long", {}, r"\(3 attempts\)", 3),
    ("short", {"size": len(PAYLOAD)}, "offers 51,100 bytes, 51,200 expected", 1),
    ("short", {"sha256": SHA256}, "SHA-256 is not the published", 1),
    ("slow-redirects", {}, "no whole answer in 0.5 s", None),
    ("slow-status", {}, "no whole answer in 0.5 s", 3),
    ("slow-head", {}, "no whole answer in 0.5 s", 3),
    ("slow-interim", {}, "no whole answer in 0.5 s", 3),
    ("endless-interim", {}, "an answer without an end", 3),
    ("endless-status", {}, "an answer without an end|line is longer|more than 65536", 3),
    ("endless-header", {}, "an answer without an end|more than 65536", 3),
    ("many-headers", {}, "got more than 100 headers", 3),
    ("slow-chunk", {}, "no whole answer in 0.3 s", 3),
    ("endless-chunk", {}, "an answer without an end|more than 65536", 3),
    ("endless-trailers", {}, "an answer without an end", 3),
    ("slow-trailers", {}, "no whole answer in 0.3 s", 3),
    ("tiny-chunks", {}, "only .* bytes in", 3),
    ("absurd-length", {}, "offers 9,999.* bytes, more than", 1),
    ("huge", {}, "offers 10,000,000,000,000 bytes, more than", 1),
    ("endless", {"size": len(PAYLOAD)}, "sends more than 51,200 bytes", 1),
    ("endless", {}, "sends more than 1,000,000 bytes", 1),
    ("unstated", {}, "neither a length nor a hash", 1),
    ("compressed", {}, "compressed though asked not to", 1),
]


@pytest.mark.parametrize(("how", "facts", "says", "requests"), REFUSED)
def test_what_is_refused_in_one_line(
    server: misbehaving.Server,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    facts: dict[str, Any],
    says: str,
    requests: int | None,
) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1_000_000)
    slow = how.startswith(("silent", "stalls", "trickles", "slow", "tiny"))
    policy = IMPATIENT if slow else HASTY
    with pytest.raises(WeightsError, match=says) as caught:
        fetch(entry_at(f"{server.url}/{how}/weights", **facts), policy=policy)
    message = str(caught.value)
    assert message.isprintable(), "one line, and nothing that drives a terminal"
    assert "--from" in message
    assert nothing_installed(place)
    assert requests is None or len(server.requests) == requests


def test_a_page_costs_time_in_proportion_to_its_size(server: misbehaving.Server) -> None:
    start = time.monotonic()
    with pytest.raises(WeightsError, match="web page instead of the file"):
        fetch(entry_at(f"{server.url}/maze/weights"), policy=HASTY)
    assert time.monotonic() - start < 15, "html.parser took 48 s"


def test_a_dead_server_is_one_line(place: Path) -> None:
    with misbehaving.running(PAYLOAD) as server:
        url = server.url
    with pytest.raises(WeightsError, match="connection failed: Connection refused"):
        fetch(entry_at(f"{url}/good/weights"), policy=RetryPolicy(attempts=2, backoff=0.01))
    assert nothing_installed(place)


def test_encryption_is_never_given_up(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    asked = []

    def redirect(session: requests.Session, url: str, **_: object) -> requests.Response:
        asked.append(url)
        answer = requests.Response()
        answer.status_code, answer.url = 302, url
        answer.headers["Location"] = "http://a.example/w"
        answer.raw = io.BytesIO()
        return answer

    monkeypatch.setattr("requests.Session.get", redirect)
    with pytest.raises(WeightsError, match="unencrypted"):
        fetch(entry_at("https://a.example/w"), policy=HASTY)
    assert asked == ["https://a.example/w"], "the unencrypted address is not even asked"


def test_the_body_of_a_redirect_is_dropped_unread(server: misbehaving.Server) -> None:
    entry = entry_at(f"{server.url}/heavy-redirect/weights", sha256=SHA256)
    fetch(entry, policy=HASTY)
    assert store.verify(entry).read_bytes() == PAYLOAD
    assert server.flooded < 2**24, "what lies in the system's buffers; before, all of it came"


def test_a_server_that_never_speaks_tls(server: misbehaving.Server, place: Path) -> None:
    """Silent, or a byte at a time: the handshake as a whole has the time of a connection."""
    policy = replace(IMPATIENT, connect=0.3, attempts=1)

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            for byte in b"\x16\x03\x03\x40\x00" + bytes(100):
                connection.sendall(bytes([byte]))
                time.sleep(0.05)

    for speak in (lambda listener: None, drip):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=speak, args=(listener,), daemon=True)
            thread.start()
            url = f"https://127.0.0.1:{listener.getsockname()[1]}/weights"
            start = time.monotonic()
            with pytest.raises(WeightsError, match=r"silent for|no trusted encryption|connection"):
                fetch(entry_at(url), policy=policy)
            assert time.monotonic() - start < 3
    assert nothing_installed(place)


def test_ipv6(place: Path) -> None:
    try:
        with misbehaving.running(PAYLOAD, "::1") as server:
            entry = entry_at(f"{server.url}/good/weights", sha256=SHA256)
            fetch(entry, policy=HASTY)
            assert store.verify(entry).read_bytes() == PAYLOAD
            bad = replace(entry_at(f"{server.url}/slow-head/weights"), name="bad")
            with pytest.raises(WeightsError, match=r"no whole answer in 0\.5 s"):
                fetch(bad, policy=IMPATIENT)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")


def test_a_proxy_that_never_answers(
    server: misbehaving.Server, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer to CONNECT is within the same bounds."""

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(1000)
            for _ in range(200):
                connection.sendall(b"H")
                time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(WeightsError, match=r"no whole answer in 0\.5 s"):
            fetch(entry_at("https://a.example/weights"), policy=replace(IMPATIENT, attempts=1))


def test_the_second_url_is_tried(server: misbehaving.Server) -> None:
    urls = (f"{server.url}/missing/weights", f"{server.url}/good/weights")
    entry = an_entry(FileEntry("weights", urls))
    (file,) = fetch(entry, policy=HASTY)
    assert file.origin == urls[1]


def test_all_files_or_none(server: misbehaving.Server, place: Path) -> None:
    index = FileEntry("model.ckpt.index", (f"{server.url}/good/index",))
    bad = FileEntry("model.ckpt.data", (f"{server.url}/missing/data",))
    with pytest.raises(WeightsError, match="HTTP 404"):
        fetch(an_entry(index, bad), policy=HASTY)
    assert not (place / "tiny").exists()
    good = FileEntry("model.ckpt.data", (f"{server.url}/good/data",))
    entry = an_entry(index, good)
    fetch(entry, policy=HASTY)
    assert store.locate(entry).name == "model.ckpt.index"
    assert set(store.record(entry)) == {"model.ckpt.index", "model.ckpt.data"}


def test_two_at_once_fetch_once(server: misbehaving.Server, place: Path) -> None:
    """Processes and threads alike: the lock belongs to the open file."""
    script = (
        "import sys; sys.path.insert(0, 'tests'); import entries as t\n"
        "from darkroom.weights.fetch import fetch\n"
        f"print(len(fetch(t.entry_at('{server.url}/good/weights'), policy=t.HASTY)))"
    )
    folder = ROOT
    command = [sys.executable, "-c", script]
    pair = [subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE) for _ in range(2)]
    said = sorted(process.communicate(timeout=30)[0].strip() for process in pair)
    assert said == [b"0", b"1"], "one of them fetched, the other found it there"
    assert len(server.requests) == 1
    assert store.verify(entry_at(f"{server.url}/good/weights")).read_bytes() == PAYLOAD


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("signal", [signals.SIGKILL, signals.SIGINT])
def test_a_killed_fetch_is_taken_up(
    server: misbehaving.Server, place: Path, signal: signals.Signals
) -> None:
    """Its lock is freed by the system; what it left is hidden, and used or thrown away."""
    script = (
        "import sys; sys.path.insert(0, 'tests'); import entries as t\n"
        "from darkroom.weights.fetch import fetch\n"
        f"fetch(t.entry_at('{server.url}/stalls/weights'), policy=t.HASTY)"
    )
    command = [sys.executable, "-c", script]
    folder = ROOT
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
    part = place / ".tiny.partial" / "weights.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal)
    assert process.wait(10) != 0
    assert not (place / "tiny").exists()
    entry = entry_at(f"{server.url}/good/weights", sha256=SHA256)
    fetch(entry, policy=HASTY)
    assert store.verify(entry).read_bytes() == PAYLOAD
    assert sorted(path.name for path in (place / "tiny").iterdir()) == [store.RECORD, "weights"]


def test_the_second_waits_and_says_so(server: misbehaving.Server, place: Path) -> None:
    entry = entry_at(f"{server.url}/good/weights")
    watcher = Notebook()
    worker = threading.Thread(target=fetch, args=(entry, FetchSource(), HASTY, watcher))
    with store.lock_entry(entry, 1, lambda: None):
        worker.start()
        worker.join(0.3)
        assert worker.is_alive()
        assert server.requests == []
    worker.join(5)
    assert watcher.notes == ["tiny: another darkroom is at it; waiting"]
    assert store.state(entry) is State.INSTALLED


def test_a_lock_held_for_ever_ends_in_one_line(place: Path) -> None:
    entry = entry_at("https://unused.example")
    told: list[str] = []
    with (
        store.lock_entry(entry, 1, lambda: None),
        pytest.raises(WeightsError, match=r"another darkroom holds .*\.tiny\.lock for 0\.1 s"),
        store.lock_entry(entry, 0.1, lambda: told.append("once")),
    ):
        pytest.fail("held twice")
    assert told == ["once"]


@pytest.mark.parametrize("link", ["tiny", ".tiny.partial", ".tiny.lock", "tiny/weights"])
def test_links_in_the_store_are_refused(
    server: misbehaving.Server, place: Path, tmp_path: Path, link: str
) -> None:
    victim = tmp_path / "victim"
    (place / link).parent.mkdir(parents=True)
    if link.endswith(("lock", "weights")):
        victim.write_bytes(b"precious")
    else:
        victim.mkdir()
    (place / link).symlink_to(victim)
    entry = entry_at(f"{server.url}/good/weights", sha256=SHA256)
    if link == "tiny/weights":
        with pytest.raises(WeightsError, match="symbolic link"):
            store.verify(entry)
        fetch(entry, policy=HASTY)
        assert not (place / link).is_symlink()
    else:
        with pytest.raises(WeightsError, match=r"symbolic link|cannot write"):
            fetch(entry, policy=HASTY)
    if victim.is_dir():
        assert list(victim.iterdir()) == []
    else:
        assert victim.read_bytes() == b"precious"


def test_a_link_as_partial_file_is_not_followed(server: misbehaving.Server, tmp_path: Path) -> None:
    entry = entry_at(f"{server.url}/good/weights")
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    staging = store.partial_folder(entry)
    staging.mkdir(parents=True)
    (staging / "weights.part").symlink_to(victim)
    with pytest.raises(WeightsError, match="cannot write"):
        fetch(entry, policy=HASTY)
    assert victim.read_bytes() == b"precious"


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_a_full_disk_leaves_nothing(server: misbehaving.Server, place: Path) -> None:
    import resource

    entry = entry_at(f"{server.url}/good/weights")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(WeightsError, match=r"disk full: .* free some, or set DARKROOM_WEIGHTS"):
            fetch(entry, policy=HASTY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in place.iterdir()] == [".tiny.lock"]


def test_a_disk_known_to_be_too_small_is_not_tried(
    server: misbehaving.Server, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(WeightsError, match="51,200 bytes more needed, 1,000 free"):
        fetch(entry_at(f"{server.url}/good/weights"), policy=HASTY)
    assert nothing_installed(place)


def test_a_copy_onto_a_full_disk_leaves_nothing(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "weights").write_bytes(PAYLOAD)
    monkeypatch.setattr("darkroom.weights.fetch.shutil.copyfileobj", full)
    with pytest.raises(WeightsError, match="No space left on device"):
        fetch(entry_at("https://unused.example"), FetchSource(tmp_path))
    assert [path.name for path in place.iterdir()] == [".tiny.lock"]


def test_a_store_that_cannot_be_written_names_the_variable(place: Path) -> None:
    place.write_bytes(b"a file, not a folder")
    with pytest.raises(WeightsError, match="DARKROOM_WEIGHTS"):
        fetch(entry_at("https://unused.example"))


def test_an_unencrypted_mirror_of_unknown_bytes_is_told(server: misbehaving.Server) -> None:
    watcher = Notebook()
    fetch(entry_at("https://unused.example"), FetchSource(f"{server.url}/good"), HASTY, watcher)
    assert watcher.notes == ["tiny: unencrypted, and no hash is known: nobody vouches for it"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX")
@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_installed_files_are_readable_by_all_that_may(
    server: misbehaving.Server, tmp_path: Path, local: bool, mask: int, request: Any
) -> None:
    request.addfinalizer(partial(os.umask, os.umask(mask)))
    (tmp_path / "weights").write_bytes(PAYLOAD)
    entry = entry_at(f"{server.url}/good/weights")
    fetch(entry, FetchSource(tmp_path) if local else FetchSource(), HASTY)
    assert store.locate(entry).stat().st_mode == (tmp_path / "weights").stat().st_mode


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX")
def test_what_is_installed_needs_no_writing(server: misbehaving.Server, place: Path) -> None:
    entry = entry_at(f"{server.url}/good/weights")
    fetch(entry, policy=HASTY)
    (place / ".tiny.lock").unlink()
    assert fetch(entry, policy=HASTY) == ()
    assert not (place / ".tiny.lock").exists(), "a shared, read-only store must do"


def test_removal_waits_for_a_fetch(
    server: misbehaving.Server, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = entry_at(f"{server.url}/good/weights")
    fetch(entry, policy=HASTY)
    monkeypatch.setattr(store, "REMOVE_SECONDS", 0.1)
    with (
        store.lock_entry(entry, 1, lambda: None),
        pytest.raises(WeightsError, match="another darkroom holds"),
    ):
        store.remove(entry)
    assert store.state(entry) is State.INSTALLED


@pytest.mark.parametrize("nested", [True, False])
def test_from_a_folder(tmp_path: Path, nested: bool) -> None:
    folder = tmp_path / "mirror"
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / "weights" if nested else folder / "weights").write_bytes(PAYLOAD)
    entry = entry_at("https://unused.example", size=len(PAYLOAD), sha256=SHA256)
    (file,) = fetch(entry, FetchSource.parse(str(folder)))
    assert file.trust is Trust.REGISTRY
    assert store.verify(entry).read_bytes() == PAYLOAD


@pytest.mark.parametrize("content", [None, PAYLOAD[:-1], PAYLOAD[:-1] + b"x"])
def test_from_a_folder_with_something_else(
    tmp_path: Path, place: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "weights").write_bytes(content)
    entry = entry_at("https://unused.example", size=len(PAYLOAD), sha256=SHA256)
    with pytest.raises(WeightsError, match=r"no such file|bytes|SHA-256"):
        fetch(entry, FetchSource(tmp_path))
    assert nothing_installed(place)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_from_a_folder_with_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weights")
    with pytest.raises(WeightsError, match="no such file"):
        fetch(entry_at("https://unused.example"), FetchSource(tmp_path))


@pytest.mark.parametrize("path", ["good", "mirror"])
def test_from_a_mirror(server: misbehaving.Server, path: str) -> None:
    entry = entry_at("https://unused.example", sha256=SHA256)
    if path == "good":
        (file,) = fetch(entry, FetchSource.parse(f"{server.url}/good/"), HASTY)
        assert file.origin == f"{server.url}/good/tiny/weights"
    else:
        with pytest.raises(
            WeightsError, match=r"/mirror/tiny/weights: HTTP 404; .*/mirror/weights"
        ):
            fetch(entry, FetchSource.parse(f"{server.url}/mirror"), HASTY)


def test_a_mirror_that_fails_is_not_asked_for_another_layout(server: misbehaving.Server) -> None:
    entry = entry_at("https://unused.example", size=len(PAYLOAD))
    with pytest.raises(WeightsError, match=r"offers 51,100 bytes.*; try another --from"):
        fetch(entry, FetchSource(f"{server.url}/short"), HASTY)
    assert len(server.requests) == 1


def test_a_source_is_a_folder_or_an_address(tmp_path: Path) -> None:
    for text in ("ftp://example.org", "file:///etc", str(tmp_path / "absent")):
        with pytest.raises(UsageError, match="neither a folder nor"):
            FetchSource.parse(text)


def test_own_weights_are_installed_and_found(place: Path) -> None:
    entry = an_entry(FileEntry("mine.safetensors", ()), name="mine")
    (file,) = install_own(entry, PAYLOAD, "mine.pth")
    assert file.sha256 == SHA256
    found = store.find("mine")
    assert (found.architecture, found.output) == ("redi", Output.SRGB)
    assert store.verify(found).read_bytes() == PAYLOAD
    with pytest.raises(WeightsError, match="taken"):
        install_own(entry, PAYLOAD, "mine.pth")
    with pytest.raises(WeightsError, match="did you mean mine"):
        store.find("mime")


def test_own_weights_that_fail_leave_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:9])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    entry = an_entry(FileEntry("mine.safetensors", ()), name="mine")
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(WeightsError, match="disk full"):
        install_own(entry, PAYLOAD, "mine.pth")
    assert [path.name for path in place.iterdir()] == [".mine.lock"]
    with pytest.raises(WeightsError, match="published"):
        install_own(registry.ENTRIES["redi"], PAYLOAD, "x")


@pytest.mark.skipif(not REDI.is_dir(), reason="the published checkpoint is not on this machine")
def test_redi_as_published_has_the_hash_on_record() -> None:
    entry = registry.ENTRIES["redi"]
    (file,) = fetch(entry, FetchSource(REDI), watcher=SILENT)
    assert file.trust is Trust.REGISTRY
    assert store.verify(entry).stat().st_size == entry.size
