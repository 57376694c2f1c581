"""Photosites that are known to be hot: replaced, whatever they hold."""

import numpy as np

from darkroom.mosaic.linear import LinearMosaic, Mosaic, Places
from darkroom.raw.image import CFA

REACH = 6
"""Neighbours are looked for so many sites away in each direction."""
NEIGHBOURS = 4
"""The nearest sound sites of its colour, whose median replaces a site."""


def repair_sites(mosaic: Mosaic | LinearMosaic, cfa: CFA, sites: Places) -> int:
    """Replace sites of a mosaic in place; returns how many lay in it.

    `mosaic`: (H, W). `sites`: (n, 2) rows and columns, of which those outside are passed over. Each
    gets the median of the nearest sites of its colour that are not among them.
    """
    inside = ((sites >= 0) & (sites < mosaic.shape)).all(axis=1)
    sites = np.unique(sites[inside], axis=0)
    defective = {(int(row), int(column)) for row, column in sites}
    reach = range(-REACH, REACH + 1)
    window = sorted(((r, c) for r in reach for c in reach), key=lambda place: np.hypot(*place))
    height, width = mosaic.shape
    period, colors = cfa.period, cfa.channels
    repaired: dict[tuple[int, int], float] = {}
    for row, column in defective:
        own = colors[row % period, column % period]
        found: list[float] = []
        for down, right in window:
            y, x = row + down, column + right
            if not (0 <= y < height and 0 <= x < width) or (y, x) in defective:
                continue
            if colors[y % period, x % period] == own:
                found.append(float(mosaic[y, x]))
                if len(found) == NEIGHBOURS:
                    break
        if found:
            repaired[row, column] = float(np.median(found))
    if repaired:
        rows, columns = np.array(list(repaired)).T
        mosaic[rows, columns] = list(repaired.values())
    return len(defective)
