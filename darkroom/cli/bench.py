"""darkroom bench: seconds of each stage, and memory, on this machine."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from darkroom.cli import inputs, output
from darkroom.cli.options import Device, Json, NormStatistics, Precision
from darkroom.errors import RawError


def bench(
    photo: Annotated[
        Path | None, typer.Argument(metavar="[PHOTO]", help="Default: a 12-MP test chart.")
    ] = None,
    models: Annotated[
        list[str],
        typer.Option("--model", "-m", metavar="NAME|FILE", help="May be given again, to compare."),
    ] = ["safelight"],  # noqa: B006 (Typer copies it)
    norm_statistics: NormStatistics = "stored",
    runs: Annotated[int, typer.Option("--runs", min=1, help="After one warm-up.")] = 3,
    bits: Annotated[int, typer.Option("--bits", help="8 or 16 per sample.")] = 8,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Time each stage of enhancing a photo, for one model or several side by side.

    The ratio is to the first model's time of the same stage.

    Example:

    darkroom bench -m safelight -m redi
    """
    from darkroom.evaluation.benchmark import make_sample_photo, measure_peak_memory, time_stages

    data = _bytes(photo) if photo else make_sample_photo()
    first: dict[str, float] = {}
    for name in models:
        network = inputs.load_network(name, device, precision, norm_statistics)
        if not as_json:
            output.show(f"{network.name} on {network.device}, {str(network.dtype)[6:]}")
        for stage in time_stages(data, network, runs, bits):
            ratio = stage.median / first.setdefault(stage.name, stage.median)
            if as_json:
                output.print_json({"model": name, **asdict(stage), "ratio": ratio})
            else:
                output.show(
                    f"  {stage.name:<8} {stage.median:7.3f} s  "
                    f"({stage.least:.3f} to {stage.greatest:.3f})  x{ratio:.2f}"
                )
    if (peak := measure_peak_memory()) is not None and not as_json:
        output.show(f"peak memory {peak / 1e9:.2f} GB")


def _bytes(photo: Path) -> bytes:
    try:
        return photo.read_bytes()
    except OSError as error:
        raise RawError(f"{photo}: {error.strerror}; check the name") from error
