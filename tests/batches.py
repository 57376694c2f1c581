"""Small photos and a tiny network for tests of batches."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from conftest import synthetic_raw
from places import ROOT
from safetensors.torch import save_file

from darkroom.models.architectures.safelight import Safelight
from darkroom.output.dng import write_dng


def tiny_weights(path: Path) -> Path:
    """Save a network of 8 channels with seeded random weights; its pictures are noise."""
    torch.manual_seed(0)
    save_file(Safelight(widths=(8, 8, 8, 8)).state_dict(), path)
    return path


def write_photos(folder: Path, count: int, size: tuple[int, int] = (64, 96)) -> list[Path]:
    """Write dark photos p000.dng, p001.dng, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"p{number:03}.dng" for number in range(count)]
    for number, path in enumerate(paths):
        write_dng(path, synthetic_raw(*size, seed=number, exposure=0.02))
    return paths


def environment() -> dict[str, str]:
    """One thread per process, so that tests do not disturb each other; our own modules."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    """Start `darkroom` as a process of its own."""
    command = [sys.executable, "-m", "darkroom", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment(), **(pipes | options))  # type: ignore[call-overload]


def run(*arguments: object, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run `darkroom` to its end."""
    command = [sys.executable, "-m", "darkroom", *map(str, arguments)]
    return subprocess.run(
        command, env=environment(), capture_output=True, input=given, check=False, timeout=120
    )
