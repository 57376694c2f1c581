"""`darkroom fetch-weights` as a user meets it: words, exit codes, and nothing without consent."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import misbehaving
import pytest
from entries import HASTY, PAYLOAD, SHA256, an_entry
from places import ROOT
from typer.testing import CliRunner, Result

from darkroom.cli import app
from darkroom.weights import fetch, registry, store
from darkroom.weights.registry import FileEntry, Licence, WeightsEntry

RUNNER = CliRunner()


@pytest.fixture
def server() -> Iterator[misbehaving.Server]:
    with misbehaving.running(PAYLOAD) as running:
        yield running


@pytest.fixture(autouse=True)
def shelf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: misbehaving.Server
) -> dict[str, WeightsEntry]:
    """A registry of small weights on the local server: one open, one not, one that is broken."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("DARKROOM_WEIGHTS", str(tmp_path / "store"))
    good = FileEntry("weights", (f"{server.url}/good/weights",), len(PAYLOAD), SHA256)
    new = FileEntry("weights", (f"{server.url}/good/weights",))
    gone = FileEntry("weights", (f"{server.url}/missing/weights",))
    closed = Licence("non-commercial", open=False, url="https://example.org/l", notice="no selling")
    entries = {
        "known": an_entry(good, name="known"),
        "new": an_entry(new, name="new"),
        "gone": an_entry(gone, name="gone"),
        "closed": _with_licence(an_entry(good, name="closed"), closed),
    }
    monkeypatch.setattr(registry, "ENTRIES", MappingProxyType(entries))
    monkeypatch.setattr(fetch, "RETRY_POLICY", HASTY)
    return entries


def _with_licence(entry: WeightsEntry, licence: Licence) -> WeightsEntry:
    return replace(entry, licence=licence)


def run(*words: str, answer: str | None = None) -> Result:
    return RUNNER.invoke(app, ["fetch-weights", *words], input=answer)


def test_without_a_name_it_lists() -> None:
    result = run()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "known", "new", "gone", "closed"]
    assert "not installed" in lines[1]
    assert "0.1 MB" in lines[1]
    assert "not known yet" in lines[2]
    assert "DARKROOM_WEIGHTS" in result.stderr


def test_a_fetch_says_how_far_the_bytes_are_trusted() -> None:
    result = run("known", "new")
    assert result.exit_code == 0, result.output
    known, new = result.stdout.splitlines()
    assert known.endswith("SHA-256 known beforehand")
    assert new.endswith("SHA-256 trusted on first use")
    assert result.stderr == ""
    assert "already" in run("known").stdout
    assert run("--verify").stdout.count("whole in") == 2
    assert "trusted on first use" in run().stdout


def test_one_failure_does_not_stop_the_others(shelf: dict[str, WeightsEntry]) -> None:
    result = run("gone", "known")
    assert result.exit_code == 3
    assert result.stderr.count("error:") == 1
    assert "HTTP 404" in result.stderr
    assert store.verify(shelf["known"])
    everything = run("--all")
    assert everything.exit_code == 3
    assert "2 failed: closed, gone" in everything.stderr


def test_a_licence_that_is_not_open_needs_a_yes(
    shelf: dict[str, WeightsEntry], server: misbehaving.Server
) -> None:
    refused = run("closed")
    assert refused.exit_code == 3
    assert "no selling" in refused.stderr
    assert "--accept-license" in refused.stderr
    assert server.requests == []
    accepted = run("closed", "--accept-license")
    assert accepted.exit_code == 0
    assert "https://example.org/l" in accepted.stderr


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 3), ("\n", 3)])
def test_on_a_terminal_it_asks(
    monkeypatch: pytest.MonkeyPatch, server: misbehaving.Server, answer: str, code: int
) -> None:
    monkeypatch.setattr("darkroom.cli.weights_actions.on_terminal", lambda: True)
    result = run("closed", answer=answer)
    assert result.exit_code == code
    assert "Do you agree" in result.stderr
    assert len(server.requests) == (code == 0)


def test_a_dry_run_does_nothing(tmp_path: Path, server: misbehaving.Server) -> None:
    result = run("--all", "--dry-run")
    assert result.exit_code == 0
    assert f"{server.url}/good/weights" in result.stdout
    assert "would be trusted on first use" in result.stdout
    assert server.requests == []
    assert not (tmp_path / "store").exists()


def test_json_names_what_was_done_and_what_was_not() -> None:
    result = run("known", "gone", "--json")
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert document["schema"] == 1
    (done,) = document["weights"]
    assert (done["name"], done["state"], done["trust"]) == (
        "known",
        "installed",
        "known beforehand",
    )
    assert done["files"][0]["sha256"] == SHA256
    assert document["errors"][0]["name"] == "gone"
    assert "HTTP 404" in document["errors"][0]["error"]


def test_damage_is_found_and_repaired(shelf: dict[str, WeightsEntry]) -> None:
    run("known")
    path = store.locate(shelf["known"])
    path.write_bytes(PAYLOAD[:-1] + b"x")
    result = run("--verify")
    assert result.exit_code == 3
    assert "darkroom fetch-weights known" in result.stderr
    assert "installed in" in run("known").stdout
    assert run("--verify", "known").exit_code == 0


def test_remove(shelf: dict[str, WeightsEntry], tmp_path: Path) -> None:
    run("known")
    assert "would remove" in run("known", "--remove", "--dry-run").stdout
    assert run("known", "--remove").stdout == "known: removed\n"
    assert "was not installed" in run("known", "--remove").stdout
    missing = run("known", "--verify")
    assert missing.exit_code == 3
    assert "not installed: darkroom fetch-weights known" in missing.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--remove",),
        ("--from", "https://example.org"),
        ("known", "--all"),
        ("known", "--verify", "--remove"),
        ("--import", "x.pth"),
        ("--as", "mine"),
        ("known", "--import", "x.pth", "--as", "mine"),
        ("known", "--from", "ftp://example.org"),
        ("--nonsense",),
    ],
)
def test_usage_errors(words: tuple[str, ...], server: misbehaving.Server) -> None:
    assert run(*words).exit_code == 2
    assert server.requests == []


@pytest.mark.parametrize(
    "name", ["../evil", "..", "a/b", "a\\b", "/etc", "", ".hidden", "C:x", "a\x00b", "x" * 65]
)
def test_names_that_would_leave_the_store(name: str, tmp_path: Path) -> None:
    for words in ((name,), (name, "--remove"), (name, "--verify")):
        result = run(*words)
        assert result.exit_code == 3
    result = run("--import", str(tmp_path / "x.pth"), "--as", name)
    assert result.exit_code == 3
    assert "cannot name weights" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_gets_the_closest() -> None:
    result = run("knwon")
    assert result.exit_code == 3
    assert "did you mean known?" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_retry_is_told_on_standard_error(
    shelf: dict[str, WeightsEntry], server: misbehaving.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky = an_entry(FileEntry("weights", (f"{server.url}/flaky/weights",)), name="flaky")
    monkeypatch.setattr(registry, "ENTRIES", MappingProxyType({"flaky": flaky}))
    result = run("flaky")
    assert result.exit_code == 0
    assert "HTTP 500; trying again" in result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_an_own_checkpoint_is_identified_and_kept(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors import safe_open

    from darkroom.models.architectures import ARCHITECTURES

    network = next(a for a in ARCHITECTURES if a.name == "safelight")
    state = {
        name: torch.full(shape, 0.25, dtype=torch.float16)
        for name, shape in network.dialects[0].items()
    }
    torch.save(state, tmp_path / "trained.pth")
    said = run("--import", str(tmp_path / "trained.pth"), "--as", "mine", "--dry-run")
    assert "would go to" in said.stdout
    assert not (tmp_path / "store").exists()
    result = run("--import", str(tmp_path / "trained.pth"), "--as", "mine")
    assert result.exit_code == 0, result.output
    assert "safelight, bayer" in result.stdout
    path = store.verify(store.find("mine"))
    assert hashlib.sha256(path.read_bytes()).hexdigest() in result.stdout
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == set(state)
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in state.items())
    assert "mine" in run().stdout
    assert "taken" in run("--import", str(tmp_path / "trained.pth"), "--as", "mine").stderr
    assert "nowhere to fetch" in run("mine", "--from", str(tmp_path)).stderr
    assert run("mine", "--remove").stdout == "mine: removed\n"


def test_a_hostile_pickle_runs_nothing(tmp_path: Path) -> None:
    victim = tmp_path / "victim"

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (victim,))  # type: ignore[return-value]

    torch = pytest.importorskip("torch")
    torch.save({"weight": Hostile()}, tmp_path / "bad.pth")
    result = run("--import", str(tmp_path / "bad.pth"), "--as", "bad")
    assert result.exit_code == 3
    assert not victim.exists()
    assert not (tmp_path / "store" / "bad").exists()


def test_it_needs_no_torch() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from darkroom.cli import app;"
        "r = CliRunner().invoke(app, ['fetch-weights', 'redi', '--from', 'absent', '--dry-run']);"
        "r = CliRunner().invoke(app, ['fetch-weights']); assert r.exit_code == 0, r.output;"
        "import darkroom.weights.fetch; sys.exit('torch' in sys.modules)"
    )
    folder = ROOT
    assert subprocess.run([sys.executable, "-c", script], cwd=folder, check=False).returncode == 0
