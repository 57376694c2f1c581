"""The most memory that a process held."""

from pathlib import Path

import psutil


def measure_peak_memory(status: Path = Path("/proc/self/status")) -> int | None:
    """Return the most bytes this process has held so far; None where the system does not tell.

    On Linux not by getrusage, which hands a child its parent's peak. Source: Linux, fs/exec.c,
    exec_mmap, which keeps the peak of the memory that a program replaces.
    """
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    info = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):  # Windows
        return int(info.peak_wset)
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if psutil.MACOS else 1024  # Source: getrusage(2) of macOS and of Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
