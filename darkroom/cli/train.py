"""darkroom train: make safelight's weights from clean photographs."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from darkroom.cli import inputs, output
from darkroom.cli.options import Quiet
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from darkroom.training.log import TrainingReport

CROP_GRID = 96
"""Photosites in whose steps crops of both kinds of sensor, Bayer and X-Trans, need no padding."""
MAX_SEED = (1 << 32) - 1
MAX_THREADS = 1024
"""Far more than help; torch ends where numbers do not fit its own."""


def train(
    photos: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Clean JPEG or PNG photographs, any number.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="Checkpoints and weights; run again to resume."
        ),
    ],
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps in all.")] = 20000,
    batch: Annotated[
        int,
        typer.Option(
            "--batch",
            min=1,
            help="Crops per step; one of eight is told of more noise than it has.",
        ),
    ] = 8,
    size: Annotated[
        int, typer.Option("--size", min=96, help="Photosites per side of a crop, times of 96.")
    ] = 192,
    rate: Annotated[float, typer.Option("--rate", help="Greatest learning rate.")] = 1e-3,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=MAX_SEED, help="Another seed, another run.")
    ] = 0,
    device: Annotated[
        str, typer.Option("--device", metavar="cpu|cuda[:N]", help="Where it trains.")
    ] = "cpu",
    xtrans: Annotated[
        bool, typer.Option("--xtrans", help="For X-Trans sensors, not Bayer's.")
    ] = False,
    large: Annotated[
        bool, typer.Option("--large", help="safelight-large: four times the work.")
    ] = False,
    begin: Annotated[
        str, typer.Option("--begin", metavar="FILE", help="Weights to begin with, where they fit.")
    ] = "",
    sensor: Annotated[
        Path | None,
        typer.Option(
            "--sensor",
            metavar="PROFILE",
            help="Simulate the camera of a profile (darkroom calibrate) alone, at its ISOs.",
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            "--threads", min=1, max=MAX_THREADS, help="Processor threads; 1 if the machine is busy."
        ),
    ] = 1,
    validate: Annotated[
        Path | None,
        typer.Option(
            "--validate",
            metavar="FOLDER",
            help="Pictures to score with along the way, never trained on.",
        ),
    ] = None,
    score_every: Annotated[
        int, typer.Option("--score-every", min=1, help="Steps from one scoring to the next.")
    ] = 1000,
    quiet: Quiet = False,
) -> None:
    """Train safelight on simulated sensors, or go on where an earlier run stopped.

    Leaves the weights in the output folder, NAME.safetensors, for --model; a report of every 100
    steps in log.jsonl; the curves of loss and scores in curves.png (with matplotlib).

    Example:

    darkroom train photos/ -o runs/first --steps 20000 --validate kodak/
    """
    import torch

    from darkroom.output.atomic import spare_inputs
    from darkroom.training.curves import NEEDED, has_matplotlib
    from darkroom.training.log import CURVES, LOG, TrainingLog
    from darkroom.training.scenes import load_photos
    from darkroom.training.trainer import Recipe, train_network
    from darkroom.training.validation import Validation

    if size % CROP_GRID:
        raise UsageError(f"--size {size}: give a multiple of {CROP_GRID}, such as 192")
    torch.set_num_threads(threads)
    recipe = Recipe(steps, batch, size, rate, seed, device, xtrans, large, begin)
    if sensor is not None:
        recipe = replace(recipe, sensor=inputs.read_sensor(sensor, xtrans=xtrans))
    places = [place for place in (photos, validate) if place is not None]
    read = [path for place in places for path in place.glob("**/*")]
    for name in (f"{recipe.name}.safetensors", LOG, CURVES):
        spare_inputs(out / name, [*read, Path(begin), *([sensor] if sensor else [])])
    for place in places:
        if out.resolve().is_relative_to(place.resolve()):  # its curves would be read as a photo
            raise UsageError(f"{out}: lies among the pictures of {place}; choose another folder")
    validation = None if validate is None else Validation.simulate(validate, recipe.cfa)

    def tell(report: "TrainingReport") -> None:
        if quiet:
            return
        left = (steps - report.step) * report.seconds_per_step / 60
        output.say(
            f"step {report.step} of {steps}: loss {report.loss:.4f}, "
            f"{report.seconds_per_step:.2f} s a step, {report.crops_per_second:.1f} crops/s, "
            f"{left:.0f} min left"
        )
        if report.scores:
            scores = (f"{name} {score.psnr:.2f} dB" for name, score in report.scores.items())
            output.say(f"  PSNR {', '.join(scores)}")

    if not (with_curves := has_matplotlib()):
        output.warn(f"{CURVES} is left out: {NEEDED}")
    log = TrainingLog(out, validation, score_every, tell, with_curves)
    for _ in train_network(load_photos(photos, size), recipe, out, watch=log):
        pass
    if not quiet:
        output.say(f"{out / recipe.name}.safetensors: done")
