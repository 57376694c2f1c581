"""darkroom train: make safelight's weights from clean photographs."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from darkroom.cli import output
from darkroom.cli.options import Quiet

if TYPE_CHECKING:
    from darkroom.training.fit import Progress

REPORT_EVERY = 100


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
    batch: Annotated[int, typer.Option("--batch", min=1, help="Crops per step.")] = 6,
    size: Annotated[
        int, typer.Option("--size", min=96, help="Photosites per side of a crop, times of 96.")
    ] = 192,
    rate: Annotated[float, typer.Option("--rate", help="Greatest learning rate.")] = 6e-4,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, another run.")] = 0,
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
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="Processor threads; 1 if the machine is busy.")
    ] = 1,
    quiet: Quiet = False,
) -> None:
    """Train safelight on simulated sensors, or go on where an earlier run stopped.

    Leaves the weights in the output folder, NAME.safetensors, for --model.

    Example:

    darkroom train photos/ -o runs/first --steps 20000
    """
    import torch

    from darkroom.training.fit import Recipe, fit
    from darkroom.training.scenes import load_photos

    torch.set_num_threads(threads)
    recipe = Recipe(steps, batch, size, rate, seed, device, xtrans, large, begin)
    loss, since = 0.0, time.perf_counter()
    for progress in fit(load_photos(photos), recipe, out):
        loss += progress.loss
        if progress.step % REPORT_EVERY == 0 and not quiet:
            _report(progress, steps, loss / REPORT_EVERY, time.perf_counter() - since)
            loss, since = 0.0, time.perf_counter()
    if not quiet:
        output.say(f"{out / recipe.name}.safetensors: done")


def _report(progress: "Progress", steps: int, loss: float, seconds: float) -> None:
    per_step = seconds / REPORT_EVERY
    left = (steps - progress.step) * per_step / 60
    output.say(
        f"step {progress.step} of {steps}: loss {loss:.4f}, {per_step:.2f} s a step, "
        f"{left:.0f} min left"
    )
