"""Where networks run and in which number format, from what the user and the machine say."""

import re
from pathlib import Path

import torch

from darkroom.errors import UsageError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

FAST_BFLOAT16 = frozenset({"amx_bf16", "avx512_bf16", "bf16"})
"""Processor flags, as Linux names them (x86, x86, ARM), with which bfloat16 beats float32."""
SLOW_BFLOAT16 = {"GenuineIntel": "avx512_bf16"}
"""Flags that do not, by vendor: Intel's vectors multiply bfloat16 at 0.54 of float32's rate. That
counts where there are no tiles (AMX), or a virtual machine hides them: measured on a Xeon of 2023,
where safelight took 1.4 times as long."""

EXACT_ABOVE = 8
"""Bits per sample above which auto is float32. In bfloat16 safelight is 14 codes of 65535 off on
average (six dark crops of SID at x100), and 77 at the 99.9th percentile: of 255, 0.05 and 0.3."""

HALF_CAPABILITY = (7, 0)
"""CUDA compute capability from which float16 runs on tensor cores. Source: CUDA C guide."""

PROVEN = ("cpu",)
"""Kinds of devices on which `tests/gpu/checks.py` has passed; all others are experimental."""


def find_device(name: str) -> torch.device:
    """Return the device of a name: auto, cpu, or an accelerator of torch's, as cuda or cuda:N.

    auto is the first CUDA device, else the processor: Apple's and Intel's GPUs have to be named,
    for nothing has shown yet that pictures come out right there. Raises UsageError where it is not
    there.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    match = re.fullmatch(r"([a-z]+)(?::(\d+))?", name)
    if match is None or not is_known(match[1]):
        raise UsageError(
            f"--device {name}: use auto, cpu, cuda or cuda:N, or another accelerator of torch's, "
            "as mps or xpu"
        )
    kind, index = match[1], int(match[2] or 0)
    count = count_devices(kind)
    if index >= count:
        there = f"{count} {kind.upper()} device{'s' * (count != 1)}"
        raise UsageError(f"--device {name} is not there ({there}); use --device cpu")
    return torch.device(kind, index)


def count_devices(kind: str) -> int:
    """Return how many devices of a kind that `is_known`, such as cuda, this machine has."""
    module = torch.get_device_module(kind)
    return int(module.device_count()) if module.is_available() else 0


def is_known(kind: str) -> bool:
    """Say whether this torch knows a kind of accelerator, whether or not there is one."""
    if kind == "cpu":
        return False
    try:
        return hasattr(torch.get_device_module(torch.device(kind)), "device_count")
    except RuntimeError:  # no such kind, or one whose package is not installed
        return False


def describe_doubt(device: torch.device) -> str | None:
    """Say in a line that networks have not been seen to run on such a device; None if they have."""
    if device.type in PROVEN:
        return None
    return f"{device}: experimental, darkroom is untested there; compare with --device cpu"


def find_dtype(precision: str, device: torch.device, bits: int = 8) -> torch.dtype:
    """Return the number format of a name on a device; UsageError where it cannot be used there.

    `bits`: per sample of the pictures; more than 8 show what half precision loses.
    """
    if precision == "auto":
        if bits > EXACT_ABOVE:
            return torch.float32
        if device.type == "cuda":
            fast = torch.cuda.get_device_capability(device) >= HALF_CAPABILITY
            return torch.float16 if fast else torch.float32
        native = device.type == "cpu" and prefers_bfloat16()
        return torch.bfloat16 if native else torch.float32
    if precision not in DTYPES:
        raise UsageError(f"--precision {precision}: use auto, fp32, bf16 or fp16")
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("--precision fp16 needs CUDA; use bf16 or fp32 on the processor")
    return DTYPES[precision]


def prefers_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Say whether the processor is faster in bfloat16; False where Linux does not tell."""
    if not cpuinfo.is_file():
        return False
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    told = ("flags", "Features", "vendor_id")
    words = {word for line in lines if line.startswith(told) for word in line.split()}
    slow = {flag for vendor, flag in SLOW_BFLOAT16.items() if vendor in words}
    return not words.isdisjoint(FAST_BFLOAT16 - slow)
