"""What a network sees in a photo: its feature maps at every scale, or all maps of one layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.color.highlights import Highlights
from darkroom.errors import UsageError
from darkroom.evaluation.image_grid import draw_picture_grid
from darkroom.models.architectures.base import Architecture
from darkroom.models.model import Model
from darkroom.models.photo_window import Packed
from darkroom.models.summary import select_layers, summarize_model
from darkroom.models.tiling import Part, run_tiled
from darkroom.models.tracing import Layer, record_activations
from darkroom.pipeline import Options, prepare
from darkroom.raw.image import RawImage

CROP = 768
"""Photosites along the side of the middle of the photo that is looked at: quick for any network."""

GRID = 4
"""Feature maps along the side of a panel."""

PANEL, COLUMNS = 384, 4
"""Height of a panel in pixels, and panels in a row."""

MIN_MAP = 96
"""Height of a map on the sheet of one layer, at least; small ones are enlarged, not smoothed."""

SHEET = 4096
"""Pixels along a side of the sheet of one layer, about, where its maps have more."""

DARKEST, BRIGHTEST = 1.0, 99.0
"""Percentiles of a feature map that become black and white: each map has a range of its own."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a photo in photosites of its mosaic, as the sensor has it; no size means all."""

    left: int = 0
    top: int = 0
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What a network saw of a part of a photo.

    `packed`: (C, h, w), amplified. `maps`: (C, h, w) float32 of the layers that were watched, by
    name. `layers`: all of the network. `picture`: (H, W, 3) uint8.
    """

    packed: Tensor
    maps: dict[str, Tensor]
    layers: tuple[Layer, ...]
    picture: NDArray[np.uint8]


def record_run(
    raw: RawImage,
    model: Model,
    names: Sequence[str] | None = None,
    region: Region | None = None,
) -> RecordedRun:
    """Run a network over a part of a photo, and keep what its layers gave.

    `names`: of layers, by default some of each scale. `region`: begun and ended on the network's
    grid, by default the middle. Raises SensorError where the model was made for another kind of
    sensor, UsageError for a region that is not in the photo.
    """
    model = model.for_sensor(raw.cfa.sensor)
    model.check(raw)
    architecture = model.architecture
    settings = Options(denoise=1.0, highlights=Highlights.CLIP).resolve(model)
    photo = prepare(raw, model, settings, lambda line: None)
    network = photo.network
    assert isinstance(network, Model), "nothing is blended or added"
    packed = _cut(photo.packed, region, architecture)
    size = packed.shape[2] * architecture.scale, packed.shape[1] * architecture.scale
    layers = summarize_model(model.network, architecture, size).layers
    if names is None:
        names = [layer.name for layer in select_layers(layers)]
    # In one piece: by bands of rows nobody would see a whole map.
    network = replace(network, architecture=replace(network.architecture, halo=None))
    with record_activations(network.network, names) as maps:
        picture = run_tiled(network, packed, "off")
    height, width = picture.shape[1:]
    pixels = np.empty((height, width, 3), np.uint8)
    photo.finish(Part(slice(0, height), slice(0, width), picture), pixels)
    return RecordedRun(packed, maps, layers, pixels)


def draw_feature_sheet(
    raw: RawImage, model: Model, region: Region | None = None
) -> tuple[NDArray[np.uint8], tuple[Layer, ...]]:
    """Draw feature maps of every scale: (H, W, 3) uint8, and the layers shown.

    Of each layer the maps that vary most are shown. The first panel is the amplified mosaic, the
    last the picture. Raises what `record_run` does.
    """
    run = record_run(raw, model, region=region)
    scale = model.for_sensor(raw.cfa.sensor).architecture.scale
    panels = [(f"1/{scale}  mosaic, {len(run.packed)} channels", draw_panel(run.packed))]
    shown = tuple(layer for layer in run.layers if layer.name in run.maps)
    for layer in shown:
        channels, height, width = layer.shape
        label = f"1/{layer.reduction}  {layer.name}  {channels} x {height} x {width}"
        panels.append((label, draw_panel(run.maps[layer.name])))
    panels.append(("picture", run.picture))
    return draw_picture_grid(panels, height=PANEL, columns=COLUMNS), shown


def draw_layer_maps(run: RecordedRun) -> NDArray[np.uint8]:
    """Draw all maps of the layers that were watched, each by its number: (H, W, 3) uint8."""
    count = sum(len(maps) for maps in run.maps.values())
    columns = math.ceil(math.sqrt(count))
    tallest = max(maps.shape[1] for maps in run.maps.values())
    height = max(MIN_MAP, min(tallest, SHEET // columns))
    panels = []
    for name, maps in run.maps.items():
        zoom = max(1, round(height / maps.shape[1]))
        for number, values in enumerate(maps.numpy()):
            gray = np.stack([_gray(values, zoom)] * 3, axis=-1)
            panels.append((f"{name}  {number}" if number == 0 else str(number), gray))
    return draw_picture_grid(panels, height=height, columns=columns)


def describe_maps(maps: Tensor) -> list[dict[str, float | int]]:
    """Return number, least, mean and greatest value, and share above 0, of maps (C, h, w)."""
    return [
        {
            "map": number,
            "min": round(float(values.min()), 6),
            "mean": round(float(values.mean()), 6),
            "max": round(float(values.max()), 6),
            "positive": round(float((values > 0).float().mean()), 6),
        }
        for number, values in enumerate(maps)
    ]


def _cut(packed: Packed, region: Region | None, architecture: Architecture) -> Tensor:
    """Cut a region out of (C, h, w), widened to the network's grid; by default the middle."""
    scale, multiple = architecture.scale, architecture.multiple
    if region is None:
        side = max(CROP // scale // multiple, 1) * multiple
        top, left = (max(size - side, 0) // 2 // multiple * multiple for size in packed.shape[1:])
        return torch.as_tensor(packed[:, top : top + side, left : left + side])
    height, width = packed.shape[1:]
    asked = (region.top, region.height, height), (region.left, region.width, width)
    cuts = []
    for first, size, whole in asked:
        last = whole * scale if size is None else first + size
        if not 0 <= first < last <= whole * scale:
            raise UsageError(
                f"--region {region.left},{region.top},{region.width},{region.height}: does not lie "
                f"within the photo's {width * scale}x{height * scale} photosites; give X,Y,W,H"
            )
        step = scale * multiple
        cuts.append(slice(first // step * multiple, -(-last // step) * multiple))
    return torch.as_tensor(packed[:, cuts[0], cuts[1]])


def draw_panel(maps: Tensor) -> NDArray[np.uint8]:
    """Lay out the maps of (C, h, w) that vary most, in their order: gray, (H, W, 3) uint8."""
    chosen = maps.var((1, 2), correction=0).topk(min(GRID**2, len(maps))).indices.sort().values
    columns = math.ceil(math.sqrt(len(chosen)))
    height, width = maps.shape[1:]
    zoom = max(1, round(PANEL / (columns * height)))  # small maps stay sharp
    gap = max(1, round(height * zoom / 48))
    down, right = height * zoom + gap, width * zoom + gap
    rows = -(-len(chosen) // columns)
    panel = np.zeros((rows * down - gap, columns * right - gap), np.uint8)
    for place, values in enumerate(maps[chosen].numpy()):
        top, left = place // columns * down, place % columns * right
        panel[top : top + height * zoom, left : left + width * zoom] = _gray(values, zoom)
    return np.stack([panel] * 3, axis=-1)


def _gray(values: NDArray[np.float32], zoom: int) -> NDArray[np.uint8]:
    """Turn a map into gray over its own range, each value a square of `zoom` pixels."""
    dark, bright = np.percentile(values, [DARKEST, BRIGHTEST])
    codes = np.clip((values - dark) / max(bright - dark, 1e-12), 0, 1) * 255
    gray: NDArray[np.uint8] = np.rint(codes).astype(np.uint8)
    return gray.repeat(zoom, axis=0).repeat(zoom, axis=1)
