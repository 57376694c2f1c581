"""darkroom bench: seconds of each stage, and memory, on this machine."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darkroom.cli import inputs, output
from darkroom.cli.options import Json, NormStatistics, Overwrite, Quiet
from darkroom.errors import RawError, UsageError

if TYPE_CHECKING:
    from darkroom.evaluation.benchmark import Measurement, Rates, Variant

DEFAULT_SIZE = "12"
"""Megapixels."""
WIDTH = 160
"""Columns of the table where it is piped."""
STAGES = ("read", "gain", "pack", "network", "render", "write", "whole", "command")


def bench(
    photo: Annotated[
        Path | None,
        typer.Argument(metavar="[PHOTO]", help="Default: a test chart; repeated to each --size."),
    ] = None,
    models: Annotated[
        list[str],
        typer.Option("--model", "-m", metavar="NAME|FILE", help="May be given again, to compare."),
    ] = ["safelight"],  # noqa: B006 (Typer copies it)
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="MP,MP,...",
            help="Megapixels, as in 2,12,24,61,100. Default: the photo's own, or 12.",
        ),
    ] = None,
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="Time each network's published code as well: float32, contiguous, in one piece, "
            "its norms computed each time.",
        ),
    ] = False,
    norm_statistics: NormStatistics = "stored",
    runs: Annotated[int, typer.Option("--runs", min=1, help="After one warm-up.")] = 3,
    bits: Annotated[int, typer.Option("--bits", help="8 or 16 per sample.")] = 8,
    devices: Annotated[
        list[str],
        typer.Option("--device", metavar="auto|cpu|cuda[:N]|mps|xpu", help="May be given again."),
    ] = ["auto"],  # noqa: B006
    precisions: Annotated[
        list[str],
        typer.Option(
            "--precision",
            metavar="auto|fp32|bf16|fp16",
            help="May be given again. auto: half precision for 8 bits where the hardware has it, "
            "else fp32.",
        ),
    ] = ["auto"],  # noqa: B006
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.png|.svg",
            help="Draw seconds over megapixels, and the limit that the machine sets.",
        ),
    ] = None,
    as_json: Json = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Time each stage of enhancing a photo: models, sizes, precisions and devices in turns.

    Rounds run every variant once, so that whatever else the machine does hits all alike. Seconds
    are medians over the rounds, the least in brackets; the network's operations a second stand
    beside this machine's rate for products of matrices, measured in the same rounds. Command is
    darkroom enhance by itself, from start to end, and memory the most that it held.

    Examples:

    darkroom bench -m safelight -m redi --published

    darkroom bench --size 2,12,24,61,100 -o speed.png
    """
    from darkroom.evaluation.benchmark import measure_import, measure_photo
    from darkroom.evaluation.benchmark_chart import check_chart, draw_speeds, write_chart
    from darkroom.evaluation.benchmark_machine import describe_machine
    from darkroom.evaluation.benchmark_photo import check_size, make_photo
    from darkroom.output.atomic import atomic_write, check_target
    from darkroom.raw.reader import read_raw

    if bits not in (8, 16):
        raise UsageError(f"--bits {bits}: give 8 or 16")
    if out is not None:
        check_chart(out)
        check_target(out, overwrite, [photo] if photo else [])
    sizes = _read_sizes(size, photo)
    data = _bytes(photo) if photo else None
    variants = _load(models, devices, precisions, norm_statistics, bits)
    if published:
        variants = _with_published(variants)
    for megapixels in sizes:
        check_size(megapixels, max(map(_count_bytes, variants)))
    machine = describe_machine([one.model.device for one in variants])
    found: list[Measurement] = [measure_import(runs)]
    rates: Rates = {}
    for megapixels in sizes or [0.0]:
        if not quiet:
            output.say(f"timing {f'{megapixels:g} megapixels' if megapixels else photo}")
        if megapixels:
            dng = make_photo(megapixels, None if data is None else read_raw(data, str(photo)))
        else:
            assert data is not None, "without sizes there is a photo"
            dng = data
        measured, rates = measure_photo(dng, variants, runs, bits, norm_statistics)
        found += measured
    if out is not None:
        with atomic_write(out, overwrite) as stream:
            write_chart(draw_speeds(found, rates, _name(machine)), stream, out.suffix)
    if as_json:
        records = [asdict(one) for one in found]
        output.print_json({"machine": machine, "matrix_rate": rates, "records": records})
    else:
        _print_tables(found, machine, rates)


def _read_sizes(text: str | None, photo: Path | None) -> list[float]:
    """Read `--size`; none for a photo's own. Raises UsageError for what is no number."""
    if text is None:
        return [] if photo else [float(DEFAULT_SIZE)]
    with suppress(ValueError):
        return [float(word) for word in text.split(",")]
    raise UsageError(f"--size {text}: give megapixels, as in 2,12,24")


def _load(
    models: Sequence[str],
    devices: Sequence[str],
    precisions: Sequence[str],
    norm_statistics: str,
    bits: int,
) -> "list[Variant]":
    """Load each model for each device in each precision, and none twice."""
    from darkroom.evaluation.benchmark import Variant

    found: dict[tuple[str, str, str], Variant] = {}
    for name, device, precision in product(models, devices, precisions):
        network = inputs.load_network(name, device, precision, norm_statistics, bits)
        one = Variant(name, network)
        found.setdefault((name, one.device, one.precision), one)
    return list(found.values())


def _with_published(variants: "Sequence[Variant]") -> "list[Variant]":
    """Put each network's published code before it, once a device; say where there is none."""
    from dataclasses import replace

    from darkroom.evaluation.benchmark import find_published

    found: list[Variant] = []
    known: set[tuple[str, str]] = set()
    for one in variants:
        if (one.name, one.device) not in known:
            known.add((one.name, one.device))
            try:
                found.append(replace(one, published=find_published(one.name, one.model)))
            except UsageError as error:
                output.say(str(error))
        found.append(one)
    return found


def _count_bytes(variant: "Variant") -> float:
    """Count the bytes per photosite of a network in one piece; 0 for tiles, which fit."""
    import numpy as np
    import torch

    from darkroom.models.memory import bytes_per_pixel

    paint, known = variant.published, variant.model.architecture
    if paint is None or variant.model.device.type != "cpu":
        return 0.0

    def run(packed: torch.Tensor) -> torch.Tensor:
        height, width = (side * known.scale for side in packed.shape[2:])
        return torch.from_numpy(paint(np.zeros((height, width), np.float32)))

    packed = torch.empty(known.channels, 1, 1)
    return bytes_per_pixel(run, packed, known.multiple) / known.scale**2


def _name(machine: dict[str, Any]) -> str:
    return "{processor}, {cores} cores, {threads} threads, torch {torch}".format(**machine)


def _print_tables(found: "Sequence[Measurement]", machine: dict[str, Any], rates: "Rates") -> None:
    """Print the machine, and for each size a table: stages down, variants across."""
    output.show(_name(machine))
    for device, known in rates.items():
        for precision, rate in known.items():
            output.show(f"products of matrices, {device} {precision}: {rate / 1e9:,.0f} GFLOP/s")
    start, *rest = found
    output.show(f"import of torch and darkroom: {start.median_s:.2f} s ({start.min_s:.2f})")
    for megapixels in dict.fromkeys(one.megapixels for one in rest):
        output.show()
        columns: dict[tuple[str | None, ...], dict[str, Measurement]] = {}
        for one in (one for one in rest if one.megapixels == megapixels):
            key = (one.model, one.form, one.device, one.precision)
            columns.setdefault(key, {})[one.stage] = one
        _print_table(f"{megapixels:g} MP, s", list(columns.values()))


def _print_table(title: str, columns: "Sequence[dict[str, Measurement]]") -> None:
    """Print the stages of variants; and how fast their networks are, and beside which."""
    rows = [[stage, *(_seconds(column.get(stage)) for column in columns)] for stage in STAGES]
    networks = [column["network"] for column in columns]
    heads = [title]
    for one in networks:
        form = ", published," if one.form == "published" else ""
        heads.append(f"{Path(str(one.model)).name}{form} {one.device} {one.precision}")
    rows.append(["GFLOP/s", *(f"{(one.flops_per_s or 0) / 1e9:,.0f}" for one in networks)])
    shares = (one.share_of_matrix_rate or 0 for one in networks)
    rows.append(["of matrix rate", *(f"{share:.0%}" for share in shares)])
    over_published = [one.over_published for one in networks]
    if any(over_published):
        rows.append(["over published", *map(_ratio, over_published)])
    if len(columns) > 1:
        rows.append(["over the first", *(_ratio(one.ratio) for one in networks)])
    peaks = (column["command"].peak_bytes if "command" in column else None for column in columns)
    rows.append(["memory, GB", *("" if peak is None else f"{peak / 1e9:.2f}" for peak in peaks)])
    output.show_rows(heads, rows, WIDTH, (title,))


def _seconds(one: "Measurement | None") -> str:
    return "" if one is None else f"{one.median_s:.3f} ({one.min_s:.3f})"


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"x{ratio:.2f}"


def _bytes(photo: Path) -> bytes:
    try:
        return photo.read_bytes()
    except OSError as error:
        raise RawError(f"{photo}: {error.strerror}; check the name") from error
