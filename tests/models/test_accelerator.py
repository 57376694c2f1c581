"""What networks do on accelerators, as far as a processor shows it: above all, no memory left."""

import weakref
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batches import tiny_weights
from conftest import synthetic_raw

from darkroom import pipeline, prepared
from darkroom.color import highlights, render
from darkroom.errors import UsageError
from darkroom.gain import given_gain
from darkroom.models import accelerator, loading, model
from darkroom.models.accelerator import (
    allocate,
    caught_out_of_memory,
    is_out_of_memory,
    on_stream,
    require_float32,
    upload,
)
from darkroom.models.device import describe_doubt, find_device
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.pipeline import Options, enhance

CPU = torch.device("cpu")
OPTIONS = Options(given_gain(20.0), tile="off")
"""So much that a lamp is above white, and the network runs a second time."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def photo() -> Any:
    """A dark photo with a lamp."""
    raw = synthetic_raw(64, 96, exposure=0.02)
    raw.mosaic[20:30, 40:52] = 12000
    return raw


def out_of_memory() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a")


class FullDevice:
    """Fails wherever it is asked to, until the network moves to the processor."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch, self.fallen, self.failures = patch, False, 0
        before = Model.on_cpu

        def on_cpu(mine: Model) -> Model:
            self.fallen = True
            return before(mine)

        patch.setattr(Model, "on_cpu", on_cpu)

    def fail_at(self, place: Any, name: str) -> None:
        """Have a function run out of memory on this device."""
        before = getattr(place, name)

        def full(*given: Any, **named: Any) -> Any:
            if self.fallen:
                return before(*given, **named)
            self.failures += 1
            raise out_of_memory()

        self.patch.setattr(place, name, full)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (model, "place_network"),  # conditioning
        (pipeline, "upload"),
        (pipeline, "with_highlights"),
        (Model, "__call__"),
        (highlights.HighDynamicRangeModel, "_run"),
        (prepared, "render_into"),
        (pipeline, "allocate"),  # page-locked memory
    ],
)
def test_where_memory_runs_out_the_processor_makes_the_picture(
    weights: Path, place: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load_model(weights, "cpu", "fp32")
    expected = enhance(photo(), network, OPTIONS)
    device = FullDevice(monkeypatch)
    device.fail_at(place, name)
    found = enhance(photo(), network, OPTIONS)
    assert device.failures == 1
    assert np.array_equal(found.pixels, expected.pixels)
    (said,) = set(found.warnings) - set(expected.warnings)
    assert said.startswith("cpu: out of memory")
    assert "processor" in said
    assert list(found.warnings).count(said) == 1


def test_copying_back_may_run_out_of_memory(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_model(weights, "cpu", "fp32")
    expected = enhance(photo(), network, OPTIONS)
    device = FullDevice(monkeypatch)
    device.fail_at(render, "_download")
    monkeypatch.setattr(render, "_on_processor", lambda picture: device.fallen)
    found = enhance(photo(), network, OPTIONS)
    assert device.failures == 1
    assert np.array_equal(found.pixels, expected.pixels)
    assert found.warnings[-1] == "cpu: out of memory; done on the processor"


def test_weights_that_do_not_fit_run_on_the_processor(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, tries = loading._load, []

    def full(*given: Any) -> Any:
        tries.append(given)
        if len(tries) == 1:
            raise out_of_memory()
        return before(*given)

    monkeypatch.setattr(loading, "_load", full)
    found = load_model(weights, "cpu", "bf16")
    assert (found.device, found.dtype) == (CPU, torch.float32)
    said = "cpu: out of memory for the network's weights; it runs on the processor"
    assert found.notes == (said,)
    assert enhance(photo(), found, OPTIONS).warnings[0] == said


@pytest.mark.parametrize(
    "error",
    [
        out_of_memory(),
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5.56 GB, other allocations: 1 GB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("level_zero failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
        RuntimeError("level_zero failed with error: 40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)"),
        RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB"),
    ],
)
def test_each_backend_says_it_in_its_own_words(error: RuntimeError) -> None:
    assert is_out_of_memory(error)
    with caught_out_of_memory() as caught:
        raise error
    assert caught == [str(error).partition("\n")[0]]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
        MemoryError("out of memory"),
    ],
)
def test_other_errors_pass(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), caught_out_of_memory():
        raise error


def test_what_failed_is_let_go_of() -> None:
    """Else a tile's tensors would be on the device while its half is tried."""
    gone = []

    def fail() -> None:
        tensor = torch.zeros(1)
        weakref.finalize(tensor, gone.append, True)
        raise out_of_memory()

    with caught_out_of_memory() as caught:
        fail()
    assert caught
    assert gone


def test_any_accelerator_of_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("mps", "xpu"):
        with pytest.raises(UsageError, match=rf"{kind} is not there \(0 {kind.upper()} devices"):
            find_device(kind)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 2)
    assert find_device("xpu") == torch.device("xpu:0")
    assert find_device("xpu:1") == torch.device("xpu:1")
    with pytest.raises(UsageError, match=r"xpu:2 is not there \(2 XPU devices\); use"):
        find_device("xpu:2")
    assert find_device("auto").type in ("cpu", "cuda")
    for wrong in ("meta", "hpu", "warp", "cpu:1"):
        with pytest.raises(UsageError, match="use auto, cpu, cuda or cuda:N"):
            find_device(wrong)


def test_what_was_never_tried_is_said_once(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert describe_doubt(CPU) is None
    said = describe_doubt(torch.device("xpu:0"))
    assert said == "xpu:0: experimental, darkroom is untested there; compare with --device cpu"
    monkeypatch.setattr(loading, "describe_doubt", lambda device: said)
    found = load_model(weights, "cpu", "fp32")
    assert enhance(photo(), found, OPTIONS).warnings.count(said) == 1
    both = load_model("safelight", "cpu", "fp32")
    assert both.counterpart is not None
    assert both.notes == both.counterpart.notes == (said,)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_arrays_for_the_processor_are_numpys(dtype: type) -> None:
    array = allocate((3, 5, 2), dtype, CPU)
    assert (array.shape, array.dtype) == ((3, 5, 2), dtype)
    array[...] = 7
    tensor = upload(array, CPU)
    array[0, 0, 0] = 9
    assert float(tensor[0, 0, 0]) == 9  # the same memory: nothing is copied
    with on_stream(CPU):
        pass


def test_float32_is_float32_on_cuda() -> None:
    places = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = True
        require_float32(CPU)
        assert [place.allow_tf32 for place in places] == [True, True]
        require_float32(torch.device("cuda:0"))
        assert [place.allow_tf32 for place in places] == [False, False]
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


def test_photos_take_turns_on_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """With CUDA's streams stubbed: each begins when what was queued before has ended."""

    class Stream:
        def __init__(self, device: torch.device) -> None:
            self.waited: list[object] = []

        def wait_stream(self, other: object) -> None:
            self.waited.append(other)

    accelerator._streams.cache_clear()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"default of {device}")
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext(stream))
    seen = []
    for index in (0, 0, 0, 1):
        with on_stream(torch.device("cuda", index)) as stream:
            seen.append(stream)
    accelerator._streams.cache_clear()
    assert seen[0] is seen[2]
    assert len(set(map(id, seen))) == 3
    assert seen[0].waited == ["default of cuda:0"] * 2
    assert seen[3].waited == ["default of cuda:1"]


def test_arrays_for_cuda_are_page_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    locked, empty = [], torch.empty

    def record(*shape: Any, pin_memory: bool = False, **named: Any) -> torch.Tensor:
        locked.append(pin_memory)
        return empty(*shape, **named)

    monkeypatch.setattr(torch, "empty", record)
    array = allocate((5, 7, 3), np.uint16, torch.device("cuda:0"))
    assert locked == [True]
    assert (array.shape, array.dtype) == ((5, 7, 3), np.uint16)
    assert array.flags.c_contiguous
    assert array.flags.writeable
