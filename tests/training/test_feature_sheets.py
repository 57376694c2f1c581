"""Feature maps of a network that is being trained, one sheet a step."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from darkroom.evaluation.features import COLUMNS, PANEL
from darkroom.training.feature_sheets import write_feature_sheet


class Network(nn.Module):
    """Three layers at one scale, one at the next."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (
            nn.Conv2d(inputs, 4, 3, padding=1) for inputs in (4, 4, 4)
        )
        self.coarse = nn.Conv2d(4, 6, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.third(torch.relu_(self.second(torch.relu_(self.first(x))))))
        return self.coarse(x)


def test_a_sheet_of_every_scale(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, crop = Network(), torch.rand(2, 4, 32, 32)
    path = write_feature_sheet(tmp_path, 500, network, lambda: network(crop))
    assert path == tmp_path / "features/step-00000500.png"
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    # First and third of the finer scale, and the coarser: three panels in one row.
    assert PANEL < pixels.shape[0] < 1.2 * PANEL
    assert 3 * PANEL < pixels.shape[1] < COLUMNS * PANEL
    assert pixels.std() > 20
    assert not any(module._forward_hooks for module in network.modules())
    first = path.read_bytes()
    assert write_feature_sheet(tmp_path, 500, network, lambda: network(crop)).read_bytes() == first


def test_a_run_that_fails_leaves_no_sheet_and_no_hook(tmp_path: Path) -> None:
    network = Network()
    with pytest.raises(RuntimeError):
        write_feature_sheet(tmp_path, 1, network, lambda: network(torch.rand(1, 3, 8, 8)))
    assert not (tmp_path / "features").exists()
    assert not any(module._forward_hooks for module in network.modules())
