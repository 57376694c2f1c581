"""darkroom models: the weights there are, and what a network is made of."""

from collections.abc import Iterable
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darkroom.cli import inputs, output
from darkroom.cli.options import Device, Json, Overwrite, Precision
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from darkroom.models.summary import ModelSummary, Outline
    from darkroom.weights.registry import WeightsEntry

PIPE_WIDTH = 120
"""Columns of the tables where nobody says how wide they may be."""


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
        from darkroom.evaluation.features import draw_feature_sheet
        from darkroom.models.loading import list_files
        from darkroom.output.atomic import check_target
        from darkroom.output.picture import PictureFormat, SaveOptions, save_picture

        inputs.refuse_folder(out)
        read = (features, *list_files(name))
        check_target(out, overwrite, read)
        save = SaveOptions(PictureFormat.from_path(out), overwrite=overwrite, inputs=read)
        network = inputs.load_network(name, device, precision)
        pixels, layers = draw_feature_sheet(inputs.read_photo(features), network)
        save_picture(pixels, out, save)
        if as_json:
            shown = [{"layer": layer.name, "reduction": layer.reduction} for layer in layers]
            output.print_json({"photo": str(features), "output": str(out), "layers": shown})
        else:
            output.say(f"{out}: feature maps of {len(layers)} layers of {network.name}")
    elif name is not None:
        _show_structure(name, size, as_json)
    else:
        _list(as_json)


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


def _show_structure(name: str, size: str, as_json: bool) -> None:
    """Print the structure of a network by name or file, as words or as JSON."""
    from darkroom.models.summary import find_outline, summarize_model

    photo = inputs.photo_size(size)
    outline = find_outline(name)
    for line in outline.notes:
        output.warn(line)
    network = outline.architecture.outline(outline.shapes)
    summary = summarize_model(network, outline.architecture, photo)
    if as_json:
        output.print_json(describe_structure(outline, summary, photo))
    else:
        _print_structure(outline, summary, photo)


def describe_structure(
    outline: "Outline", summary: "ModelSummary", photo: tuple[int, int]
) -> dict[str, Any]:
    """Return the structure as plain JSON values."""
    architecture = outline.architecture
    return {
        "name": outline.name,
        "network": architecture.name,
        "sensor": architecture.sensor.value,
        "weights": "this checkpoint" if outline.installed else "not installed",
        "photo": list(photo),
        "input": list(summary.input),
        "output": list(summary.output),
        "parameters_in_checkpoint": outline.published_parameters,
        "parameters": summary.parameters,
        "macs": summary.macs,
        "grid": architecture.multiple * architecture.scale,
        "halo": None if architecture.halo is None else architecture.halo * architecture.scale,
        "any_size": architecture.any_size,
        "scales": _list_shares("reduction", _by_scale(summary), summary.macs),
        "parts": _list_shares("part", summary.macs_by(attrgetter("part")).items(), summary.macs),
        "skips": [asdict(skip) for skip in summary.skips],
        "layers": [asdict(layer) for layer in summary.layers],
    }


def _print_structure(outline: "Outline", summary: "ModelSummary", photo: tuple[int, int]) -> None:
    architecture = outline.architecture
    known = "" if outline.installed else " (weights not installed: drawn from its published form)"
    output.show(f"{outline.name}: {architecture.name}, {architecture.sensor.value}{known}")
    ending = "as it ends" if architecture.any_size else "continued up to the grid"
    tiles, halo = " without tiles", f"{(architecture.halo or 0) * architecture.scale} photosites"
    if architecture.halo is None:
        tiles, halo = "", "the whole photo, which runs in one piece"
    facts = {
        "photo": f"{photo[0]} x {photo[1]} photosites",
        "input": f"{_shape(summary.input)}, {ending}",
        "output": _shape(summary.output),
        "parameters": f"{outline.published_parameters:,} in the checkpoint, "
        f"{summary.parameters:,} as darkroom runs them",
        "work": f"{summary.macs / 1e9:,.1f} GMACs{tiles}",
        "grid": f"{architecture.multiple * architecture.scale} photosites",
        "halo": halo,
    }
    for name, fact in facts.items():
        output.show(f"{name:<12}{fact}")
    scales = {f"1/{scale}": macs for scale, macs in _by_scale(summary)}
    for table in (
        _layers(summary),
        _skips(summary),
        _shares("scale", scales, summary.macs),
        _shares("part", summary.macs_by(attrgetter("part")), summary.macs),
    ):
        output.show()
        output.show_table(table, PIPE_WIDTH)


def _list_shares(key: str, work: Iterable[tuple[Any, int]], total: int) -> list[dict[str, Any]]:
    return [{key: name, "macs": macs, "share": round(macs / total, 4)} for name, macs in work]


def _by_scale(summary: "ModelSummary") -> list[tuple[int, int]]:
    return sorted(summary.macs_by(attrgetter("reduction")).items())


def _layers(summary: "ModelSummary") -> "Table":
    """List the layers, and between them what shuffles or joins; joins inside a block go unsaid."""
    table = _table("layer", "what", "output", "scale", "parameters", "GMACs", "share", right=3)
    for layer in summary.layers:
        joins = len(layer.sources) > 1
        if joins and layer.name.count(".") > 1:
            continue
        work = (f"{layer.macs / 1e9:.2f}", f"{layer.macs / summary.macs:.1%}")
        table.add_row(
            layer.name,
            f"{layer.kind} of {', '.join(layer.sources)}" if joins else layer.kind,
            _shape(layer.shape),
            f"1/{layer.reduction}",
            f"{layer.parameters:,}" if layer.parameters else "",
            *(work if layer.macs else ("", "")),
        )
    return table


def _skips(summary: "ModelSummary") -> "Table":
    """List the skip connections; those within one module as their number only."""
    table = _table("skip connection", "to", "by", "shape")
    within: dict[str, list[str]] = {}
    for skip in summary.skips:
        if skip.inside:
            within.setdefault(skip.inside, []).append(skip.kind)
        else:
            table.add_row(skip.source, skip.join, skip.kind, _shape(skip.shape))
    for place, kinds in within.items():
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        table.add_row(f"inside {place}", "", counts, "")
    return table


def _shares(title: str, macs: dict[str, int], total: int) -> "Table":
    """List how the work is spread."""
    table = _table(title, "GMACs", "share", right=2)
    for name, part in macs.items():
        table.add_row(name, f"{part / 1e9:.2f}", f"{part / total:.1%}")
    return table


def _table(*columns: str, right: int = 0) -> "Table":
    """Make a plain table whose last columns are numbers, set right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        number = place >= len(columns) - right
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
