"""Where the time and the memory go: each stage of one photo, measured several times."""

import io
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch

from darkroom.color import white_balanced
from darkroom.evaluation.chart import draw_chart, photograph
from darkroom.files.dng import write_dng
from darkroom.files.picture import PictureFormat, SaveOptions, save_picture
from darkroom.files.raw import read_raw
from darkroom.model import Model
from darkroom.mosaic import align, linearise, pack
from darkroom.pipeline import Options, enhance, find_gain, finished
from darkroom.tiling import run_tiled
from darkroom.weights.kinds import Output

SIZE = (3000, 4000)
"""Rows and columns of the photo that is measured by default: 12 MP."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage's time: seconds of wall clock over the runs."""

    name: str
    median: float
    least: float
    greatest: float


def sample_photo() -> bytes:
    """Make a 12-MP DNG of the test chart, taken in the dark."""
    chart = draw_chart(1200, 1600)
    rows, cols = (-(-wanted // have) for wanted, have in zip(SIZE, chart.shape, strict=False))
    tiled = np.tile(chart, (rows, cols, 1))[: SIZE[0], : SIZE[1]]
    stream = io.BytesIO()
    write_dng(stream, photograph(tiled, exposure=1 / 100))
    return stream.getvalue()


def measure(photo: bytes, model: Model, runs: int, bits: int = 8) -> Iterator[Stage]:
    """Time each stage of enhancing a photo `runs` times after one warm-up, and the whole of it."""
    raw = read_raw(photo)
    options = Options(bits=bits)
    gain = find_gain(raw, model, options)
    mosaic, cfa, _, _ = align(linearise(raw), raw.cfa)
    packed = torch.from_numpy(pack(mosaic, cfa)) * gain.value
    if model.output is Output.CAMERA:
        packed = white_balanced(packed, raw.color)
    picture = run_tiled(model, packed)
    pixels = finished(picture, model.output, raw.color, bits)
    save = SaveOptions(PictureFormat.PNG, bits=bits)

    def whole() -> None:
        save_picture(enhance(read_raw(photo), model, options).pixels, io.BytesIO(), save)

    stages: dict[str, Callable[[], Any]] = {
        "read": lambda: read_raw(photo),
        "gain": lambda: find_gain(raw, model, options),
        "pack": lambda: pack(*align(linearise(raw), raw.cfa)[:2]),
        "network": lambda: run_tiled(model, packed),
        "render": lambda: finished(picture, model.output, raw.color, bits),
        "write": lambda: save_picture(pixels, io.BytesIO(), save),
        "whole": whole,
    }
    for name, run in stages.items():
        yield timed(name, run, runs)


def timed(name: str, run: Callable[[], Any], runs: int) -> Stage:
    """Run once to warm up, then `runs` times, and time these."""
    run()
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return Stage(name, statistics.median(seconds), min(seconds), max(seconds))


def peak_memory() -> int | None:
    """Return the most bytes this process has held so far; None where the system does not tell."""
    info = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):  # Windows
        return int(info.peak_wset)
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if psutil.MACOS else 1024  # Source: getrusage(2) of macOS and of Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
