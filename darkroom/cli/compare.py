"""darkroom compare: what models make of a photo, side by side."""

from pathlib import Path
from typing import Annotated

import typer

from darkroom.cli import inputs, options, output, targets
from darkroom.cli.choices import PictureChoices
from darkroom.errors import UsageError

PAGE_ENDINGS = (".html", ".htm")


def compare(
    photos: options.Photos,
    out: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|FOLDER",
            help="The sheet: .png, .jpg or .tif, or .html for a page with sliders; a folder for "
            "one or more.",
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FILE",
            help="Weights by name or a file, as of enhance; may be repeated. Default: safelight.",
        ),
    ] = None,
    ratio: options.Ratio = None,
    ev: options.Ev = 0.0,
    gain: options.GainRule = None,
    file_format: Annotated[
        str, typer.Option("--format", metavar="png|tif|jpg|html", help="In folders.")
    ] = "png",
    overwrite: options.Overwrite = False,
    tile: options.Tile = "auto",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show what models make of a photo: a sheet, or a page with sliders.

    Examples:

    darkroom compare IMG.ARW -m safelight -m safelight-large -o sheet.png

    darkroom compare IMG.ARW -m safelight -m mine.safetensors -o sheet.html

    darkroom compare card/ -o sheets/

    Beside the photo as taken, and as LibRaw alone brightens it, stands each model's picture: whole,
    and at 100 % where the models differ most (one alone: from LibRaw). All are brightened alike, as
    the first model's rule finds or --ratio says.
    """
    from darkroom.models.loading import list_files
    from darkroom.output.atomic import check_target, make_folder
    from darkroom.output.picture import PictureFormat, SaveOptions

    names = model or ["safelight"]
    plan = targets.plan_targets(photos, out, file_format)
    if any(inputs.STANDARD in pair for pair in plan.pairs):
        raise UsageError("compare reads the photo twice and writes a file: name both")
    as_page = plan.pairs[0][1].suffix.lower() in PAGE_ENDINGS
    kind = PictureFormat.PNG if as_page else PictureFormat.from_path(plan.pairs[0][1])
    read = (*(photo for photo, _ in plan.pairs), *(p for name in names for p in list_files(name)))
    save = SaveOptions(kind, overwrite=overwrite, inputs=read)
    if not plan.several:
        if plan.folder:
            make_folder(plan.pairs[0][1].parent)
        check_target(plan.pairs[0][1], overwrite, read)
    if plan.companions and not quiet:
        output.say(plan.companions)
    with output.Stages(quiet) as stages, stages.stage("load the models"):
        picture_options = PictureChoices(ev=ev, gain=gain, tile=tile).read(8, ratio=ratio)
        networks = [inputs.load_network(name, device, precision) for name in names]

    def make(photo: Path, target: Path) -> None:
        from darkroom.evaluation.comparison import (
            draw_comparison,
            render_comparison_page,
            render_photo,
        )
        from darkroom.output.atomic import atomic_write
        from darkroom.output.picture import save_picture

        with output.Stages(quiet) as stages:
            with stages.stage("read"):
                raw = inputs.read_photo(photo)
            with stages.stage("enhance"):
                made = render_photo(raw, photo.read_bytes(), networks, picture_options)
            with stages.stage("write"):
                if as_page:
                    page = render_comparison_page(photo.name, made).encode("utf-8")
                    with atomic_write(target, overwrite, inputs=read) as stream:
                        stream.write(page)
                else:
                    save_picture(draw_comparison(made), target, save)
        if not quiet:
            for line in dict.fromkeys(line for one in made for line in one.warnings):
                output.warn(line)
            output.say(f"{target}: " + "; ".join(f"{one.name} {one.caption}" for one in made))
        if as_json:
            facts = [
                {"name": one.name, "gain": one.gain, "seconds": round(one.seconds, 3)}
                for one in made
            ]
            output.print_json({"photo": str(photo), "output": str(target), "pictures": facts})

    if plan.several:
        targets.make_each(plan, make, save, quiet=quiet, as_json=as_json)
    else:
        make(*plan.pairs[0])
