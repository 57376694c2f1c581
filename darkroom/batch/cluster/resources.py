"""Joining a Ray cluster, and what each worker of a batch takes of a machine."""

import os
import signal
import socket
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from darkroom.batch.options import MAX_JOBS
from darkroom.errors import UsageError

CONNECT_SECONDS = 10.0
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}
"""Ray reports nobody's use, and keeps off standard output, which is for events. Read on import."""

Node = Mapping[str, float]
"""The resources of a machine, as Ray names them."""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Where a batch is made: by workers with one `model` on the Ray cluster at `address`.

    `address`: auto, HOST:PORT or ray://HOST:PORT. `model`: a name, or a file that all machines
    have. `device`: auto (GPUs where the cluster has any), cpu or cuda. `precision`: auto is what
    the first worker's hardware is best at, for all of them. `norm_statistics`: as for `load_model`.
    """

    address: str = "auto"
    model: str = "safelight"
    device: str = "auto"
    precision: str = "auto"
    norm_statistics: str = "stored"

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda", "cuda:all"):
            raise UsageError(f"--device {self.device}: Ray picks the GPU; use auto, cpu or cuda")


@dataclass(frozen=True, slots=True)
class WorkerResources:
    """What one worker takes of a node."""

    cpus: int
    gpus: int = 0

    @property
    def decoders(self) -> int:
        """Photos decoded at the same time: half the processors, for there is more to do."""
        return max(1, self.cpus // 2)

    def fitting(self, nodes: Iterable[Node]) -> int:
        """Return how many workers nodes with these resources hold."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus}
        return sum(
            min(int(node.get(name, 0) // count) for name, count in wanted.items() if count)
            for node in nodes
        )


def choose_resources(
    nodes: Iterable[Node], device: str, jobs: int | None = None
) -> WorkerResources:
    """Choose what one worker takes, so that every useful node holds at least one.

    `nodes`: the resources of each. `jobs`: photos decoded at the same time per worker, None for
    one on processors, and for as many as go with a GPU. Raises UsageError.
    """
    useful = [node for node in nodes if node.get("CPU", 0) >= 1]
    with_gpu = [node for node in useful if node.get("GPU", 0) >= 1]
    if not useful:
        raise UsageError("--cluster: no node has a processor to give; start some with ray start")
    if device.startswith("cuda") and not with_gpu:
        raise UsageError(f"--device {device}: no node of the cluster has a GPU; use --device cpu")
    if device == "cpu" or not with_gpu:
        return WorkerResources(int(min(2 * (jobs or 1), *(node["CPU"] for node in useful))))
    share = int(min(node["CPU"] // node["GPU"] for node in with_gpu))
    return WorkerResources(max(1, min(2 * (jobs or MAX_JOBS), share)), 1)


def connect(address: str) -> Any:
    """Join a Ray cluster and return Ray's module. Raises UsageError where that is not possible."""
    os.environ |= QUIET
    try:
        ray = import_module("ray")
    except ImportError as error:
        raise UsageError("--cluster needs Ray; pip install 'darkroom[cluster]'") from error
    _check_address(address)
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        remedy = "start one with ray start --head" if address == "auto" else "check the address"
        raise UsageError(f"--cluster {address}: no Ray cluster answers; {remedy}") from error
    finally:
        if main:  # Ray's own would end us with another exit code
            signal.signal(signal.SIGTERM, handler)
    return ray


def _check_address(address: str) -> None:
    """Raise UsageError where nothing listens; Ray itself would try for a minute."""
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"--cluster {address}: give auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise UsageError(
            f"--cluster {address}: nobody answers ({error.strerror or error}); check the address"
        ) from error


def full_name(model: str) -> str:
    """Make the path of a file of weights absolute; names stay."""
    network, equals, file = model.partition("=")
    if equals and Path(file).exists():
        return f"{network}={Path(file).absolute()}"
    return str(Path(model).absolute()) if Path(model).exists() else model
