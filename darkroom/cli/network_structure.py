"""A network's structure on the command line: drawn, in tables, as JSON, or as a figure."""

from collections.abc import Iterable
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.cli import inputs, output
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from darkroom.models.published_layers import CheckpointLayer
    from darkroom.models.summary import ModelSummary, Outline

PIPE_WIDTH = 140
"""Columns of the tables where nobody says how wide they may be."""

SHOWN = 3
"""Layers named that a published one went into; of more, their number is told."""


def show_structure(name: str, size: str, as_json: bool) -> None:
    """Print the structure of a network by name or file, as words or as JSON."""
    outline, summary, photo = _summarize(name, size)
    if as_json:
        output.print_json(describe_structure(outline, summary, photo))
    else:
        _print_structure(outline, summary, photo)


def write_drawing(name: str, size: str, out: Path, overwrite: bool, as_json: bool) -> None:
    """Write a figure of a network, SVG or PNG, whole or not at all."""
    from darkroom.evaluation.diagram import plan_diagram
    from darkroom.evaluation.diagram_figure import lay_out_figure, paint_figure
    from darkroom.evaluation.diagram_svg import write_svg
    from darkroom.models.loading import list_files
    from darkroom.output.atomic import atomic_write, check_target
    from darkroom.output.picture import PictureFormat, SaveOptions, save_picture

    inputs.refuse_folder(out)
    ending = out.suffix.lower()
    if ending not in (".svg", ".png"):
        raise UsageError(f"--draw {out}: end its name in .svg or .png")
    read = list_files(name)
    check_target(out, overwrite, read)
    outline, summary, photo = _summarize(name, size)
    diagram = plan_diagram(summary, outline.architecture.scale)
    facts = (
        f"{outline.architecture.name}, {outline.architecture.sensor.value}; "
        f"{summary.parameters:,} parameters; {summary.macs / 1e9:,.1f} GMACs "
        f"for {photo[0]} x {photo[1]} photosites"
    )
    figure = lay_out_figure(diagram, Path(outline.name).name, facts)
    if ending == ".svg":
        with atomic_write(out, overwrite) as stream:
            stream.write(write_svg(figure).encode())
    else:
        save = SaveOptions(PictureFormat.PNG, overwrite=overwrite, inputs=tuple(read))
        save_picture(paint_figure(figure), out, save)
    if as_json:
        output.print_json({"name": outline.name, "output": str(out)})
    else:
        output.say(f"{out}: {outline.name} drawn in {len(diagram.blocks)} blocks")


def _summarize(name: str, size: str) -> tuple["Outline", "ModelSummary", tuple[int, int]]:
    """Find a network and what it is made of, for a photo of that size."""
    from darkroom.models.summary import find_outline, summarize_model

    photo = inputs.photo_size(size)
    outline = find_outline(name)
    for line in outline.notes:
        output.warn(line)
    network = outline.architecture.outline(outline.shapes)
    return outline, summarize_model(network, outline.architecture, photo), photo


def describe_structure(
    outline: "Outline", summary: "ModelSummary", photo: tuple[int, int]
) -> dict[str, Any]:
    """Return the structure as plain JSON values."""
    from darkroom.models.published_layers import list_published_layers

    architecture = outline.architecture
    published = list_published_layers(architecture, outline.shapes, summary.layers)
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
        "published": [asdict(one) | {"parameters": one.parameters} for one in published],
    }


def _print_structure(outline: "Outline", summary: "ModelSummary", photo: tuple[int, int]) -> None:
    from darkroom.evaluation.diagram import plan_diagram
    from darkroom.evaluation.diagram_text import draw_diagram_text
    from darkroom.models.published_layers import list_published_layers

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
    output.show()
    diagram = plan_diagram(summary, architecture.scale)
    for line in draw_diagram_text(diagram, ascii_only=not output.shows_unicode()):
        output.show(line)
    published = list_published_layers(architecture, outline.shapes, summary.layers)
    scales = {f"1/{scale}": macs for scale, macs in _by_scale(summary)}
    for table in (
        _published(published),
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


def _published(layers: "Iterable[CheckpointLayer]") -> "Table":
    """List the layers as they were published, and what became of each."""
    table = _table(
        "published layer", "what", "weights", "activation", "runs as", "parameters", right=1
    )
    for one in layers:
        largest = max(one.tensors.values(), key=lambda shape: (len(shape), shape))
        runs_as = ", ".join(one.runs_as)
        if len(one.runs_as) > SHOWN:
            runs_as = f"{len(one.runs_as)} layers"
        table.add_row(
            output.plain(one.name),
            one.kind,
            _shape(largest),
            one.activation or (f"{one.before} before" if one.before else ""),
            runs_as or "not read",
            f"{one.parameters:,}",
        )
    return table


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
