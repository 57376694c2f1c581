"""What each layer of a network does in a training step: how large it is, and what moves it.

Three root mean squares for each layer with weights: of what it gives, before an activation that
follows it; of its weights; of the loss's gradient by them. The published names are kept: a layer is
the module that owns the weights, and weight norm's two parts count as the layer whose weight they
make.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from darkroom.output.atomic import atomic_write
from darkroom.training.curves import DPI, PANEL_HEIGHT, WIDTH

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

STATISTICS = {
    "gradient": "gradient of the weights",
    "activation": "activation",
    "weight": "weights",
}
"""What is measured of each layer, and its title in curves."""

WHOLE = "network"
"""Name of parameters that belong to no layer but to the network itself."""

LEGEND_ROWS = 24
"""Layers that the curves' legend names, evenly spread where there are more."""

LayerValues = dict[str, dict[str, float]]
"""By layer, in the network's order: by name of the statistic, its root mean square."""


class LayerStatistics:
    """What `watch_layers` saw; read it once the loss was propagated back, inside or after."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._activations: dict[str, list[Tensor]] = {}

    def keep(self, name: str, module: nn.Module, inputs: Any, result: Any) -> None:
        """Take note of what a layer gives, now: an activation may change it in place."""
        found = [_mean_square([leaf.detach()]) for leaf in tree_leaves(result) if _is_real(leaf)]
        self._activations.setdefault(name, []).extend(found)

    def read(self) -> LayerValues:
        """Return the root mean squares; what was not there, as a frozen layer's gradient, is not.

        Activations are over all forward passes so far, gradients as they lie on the parameters.
        """
        values: dict[str, dict[str, Tensor]] = {}
        for layer, (module, parameters) in _find_layers(self._network).items():
            gradients = [one.grad.detach() for one in parameters if one.grad is not None]
            weight = getattr(module, "weight", None)  # what weight norm makes of its parts
            weights = [weight] if isinstance(weight, Tensor) else parameters
            found = {"weight": _mean_square([one.detach() for one in weights])}
            if gradients:
                found["gradient"] = _mean_square(gradients)
            if self._activations.get(layer):
                found["activation"] = torch.stack(self._activations[layer]).mean()
            values[layer] = {name: found[name] for name in STATISTICS if name in found}
        # One transfer from the device for all.
        numbers = [value for layer in values.values() for value in layer.values()]
        roots = iter(torch.stack(numbers).sqrt().tolist() if numbers else [])
        return {layer: {name: next(roots) for name in found} for layer, found in values.items()}


@contextmanager
def watch_layers(network: nn.Module) -> Iterator[LayerStatistics]:
    """Watch a network's layers during a step; nothing of it stays on the network.

    Run the loss forwards and backwards inside, then `read`. Costs two passes over each layer's
    result, so watch the steps that are logged, not each one. Give the network itself, not what
    distributes it (`DistributedDataParallel.module`).
    """
    statistics = LayerStatistics(network)
    hooks = [
        module.register_forward_hook(partial(statistics.keep, name))
        for name, (module, _) in _find_layers(network).items()
    ]
    try:
        yield statistics
    finally:
        for handle in hooks:
            handle.remove()


def draw_layer_curves(
    history: Sequence[tuple[int, Mapping[str, Mapping[str, float]]]], figure: "FigureBase"
) -> None:
    """Draw each statistic of all layers over the steps, one panel above the other.

    `history`: steps in order, and what `LayerStatistics.read` gave at each. `figure`: a figure or
    subfigure of matplotlib. Values are on a logarithmic axis; the first layers are violet, the
    last yellow.
    """
    from matplotlib import colormaps

    layers = list(dict.fromkeys(name for _, found in history for name in found))
    # From a fifth on, for the map's first colours are as dark as the ground.
    tints = [
        colormaps["plasma"](0.2 + 0.8 * n / max(len(layers) - 1, 1)) for n in range(len(layers))
    ]
    every = -(-len(layers) // LEGEND_ROWS)
    rows = figure.subplots(len(STATISTICS), sharex=True, squeeze=False)[:, 0]
    for axes, (statistic, title) in zip(rows, STATISTICS.items(), strict=True):
        axes.set(title=f"{title}, root mean square of each layer", yscale="log")
        axes.grid(alpha=0.25)
        for number, layer in enumerate(layers):
            points = [
                (step, found[layer][statistic])
                for step, found in history
                if found.get(layer, {}).get(statistic, 0) > 0
            ]
            if points:
                label = layer if number % every == 0 else None
                marker = "o" if len(points) == 1 else ""
                axes.plot(
                    *zip(*points, strict=True), color=tints[number], label=label, marker=marker
                )
        if axes.lines:
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=7)
    rows[-1].set(xlabel="step")


def write_layer_curves(
    path: Path, history: Sequence[tuple[int, Mapping[str, Mapping[str, float]]]]
) -> None:
    """Draw `draw_layer_curves` into a PNG, whole or not at all; needs matplotlib."""
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context("dark_background"):
        size = WIDTH / DPI, PANEL_HEIGHT / DPI * len(STATISTICS)
        figure = Figure(size, DPI, layout="constrained")
        draw_layer_curves(history, figure)
        with atomic_write(path, overwrite=True) as stream:
            figure.savefig(stream, format="png")


def _find_layers(network: nn.Module) -> dict[str, tuple[nn.Module, list[nn.Parameter]]]:
    """Return the modules that own parameters besides a bias, and these, in the network's order."""
    found: dict[str, tuple[nn.Module, list[nn.Parameter]]] = {}
    for name, parameter in network.named_parameters():
        # torch's newer weight norm keeps its parts in a module of its own.
        layer, parts, kind = name.partition(".parametrizations.")
        if not parts:
            layer, _, kind = name.rpartition(".")
        if kind != "bias":
            module = network.get_submodule(layer)
            found.setdefault(layer or WHOLE, (module, []))[1].append(parameter)
    return found


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.numel() > 0


def _mean_square(values: Sequence[Tensor]) -> Tensor:
    """Return the mean square over all elements of tensors: float32, on their device."""
    norms = [torch.linalg.vector_norm(value, dtype=torch.float32) for value in values]
    return torch.stack(norms).square().sum() / sum(value.numel() for value in values)
