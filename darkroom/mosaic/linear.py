"""A photo's light, made of the sensor's values where it is looked at.

Nothing holds a whole photo as floats: the sensor's 16-bit values stay, and each band of rows that
is searched, or window that a network takes, is made linear when its turn comes, in the processor's
cache. A photo of 400 megapixels would be 1.6 GB of floats.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from darkroom.parallel import LIGHT_BYTES, cut_bands, rows_per_band
from darkroom.raw.image import RawImage

Mosaic = NDArray[np.float32]
Places = NDArray[np.intp]
Index = slice | int | Places


class LinearMosaic:
    """A photo's light by site, (H, W) float32: black 0, white 1, unclipped either way.

    Read and written as an array is: slices of rows, or of rows and columns, are copies; rows and
    columns that are arrays of places give these sites. Black is that of the site and, where it is
    known, that of the row. Missing sites are black. What is written stays, the photo as it is.
    """

    def __init__(self, raw: RawImage) -> None:
        """Look at a photo's levels, not at its values."""
        self._raw = raw
        width = raw.mosaic.shape[1]
        self._black = raw.black.astype(np.float32)
        self._scale = (1.0 / (raw.white - raw.black)).astype(np.float32)
        # One row of levels, as wide as the photo, broadcasts over every row of its kind.
        levels = list(zip(self._black, self._scale, strict=True))
        if all(np.array_equal(level, levels[0]) for level in levels):  # all rows are of one kind
            levels = levels[:1]
        self._levels = [(np.resize(one, width), np.resize(other, width)) for one, other in levels]
        self._places: Places = np.empty(0, np.intp)  # written sites, in the flat mosaic; sorted
        self._values: Mosaic = np.empty(0, np.float32)
        self._row_black = raw.row_black

    def take_off_rows(self, top: int, offsets: NDArray[np.float64]) -> None:
        """Take off what rows from `top` on are off by, (rows,) light; what is written stays."""
        raw, inside = self._raw, offsets[: self.shape[0] - top]
        black = np.zeros(self.shape[0], np.float32) if self._row_black is None else self._row_black
        self._row_black = black.copy()
        self._row_black[top : top + len(inside)] += inside * float((raw.white - raw.black).mean())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self._raw.mosaic.shape
        return height, width

    @property
    def written(self) -> Places:
        """(n,) rows of the sites that were written, ascending."""
        return self._places // self.shape[1]

    def __getitem__(self, index: slice | tuple[Index, Index]) -> Mosaic:
        """Return the light of rows and columns, as an array of that index would."""
        rows, columns = index if isinstance(index, tuple) else (index, slice(None))
        if isinstance(rows, slice) and isinstance(columns, slice):
            height, width = self.shape
            return self._window(range(*rows.indices(height)), range(*columns.indices(width)))
        assert not isinstance(rows, slice), "places are given by both"
        assert not isinstance(columns, slice), "places are given by both"
        return self._sites(np.asarray(rows), np.asarray(columns))

    def __setitem__(self, index: tuple[Places, Places], light: Sequence[float] | Mosaic) -> None:
        """Write sites by their rows and columns, (n,) each."""
        places = np.concatenate([index[0] * self.shape[1] + index[1], self._places])
        values = np.concatenate([np.asarray(light, np.float32), self._values])
        self._places, first = np.unique(places, return_index=True)  # of those twice, the new one
        self._values = values[first]

    def _window(self, rows: range, columns: range) -> Mosaic:
        """Return (rows, columns), both without gaps."""
        raw, period = self._raw, len(self._levels)
        across = slice(columns.start, columns.stop)
        linear = raw.mosaic[rows.start : rows.stop, across].astype(np.float32)
        for row in range(min(period, len(rows))):
            black, scale = self._levels[(rows.start + row) % period]
            target = linear[row::period]
            target -= black[across]
            if self._row_black is not None:
                target -= self._row_black[rows.start + row : rows.stop : period, None]
            target *= scale[across]
        if raw.missing is not None:
            linear[raw.missing[rows.start : rows.stop, across]] = 0
        width = self.shape[1]
        first, last = np.searchsorted(self._places, [rows.start * width, rows.stop * width])
        y, x = np.divmod(self._places[first:last], width)
        inside = (x >= columns.start) & (x < columns.stop)
        linear[y[inside] - rows.start, x[inside] - columns.start] = self._values[first:last][inside]
        return linear

    def _sites(self, rows: Places, columns: Places) -> Mosaic:
        """Return sites by their places, of these' common shape."""
        raw, (down, right) = self._raw, self._black.shape
        is_even = len(self._levels) == 1 and np.ptp(self._black) == np.ptp(self._scale) == 0
        kind = (0, 0) if is_even else (rows % down, columns % right)
        light = np.subtract(raw.mosaic[rows, columns], self._black[kind], dtype=np.float32)
        if self._row_black is not None:
            light = light - self._row_black[rows]
        light = np.asarray(light * self._scale[kind])
        if raw.missing is not None:
            light[raw.missing[rows, columns]] = 0
        if self._places.size:
            places = rows * self.shape[1] + columns
            at = np.searchsorted(self._places, places).clip(max=self._places.size - 1)
            light = np.where(self._places[at] == places, self._values[at], light)
        return light


def linearise(raw: RawImage) -> Mosaic:
    """Return a whole photo's light, (H, W), as `LinearMosaic` has it."""
    light, linear = LinearMosaic(raw), np.empty(raw.mosaic.shape, np.float32)
    step = rows_per_band(linear[0].nbytes, LIGHT_BYTES)
    for rows in cut_bands(len(linear), step):
        linear[rows] = light[rows]
    return linear
