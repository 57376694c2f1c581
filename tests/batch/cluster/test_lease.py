"""Leases of a URL: one machine's batch at a time."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.batch import storage
from darkroom.batch.cluster import lease
from darkroom.batch.cluster.lease import NAME, RENEW_SECONDS, VALID_SECONDS, Lease
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


def machine(tmp_path: Path, name: str) -> Lease:
    (tmp_path / name).mkdir(exist_ok=True)
    return Lease(URL, tmp_path / name)


def test_another_machine_waits(tmp_path: Path) -> None:
    first, second = machine(tmp_path, "first"), machine(tmp_path, "second")
    first.renew()
    with pytest.raises(OutputError, match=r"memory://out: another darkroom batch.* wait for it"):
        second.renew()
    assert not second.release()
    assert list(storage.states(URL)) == [NAME]
    assert first.release()
    assert storage.states(URL) == {}
    second.renew()


def test_a_killed_batch_goes_on_at_once_on_its_own_machine(tmp_path: Path) -> None:
    machine(tmp_path, "first").renew()
    machine(tmp_path, "first").renew()


def test_a_lease_that_is_not_renewed_runs_out(tmp_path: Path, clock: list[float]) -> None:
    first, second = machine(tmp_path, "first"), machine(tmp_path, "second")
    first.renew()
    clock[0] += RENEW_SECONDS + 1
    first.renew()
    clock[0] += VALID_SECONDS - 1
    with pytest.raises(OutputError):
        second.renew()
    clock[0] += 2
    second.renew()
    with pytest.raises(OutputError):  # the first is alive after all, and ends
        first.renew()


def test_of_two_at_the_same_moment_one_ends(tmp_path: Path, clock: list[float]) -> None:
    first, second = machine(tmp_path, "first"), machine(tmp_path, "second")
    second._read = dict  # type: ignore[method-assign]  # before the first's is there
    first.renew()
    second.renew()
    clock[0] += RENEW_SECONDS + 1
    with pytest.raises(OutputError):
        first.renew()


@pytest.mark.parametrize("data", [b"", b"[]", b'{"time": "x"}', json.dumps({}).encode()])
def test_what_is_no_lease_holds_nobody_up(tmp_path: Path, data: bytes) -> None:
    with fsspec.open(storage.join(URL, NAME), "wb") as file:
        file.write(data)
    machine(tmp_path, "first").renew()
