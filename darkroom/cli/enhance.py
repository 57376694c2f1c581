"""darkroom enhance: one dark RAW photo in, one finished picture out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darkroom.cli import inputs, output
from darkroom.cli.options import (
    Denoise,
    Device,
    Ev,
    GainRule,
    Highlights,
    HotPixels,
    Json,
    ModelName,
    Overwrite,
    Photo,
    Precision,
    Quiet,
    Ratio,
    Tile,
)
from darkroom.cli.progress import Stages
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from darkroom.models.model import Model
    from darkroom.output.picture import SaveOptions
    from darkroom.pipeline import Options


def enhance(
    photo: Photo,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where the picture goes: .png, .tif or .jpg, or - for standard output. "
            "Default: PHOTO's name with .png, in this folder.",
        ),
    ] = None,
    model: ModelName = "safelight",
    ratio: Ratio = None,
    ev: Ev = 0.0,
    gain: GainRule = None,
    hot_pixels: HotPixels = None,
    denoise: Denoise = 1.0,
    highlights: Highlights = None,
    file_format: Annotated[
        str | None,
        typer.Option("--format", metavar="png|tif|jpg", help="Needed where the output is -."),
    ] = None,
    bits: Annotated[int, typer.Option("--bits", help="8 or 16 per sample (PNG and TIFF).")] = 8,
    quality: Annotated[int, typer.Option("--quality", help="Of JPEG, 1 to 100.")] = 92,
    overwrite: Overwrite = False,
    tile: Tile = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Brighten one dark RAW photo.

    Examples:

    darkroom enhance IMG.ARW -o out.png

    darkroom enhance IMG.ARW -o out.tif --bits 16 --ratio 100

    cat IMG.DNG | darkroom enhance - -o - --format jpg > out.jpg
    """
    target, save = _plan_output(photo, out, file_format, bits, quality, overwrite)
    if target == inputs.STANDARD and as_json:
        raise UsageError("--json and -o - both want standard output; write the picture to a file")
    with Stages(quiet) as stages:
        with stages.stage("load the model"):
            options = inputs.enhance_options(
                ratio, gain, ev, tile, bits, hot_pixels, denoise, highlights
            )
            network = inputs.load(model, device, precision)
        record = _enhance(photo, target, network, options, save, stages)
    if not quiet:
        for line in record["warnings"]:
            output.warn(line)
        output.say(_summary(record))
    if as_json:
        output.print_json(record)


def _enhance(
    photo: Path,
    target: Path,
    model: "Model",
    options: "Options",
    save: "SaveOptions",
    stages: Stages,
) -> dict[str, Any]:
    """Read, enhance and write; returns the record of what was done."""
    from darkroom.batch.stages import describe
    from darkroom.output.exif import picture_exif
    from darkroom.output.picture import save_picture
    from darkroom.pipeline import enhance

    with stages.stage("read"):
        raw = inputs.read_photo(photo)
    with stages.stage("enhance") as watch:
        picture = enhance(raw, model, options, watch)
    with stages.stage("write"):
        sink = sys.stdout.buffer if target == inputs.STANDARD else target
        save_picture(picture.pixels, sink, save, exif=picture_exif(raw))
    return {
        "photo": str(photo),
        "output": str(target),
        **describe(raw, picture, model),
        "seconds": {name: round(seconds, 3) for name, seconds in stages.seconds.items()},
    }


def _summary(record: dict[str, Any]) -> str:
    return (
        "{output}: {width} x {height}, x{gain:.4g} ({gain_reason}), {model} on {device} "
        "in {precision}, {total:.1f} s"
    ).format(**record, total=sum(record["seconds"].values()))


def _plan_output(
    photo: Path,
    out: Path | None,
    file_format: str | None,
    bits: int,
    quality: int,
    overwrite: bool,
) -> tuple[Path, "SaveOptions"]:
    """Settle where and how the picture is written, and fail now if it could not be."""
    from darkroom.output.atomic import check_target
    from darkroom.output.picture import PictureFormat, SaveOptions

    if out is None and photo == inputs.STANDARD:
        raise UsageError("the photo comes from standard input: name the output with -o")
    target = out or Path(f"{photo.stem}.{file_format or 'png'}")
    if target == inputs.STANDARD and file_format is None:
        raise UsageError("-o - needs --format png, tif or jpg")
    kind = PictureFormat.from_name(file_format) if file_format else PictureFormat.from_path(target)
    if target == inputs.STANDARD and sys.stdout.isatty():
        raise UsageError("standard output is a terminal; redirect it, or name a file with -o")
    if target != inputs.STANDARD:
        check_target(target, overwrite)
    return target, SaveOptions(kind, bits=bits, quality=quality, overwrite=overwrite)
