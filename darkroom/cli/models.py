"""darkroom models: the weights there are."""

from typing import TYPE_CHECKING, Any

import typer

from darkroom.cli import output
from darkroom.cli.options import Json

if TYPE_CHECKING:
    from darkroom.weights.registry import WeightsEntry


def models(as_json: Json = False) -> None:
    """List the models by name: what they are for, installed or not, size, licence, scores.

    Example:
    darkroom models

    """
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
        "licence": entry.licence.name,
        "licence_is_open": entry.licence.open,
        "source": entry.source,
        "scores": [
            {"data": s.data, "psnr": s.psnr, "ssim": s.ssim, "date": s.date} for s in entry.scores
        ],
    }


def _show(records: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "state", "sensor", "size", "licence", "score", "what it is"):
        table.add_column(column, overflow="fold")
    for record in records:
        size, scores = record["bytes"], record["scores"]
        table.add_row(
            record["name"],
            record["state"],
            record["sensor"],
            "unknown" if size is None else f"{size / 1e6:.1f} MB",
            record["licence"],
            f"{scores[0]['psnr']:.2f} dB / {scores[0]['ssim']:.3f}" if scores else "not measured",
            record["description"],
        )
    Console().print(table)
    typer.echo("\nfetch one: darkroom fetch-weights NAME", err=True)
