"""Sites that are known to be hot are replaced by neighbours of their colour."""

import numpy as np
import pytest
from conftest import XTRANS

from darkroom.mosaic.known_defects import repair_sites
from darkroom.raw.image import CFA


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG", XTRANS])
def test_a_flat_field_comes_back(cfa: str) -> None:
    """Also where neighbours are hot too, and at the borders."""
    array = CFA(cfa)
    levels = np.array([0.1, 0.4, 0.2], np.float32)
    truth = levels[np.tile(array.channels, (24 // array.period, 24 // array.period))]
    mosaic = truth.copy()
    sites = np.array([(0, 0), (0, 2), (11, 11), (11, 12), (12, 12), (13, 11), (23, 23), (5, 0)])
    mosaic[tuple(sites.T)] = 1
    outside = [(-1, 3), (24, 3), (3, 99)]
    assert repair_sites(mosaic, array, np.concatenate([sites, sites[:1], outside])) == 8
    np.testing.assert_array_equal(mosaic, truth)


def test_nothing_to_do() -> None:
    mosaic = np.ones((4, 4), np.float32)
    assert repair_sites(mosaic, CFA("RGGB"), np.empty((0, 2), np.intp)) == 0
