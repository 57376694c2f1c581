"""The machine that is measured on: its name, its clock, its rate for products of matrices."""

import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

MATRIX = 2048
"""Side of the square matrices whose product is the measure of a machine."""
MATRIX_SECONDS = 0.05
"""A round of products takes at least so long, so that clocks and launches do not matter."""


class Laps:
    """Seconds since the last lap, with all that a device was given to do."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Count the time since the last lap to a stage."""
        synchronize(self._device)
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type != "cpu":
        getattr(torch, device.type).synchronize()


def measure_matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations a second in products of two 2048x2048 matrices, as networks are run."""
    one, other = (torch.rand(MATRIX, MATRIX, device=device).to(dtype) for _ in range(2))
    product = one @ other
    laps, count = Laps(device), 0
    laps.lap("before")
    while laps.seconds.get("products", 0.0) < MATRIX_SECONDS:
        for _ in range(1 if device.type == "cpu" else 100):
            torch.matmul(one, other, out=product)
            count += 1
        laps.lap("products")
    return 2 * MATRIX**3 * count / laps.seconds["products"]


def describe_machine(devices: Sequence[torch.device]) -> dict[str, Any]:
    """Say in names and numbers on what is measured: processor, memory, accelerators, versions."""
    return {
        "processor": _name_processor(),
        "cores": psutil.cpu_count(logical=False),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "devices": {
            str(one): torch.cuda.get_device_name(one) if one.type == "cuda" else one.type
            for one in devices
            if one.type != "cpu"
        },
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _name_processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return what the processor calls itself, as far as the system tells."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
