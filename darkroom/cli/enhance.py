"""darkroom enhance: one dark RAW photo in, one finished picture out."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from darkroom.cli import inputs, options, output
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from darkroom.output.picture import SaveOptions

STDIN, STDOUT = 0, 1
"""Descriptors: a shell may have opened a file there."""


def enhance(
    photo: options.Photo,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where the picture goes: .png, .tif, .jpg, .webp, .avif, or - for standard "
            "output. Default: PHOTO's name with .png, in this folder.",
        ),
    ] = None,
    model: options.ModelName = "safelight",
    norm_statistics: options.NormStatistics = "stored",
    ratio: options.Ratio = None,
    ev: options.Ev = 0.0,
    gain: options.GainRule = None,
    hot_pixels: options.HotPixels = None,
    denoise: options.Denoise = 1.0,
    highlights: options.Highlights = None,
    edges: options.Edges = "reflect",
    black: options.Black = None,
    cfa: options.Cfa = None,
    profile: options.Profile = None,
    dark: Annotated[
        list[Path] | None,
        typer.Option(
            "--dark",
            metavar="FRAME",
            help="A dark frame (lens cap on, same ISO and exposure) to take off, or a folder of "
            "them; may be repeated. One gives black, hot pixels and shading; more, all that stays.",
        ),
    ] = None,
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="png|tif|jpg|webp|avif", help="Needed where the output is -."
        ),
    ] = None,
    bits: options.Bits = 8,
    quality: Annotated[
        int, typer.Option("--quality", help="Of JPEG, WebP and AVIF, 1 to 100.")
    ] = 92,
    color_space: options.ColorSpace = "srgb",
    tone: options.Tone = "neutral",
    saturation: options.Saturation = 1.0,
    resize: options.Resize = None,
    wb: options.WhiteBalance = "as-shot",
    strip: options.Strip = False,
    no_gps: options.NoGps = False,
    keep_time: options.KeepTime = False,
    overwrite: options.Overwrite = False,
    tile: options.Tile = "auto",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Brighten one dark RAW photo.

    Examples:

    darkroom enhance IMG.ARW -o out.png

    darkroom enhance IMG.ARW -o out.tif --bits 16 --ratio 100

    cat IMG.DNG | darkroom enhance - -o - --format jpg > out.jpg
    """
    references = inputs.list_references(profile, dark or ())
    target, save = _plan_output(
        photo, out, file_format, bits, quality, overwrite, model, references
    )
    save = replace(save, strip=strip, gps=not no_gps, keep_time=keep_time)
    if keep_time and target == inputs.STANDARD:
        raise UsageError("--keep-time needs a file; name it with -o")
    if target == inputs.STANDARD and as_json:
        raise UsageError("--json and -o - both want standard output; write the picture to a file")
    with output.Stages(quiet) as stages:
        with stages.stage("load the model"):
            picture_options = inputs.enhance_options(
                ratio,
                gain,
                ev,
                tile,
                bits,
                hot_pixels,
                denoise,
                highlights,
                edges,
                black,
                cfa,
                profile,
                dark or (),
            )
            picture_options = inputs.finish_options(
                picture_options, color_space, tone, saturation, resize, wb
            )
            from darkroom.batch.devices import weights_sha256
            from darkroom.models.loading import load_model

            network = load_model(model, device, precision, norm_statistics, bits)
            digest = weights_sha256(network)
        from darkroom.batch.stages import describe, describe_metadata
        from darkroom.output.metadata import find_time
        from darkroom.output.picture import save_picture
        from darkroom.pipeline import enhance

        with stages.stage("read"):
            raw = inputs.read_photo(photo)
        with stages.stage("enhance") as watch:
            picture = enhance(raw, network, picture_options, watch)
        with stages.stage("write"):
            sink = sys.stdout.buffer if target == inputs.STANDARD else target
            used = network.for_sensor(raw.cfa.sensor)
            metadata = describe_metadata(raw, picture, used, digest, picture_options, save)
            path = None if photo == inputs.STANDARD else photo
            time = find_time(raw, path) if keep_time else None
            space = picture.color_space
            save_picture(picture.pixels, sink, save, metadata=metadata, time=time, space=space)
    facts = describe(raw, picture, network) | {
        "network": network.for_sensor(raw.cfa.sensor).architecture.name,
        "norm_statistics": norm_statistics,
        "profile": picture_options.profile and picture_options.profile.identity,
        "dark": picture_options.dark and picture_options.dark.identity,
        "color_space": picture.color_space.value,
        "tone": tone,
        "saturation": saturation,
        "resize": resize,
        "wb": wb,
    }
    seconds = {name: round(seconds, 3) for name, seconds in stages.seconds.items()}
    if not quiet:
        if keep_time and time is None:
            output.warn("nothing tells when the photo was taken; the file keeps today's time")
        for line in picture.warnings:
            output.warn(line)
        output.say(
            "{output}: {width} x {height}, x{gain:.4g} ({gain_reason}), {model} on {device} "
            "in {precision}, {total:.1f} s".format(
                **facts, output=target, total=sum(seconds.values())
            )
        )
    if as_json:
        output.print_json({"photo": str(photo), "output": str(target), **facts, "seconds": seconds})


def _plan_output(
    photo: Path,
    out: Path | None,
    file_format: str | None,
    bits: int,
    quality: int,
    overwrite: bool,
    model: str,
    references: Sequence[Path],
) -> tuple[Path, "SaveOptions"]:
    """Settle where and how the picture is written, and fail now if it could not be.

    `references`: a profile and dark frames, which are read too.
    """
    from darkroom.models.loading import list_files
    from darkroom.output.atomic import check_target, spare_inputs
    from darkroom.output.picture import PictureFormat, SaveOptions

    inputs.refuse_folder(out)
    if out is None and photo == inputs.STANDARD:
        raise UsageError("the photo comes from standard input: name the output with -o")
    target = out or Path(f"{photo.stem}.{file_format or 'png'}")
    if target == inputs.STANDARD and file_format is None:
        raise UsageError("-o - needs --format png, tif, jpg, webp or avif")
    read = (STDIN if photo == inputs.STANDARD else photo, *list_files(model), *references)
    kind = PictureFormat.from_name(file_format) if file_format else PictureFormat.from_path(target)
    if target != inputs.STANDARD:
        check_target(target, overwrite, read)
    elif sys.stdout.isatty():
        raise UsageError("standard output is a terminal; redirect it, or name a file with -o")
    else:
        spare_inputs(STDOUT, read)
    return target, SaveOptions(kind, bits, quality, overwrite, read)
