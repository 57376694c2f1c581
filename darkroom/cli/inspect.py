"""darkroom inspect: what is in a RAW file, as darkroom reads it."""

from dataclasses import asdict
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from darkroom.cli import inputs, output
from darkroom.cli.options import Black, Cfa, Json, Photo

if TYPE_CHECKING:
    from darkroom.raw.image import RawImage


def inspect(photo: Photo, black: Black = None, cfa: Cfa = None, as_json: Json = False) -> None:
    """Show a photo's levels and where they come from, its filters, exposure, and models that fit.

    Example:

    darkroom inspect IMG.ARW
    """
    from rich.table import Table

    from darkroom.raw.black_choice import with_black
    from darkroom.raw.filter_check import with_cfa

    chosen, pattern = inputs.black_level(black), inputs.bayer_pattern(cfa)
    raw = with_cfa(inputs.read_photo(photo), pattern)
    if chosen is not None:
        raw = with_black(raw, chosen)
    record = {"photo": str(photo), **describe(raw)}
    if as_json:
        output.print_json(record)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _rows(record):
        table.add_row(name, output.plain(value))
    output.show_table(table)
    for line in record["warnings"]:
        output.warn(line)


def describe(raw: "RawImage") -> dict[str, Any]:
    """Return everything about a photo as plain JSON values."""
    from darkroom.mosaic.hot_pixels import repair
    from darkroom.mosaic.noise import measure_noise
    from darkroom.mosaic.packing import linearise
    from darkroom.mosaic.saturation import measure_saturation
    from darkroom.raw.black_level import explain_black
    from darkroom.weights import registry, store

    height, width = raw.mosaic.shape
    balance = raw.color.white_balance
    fitting = {
        entry.name: {
            "installed": store.state(entry) in (store.State.BUNDLED, store.State.INSTALLED),
            "made_for_this_camera": registry.fits_camera(entry.trained_on, raw.camera),
        }
        for entry in registry.ENTRIES.values()
        if entry.sensor is raw.cfa.sensor
    }
    return {
        "camera": raw.camera,
        "lens": raw.lens,
        "time": raw.time.isoformat() if raw.time else None,
        "exposure": {
            "seconds": raw.exposure.seconds,
            "iso": raw.exposure.iso,
            "aperture": raw.exposure.aperture,
        },
        "width": width,
        "height": height,
        "margins": {"top": raw.margins[0], "left": raw.margins[1]},
        "default_crop": raw.default_crop
        and dict(zip(("top", "left", "height", "width"), raw.default_crop, strict=True)),
        "orientation": raw.orientation,
        "pixel_aspect": raw.pixel_aspect,
        "sensor": raw.cfa.sensor.value,
        "cfa": raw.cfa.pattern,
        "black": raw.black.tolist(),
        "masked_black": None if raw.masked_black is None else raw.masked_black.tolist(),
        "black_origin": explain_black(raw),
        "white": raw.white.tolist(),
        "saturation": [round(share, 4) for share in measure_saturation(raw).tolist()],
        "values": {
            "least": float(raw.mosaic.min()),
            "mean": float(raw.mosaic.mean()),
            "greatest": float(raw.mosaic.max()),
        },
        "noise": asdict(measure_noise(raw)),
        "hot_pixels": repair(linearise(raw), raw.cfa, balance, raw.missing),
        "white_balance": None if balance is None else balance.tolist(),
        "white_balance_source": raw.color.source.value,
        "xyz_to_camera": raw.color.xyz_to_camera.tolist(),
        "models": fitting,
        "warnings": list(raw.warnings),
    }


def _crop(crop: dict[str, int] | None) -> str:
    if crop is None:
        return "none, all of it is shown"
    return "{width} x {height}, from row {top} and column {left} (--full shows all)".format(**crop)


def _rows(record: dict[str, Any]) -> list[tuple[str, str]]:
    exposure, values = record["exposure"], record["values"]
    balance = record["white_balance"]
    return [
        ("photo", record["photo"]),
        ("camera", record["camera"] or "not stated"),
        ("lens", record["lens"] or "not stated"),
        ("taken", record["time"] or "not stated"),
        ("exposure", _exposure(**exposure)),
        ("size", f"{record['width']} x {record['height']} photosites"),
        ("margins", "{top} rows above, {left} columns left".format(**record["margins"])),
        ("camera's crop", _crop(record["default_crop"])),
        ("orientation", f"EXIF {record['orientation']}"),
        ("pixel aspect", f"{record['pixel_aspect']:.4g}"),
        ("colour filters", f"{record['cfa']} ({record['sensor']})"),
        *_black(record["black"], record["black_origin"]),
        ("white level", _levels(record["white"])),
        ("saturation", _saturation(record["saturation"])),
        ("values", "{least:g} to {greatest:g}, mean {mean:.1f}".format(**values)),
        ("noise", _noise(record["white"], record["black"], record["noise"])),
        ("hot or dead sites", f"{record['hot_pixels']}"),
        (
            "white balance",
            "measured on the picture"
            if balance is None
            else f"R {balance[0]:.3f}  G {balance[1]:.3f}  B {balance[2]:.3f}"
            f" ({record['white_balance_source']})",
        ),
        *zip_longest(["models that fit"], _models(record["models"]), fillvalue=""),
    ]


def _exposure(seconds: float | None, iso: float | None, aperture: float | None) -> str:
    parts = []
    if seconds:
        parts.append(f"1/{1 / seconds:.0f} s" if seconds < 0.4 else f"{seconds:g} s")
    if aperture:
        parts.append(f"f/{aperture:g}")
    if iso:
        parts.append(f"ISO {iso:g}")
    return ", ".join(parts) or "not stated"


def _saturation(shares: list[float]) -> str:
    """Write at which share of the white level the colours' values pile up."""
    below = [f"{c} at {share:.1%}" for c, share in zip("RGB", shares, strict=True) if share < 1]
    return f"{', '.join(below)} of white" if below else "at the white level"


def _noise(white: list[list[float]], black: list[list[float]], noise: dict[str, Any]) -> str:
    """Write the noise model in the sensor's own units, as makers and forums do."""
    scale = white[0][0] - black[0][0]
    clipped = "; values below black are lost" if noise["clipped"] else ""
    read, shot = noise["read"] * scale, noise["shot"] * scale
    return f"read {read:.3g}, shot {shot:.3g} per unit of light: {noise['reason']}{clipped}"


def _black(used: list[list[float]], origin: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Write the black level, and what was stated and measured."""
    if origin is None:
        return [("black level", _levels(used))]
    measured, rows = "none in this file", "not known"
    if origin["measured"] is not None:
        error = max(value for row in origin["error"] for value in row)
        measured = f"{_levels(origin['measured'])} (error {error:.2g})"
        rows = "none found on masked pixels"
    if origin["row_noise"]:
        rows = f"{origin['row_noise']:.2g} found, {origin['row_noise_left']:.2g} left"
    return [
        ("black level", f"{_levels(used)}: {origin['reason']}"),
        ("stated black", _levels(origin["stated"])),
        ("masked pixels", measured),
        ("noise of rows", rows),
    ]


def _levels(pattern: list[list[float]] | None) -> str:
    """Write a level pattern: one number where all sites agree, rows otherwise."""
    if pattern is None:
        return "none in this file"
    flat = [value for row in pattern for value in row]
    if len(set(flat)) == 1:
        return f"{flat[0]:g}"
    return " / ".join(" ".join(f"{value:g}" for value in row) for row in pattern)


def _models(models: dict[str, dict[str, bool]]) -> list[str]:
    lines = []
    for name, fit in models.items():
        camera = "" if fit["made_for_this_camera"] else ", made for another camera"
        lines.append(name + ("" if fit["installed"] else " (not installed)") + camera)
    return lines or ["none for this kind of sensor"]
