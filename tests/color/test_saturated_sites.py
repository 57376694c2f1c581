"""What is unknown of a picture's colour where sites of the sensor are saturated."""

import numpy as np
import pytest
import torch

from darkroom.color.saturated_sites import find_unknown_colors
from darkroom.mosaic.packing import BAYER, XTRANS
from darkroom.raw.image import CFA


@pytest.mark.parametrize("cfa", [BAYER, XTRANS], ids=["bayer", "xtrans"])
def test_single_saturated_sites_are_noise_and_keep_their_colour(cfa: CFA) -> None:
    """One site in twenty at random leaves pixels nine tenths of it, and one in 200 is white."""
    random = np.random.default_rng(3)
    shape = (4, 96, 96) if cfa == BAYER else (9, 64, 64)
    sites = torch.from_numpy(random.random(shape) < 0.05)
    unknown, white = find_unknown_colors(sites, torch.ones(shape[1:], dtype=torch.bool))
    assert unknown.shape == white.shape == (192, 192)
    assert unknown.mean() < 0.1
    assert white.float().mean() < 0.005
    unknown, white = find_unknown_colors(
        torch.ones_like(sites), torch.ones(shape[1:], dtype=torch.bool)
    )
    assert (unknown == 1).all()
    assert white.all(), "in a corner too, where X-Trans has no blue site"


def test_one_saturated_colour_takes_the_pixels_colour_but_not_its_light() -> None:
    """Red alone, in half of a Bayer frame: unknown there to the last pixel, white nowhere."""
    sites = torch.zeros(4, 24, 24, dtype=torch.bool)
    sites[0, :, :12] = True
    unknown, white = find_unknown_colors(sites, torch.ones(24, 24, dtype=torch.bool))
    assert (unknown[:, :22] == 1).all()
    assert (unknown[:, 28:] == 0).all()
    assert not white.any()
