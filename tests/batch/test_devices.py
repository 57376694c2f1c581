"""Several photos in networks on the processor at once, each with threads of its own."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from batches import tiny_weights, write_photos
from PIL import Image
from torch import Tensor

from darkroom.batch.devices import MAX_AT_ONCE, count_at_once
from darkroom.batch.record import Status
from darkroom.batch.run import BatchOptions, enhance_all
from darkroom.batch.stages import LocalExecutor
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.models.row_bands import Recording
from darkroom.pipeline import enhance
from darkroom.raw.reader import read_raw

OPTIONS = BatchOptions(jobs=1)
PATIENCE = 60.0
"""Seconds for which one photo waits for the other; with a lock around the network, for ever."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")
    return load_model(path, "cpu", "fp32")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("threads", "at_once"), [(1, 1), (2, 2), (64, MAX_AT_ONCE)])
def test_a_processors_threads_are_shared_out(model: Model, threads: int, at_once: int) -> None:
    torch.set_num_threads(threads)
    assert count_at_once(model) == at_once


def test_what_needs_much_memory_or_has_a_device_is_alone(model: Model) -> None:
    assert count_at_once(replace(model, device=torch.device("cuda"))) == 1
    whole = replace(model.architecture, halo=None)
    assert count_at_once(replace(model, architecture=whole)) == 1
    assert count_at_once(replace(model, network=torch.nn.Conv2d(4, 3, 3))) == 1


@pytest.mark.parametrize(("threads", "capacity"), [(2, 4), (6, 6)])
def test_threads_are_given_back(model: Model, threads: int, capacity: int) -> None:
    """Beside those in networks one photo is decoded, and one encoded."""
    torch.set_num_threads(threads)
    executor = LocalExecutor([model], OPTIONS)
    assert torch.get_num_threads() == 1
    assert executor.capacity() == capacity
    executor.stop()
    assert torch.get_num_threads() == threads


def test_two_photos_are_in_the_network_at_once(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_photos(tmp_path / "in", 2)
    together, seen, run = threading.Barrier(2), set[int](), Recording.run

    def meet(
        recording: Recording, photo: Callable[[int, int], Tensor], band: int
    ) -> Iterator[Tensor]:
        if threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            together.wait(PATIENCE)
        yield from run(recording, photo, band)

    monkeypatch.setattr(Recording, "run", meet)
    outcomes = list(enhance_all(paths, tmp_path / "out", model, OPTIONS))
    assert [outcome.status for outcome in outcomes] == [Status.DONE] * 2
    assert len(seen) == 2
    monkeypatch.undo()
    for path in paths:
        expected = enhance(read_raw(path), model, OPTIONS.picture)
        with Image.open(tmp_path / "out" / f"{path.stem}.png") as found:
            assert found.tobytes() == expected.pixels.tobytes()
