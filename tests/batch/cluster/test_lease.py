"""Claims to a URL: one machine's batch at a time."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.batch import storage
from darkroom.batch.cluster import lease
from darkroom.batch.cluster.lease import NAME, RENEW_SECONDS, VALID_SECONDS, Claim
from darkroom.errors import OutputError

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed (darkroom[cluster])")

URL = "memory://out"


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield
    fs.store.clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that both clocks show."""
    now = [1e9]
    monkeypatch.setattr(lease, "time", lambda: now[0])
    monkeypatch.setattr(lease, "monotonic", lambda: now[0])
    return now


def machine(tmp_path: Path, name: str) -> Claim:
    (tmp_path / name).mkdir(exist_ok=True)
    return Claim(URL, tmp_path / name)


def test_another_machine_waits(tmp_path: Path) -> None:
    first, second = machine(tmp_path, "first"), machine(tmp_path, "second")
    first.hold()
    with pytest.raises(OutputError, match=r"memory://out: another darkroom batch.* wait for it"):
        second.hold()
    assert not second.drop()
    assert list(storage.states(URL)) == [NAME]
    assert first.drop()
    assert storage.states(URL) == {}
    second.hold()


def test_a_killed_batch_goes_on_at_once_on_its_own_machine(tmp_path: Path) -> None:
    machine(tmp_path, "first").hold()
    machine(tmp_path, "first").hold()


def test_a_claim_that_is_not_renewed_runs_out(tmp_path: Path, clock: list[float]) -> None:
    first, second = machine(tmp_path, "first"), machine(tmp_path, "second")
    first.hold()
    clock[0] += RENEW_SECONDS + 1
    first.hold()
    clock[0] += VALID_SECONDS - 1
    with pytest.raises(OutputError):
        second.hold()
    clock[0] += 2
    second.hold()
    with pytest.raises(OutputError):  # the first is alive after all, and ends
        first.hold()


def test_of_two_at_the_same_moment_one_ends(tmp_path: Path, clock: list[float]) -> None:
    first, second = machine(tmp_path, "first"), machine(tmp_path, "second")
    second._read = dict  # type: ignore[method-assign]  # before the first's is there
    first.hold()
    second.hold()
    clock[0] += RENEW_SECONDS + 1
    with pytest.raises(OutputError):
        first.hold()


@pytest.mark.parametrize("data", [b"", b"[]", b'{"time": "x"}', json.dumps({}).encode()])
def test_what_is_no_claim_claims_nothing(tmp_path: Path, data: bytes) -> None:
    with fsspec.open(storage.join(URL, NAME), "wb") as file:
        file.write(data)
    machine(tmp_path, "first").hold()
