"""A whole photo in the packed form, of which each window is made when it is asked for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darkroom.mosaic.linear import LinearMosaic
from darkroom.mosaic.packing import (
    BAYER_SITES,
    COLORS_OF_CHANNELS,
    XTRANS_SITES,
    Packed,
    check_size,
    find_phase,
    pack,
)
from darkroom.parallel import LIGHT_BYTES, cut_bands, rows_per_band
from darkroom.raw.image import CFA, Sensor


@dataclass(frozen=True, slots=True)
class PackedPhoto:
    """A photo as its network takes it, (C, h, w): aligned, packed, amplified, white-balanced.

    `light`: of the whole photo. `cfa`: the packed form's phase. `top`, `left`: what was cropped for
    it. `sites`: rows and columns of the photo that are left. `gain`: of all light, then
    `multipliers` (3,) of R, G and B.
    """

    light: LinearMosaic
    cfa: CFA
    top: int
    left: int
    sites: tuple[int, int]
    gain: float = 1.0
    multipliers: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, light: LinearMosaic, cfa: CFA) -> "PackedPhoto":
        """Align a photo, `cfa` as at its first site, as `align` does. Raises SensorError likewise.

        Also where it is smaller than one period.
        """
        goal, top, left = find_phase(cfa)
        sites = light.shape[0] - top, light.shape[1] - left
        check_size(sites, goal)
        return cls(light, goal, top, left, sites)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of packed pixels."""
        period, side = self.cfa.period, self._side
        rows, columns = (-(-size // period) * side for size in self.sites)
        return (len(self._channels), rows, columns)

    @property
    def _side(self) -> int:
        """Packed pixels along a side of the array's period."""
        return 1 if self.cfa.sensor is Sensor.BAYER else 2

    @property
    def _channels(self) -> NDArray[np.intp]:
        return BAYER_SITES if self.cfa.sensor is Sensor.BAYER else XTRANS_SITES

    def __getitem__(self, window: tuple[slice, slice, slice]) -> Packed:
        """Return rows and columns of packed pixels, all channels: (C, rows, columns), a new array.

        Made of the sensor's values in bands.
        """
        assert window[0] == slice(None), "all channels"
        (_, height, width), side = self.shape, self._side
        rows, columns = (
            range(*one.indices(size)) for one, size in zip(window[1:], (height, width), strict=True)
        )
        # Whole periods: the last one may be continued by that before it.
        first, last = rows.start // side, -(-rows.stop // side)
        left, right = columns.start // side, -(-columns.stop // side)
        packed = np.empty(
            (len(self._channels), (last - first) * side, (right - left) * side), np.float32
        )
        step = rows_per_band((right - left) * self.cfa.period**2 * packed.itemsize, LIGHT_BYTES)
        for band in cut_bands(last - first, step):
            target = packed[:, band.start * side : band.stop * side]
            self._fill(range(first + band.start, first + band.stop), range(left, right), target)
        return packed[
            :,
            rows.start - first * side : rows.stop - first * side,
            columns.start - left * side : columns.stop - left * side,
        ]

    def _fill(self, rows: range, columns: range, target: Packed) -> None:
        """Put some periods, down and across, into their place."""
        (height, width), period, side = self.sites, self.cfa.period, self._side
        # Where the photo ends within a period, that before it is needed too.
        before = int(rows.stop * period > height and rows.start > 0)
        beside = int(columns.stop * period > width and columns.start > 0)
        top, left = (rows.start - before) * period, (columns.start - beside) * period
        bottom, right = min(rows.stop * period, height), min(columns.stop * period, width)
        light = self.light[self.top + top : self.top + bottom, self.left + left : self.left + right]
        if before or beside:
            target[:] = pack(light, self.cfa)[:, before * side :, beside * side :]
        else:
            pack(light, self.cfa, target)
        target *= np.float32(self.gain)
        if self.multipliers is not None:
            for channel, color in zip(target, COLORS_OF_CHANNELS[len(target)], strict=True):
                channel *= np.float32(self.multipliers[color])

    def sample(self, count: int) -> Packed:
        """Return `count` packed pixels or somewhat more, evenly spread in reading order: (C, n)."""
        _, height, width = self.shape
        step = max(1, height * width // count)
        rows = rows_per_band(4 * width * len(self._channels), LIGHT_BYTES)
        found = []
        for top in range(0, height, rows):
            pixels = self[:, top : top + rows, :].reshape(len(self._channels), -1)
            found.append(pixels[:, -top * width % step :: step])
        return np.concatenate(found, axis=1)
