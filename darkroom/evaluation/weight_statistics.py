"""How a network's weights are spread, layer by layer, and which of its features are dead."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn

from darkroom.evaluation.image_grid import draw_picture_grid
from darkroom.models.tracing import Layer

BINS = 64
"""Of a histogram, between the least and the greatest weight."""

NEGLIGIBLE = 0.01
"""A feature is dead whose weights are smaller than this, in proportion to its layer's (both root
mean squares): it gives its bias and no more."""

WIDTH, HEIGHT, COLUMNS = 320, 200, 4
"""Pixels of a histogram on the sheet, and histograms in a row."""
GROUND, BAR, ZERO = (13, 14, 17), (255, 154, 98), (110, 118, 130)


@dataclass(frozen=True, slots=True)
class Spread:
    """How numbers are spread: mean, standard deviation, least and greatest."""

    mean: float
    std: float
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """The weights of a layer as they run, `shape` as torch has them.

    `histogram`: how many weights lie in each of BINS equal parts from the least to the greatest.
    `features`: channels of its result. `dead`: numbers of those whose weights are negligible.
    `silent`: numbers of those that were above 0 nowhere in a photo, where there was one and a
    rectifier follows; else None.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    weights: Spread
    bias: Spread | None
    histogram: tuple[int, ...]
    features: int
    dead: tuple[int, ...]
    silent: tuple[int, ...] | None = None


def measure_weights(
    network: nn.Module, layers: tuple[Layer, ...], maps: Mapping[str, Tensor] | None = None
) -> tuple[LayerWeights, ...]:
    """Measure the weights of each layer of a network, in the order in which they run.

    `layers`: of `summarize_model`. `maps`: what rectified layers gave of a photo, (C, h, w) by
    name, as `find_rectified` names them and `record_run` records them.
    """
    found = []
    modules = dict(network.named_modules())
    for layer in layers:
        if not layer.parameters:
            continue
        module = modules[layer.name]
        parameters = dict(module.named_parameters(recurse=False))
        name = "weight" if "weight" in parameters else next(iter(parameters))
        weights = parameters.pop(name).detach().float().cpu()
        others = list(parameters.values())
        axis = 1 if isinstance(module, nn.ConvTranspose2d) else 0
        each = weights.movedim(axis, 0).flatten(1) if weights.ndim > 1 else weights[:, None]
        sizes = each.square().mean(1).sqrt()
        dead = (sizes < NEGLIGIBLE * weights.square().mean().sqrt()).nonzero().flatten()
        seen = None if maps is None else maps.get(layer.name)
        silent = None if seen is None else (seen.amax((1, 2)) <= 0).nonzero().flatten()
        found.append(
            LayerWeights(
                layer.name,
                layer.kind,
                tuple(weights.shape),
                _spread(weights),
                _spread(others[0].detach().float().cpu()) if others else None,
                tuple(np.histogram(weights.numpy(), BINS)[0].tolist()),
                layer.shape[0],
                tuple(dead.tolist()),
                None if silent is None else tuple(silent.tolist()),
            )
        )
    return tuple(found)


def find_rectified(layers: tuple[Layer, ...]) -> list[str]:
    """List the layers with weights that a rectifier follows: what it lets through tells of life."""
    return [layer.name for layer in layers if layer.parameters and "relu" in layer.activation]


def draw_weight_sheet(measured: tuple[LayerWeights, ...]) -> NDArray[np.uint8]:
    """Draw the histogram of each layer's weights: (H, W, 3) uint8; 0 is a line."""
    panels = []
    for layer in measured:
        label = f"{layer.name}  std {layer.weights.std:.2g}"
        if layer.dead:
            label += f"  {len(layer.dead)} dead"
        panels.append((label, _draw_histogram(layer)))
    return draw_picture_grid(panels, height=HEIGHT, columns=min(COLUMNS, len(panels)))


def _draw_histogram(layer: LayerWeights) -> NDArray[np.uint8]:
    """Draw one histogram; heights are square roots of counts, so that tails are seen."""
    image = Image.new("RGB", (WIDTH, HEIGHT), GROUND)
    pen = ImageDraw.Draw(image)
    heights = np.sqrt(layer.histogram) / np.sqrt(max(layer.histogram))
    step = WIDTH / BINS
    for place, height in enumerate(heights):
        if height > 0:
            top = HEIGHT - 1 - (HEIGHT - 24) * height
            pen.rectangle([place * step, top, (place + 1) * step - 2, HEIGHT], BAR)
    low, high = layer.weights.min, layer.weights.max
    if low < 0 < high:
        zero = -low / (high - low) * WIDTH
        pen.line([zero, 0, zero, HEIGHT], ZERO)
    pen.text((4, 4), f"{low:.2g}", ZERO)
    pen.text((WIDTH - 4, 4), f"{high:.2g}", ZERO, anchor="ra")
    return np.array(image)


def _spread(values: Tensor) -> Spread:
    """Measure numbers, to six digits."""
    exact = values.double()
    found = exact.mean(), exact.std(correction=0), exact.min(), exact.max()
    return Spread(*(float(f"{float(value):.6g}") for value in found))
