"""What a network sees while it is trained: a sheet of feature maps for each scored step."""

from collections.abc import Callable
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from darkroom.evaluation.features import COLUMNS, PANEL, draw_panel
from darkroom.evaluation.image_grid import draw_picture_grid
from darkroom.output.atomic import make_folder
from darkroom.output.picture import PictureFormat, SaveOptions, save_picture
from darkroom.training.report.runs import FEATURES, PREFIX


def write_feature_sheet(
    folder: Path, step: int, network: nn.Module, run: Callable[[], Tensor]
) -> Path:
    """Draw feature maps of every scale to `folder`/features/step-00000500.png, and return where.

    `run`: runs the network over one crop, the first of a batch. As each layer is seen by the next.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: Any, result: Any) -> None:
        if isinstance(result, Tensor) and result.ndim == 4:
            found[name] = result

    hooks = [
        module.register_forward_hook(partial(keep, name))
        for name, module in network.named_modules()
        if name and next(module.parameters(recurse=False), None) is not None
    ]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in hooks:
            handle.remove()
    panels = []
    for _, group in groupby(found, key=lambda name: found[name].shape[-2]):
        names = list(group)
        for name in dict.fromkeys((names[0], names[-1]) if len(names) > 2 else names[-1:]):
            maps = found[name][0].detach().to("cpu", torch.float32).nan_to_num()
            shape = " x ".join(map(str, maps.shape))
            panels.append((f"{name}  {shape}", draw_panel(maps)))
    make_folder(folder / FEATURES)
    path = folder / FEATURES / f"{PREFIX}{step:08d}.png"
    pixels = draw_picture_grid(panels, height=PANEL, columns=COLUMNS)
    save_picture(pixels, path, SaveOptions(PictureFormat.PNG, overwrite=True))
    return path
