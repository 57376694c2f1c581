"""darkroom models: the weights there are, and what a network is made of."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darkroom.cli import inputs, output, structure
from darkroom.cli.options import Device, Json, Overwrite, Precision
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from darkroom.models.model import Model
    from darkroom.output.picture import SaveOptions
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
    features: Annotated[
        Path | None,
        typer.Option(
            "--features",
            metavar="PHOTO",
            help="Draw the feature maps that the network makes of the middle of this photo.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where the feature maps go."),
    ] = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """List the models by name: what they are for, installed or not, size, licence, scores.

    With a name or a file: its layers, skip connections, parameters and work.

    Examples:

    darkroom models

    darkroom models sid-sony --size 6000x4000

    darkroom models safelight --features IMG.ARW -o features.png
    """
    if (features is None) != (out is None):
        raise UsageError("--features PHOTO and -o FILE go together; give both or neither")
    if features is not None and out is not None:
        if name is None:
            raise UsageError("--features needs a model; name one of darkroom models")
        save = _plan(out, overwrite)
        _draw(inputs.load(name, device, precision), features, out, save, as_json)
    elif name is not None:
        structure.show_structure(name, size, as_json)
    else:
        _list(as_json)


def _list(as_json: bool) -> None:
    from darkroom.weights import registry, store

    entries = [*registry.ENTRIES.values(), *store.imported().values()]
    records = [describe(entry) for entry in entries]
    if as_json:
        output.print_json({"models": records})
    else:
        _show(records)


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


def _plan(out: Path, overwrite: bool) -> "SaveOptions":
    """Settle how the sheet is written, and fail now if it could not be."""
    from darkroom.output.atomic import check_target
    from darkroom.output.picture import PictureFormat, SaveOptions

    check_target(out, overwrite)
    return SaveOptions(PictureFormat.from_path(out), overwrite=overwrite)


def _draw(model: "Model", photo: Path, out: Path, save: "SaveOptions", as_json: bool) -> None:
    """Write the sheet of a network's feature maps and say what is on it."""
    from darkroom.evaluation.features import draw_feature_sheet
    from darkroom.output.picture import save_picture

    pixels, layers = draw_feature_sheet(inputs.read_photo(photo), model)
    save_picture(pixels, out, save)
    if as_json:
        shown = [{"layer": layer.name, "reduction": layer.reduction} for layer in layers]
        output.print_json({"photo": str(photo), "output": str(out), "layers": shown})
    else:
        output.say(f"{out}: feature maps of {len(layers)} layers of {model.name}")


def _show(records: list[dict[str, Any]]) -> None:
    """Print the list: facts in one line each, and below it what the weights are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

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
            record["licence"],
        )
    console = Console()
    console.print(table)
    console.print()
    for record in records:
        console.print(f"[bold]{record['name']}[/]: {record['description']}", highlight=False)
    output.say("\nwork: for a photo of 12 MP. fetch one: darkroom fetch-weights NAME")
