"""darkroom demo: the whole way on a photo of known truth, made on the spot."""

from pathlib import Path
from typing import Annotated

import typer

from darkroom.cli import inputs, output
from darkroom.cli.options import Device, ModelName, Overwrite, Precision, Quiet
from darkroom.errors import UsageError

SHEET_HEIGHT = 600
SMALLEST = 120
FILES = ("chart.dng", "chart.png", "before-after.png")


def demo(
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the files go.")
    ] = Path("darkroom-demo"),
    exposure: Annotated[
        float, typer.Option("--exposure", help="Light for the photo, 1 being enough.")
    ] = 1 / 300,
    size: Annotated[
        str, typer.Option("--size", metavar="WxH", help="Of the chart, in pixels.")
    ] = "1800x1200",
    model: ModelName = "safelight",
    device: Device = "auto",
    precision: Precision = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Photograph a test chart almost in the dark, enhance it, and compare with the truth.

    A simulated sensor takes the chart at 1/300 of the light it needs. Leaves chart.dng (the RAW
    photo), chart.png (enhanced, gain found automatically) and before-after.png.

    Example:

    darkroom demo -o demo/
    """
    import numpy as np

    from darkroom.evaluation.chart import draw_chart, photograph_chart
    from darkroom.evaluation.image_grid import draw_picture_grid
    from darkroom.evaluation.reference import compare_with_truth, develop_plainly
    from darkroom.models.loading import list_files
    from darkroom.output.atomic import atomic_write, check_target, make_folder
    from darkroom.output.dng import write_dng
    from darkroom.output.picture import PictureFormat, SaveOptions, save_picture
    from darkroom.pipeline import Options, enhance
    from darkroom.raw.reader import read_raw

    if not 0 < exposure <= 1:
        raise UsageError(f"--exposure {exposure:g}: give a share of the light, above 0 up to 1")
    width, height = inputs.photo_size(size)
    if min(width, height) < SMALLEST:
        raise UsageError(f"--size {size}: give width x height, each at least {SMALLEST}")
    paths = [out / name for name in FILES]
    make_folder(out)
    for path in paths:
        check_target(path, overwrite, list_files(model))
    with output.Stages(quiet) as stages:
        with stages.stage("photograph the chart"):
            chart = draw_chart(height, width)
            with atomic_write(paths[0], overwrite) as stream:
                write_dng(stream, photograph_chart(chart, exposure=exposure))
        with stages.stage("load the model"):
            network = inputs.load_network(model, device, precision)
        with stages.stage("enhance") as watch:
            raw = read_raw(paths[0])
            picture = enhance(raw, network, Options(), watch)
        with stages.stage("compare"):
            plain = develop_plainly(raw, picture.gain.value)
            save = SaveOptions(PictureFormat.PNG, overwrite=overwrite)
            save_picture(picture.pixels, paths[1], save)
            bright = picture.pixels.astype(np.uint8, copy=False)
            panels = [
                ("as taken", develop_plainly(raw, 1.0)),
                (f"amplified {picture.gain.value:.0f} times", plain),
                ("darkroom", bright),
            ]
            save_picture(draw_picture_grid(panels, height=SHEET_HEIGHT), paths[2], save)
            top, left = raw.margins  # a dark edge may have been taken for optical black
            scene = chart[top : top + bright.shape[0], left : left + bright.shape[1]]
            without, enhanced = (compare_with_truth(one, scene).psnr for one in (plain, bright))
    if not quiet:
        output.say(f"amplified x{picture.gain.value:.0f}: {picture.gain.reason}")
        output.say(f"look at {paths[2]}")
    output.show(
        f"PSNR against the truth: {without:.2f} dB amplified only, {enhanced:.2f} dB enhanced"
    )
