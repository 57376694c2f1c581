"""Several processes that train one network together, as torchrun starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from darkroom.errors import UsageError

PATIENCE = timedelta(hours=12)
"""How long the others wait for the first process, which may decode a whole data set before."""


@dataclass(frozen=True, slots=True)
class Processes:
    """One process among those that train together; `device`: its own, such as cuda:1."""

    device: str
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and tells."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all are here."""
        if self.count > 1:
            dist.barrier()

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of all processes' values."""
        if self.count > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.count
        return value


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, or be alone.

    `device`: cpu, or cuda, of which each process on a machine takes its own. Raises UsageError
    where several are to share one.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(device)
        return
    if device.startswith("cuda:"):
        raise UsageError(f"--device {device}: {count} processes cannot share it; give cuda")
    own = f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
    if own != device:
        torch.cuda.set_device(own)
    dist.init_process_group("gloo" if device == "cpu" else "nccl", timeout=PATIENCE)
    try:
        yield Processes(own, dist.get_rank(), count)
    finally:
        dist.destroy_process_group()
