"""darkroom models: the weights there are, and what a network is made of."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darkroom.cli import inputs, output
from darkroom.cli.options import Device, Json, Overwrite, Precision
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from darkroom.weights.registry import WeightsEntry


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|FILE]", help="Show this network's structure; it need not be installed."
        ),
    ] = None,
    size: Annotated[
        str, typer.Option("--size", metavar="WxH", help="Of the photo, in photosites.")
    ] = "4000x3000",
    draw: Annotated[
        Path | None,
        typer.Option("--draw", metavar="FILE", help="Draw the network as a figure, .svg or .png."),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features",
            metavar="PHOTO",
            help="Draw the feature maps that the network makes of the middle of this photo.",
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer",
            metavar="NAME",
            help="With --features: all maps of this layer, by its published name or as it runs.",
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            "--region",
            metavar="X,Y,W,H|whole",
            help="With --features: this part of the photo, in photosites as the sensor has them.",
        ),
    ] = None,
    weights: Annotated[
        bool,
        typer.Option(
            "--weights",
            help="How each layer's weights are spread, its biases and dead features; with "
            "--features, which of them stay silent on that photo; with -o, histograms.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Where the feature maps or histograms go."
        ),
    ] = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """List the models by name: what they are for, installed or not, size, licence, scores.

    With a name or a file: a drawing, its layers as published and as they run, skip connections,
    parameters and work.

    Examples:

    darkroom models

    darkroom models sid-sony --size 6000x4000

    darkroom models redi --draw redi.svg

    darkroom models safelight --features IMG.ARW -o features.png

    darkroom models sid-sony --features IMG.ARW --layer g_conv5_2 --region 0,0,1024,1024 -o maps.png

    darkroom models safelight --weights -o histograms.png
    """
    from darkroom.cli import network_inside, network_structure

    if not weights and (features is None) != (out is None):
        raise UsageError("--features PHOTO and -o FILE go together; give both or neither")
    if features is None and (layer is not None or region is not None):
        raise UsageError("--layer and --region are of a photo; give --features PHOTO too")
    if weights and layer is not None:
        raise UsageError("--weights is about all layers; leave --layer out")
    if draw is not None and (weights or features is not None):
        raise UsageError("--draw and --features or --weights are two questions; ask one at a time")
    if name is None:
        for option, given in (("--features", features), ("--weights", weights), ("--draw", draw)):
            if given:
                raise UsageError(f"{option} needs a model; name one of darkroom models")
        _list(as_json)
    elif draw is not None:
        network_structure.write_drawing(name, size, draw, overwrite, as_json)
    elif weights or features is not None:
        look = network_inside.Look(name, features, layer, region, out, overwrite, as_json)
        network = inputs.load_network(name, device, precision)
        (network_inside.show_weights if weights else network_inside.write_maps)(look, network)
    else:
        network_structure.show_structure(name, size, as_json)


def describe(entry: "WeightsEntry") -> dict[str, Any]:
    """Return a registry entry as plain JSON values."""
    from darkroom.weights import store

    return {
        "name": entry.name,
        "description": entry.description,
        "architecture": entry.architecture,
        "sensor": entry.sensor.value,
        "output": entry.output.value,
        "gain_rule": entry.gain_rule.value,
        "trained_on": list(entry.trained_on),
        "state": store.state(entry).value,
        "bytes": entry.size,
        "gmacs": entry.gmacs,
        "licence": entry.licence.name,
        "licence_is_open": entry.licence.open,
        "licence_url": entry.licence.url,
        "source": entry.source,
        "scores": [
            {"data": s.data, "psnr": s.psnr, "ssim": s.ssim, "date": s.date} for s in entry.scores
        ],
    }


def _list(as_json: bool) -> None:
    """Print the list: facts in one line each, and below it what the weights are."""
    from rich.table import Table
    from rich.text import Text

    from darkroom.weights import registry, store

    entries = [*registry.ENTRIES.values(), *store.imported().values()]
    records = [describe(entry) for entry in entries]
    if as_json:
        output.print_json({"models": records})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "state", "size", "work", "score", "licence"):
        table.add_column(column, no_wrap=column != "licence")
    for record in records:
        size, work, scores = record["bytes"], record["gmacs"], record["scores"]
        table.add_row(
            Text(record["name"], "bold"),
            record["state"],
            "?" if size is None else f"{size / 1e6:.1f} MB",
            "?" if work is None else f"{work:.0f} GMACs",
            f"{scores[0]['psnr']:.2f} dB" if scores else "not measured",
            output.plain(record["licence"]),
        )
    output.show_table(table)
    output.show()
    for record in records:
        words = output.escape(record["description"])
        output.show_table(Text.assemble((record["name"], "bold"), f": {words}"))
    output.say("")
    output.say("work: for a photo of 12 MP. fetch one: darkroom fetch-weights NAME")
