"""Where the time and the memory go: each stage of one photo, of all variants in turns.

A machine is never the same for long: others use it, it warms up, memory comes cut in other pieces.
So no variant is timed alone: a round runs each of them once, and its matrix rate, and what is
compared is compared within rounds.
"""

import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from darkroom.errors import UsageError
from darkroom.evaluation.benchmark_machine import Laps, measure_matrix_rate
from darkroom.evaluation.published import Mosaic, Picture
from darkroom.evaluation.published.networks import PUBLISHED
from darkroom.models.architectures.base import shapes_of
from darkroom.models.device import DTYPES
from darkroom.models.loading import find_source
from darkroom.models.model import Model
from darkroom.models.summary import summarize_model
from darkroom.mosaic.packing import linearise
from darkroom.output.picture import PictureFormat, SaveOptions, save_picture
from darkroom.pipeline import Options, enhance, find_gain, prepare
from darkroom.raw.reader import read_raw
from darkroom.weights import checkpoint
from darkroom.weights.registry import Output

NAMES = {dtype: name for name, dtype in DTYPES.items()}

COMMAND = """
import sys
from darkroom.__main__ import main
try:
    main()
finally:
    from darkroom.evaluation.benchmark_memory import measure_peak_memory
    print(measure_peak_memory())
"""
"""Runs darkroom's command line, and prints the most memory that it held."""
LOAD = "import gc; gc.disable(); import darkroom.models.loading, darkroom.pipeline; gc.freeze()"
"""Loads all that enhancing a photo needs, as the command line does."""


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """One way to run a network.

    `name`: as it was asked for. `published`: its authors' code, float32, in one piece, which takes
    the place of darkroom's network; None for darkroom's whole way.
    """

    name: str
    model: Model
    published: Callable[[Mosaic], Picture] | None = None

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self.model.device)

    @property
    def precision(self) -> str:
        """The number format in which it computes."""
        return "fp32" if self.published else NAMES[self.model.dtype]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One stage of one variant at one size, over the rounds.

    `form`: darkroom or published. Seconds of wall clock. `flops_per_s`: of the network, two for
    each multiplication and addition; `share_of_matrix_rate`: that over the machine's rate for
    products of matrices in the same format, on the same device. `ratio`: to the first variant's
    time of the same stage; `over_published`: to that of the published code; both medians over the
    rounds. `peak_bytes`: the most memory that the command held.
    """

    stage: str
    model: str | None
    form: str | None
    device: str | None
    precision: str | None
    megapixels: float | None
    median_s: float
    min_s: float
    max_s: float
    runs: int
    flops_per_s: float | None = None
    share_of_matrix_rate: float | None = None
    ratio: float | None = None
    over_published: float | None = None
    peak_bytes: int | None = None


Round = list[dict[str, float]]
"""Seconds by stage, of each variant."""

Rates = dict[str, dict[str, float]]
"""Operations a second in products of matrices, by device and number format."""


def measure_photo(
    photo: bytes, variants: Sequence[Variant], runs: int, bits: int, norm_statistics: str = "stored"
) -> tuple[list[Measurement], Rates]:
    """Time each stage of enhancing a photo, in `runs` rounds after one to warm up.

    `bits`: of the pictures. The stages are those of `enhance`; pack is all between the gain and the
    network: levels, hot pixels, packing, noise, and the network's tuning to it. `whole` is all of
    them in one call, `command` the command line from its start to its end.
    """
    raw = read_raw(photo)
    size = raw.mosaic.shape[1], raw.mosaic.shape[0]
    megapixels = round(raw.mosaic.size / 1e6, 3)
    variants = [replace(one, model=one.model.for_sensor(raw.cfa.sensor)) for one in variants]
    del raw
    with tempfile.TemporaryDirectory() as folder:
        command = _Command(Path(folder) / "photo.dng", bits, norm_statistics)
        command.photo.write_bytes(photo)
        rounds, rates = _run_rounds(photo, variants, runs, command)
    measured = []
    for index, one in enumerate(variants):
        flops = 2 * summarize_model(one.model.network, one.model.architecture, size).macs
        baseline = _find_baseline(variants, one)
        for stage in rounds[0][index]:
            each = [found[index][stage] for found in rounds]
            median = statistics.median(each)
            found = Measurement(
                stage,
                one.name,
                "published" if one.published else "darkroom",
                one.device,
                one.precision,
                megapixels,
                median,
                min(each),
                max(each),
                runs,
                ratio=_compare(rounds, stage, index, 0),
            )
            if stage == "network":
                found = replace(
                    found,
                    flops_per_s=flops / median,
                    share_of_matrix_rate=flops / median / rates[one.device][one.precision],
                    over_published=_compare(rounds, stage, index, baseline),
                )
            if stage == "command":
                found = replace(found, peak_bytes=command.peaks.get(one))
            measured.append(found)
    return measured, rates


def _run_rounds(
    photo: bytes, variants: Sequence[Variant], runs: int, command: "_Command"
) -> tuple[list[Round], Rates]:
    """Run every variant once a round; the first round, to warm up, is left out."""
    rounds: list[Round] = []
    rates: dict[tuple[str, str], list[float]] = {}
    for number in range(runs + 1):
        seconds = []
        for one in variants:
            rate = measure_matrix_rate(one.model.device, DTYPES[one.precision])
            rates.setdefault((one.device, one.precision), []).append(rate)
            if one.published is not None:
                seconds.append(_time_published(photo, one.published, one.model))
                continue
            found = time_stages(photo, one.model, command.bits)
            if number:
                found["command"] = command.run(one)
            seconds.append(found)
        rounds.append(seconds)
    known: Rates = {}
    for (device, precision), found_rates in rates.items():
        known.setdefault(device, {})[precision] = statistics.median(found_rates)
    return rounds[1:], known


def _find_baseline(variants: Sequence[Variant], one: Variant) -> int | None:
    """Return the place of the published code of the same network on the same device, if any."""
    return next(
        (
            index
            for index, other in enumerate(variants)
            if other.published and (other.name, other.device) == (one.name, one.device)
        ),
        None,
    )


def _compare(rounds: list[Round], stage: str, index: int, base: int | None) -> float | None:
    """Return the median over rounds of one variant's time over another's; None without both."""
    if base is None or base == index or stage not in rounds[0][base]:
        return None
    return statistics.median(found[index][stage] / found[base][stage] for found in rounds)


def time_stages(photo: bytes, model: Model, bits: int = 8) -> dict[str, float]:
    """Return the seconds of the whole of enhancing a photo, and of each stage, once more.

    The whole comes first, in memory that the system has yet to give; the stages find it there.
    """
    options, save = Options(bits=bits), SaveOptions(PictureFormat.PNG, bits=bits)
    settings = options.resolve(model)
    laps = Laps(model.device)
    save_picture(enhance(read_raw(photo), model, options).pixels, io.BytesIO(), save)
    laps.lap("whole")
    raw = read_raw(photo)
    laps.lap("read")
    fixed = replace(settings, gain=find_gain(raw, model, settings))
    laps.lap("gain")
    prepared = prepare(raw, model, fixed, _ignore)
    laps.lap("pack")
    pixels = np.empty((*prepared.shape, 3), np.uint8 if bits == 8 else np.uint16)
    for part in prepared.run(options.tile, _ignore):
        laps.lap("network")
        prepared.finish(part, pixels)
        laps.lap("render")
    save_picture(pixels, io.BytesIO(), save)
    laps.lap("write")
    return laps.seconds


def _ignore(note: str) -> None:
    """Leave what is odd about the photo to `enhance`."""


def _time_published(
    photo: bytes, paint: Callable[[Mosaic], Picture], model: Model
) -> dict[str, float]:
    """Return the seconds of a network's published code, from the mosaic to the picture.

    It runs twice, and the second counts, for which its memory is there, as for darkroom's stages.
    """
    raw = read_raw(photo)
    mosaic = linearise(raw) * np.float32(find_gain(raw, model, Options().resolve(model)).value)
    paint(mosaic)
    laps = Laps(model.device)
    paint(mosaic)
    laps.lap("network")
    return laps.seconds


def measure_import(runs: int) -> Measurement:
    """Time the start of a process that loads torch and darkroom, and its end."""
    seconds = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", LOAD], check=True)
        seconds.append(time.perf_counter() - started)
    del seconds[0]
    each = statistics.median(seconds), min(seconds), max(seconds)
    return Measurement("import", None, None, None, None, None, *each, runs)


@dataclass(frozen=True, slots=True)
class _Command:
    """The command line, run by itself; `peaks`: the most memory that it held, in bytes."""

    photo: Path
    bits: int
    norm_statistics: str
    peaks: dict[Variant, int] = field(default_factory=dict)

    def run(self, one: Variant) -> float:
        """Enhance the photo as a variant; returns the seconds from start to end."""
        options = {
            "-o": self.photo.with_suffix(".png"),
            "--model": one.name,
            "--device": one.device,
            "--precision": one.precision,
            "--bits": self.bits,
            "--norm-statistics": self.norm_statistics,
        }
        words = ["enhance", self.photo, *(word for pair in options.items() for word in pair)]
        command = [sys.executable, "-c", COMMAND, *map(str, words), "--overwrite", "--no-config"]
        started = time.perf_counter()
        done = subprocess.run([*command, "-q"], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        if done.returncode:
            reason = done.stderr.strip().removeprefix("error: ")
            raise UsageError(f"darkroom enhance by itself, as is timed here: {reason}")
        if (peak := done.stdout.strip()).isdigit():
            self.peaks[one] = max(int(peak), self.peaks.get(one, 0))
        return seconds


def find_published(name: str, model: Model) -> Callable[[Mosaic], Picture]:
    """Return what a network's authors' code makes of a mosaic, with the weights of a model.

    Float32, contiguous, in one piece, its norms computed each time; on the model's device. Raises
    UsageError where there is no such code in PyTorch.
    """
    if model.output is not Output.SRGB:
        raise UsageError(f"{name}: is darkroom's own, and not published in another form")
    state = checkpoint.read_checkpoint(find_source(name).path)
    shapes = shapes_of(state)
    for one in PUBLISHED:
        if one.load is None or one.network != model.architecture.name:
            continue
        known = shapes_of(one.weights(0))
        if one.norm_statistics == model.norm_statistics and known.items() <= shapes.items():
            weights = {key: state[key] for key in known}
            return one.load(weights, torch.empty(0, device=model.device))
    raise UsageError(f"{name}: its authors' code is not for PyTorch, or its weights not as theirs")
