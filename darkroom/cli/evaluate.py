"""darkroom evaluate: a model's scores, on pairs of exposures or on simulated photos."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from darkroom.cli import inputs, output
from darkroom.cli.options import Device, Json, ModelName, NormStatistics, Precision, Tile
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from darkroom.evaluation.paired import PairScore
    from darkroom.evaluation.simulated import PictureScore, SceneScore

FIGURES = ("psnr", "ssim", "aligned_psnr", "aligned_ssim")


def evaluate(
    pairs: Annotated[
        Path | None,
        typer.Argument(metavar="LIST", help="Pairs in SID's format: short and long, a line each."),
    ] = None,
    simulate: Annotated[
        Path | None,
        typer.Option(
            "--simulate", metavar="FOLDER", help="Simulate photos of these pictures instead."
        ),
    ] = None,
    ratio: Annotated[
        list[float] | None,
        typer.Option(
            "--ratio",
            min=0,
            max=1000,
            help="Of simulated photos, any number; 0: no noise. Default: 0, 1, 10, 100, 300.",
        ),
    ] = None,
    xtrans: Annotated[bool, typer.Option("--xtrans", help="Simulate an X-Trans sensor.")] = False,
    model: ModelName = "safelight",
    norm_statistics: NormStatistics = "stored",
    device: Device = "auto",
    precision: Precision = "auto",
    tile: Tile = "auto",
    as_json: Json = False,
) -> None:
    """Score a model on a data set such as SID, at the ratio that the exposure times give.

    PSNR and SSIM as the papers compute them, on 16-bit pictures; aligned after the one gain within
    a stop that suits each picture best. Or with --simulate on photos of known truth: clean pictures
    behind a simulated full-frame sensor, compared in sRGB, LibRaw's brightened AHD beside it.

    Example:

    darkroom evaluate SID/list.txt --model redi

    darkroom evaluate --simulate kodak/ --ratio 100
    """
    if (pairs is None) == (simulate is None):
        raise UsageError("give either a list of pairs or --simulate FOLDER")
    if simulate is None and (ratio or xtrans):
        raise UsageError("--ratio and --xtrans are for --simulate; pairs have their own")
    if any(0 < one < 1 for one in ratio or ()):
        raise UsageError("--ratio: give 0 for no noise, or at least 1")
    options = inputs.enhance_options(None, None, 0.0, tile, 16)
    if pairs is not None:
        from darkroom.evaluation.paired import score_pairs
        from darkroom.pairs.layouts import read_pairs

        listed = read_pairs(pairs)
        network = inputs.load_network(model, device, precision, norm_statistics)
        _print_pairs(score_pairs(listed, network, options), as_json)
    elif simulate is not None:
        from darkroom.evaluation.simulated import RATIOS, read_scenes, score_scenes
        from darkroom.mosaic.packing import BAYER, XTRANS

        scenes, cfa = read_scenes(simulate), XTRANS if xtrans else BAYER
        network = inputs.load_network(model, device, precision, norm_statistics)
        _print_scenes(score_scenes(scenes, ratio or RATIOS, network, options, cfa), as_json)


def _print_pairs(found: "Iterator[PairScore]", as_json: bool) -> None:
    scores = []
    for one in found:
        scores.append(one)
        if as_json:
            output.print_json(asdict(one))
        else:
            output.show(_line(one.name, f"x{one.ratio:g}", (getattr(one, by) for by in FIGURES)))
    if not as_json and scores:
        means = (fmean(getattr(one, by) for one in scores) for by in FIGURES)
        output.show(_line(f"mean of {len(scores)}", "", means))


def _print_scenes(found: "Iterator[SceneScore]", as_json: bool) -> None:
    """Print a line for each ratio: means over the pictures; as JSON a record for each picture."""
    from darkroom.evaluation.simulated import name_ratio

    for ratio, group in groupby(found, key=lambda one: one.ratio):
        scores = []
        for one in group:
            scores.append(one)
            if as_json:
                output.print_json(asdict(one))
        if not as_json:
            ours, libraw = ([getattr(one, by) for one in scores] for by in ("ours", "libraw"))
            name = f"{name_ratio(ratio)}, mean of {len(scores)}"
            output.show(f"{name:<24} {_mean(ours)}   LibRaw {_mean(libraw)}")


def _mean(scores: "list[PictureScore]") -> str:
    psnr, ssim = fmean(one.psnr for one in scores), fmean(one.ssim for one in scores)
    return f"{psnr:6.2f} dB / {ssim:.3f}"


def _line(name: str, ratio: str, figures: Iterable[float]) -> str:
    psnr, ssim, aligned_psnr, aligned_ssim = figures
    return (
        f"{name:<24} {ratio:<6} {psnr:6.2f} dB / {ssim:.3f}   "
        f"aligned {aligned_psnr:6.2f} dB / {aligned_ssim:.3f}"
    )
