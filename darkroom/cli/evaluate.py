"""darkroom evaluate: a model's scores on pairs of a dark RAW and its long exposure."""

from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from darkroom.cli import inputs, output
from darkroom.cli.options import Device, Json, ModelName, Precision, Tile

if TYPE_CHECKING:
    from darkroom.evaluation.score import PairScore

FIGURES = ("psnr", "ssim", "aligned_psnr", "aligned_ssim")


def evaluate(
    pairs: Annotated[
        Path,
        typer.Argument(metavar="LIST", help="Pairs in SID's format: short and long, a line each."),
    ],
    model: ModelName = "safelight",
    device: Device = "auto",
    precision: Precision = "auto",
    tile: Tile = "auto",
    as_json: Json = False,
) -> None:
    """Score a model on a data set such as SID, at the ratio that the exposure times give.

    PSNR and SSIM as the papers compute them, on 16-bit pictures; aligned after the one gain within
    a stop that suits each picture best.

    Example:

    darkroom evaluate SID/list.txt --model redi
    """
    from darkroom.evaluation.score import read_pairs, score

    options = inputs.enhance_options(None, None, 0.0, tile, 16)
    listed = read_pairs(pairs)
    network = inputs.load(model, device, precision)
    scores = []
    for one in score(listed, network, options):
        scores.append(one)
        if as_json:
            output.print_json(asdict(one))
        else:
            typer.echo(_line(one.name, one))
    if not as_json and scores:
        typer.echo(_means(scores))


def _line(name: str, one: "PairScore") -> str:
    return (
        f"{name:<24} x{one.ratio:<5g} {one.psnr:6.2f} dB / {one.ssim:.3f}   "
        f"aligned {one.aligned_psnr:6.2f} dB / {one.aligned_ssim:.3f}"
    )


def _means(scores: "list[PairScore]") -> str:
    psnr, ssim, aligned_psnr, aligned_ssim = (
        fmean(getattr(one, figure) for one in scores) for figure in FIGURES
    )
    name = f"mean of {len(scores)}"
    return (
        f"{name:<24} {'':6} {psnr:6.2f} dB / {ssim:.3f}   "
        f"aligned {aligned_psnr:6.2f} dB / {aligned_ssim:.3f}"
    )
