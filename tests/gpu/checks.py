"""All that is to be known of darkroom on an accelerator, in one command of at most ten minutes.

python tests/gpu/checks.py [--device cuda] [--megapixels 12] [-o folder]

Runs the tests of this folder, times networks, stages and batches, and leaves `figures.json` and
`figures.md`, a table for darkroom/models/README.md. With `--device cpu` the processor stands in,
which proves the script, as on machines without CUDA: 1 megapixel then. Exits with 1 where a check
failed or, on an H200, a network took longer than it should.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from parity import load_published  # noqa: E402

from darkroom.batch.run import BatchOptions, enhance_all  # noqa: E402
from darkroom.evaluation.chart import draw_chart, photograph_chart  # noqa: E402
from darkroom.evaluation.published.networks import PUBLISHED  # noqa: E402
from darkroom.evaluation.simulated import encode_dng  # noqa: E402
from darkroom.models.device import find_device  # noqa: E402
from darkroom.models.loading import load_model  # noqa: E402
from darkroom.pipeline import Options, prepare  # noqa: E402
from darkroom.raw.image import Sensor  # noqa: E402
from darkroom.raw.reader import read_raw  # noqa: E402

LIMITS = {"safelight": 6.0, "redi": 8.0, "sid": 12.0}
"""Milliseconds of the network alone for 12 megapixels on an H200, at most."""
PHOTOS_PER_SECOND = 12.0
"""Of a batch of 12 megapixels on an H200, at least."""
TESTS_SECONDS = 400


@dataclass(frozen=True, slots=True)
class Job:
    """What is checked: where, on how large a photo, how often, and into which folder."""

    device: str
    megapixels: float
    runs: int
    photos: int
    folder: Path


def run_tests(job: Job) -> dict[str, Any]:
    """Run the tests of this folder; their counts, their figures and what failed."""
    figures = job.folder / "tests.json"
    environment = os.environ | {
        "DARKROOM_CHECK_DEVICE": job.device,
        "DARKROOM_CHECK_FIGURES": str(figures),
        "PYTHONPATH": os.pathsep.join(sys.path[:2]),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", HERE]
    done = subprocess.run(
        command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True, check=False,
        timeout=None if job.device == "cpu" else TESTS_SECONDS,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    sys.stderr.write("\n".join(lines[-25:]) + "\n")
    found = json.loads(figures.read_text()) if figures.exists() else {}
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"passed": done.returncode == 0, "summary": lines[-1:], "failed": failed, **found}


def make_photo(megapixels: float) -> bytes:
    """Make a DNG of the test chart, taken in the dark, 4 to 3."""
    rows = max(round((megapixels * 1e6 * 3 / 4) ** 0.5 / 12) * 12, 96)
    size = rows, rows * 4 // 3
    chart = draw_chart(600, 800)
    repeats = [-(-wanted // have) for wanted, have in zip(size, chart.shape, strict=False)]
    tiled = np.tile(chart, (*repeats, 1))[: size[0], : size[1]]
    return encode_dng(photograph_chart(tiled, exposure=1 / 100))


def list_weights(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield names and what `--model` takes for each network that is timed, weights random."""
    yield "safelight", "safelight"
    yield "safelight-large", "safelight-large"
    for name in ("sid", "llpacknet", "redi"):
        known = (p for p in PUBLISHED if p.network == name and not p.tensorflow)
        one = next(p for p in known if p.sensor is Sensor.BAYER)
        path = folder / name
        load_published(one, dict(one.weights(0)), path)
        yield name, f"{name}={path}" if one.ambiguous else str(path)


def time_networks(job: Job, photo: bytes, weights: dict[str, str]) -> list[dict[str, Any]]:
    """Time each network alone on a photo that is on the device already: milliseconds, median."""
    raw, rows = read_raw(photo), []
    place = find_device(job.device)
    for name, path in weights.items():
        for precision in ("auto", "bf16", "fp32"):
            model = load_model(path, job.device, precision)
            ready = prepare(raw, model, Options().resolve(model), lambda line: None)

            def run(ready: Any = ready) -> None:
                for _ in ready.run("off", lambda line: None):
                    pass
                if place.type != "cpu":
                    torch.get_device_module(place.type).synchronize()

            for _ in range(1 if place.type == "cpu" else 3):
                run()
            seconds = []
            for _ in range(job.runs):
                started = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - started)
            row = {
                "model": name,
                "precision": str(model.dtype).removeprefix("torch."),
                "median_ms": 1000 * statistics.median(seconds),
                "min_ms": 1000 * min(seconds),
            }
            rows.append(row)
            sys.stderr.write(f"{name} {row['precision']}: {row['median_ms']:.2f} ms\n")
            if place.type == "cpu":  # which only proves the script
                break
    return rows


def run_bench(job: Job, photo: Path, weights: dict[str, str]) -> dict[str, Any]:
    """Let `darkroom bench` time every stage: its machine, matrix_rate and records."""
    words = ["bench", photo, "--device", job.device, "--runs", job.runs, "--json"]
    for path in weights.values():
        words += ["-m", path]
    done = subprocess.run(
        [sys.executable, "-m", "darkroom", *map(str, words)],
        env=os.environ | {"PYTHONPATH": sys.path[0]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"bench: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def time_batch(job: Job, photo: bytes) -> dict[str, Any]:
    """Make many copies of a photo; photos per second once all stages are busy, and who limits."""
    folder = job.folder / "photos"
    folder.mkdir()
    for number in range(job.photos):
        (folder / f"p{number:03}.dng").write_bytes(photo)
    model = load_model("safelight", job.device)
    jobs = max(1, (os.cpu_count() or 2) // 2)
    options, stages = BatchOptions(jobs=jobs), defaultdict(list)
    ends, devices = [], set()
    started = time.perf_counter()
    for outcome in enhance_all([folder], job.folder / "pictures", model, options):
        if outcome.status.value != "done":
            raise SystemExit(f"batch: {outcome.error}")
        ends.append(time.perf_counter() - started)
        devices.add(outcome.device)
        for stage, seconds in outcome.seconds.items():
            stages[stage].append(seconds)
    middle = ends[len(ends) // 4 :]  # without the start
    rate = (len(middle) - 1) / (middle[-1] - middle[0])
    medians = {stage: statistics.median(seconds) for stage, seconds in stages.items()}
    # Decoding has so many processes, the network one device; encoding shares the processors.
    room = {"decode": jobs, "network": 1 + jobs, "encode": os.cpu_count() or 1}
    rates = {stage: room[stage] / seconds for stage, seconds in medians.items()}
    return {
        "photos": job.photos,
        "photos_per_second": rate,
        "jobs": jobs,
        "devices": sorted(devices),
        "stage_seconds": medians,
        "stage_photos_per_second": rates,
        "limiting_stage": min(rates, key=lambda stage: rates[stage]),
    }


def describe_machine(job: Job) -> dict[str, Any]:
    """Say on what was measured."""
    place = find_device(job.device)
    name = platform.processor() or platform.machine()
    if place.type == "cuda":
        name = torch.cuda.get_device_name(place)
    return {
        "device": job.device,
        "name": name,
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "megapixels": job.megapixels,
    }


def find_failures(figures: dict[str, Any]) -> list[str]:
    """List what is not as it should be; the limits of time are an H200's for 12 megapixels."""
    failures = list(figures["tests"]["failed"])
    if not figures["tests"]["passed"] and not failures:
        failures.append(f"the tests did not pass: {figures['tests']['summary']}")
    machine = figures["machine"]
    if "H200" not in machine["name"] or machine["megapixels"] != 12:
        return failures
    for row in figures["networks"]:
        limit = LIMITS.get(row["model"], float("inf"))
        if row["precision"] == "float16" and row["median_ms"] > limit:
            failures.append(f"{row['model']}: {row['median_ms']:.1f} ms, at most {limit:g}")
    rate = figures["batch"]["photos_per_second"]
    if rate < PHOTOS_PER_SECOND:
        slow = figures["batch"]["limiting_stage"]
        failures.append(f"batch: {rate:.1f} photos/s, at least {PHOTOS_PER_SECOND:g} ({slow})")
    return failures


def write_table(figures: dict[str, Any]) -> str:
    """Write the figures as Markdown, ready for darkroom/models/README.md."""
    machine, batch = figures["machine"], figures["batch"]
    size = f"{machine['megapixels']:g} MP"
    lines = [
        f"Measured {machine['date']} on {machine['name']} (torch {machine['torch']}), {size}, by "
        f"`python tests/gpu/checks.py --device {machine['device']}`:",
        "",
        "| network alone | precision | median | least |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['model']} | {row['precision']} | {row['median_ms']:.1f} ms | "
        f"{row['min_ms']:.1f} ms |"
        for row in figures["networks"]
    ]
    off = figures["tests"].get("networks", {})
    if off:
        lines += [
            "",
            "| differs from float32 on the processor, of the largest value | float32, most | "
            "float16, 99.9 % | bfloat16, 99.9 % |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {name} | {one['fp32']['max']:.1e} | {one['fp16']['p99.9']:.1e} | "
            f"{one['bf16']['p99.9']:.1e} |"
            for name, one in off.items()
        ]
    stages = ", ".join(f"{stage} {s:.3f} s" for stage, s in batch["stage_seconds"].items())
    lines += [
        "",
        f"A batch of {batch['photos']} photos: {batch['photos_per_second']:.1f} a second with "
        f"{batch['jobs']} decoding, on {machine['cores']} cores; per photo {stages}; "
        f"{batch['limiting_stage']} is the limit.",
    ]
    return "\n".join(lines) + "\n"


def read_job(arguments: list[str] | None = None) -> Job:
    """Read the command line."""
    known = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    known.add_argument("--device", default="cuda")
    known.add_argument("--megapixels", type=float, help="of photos; 12, and 1 with --device cpu")
    known.add_argument("--runs", type=int, help="of each network; 20, and 1 with --device cpu")
    known.add_argument("--photos", type=int, help="in the batch; 64, and 4 with --device cpu")
    known.add_argument("-o", dest="folder", type=Path, default=Path("gpu-figures"))
    given = known.parse_args(arguments)
    cpu = given.device == "cpu"
    return Job(
        given.device,
        given.megapixels or (1.0 if cpu else 12.0),
        given.runs or (1 if cpu else 20),
        given.photos or (4 if cpu else 64),
        given.folder,
    )


def main(job: Job) -> int:
    """Run everything and leave the figures; 0 where all is as it should be."""
    find_device(job.device)
    job.folder.mkdir(parents=True, exist_ok=True)
    photo = make_photo(job.megapixels)
    with tempfile.TemporaryDirectory() as name:
        scratch = Job(job.device, job.megapixels, job.runs, job.photos, Path(name))
        (scratch.folder / "photo.dng").write_bytes(photo)
        weights = dict(list_weights(scratch.folder))
        figures = {
            "machine": describe_machine(job),
            "tests": run_tests(scratch),
            "networks": time_networks(scratch, photo, weights),
            "stages": run_bench(scratch, scratch.folder / "photo.dng", weights),
            "batch": time_batch(scratch, photo),
        }
    figures["failures"] = find_failures(figures)
    (job.folder / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    table = write_table(figures)
    (job.folder / "figures.md").write_text(table, encoding="utf-8")
    verdict = "\n".join(figures["failures"]) or "all as it should be"
    sys.stdout.write(f"{table}\n{verdict}\n")
    return 1 if figures["failures"] else 0


if __name__ == "__main__":
    raise SystemExit(main(read_job()))
