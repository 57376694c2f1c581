"""How `darkroom models NAME` shows what a network is made of."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from darkroom.cli import output
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from darkroom.models.summary import ModelSummary, Outline


PIPE_WIDTH = 120
"""Columns of the tables where nobody says how wide they may be."""


def show_structure(name: str, size: str, as_json: bool) -> None:
    """Print the structure of a network by name or file, as words or as JSON."""
    from darkroom.models.summary import find_outline, summarize_model

    photo = parse_size(size)
    outline = find_outline(name)
    network = outline.architecture.outline(outline.shapes)
    summary = summarize_model(network, outline.architecture, photo)
    if as_json:
        output.print_json(describe_structure(outline, summary, photo))
    else:
        _print(outline, summary, photo)


def parse_size(text: str) -> tuple[int, int]:
    """Read `--size`: width x height in photosites. Raises UsageError for anything else."""
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size {text}: give width x height in photosites, such as 4000x3000")
    return int(width), int(height)


def describe_structure(
    outline: "Outline", summary: "ModelSummary", photo: tuple[int, int]
) -> dict[str, Any]:
    """Return the structure as plain JSON values."""
    architecture = outline.architecture
    by_part = summary.macs_by(lambda layer: layer.part)
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
        "parts": _list_shares("part", by_part.items(), summary.macs),
        "skips": [asdict(skip) for skip in summary.skips],
        "layers": [asdict(layer) for layer in summary.layers],
    }


def _print(outline: "Outline", summary: "ModelSummary", photo: tuple[int, int]) -> None:
    from rich.console import Console

    architecture = outline.architecture
    known = "" if outline.installed else " (weights not installed: drawn from its published form)"
    typer.echo(f"{outline.name}: {architecture.name}, {architecture.sensor.value}{known}")
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
        typer.echo(f"{name:<12}{fact}")
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    for table in (_layers(summary), _skips(summary)):
        console.print()
        console.print(table)
    scales = {f"1/{scale}": macs for scale, macs in _by_scale(summary)}
    parts = summary.macs_by(lambda layer: layer.part)
    for title, macs in (("scale", scales), ("part", parts)):
        console.print()
        console.print(_shares(title, macs, summary.macs))


def _list_shares(key: str, work: Iterable[tuple[Any, int]], total: int) -> list[dict[str, Any]]:
    return [{key: name, "macs": macs, "share": round(macs / total, 4)} for name, macs in work]


def _by_scale(summary: "ModelSummary") -> list[tuple[int, int]]:
    return sorted(summary.macs_by(lambda layer: layer.reduction).items())


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
