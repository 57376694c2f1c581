"""What accelerators need beyond processors: streams, page-locked memory, room that runs out."""

import itertools
import math
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

STREAMS = 2
"""Photos at once on a CUDA device: one computes while the other's data cross the bus. Each stream
keeps the memory of its own network."""

OUT_OF_MEMORY = re.compile(
    r"out[ _]of[ _](?:device[ _]|host[ _])?(?:memory|resources)|alloc(?:ation)?_failed",
    re.IGNORECASE,
)
"""How it is worded where it is no OutOfMemoryError. Source: "CUDA error: out of memory" is the
driver's of page-locked memory and of kernels (torch.AcceleratorError), CUBLAS_STATUS_ALLOC_FAILED
and CUDNN_STATUS_..._ALLOCATION_FAILED the libraries', "MPS backend out of memory" Apple's,
UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY or ..._RESOURCES Intel's."""


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that an accelerator has no memory left, whichever it is."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(OUT_OF_MEMORY.search(str(error)))


@contextmanager
def caught_out_of_memory() -> Iterator[list[str]]:
    """Catch that an accelerator's memory has run out: a list that is filled then, else empty.

    What failed is let go of first, with all that it held on the device. Other errors pass.
    """
    caught: list[str] = []
    try:
        yield caught
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        caught.append(str(error).partition("\n")[0])


def release_cache(device: torch.device) -> None:
    """Give back what torch keeps of an accelerator's memory for later."""
    if device.type != "cpu":
        torch.get_device_module(device.type).empty_cache()


def on_stream(device: torch.device) -> AbstractContextManager[Any]:
    """Queue what is inside on a stream of its own on CUDA, so that photos overlap there.

    It begins when what was queued before has ended. On other devices this changes nothing.
    """
    if device.type != "cuda":
        return nullcontext()
    stream = next(_streams(device))
    stream.wait_stream(torch.cuda.current_stream(device))
    return torch.cuda.stream(stream)


@cache
def _streams(device: torch.device) -> Iterator[torch.cuda.Stream]:
    made = [torch.cuda.Stream(device) for _ in range(STREAMS)]  # type: ignore[no-untyped-call]
    return itertools.cycle(made)


def allocate(shape: tuple[int, ...], dtype: DTypeLike, device: torch.device) -> NDArray[Any]:
    """Return an array, not filled, for data to or from a device.

    For CUDA it is page-locked: data then cross at the bus's rate, and beside computing. torch keeps
    such memory for the next array.
    """
    if device.type != "cuda":
        return np.empty(shape, dtype)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    locked = torch.empty(size, dtype=torch.uint8, pin_memory=True)
    return np.asarray(locked.numpy().view(dtype).reshape(shape))


def require_float32(device: torch.device) -> None:
    """Have CUDA multiply float32 to its 24 bits, in the whole process.

    Its convolutions take 11 of them by default. Source: NVIDIA's TensorFloat-32.
    """
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on a device; on the processor it is the array's own memory."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda" and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device)
