"""What a network sees in a photo: its feature maps at every scale, on one sheet."""

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from darkroom.color.highlights import Highlights
from darkroom.evaluation.image_grid import draw_picture_grid
from darkroom.models.model import Model
from darkroom.models.summary import Layer, record_activations, select_layers, summarize_model
from darkroom.models.tiling import Part, run_tiled
from darkroom.pipeline import Options, prepare
from darkroom.raw.image import RawImage

CROP = 768
"""Photosites along the side of the middle of the photo that is looked at: quick for any network."""

GRID = 4
"""Feature maps along the side of a panel."""

PANEL, COLUMNS = 384, 4
"""Height of a panel in pixels, and panels in a row."""

DARKEST, BRIGHTEST = 1.0, 99.0
"""Percentiles of a feature map that become black and white: each map has a range of its own."""


def draw_feature_sheet(raw: RawImage, model: Model) -> tuple[NDArray[np.uint8], tuple[Layer, ...]]:
    """Draw the feature maps of the middle of a photo: (H, W, 3) uint8, and the layers shown.

    Of each layer the maps that vary most are shown. The first panel is the amplified mosaic, the
    last the picture. Raises SensorError where the model was made for another kind of sensor.
    """
    model = model.for_sensor(raw.cfa.sensor)
    model.check(raw)
    architecture = model.architecture
    settings = Options(denoise=1.0, highlights=Highlights.CLIP).resolve(model)
    photo = prepare(raw, model, settings, lambda line: None)
    network = photo.network
    assert isinstance(network, Model), "nothing is blended or added"
    packed = _middle(photo.packed, CROP // architecture.scale, architecture.multiple)
    size = packed.shape[2] * architecture.scale, packed.shape[1] * architecture.scale
    layers = tuple(select_layers(summarize_model(model.network, architecture, size).layers))
    with record_activations(network.network, [layer.name for layer in layers]) as maps:
        picture = run_tiled(network, packed, "off")
    panels = [(f"1/{architecture.scale}  mosaic, {len(packed)} channels", _panel(packed))]
    for layer in layers:
        channels, height, width = layer.shape
        label = f"1/{layer.reduction}  {layer.name}  {channels} x {height} x {width}"
        panels.append((label, _panel(maps[layer.name])))
    height, width = picture.shape[1:]
    pixels = np.empty((height, width, 3), np.uint8)
    photo.finish(Part(slice(height), slice(width), picture), pixels)
    panels.append(("picture", pixels))
    return draw_picture_grid(panels, height=PANEL, columns=COLUMNS), layers


def _middle(packed: Tensor, side: int, multiple: int) -> Tensor:
    """Cut the middle out of (C, h, w), at most side x side, starting on the network's grid."""
    side = max(side // multiple, 1) * multiple
    top, left = (max(size - side, 0) // 2 // multiple * multiple for size in packed.shape[1:])
    return packed[:, top : top + side, left : left + side]


def _panel(maps: Tensor) -> NDArray[np.uint8]:
    """Lay out the maps of (C, h, w) that vary most, in their order: gray, (H, W, 3) uint8."""
    chosen = maps.var((1, 2)).topk(min(GRID**2, len(maps))).indices.sort().values
    columns = math.ceil(math.sqrt(len(chosen)))
    height, width = maps.shape[1:]
    zoom = max(1, round(PANEL / (columns * height)))  # small maps stay sharp
    gap = max(1, round(height * zoom / 48))
    down, right = height * zoom + gap, width * zoom + gap
    rows = -(-len(chosen) // columns)
    panel = np.zeros((rows * down - gap, columns * right - gap), np.uint8)
    for place, values in enumerate(maps[chosen].numpy()):
        dark, bright = np.percentile(values, [DARKEST, BRIGHTEST])
        codes = np.clip((values - dark) / max(bright - dark, 1e-12), 0, 1) * 255
        top, left = place // columns * down, place % columns * right
        enlarged = np.rint(codes).astype(np.uint8).repeat(zoom, axis=0).repeat(zoom, axis=1)
        panel[top : top + height * zoom, left : left + width * zoom] = enlarged
    return np.stack([panel] * 3, axis=-1)
