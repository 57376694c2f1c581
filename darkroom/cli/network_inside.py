"""Inside a network on the command line: its feature maps of a photo, its weights."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.cli import inputs, output
from darkroom.errors import UsageError

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray
    from rich.table import Table

    from darkroom.evaluation.features import Region
    from darkroom.evaluation.weight_statistics import LayerWeights, Spread
    from darkroom.models.model import Model

PIPE_WIDTH = 140
"""Columns of the table where nobody says how wide it may be."""

LEVELS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
ASCII_LEVELS = "_.-:=+*#"
"""Letters of rising height, for a histogram in a line."""

COLUMNS = 16
"""Letters of such a histogram."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the user wants to see of a network; what cannot be written is refused at once."""

    name: str
    photo: Path | None
    layer: str | None
    region: str | None
    out: Path | None
    overwrite: bool
    as_json: bool

    def __post_init__(self) -> None:
        from darkroom.output.atomic import check_target
        from darkroom.output.picture import PictureFormat

        read_region(self.region)
        if self.out is not None:
            inputs.refuse_folder(self.out)
            check_target(self.out, self.overwrite, self.files)
            PictureFormat.from_path(self.out)

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read, and must not be written over."""
        from darkroom.models.loading import list_files

        photos = () if self.photo is None else (self.photo,)
        return (*photos, *list_files(self.name))

    def save(self, pixels: "NDArray[uint8]") -> None:
        """Write a sheet, if there is to be one."""
        from darkroom.output.picture import PictureFormat, SaveOptions, save_picture

        if self.out is not None:
            kind = PictureFormat.from_path(self.out)
            save_picture(
                pixels, self.out, SaveOptions(kind, overwrite=self.overwrite, inputs=self.files)
            )


def read_region(text: str | None) -> "Region | None":
    """Read `--region`: X,Y,W,H in photosites, or whole. Raises UsageError for anything else."""
    from darkroom.evaluation.features import Region

    if text is None or text == "whole":
        return None if text is None else Region()
    numbers = text.split(",")
    if len(numbers) != 4 or not all(one.strip().isdecimal() for one in numbers):
        raise UsageError(f"--region {text}: give X,Y,W,H in photosites, as 0,0,1024,768, or whole")
    return Region(*map(int, numbers))


def write_maps(look: Look, network: "Model") -> None:
    """Draw feature maps of a photo: some of each scale, or all of one layer."""
    from darkroom.evaluation.features import (
        describe_maps,
        draw_feature_sheet,
        draw_layer_maps,
        record_run,
    )

    assert look.photo is not None, "the command asked for it"
    raw, region = inputs.read_photo(look.photo), read_region(look.region)
    record = {"photo": str(look.photo), "output": str(look.out)}
    if look.layer is None:
        pixels, layers = draw_feature_sheet(raw, network, region)
        look.save(pixels)
        shown = [{"layer": layer.name, "reduction": layer.reduction} for layer in layers]
        record_json = record | {"layers": shown}
        words = f"{len(layers)} layers of {network.name}"
    else:
        network = network.for_sensor(raw.cfa.sensor)
        run = record_run(raw, network, _find_layers(look.layer, look.name, network), region)
        look.save(draw_layer_maps(run))
        known = {layer.name: layer for layer in run.layers}
        record_json = record | {
            "layers": [
                {"layer": name, "reduction": known[name].reduction, "maps": describe_maps(maps)}
                for name, maps in run.maps.items()
            ]
        }
        shapes = (f"{name} {'x'.join(map(str, maps.shape))}" for name, maps in run.maps.items())
        words = f"{', '.join(shapes)} of {network.name}"
    if look.as_json:
        output.print_json(record_json)
    else:
        output.say(f"{look.out}: feature maps of {words}")


def show_weights(look: Look, network: "Model") -> None:
    """Print how each layer's weights are spread, and draw histograms where asked for."""
    import numpy as np

    from darkroom.evaluation.features import record_run
    from darkroom.evaluation.weight_statistics import (
        draw_weight_sheet,
        find_rectified,
        measure_weights,
    )
    from darkroom.models.architectures.base import Conditions
    from darkroom.models.summary import TYPICAL, summarize_model

    maps = None
    if look.photo is not None:
        raw = inputs.read_photo(look.photo)
        network = network.for_sensor(raw.cfa.sensor)
    architecture = network.architecture
    layers = summarize_model(network.network, architecture, (512, 512)).layers
    if look.photo is not None:
        maps = record_run(raw, network, find_rectified(layers), read_region(look.region)).maps
    module = network.network
    if architecture.condition is not None:  # it runs only when told of a photo's noise
        module = architecture.condition(module, Conditions.of(TYPICAL, np.ones(3)))
    measured = measure_weights(module, layers, maps)
    if look.out is not None:
        look.save(draw_weight_sheet(measured))
    if look.as_json:
        shown = [asdict(layer) for layer in measured]
        output.print_json(
            {"name": network.name, "photo": look.photo and str(look.photo), "layers": shown}
        )
        return
    output.show_table(_weights_table(measured, look.photo is not None), PIPE_WIDTH)
    if look.out is not None:
        output.say(f"{look.out}: histograms of {len(measured)} layers of {network.name}")


def _find_layers(layer: str, name: str, network: "Model") -> tuple[str, ...]:
    """Find a layer by its published name or ours."""
    from darkroom.models.published_layers import find_running_layers, list_published_layers
    from darkroom.models.summary import find_outline, summarize_model

    layers = summarize_model(network.network, network.architecture, (512, 512)).layers
    shapes = find_outline(name).shapes
    if not network.architecture.recognise(shapes):  # the photo's sensor took the counterpart
        shapes = find_outline(network.name).shapes
    published = list_published_layers(network.architecture, shapes, layers)
    return find_running_layers(layer, published, layers)


def _weights_table(measured: "tuple[LayerWeights, ...]", with_photo: bool) -> "Table":
    """List the layers; features that are dead, and where there is a photo those silent on it."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ["layer", "shape", "std", "from", "to", "histogram", "bias", "features", "dead"]
    for column in columns + ["silent"] * with_photo:
        numbers = column in ("std", "from", "to", "features", "dead", "silent")
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for layer in measured:
        silent = "" if layer.silent is None else str(len(layer.silent))
        table.add_row(
            layer.name,
            "x".join(map(str, layer.shape)),
            f"{layer.weights.std:.2g}",
            f"{layer.weights.min:.2g}",
            f"{layer.weights.max:.2g}",
            _write_histogram(layer.histogram),
            _write_spread(layer.bias),
            str(layer.features),
            str(len(layer.dead)),
            *([silent] * with_photo),
        )
    return table


def _write_histogram(counts: tuple[int, ...]) -> str:
    """Write a histogram in a line; heights go by the square root, so that tails are seen."""
    levels = LEVELS if output.shows_unicode() else ASCII_LEVELS
    step = len(counts) // COLUMNS
    sums = [sum(counts[first : first + step]) for first in range(0, len(counts), step)]
    heights = [(one / max(sums)) ** 0.5 for one in sums]
    return "".join(
        levels[min(int(height * len(levels)), len(levels) - 1)] if height else " "
        for height in heights
    )


def _write_spread(bias: "Spread | None") -> str:
    sign = "\u00b1" if output.shows_unicode() else "+-"
    return "" if bias is None else f"{bias.mean:.2g} {sign} {bias.std:.2g}"
