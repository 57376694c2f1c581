"""darkroom train: safelight from clean photographs, or a published network from pairs."""

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
        Path,
        typer.Argument(
            metavar="FOLDER|PAIRS",
            help="Clean JPEG or PNG photographs; with --network a list or folder of pairs.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="Checkpoints and weights; run again to resume."
        ),
    ],
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="NAME",
            help="Train this published network on pairs, such as sid or sid-batch-norm-single.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Steps in all, by default 20000; the recipe's, too."),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            min=1,
            help="Crops per step, by default 8 or the recipe's; one of eight photographs is told "
            "of more noise than it has.",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size", min=96, help="Photosites per side of a crop, times of 96; by default 192."
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", help="Learning rate, by default 0.001 at most, or the recipe's."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, max=MAX_SEED, help="Another seed, another run; 0, or the recipe's."
        ),
    ] = None,
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
    recipe_name: Annotated[
        str,
        typer.Option(
            "--recipe",
            metavar="paper|FILE",
            help="The network's own, or an earlier run's recipe.json; options change it.",
        ),
    ] = "paper",
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss",
            metavar="NAME",
            help="On pairs: l1, l2, redi, redi-vgg, llpacknet or safelight.",
        ),
    ] = None,
    rate_after: Annotated[
        float | None,
        typer.Option("--rate-after", help="On pairs: the rate of the second part of the run."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="On pairs: how often each scene is seen."),
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option("--crop", min=1, help="On pairs: photosites per side of a crop."),
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option("--ema", help="On pairs: average the weights, keeping so much at each step."),
    ] = None,
    fraction: Annotated[
        float | None,
        typer.Option("--fraction", help="On pairs: the share of scenes, chosen by the seed."),
    ] = None,
    amplifier: Annotated[
        bool,
        typer.Option("--amplifier", help="llpacknet: find the gain by itself, trained jointly."),
    ] = False,
    m: Annotated[
        float | None,
        typer.Option(
            "--m",
            metavar="1..9",
            help="redi: amplify by its own estimate with this m, 5 in its code, not by the ratio.",
        ),
    ] = None,
    mix: Annotated[
        float | None,
        typer.Option("--mix", help="safelight: the share of crops of simulated sensors."),
    ] = None,
    clean: Annotated[
        Path | None,
        typer.Option("--photos", metavar="FOLDER", help="safelight: photographs for --mix."),
    ] = None,
    bursts: Annotated[
        bool,
        typer.Option("--bursts", help="On pairs: all photos of a burst, not the first alone."),
    ] = False,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            metavar="fp32|bf16|auto",
            help="On pairs; auto is bf16 where the device multiplies in it.",
        ),
    ] = "fp32",
    longs: Annotated[
        Path | None,
        typer.Option(
            "--longs", metavar="FOLDER", help="On pairs: references with the dark photos' names."
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            "--test",
            metavar="PAIRS",
            help="On pairs: score with these, and never learn from them; by default the test "
            "split, scenes 1xxxx.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="FOLDER",
            help="On pairs: where decoded ones are kept; by default $DARKROOM_CACHE.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train safelight on simulated sensors, or a published network on pairs, or go on with a run.

    Leaves the weights in the output folder, NAME.safetensors, for --model; a report of every 100
    steps in log.jsonl; the curves of loss and scores in curves.png (with matplotlib).

    Example:

    darkroom train photos/ -o runs/first --steps 20000 --validate kodak/

    darkroom train Sony_train_list.txt --network sid -o runs/sid --test Sony_test_list.txt
    """
    import torch

    torch.set_num_threads(threads)
    on_pairs = {
        "loss": loss,
        "rate_after": rate_after,
        "epochs": epochs,
        "crop": crop,
        "ema": ema,
        "fraction": fraction,
        "bursts": bursts or None,
        "m": m,
        "mix": mix,
    }
    if network is not None:
        _refuse({"--size": size, "--xtrans": xtrans, "--large": large, "--validate": validate})
        _refuse({"--sensor": sensor})
        from darkroom.cli.pair_training import PairRequest, train_on_pairs

        changes = {"steps": steps, "batch": batch, "rate": rate, "seed": seed, **on_pairs}
        if amplifier and not network.startswith("llpacknet"):
            raise UsageError(f"--amplifier is for llpacknet; leave it out for {network}")
        if epochs is not None and steps is None:
            changes["steps"] = 0
        train_on_pairs(
            PairRequest(
                place=photos,
                out=out,
                network=network + "-amplifier" * amplifier,
                recipe=recipe_name,
                changes={name: value for name, value in changes.items() if value is not None},
                longs=longs,
                photos=clean,
                test=test,
                cache=cache,
                begin=Path(begin) if begin else None,
                device=device,
                precision=precision,
                score_every=score_every,
                quiet=quiet,
            )
        )
        return
    flags = {f"--{name.replace('_', '-')}": value for name, value in on_pairs.items()}
    named = {
        "--amplifier": amplifier or None,
        "--photos": clean,
        "--longs": longs,
        "--test": test,
        "--cache": cache,
    }
    _refuse({**flags, **named}, "--network")

    from darkroom.output.atomic import spare_inputs
    from darkroom.pairs.layouts import looks_like_pairs
    from darkroom.training.curves import NEEDED, has_matplotlib
    from darkroom.training.log import CURVES, LOG, TrainingLog
    from darkroom.training.scenes import load_photos
    from darkroom.training.trainer import Recipe, train_network
    from darkroom.training.validation import Validation

    steps, batch, size = steps or 20000, batch or 8, size or 192
    rate = 1e-3 if rate is None else rate
    if size % CROP_GRID:
        raise UsageError(f"--size {size}: give a multiple of {CROP_GRID}, such as 192")
    if photos.exists() and looks_like_pairs(photos):
        raise UsageError(
            f"{photos}: holds pairs of exposures, not clean photographs; add --network NAME"
        )
    recipe = Recipe(steps, batch, size, rate, seed or 0, device, xtrans, large, begin)
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


def _refuse(options: dict[str, object], missing: str = "") -> None:
    """Raise UsageError where an option is given that says nothing in this kind of training."""
    for name, value in options.items():
        if value is not None and value is not False:
            remedy = f"add {missing}" if missing else "leave it out with --network"
            kind = "on pairs alone" if missing else "on photographs alone"
            raise UsageError(f"{name} is for training {kind}; {remedy}")
