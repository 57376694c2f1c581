"""darkroom evaluate: scores of models, on pairs of exposures or on simulated photos."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from darkroom.cli import inputs, options, output
from darkroom.cli.choices import PictureChoices
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from darkroom.evaluation.simulated import PictureScore, SceneScore
    from darkroom.models.model import Model
    from darkroom.pipeline import Options


def evaluate(
    pairs: Annotated[
        Path | None,
        typer.Argument(
            metavar="LIST",
            help="A list of pairs in SID's format, the folder of SID or ELD, or one of dark photos "
            "with --references.",
        ),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            "--references", metavar="FOLDER", help="Long exposures of the same names as the photos."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split", metavar="train|test|validation", help="Only these of SID's scenes."
        ),
    ] = None,
    first: Annotated[
        bool, typer.Option("--first", help="Only the first photo of each burst, as SID's code has.")
    ] = False,
    simulate: Annotated[
        Path | None,
        typer.Option(
            "--simulate", metavar="FOLDER", help="Simulate photos of these pictures instead."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FILE",
            help="As enhance takes it, any number; libraw: SID's baseline, LibRaw's picture at the "
            "reference's mean brightness. Default: safelight.",
        ),
    ] = None,
    ratio: Annotated[
        list[float] | None,
        typer.Option(
            "--ratio",
            min=0,
            max=1000,
            help="Amplify every photo by this, not by its exposure ratio. Of simulated photos any "
            "number; 0: no noise. Default for them: 0, 1, 10, 100, 300.",
        ),
    ] = None,
    gain: Annotated[
        str,
        typer.Option(
            "--gain",
            metavar="true|auto",
            help="By the exposure ratio, at most 300, or as the model's amplifier or rule finds.",
        ),
    ] = "true",
    rule: options.GainRule = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics",
            metavar="NAME,...",
            help="sid: PSNR and SSIM, not rounded; aligned: at the best brightness; 8bit: both "
            "truncated first, as by LLPackNet's code; gaussian: SSIM over Gaussian windows; lpips. "
            "Default: sid,aligned. With --simulate: artifacts, what the eye sees.",
        ),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(
            "--cache",
            metavar="FOLDER|off",
            help="Where decoded photos are kept. Default: darkroom's own folder of the user.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume", metavar="FILE", help="Note each score there, and go on from those it has."
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write every score.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the table.")
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet", metavar="FILE.png", help="Write crops of the worst and the best pairs."
        ),
    ] = None,
    xtrans: Annotated[bool, typer.Option("--xtrans", help="Simulate an X-Trans sensor.")] = False,
    edges: options.Edges = "reflect",
    norm_statistics: options.NormStatistics = "stored",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    tile: options.Tile = "auto",
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Score models on a data set such as SID, by the protocols of its papers.

    Means over all pairs, by ratio, and without the three misaligned scenes of SID's test list;
    published numbers stand beside them where photos, protocol and network are the same. Or with
    --simulate on photos of known truth: clean pictures behind a simulated full-frame sensor,
    compared in sRGB, LibRaw's brightened AHD beside it.

    Examples:

    darkroom evaluate SID/Sony_test_list.txt -m sid-sony -m redi -m libraw --resume scores.jsonl

    darkroom evaluate dark/ --references bright/ --metrics sid,gaussian --sheet sheet.png

    darkroom evaluate --simulate kodak/ --ratio 100

    darkroom evaluate --simulate kodak/ --metrics artifacts -m safelight -m libraw

    --metrics artifacts measures what the eye sees, on these pictures and on drawn scenes: casts,
    streaks, weaves, noise, dark shadows, a ColorChecker, a lamp, a zone plate.

    --json prints a record for each model and pair, then their means.
    """
    if (pairs is None) == (simulate is None):
        raise UsageError("give either a list of pairs or --simulate FOLDER")
    names = model or ["safelight"]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"--model {min(twice)}: was given twice")
    settings = PictureChoices(gain=rule, tile=tile, edges=edges).read(16)

    def load(name: str) -> "Model":
        return inputs.load_network(name, device, precision, norm_statistics)

    if simulate is not None:
        alone = metrics == ["artifacts"]
        for_pairs = (references, split, cache, resume, sheet, rule)
        tables = () if alone else (metrics, csv, markdown)
        if first or gain != "true" or any(one is not None for one in (*for_pairs, *tables)):
            raise UsageError(
                "--simulate: only --ratio, --xtrans, --model go with it, and --metrics artifacts, "
                "with --csv and --markdown; see --help"
            )
        if any(0 < one < 1 for one in ratio or ()):
            raise UsageError("--ratio: give 0 for no noise, or at least 1")
        if not alone:
            _evaluate_scenes(simulate, names, load, ratio, xtrans, settings, as_json)
            return
        from darkroom.cli.evaluate_artifacts import evaluate_artifacts
        from darkroom.cli.evaluate_pairs import Files

        files = Files(None, None, csv, markdown, None, overwrite)
        evaluate_artifacts(
            simulate, names, load, settings, files, ratio, xtrans, as_json=as_json, quiet=quiet
        )
    elif pairs is not None:
        if xtrans:
            raise UsageError("--xtrans is for --simulate; pairs have their own sensor")
        if metrics == ["artifacts"]:
            raise UsageError("--metrics artifacts is for --simulate: it needs known light")
        from darkroom.cli.evaluate_pairs import Choice, Files, evaluate_pairs

        evaluate_pairs(
            Choice(pairs, references, split, first, gain, rule, ratio or [], metrics or []),
            names,
            load,
            settings,
            Files(cache, resume, csv, markdown, sheet, overwrite),
            as_json=as_json,
            quiet=quiet,
        )


def _evaluate_scenes(
    folder: Path,
    names: list[str],
    load: "Callable[[str], Model]",
    ratios: list[float] | None,
    xtrans: bool,
    settings: "Options",
    as_json: bool,
) -> None:
    """Score models on simulated photos; several one after the other, their names before."""
    from darkroom.evaluation.simulated import RATIOS, read_scenes, score_scenes
    from darkroom.mosaic.packing import BAYER, XTRANS

    scenes, cfa = read_scenes(folder), XTRANS if xtrans else BAYER
    for name in names:
        found = score_scenes(scenes, ratios or RATIOS, load(name), settings, cfa)
        _print_scenes(found, name, as_json, alone=len(names) == 1)


def _print_scenes(found: "Iterator[SceneScore]", model: str, as_json: bool, *, alone: bool) -> None:
    """Print a line for each ratio: means over the pictures; as JSON a record for each picture."""
    from darkroom.evaluation.simulated import name_ratio

    for ratio, group in groupby(found, key=lambda one: one.ratio):
        scores = []
        for one in group:
            scores.append(one)
            if as_json:
                output.print_json({"model": model, **asdict(one)})
        if not as_json:
            ours, libraw = ([getattr(one, by) for one in scores] for by in ("ours", "libraw"))
            name = f"{'' if alone else model + ', '}{name_ratio(ratio)}, mean of {len(scores)}"
            output.show(f"{name:<24} {_mean(ours)}   LibRaw {_mean(libraw)}")


def _mean(scores: "list[PictureScore]") -> str:
    psnr, ssim = fmean(one.psnr for one in scores), fmean(one.ssim for one in scores)
    return f"{psnr:6.2f} dB / {ssim:.3f}"
