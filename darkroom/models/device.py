"""Where networks run and in which number format, from what the user and the machine say."""

import re
from pathlib import Path

import torch

from darkroom.errors import UsageError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

NATIVE_BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16")
"""Processor flags, as Linux names them (x86, x86, ARM), with which bfloat16 beats float32."""

EXACT_ABOVE = 8
"""Bits per sample above which auto is float32. In bfloat16 safelight is 14 codes of 65535 off on
average (six dark crops of SID at x100), and 77 at the 99.9th percentile: of 255, 0.05 and 0.3."""

HALF_CAPABILITY = (7, 0)
"""CUDA compute capability from which float16 runs on tensor cores. Source: CUDA C guide."""


def find_device(name: str) -> torch.device:
    """Return the device of a name: auto, cpu, cuda or cuda:N; UsageError where it is not there."""
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if match is None:
        raise UsageError(f"--device {name}: use auto, cpu, cuda or cuda:N")
    index = int(match[1] or 0)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        raise UsageError(f"--device {name} is not there ({count} CUDA devices); use --device cpu")
    return torch.device("cuda", index)


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
        return torch.bfloat16 if native_bfloat16() else torch.float32
    if precision not in DTYPES:
        raise UsageError(f"--precision {precision}: use auto, fp32, bf16 or fp16")
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("--precision fp16 needs CUDA; use bf16 or fp32 on the processor")
    return DTYPES[precision]


def native_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Say whether the processor multiplies bfloat16 itself; False where Linux does not tell."""
    if not cpuinfo.is_file():
        return False
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    flags = {
        flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()
    }
    return not flags.isdisjoint(NATIVE_BFLOAT16)
