"""Where the time and the memory go: each stage of one photo, measured several times."""

import io
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psutil
import torch

from darkroom.evaluation.chart import draw_chart, photograph_chart
from darkroom.evaluation.simulated import encode_dng
from darkroom.models.model import Model
from darkroom.output.picture import PictureFormat, SaveOptions, save_picture
from darkroom.pipeline import Options, enhance, find_gain, prepare
from darkroom.raw.reader import read_raw

SIZE = (3000, 4000)
"""Rows and columns of the photo that is measured by default: 12 MP."""


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage's time: seconds of wall clock over the runs."""

    name: str
    median: float
    least: float
    greatest: float


def make_sample_photo() -> bytes:
    """Make a 12-MP DNG of the test chart, taken in the dark."""
    chart = draw_chart(1200, 1600)
    rows, cols = (-(-wanted // have) for wanted, have in zip(SIZE, chart.shape, strict=False))
    tiled = np.tile(chart, (rows, cols, 1))[: SIZE[0], : SIZE[1]]
    return encode_dng(photograph_chart(tiled, exposure=1 / 100))


def time_stages(photo: bytes, model: Model, runs: int, bits: int = 8) -> Iterator[StageTime]:
    """Time each stage of enhancing a photo `runs` times after one warm-up, and the whole of it.

    The stages are those of `enhance`; pack is all between the gain and the network: levels, hot
    pixels, packing, noise, and the network's tuning to it.
    """
    raw = read_raw(photo)
    options = Options(bits=bits)
    settings = options.resolve(model)
    fixed = replace(settings, gain=find_gain(raw, model, settings))
    prepared = prepare(raw, model, fixed, _ignore)
    parts = list(prepared.run(options.tile, _ignore))
    pixels = np.empty((*prepared.shape, 3), np.uint8 if bits == 8 else np.uint16)
    save = SaveOptions(PictureFormat.PNG, bits=bits)

    def render() -> None:
        for part in parts:
            prepared.finish(part, pixels)

    def whole() -> None:
        save_picture(enhance(read_raw(photo), model, options).pixels, io.BytesIO(), save)

    stages: dict[str, Callable[[], Any]] = {
        "read": lambda: read_raw(photo),
        "gain": lambda: find_gain(raw, model, settings),
        "pack": lambda: prepare(raw, model, fixed, _ignore),
        "network": lambda: list(prepared.run(options.tile, _ignore)),
        "render": render,
        "write": lambda: save_picture(pixels, io.BytesIO(), save),
        "whole": whole,
    }
    for name, run in stages.items():
        yield time_stage(name, run, runs)


def _ignore(note: str) -> None:
    """Leave what is odd about the photo to `enhance`."""


def time_stage(name: str, run: Callable[[], Any], runs: int) -> StageTime:
    """Run once to warm up, then `runs` times, and time these."""
    run()
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return StageTime(name, statistics.median(seconds), min(seconds), max(seconds))


def measure_peak_memory() -> int | None:
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
