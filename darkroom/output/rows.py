"""A picture whose rows come in order, as they are made, for files that are written in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.output.orientation import Pixels


@dataclass(frozen=True, slots=True)
class PictureRows:
    """A picture that is not there yet: `bands` give its rows from the top, once.

    `shape`: (H, W, 3) of the whole, `dtype` of its samples; `bands` are (rows, W, 3), any number.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    bands: Iterator[Pixels]

    @property
    def nbytes(self) -> int:
        """Bytes of all samples."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


def gather(picture: Pixels | PictureRows) -> Pixels:
    """Return a whole picture, (H, W, 3); of one that comes by rows it takes them all."""
    if not isinstance(picture, PictureRows):
        return picture
    pixels, top = np.empty(picture.shape, picture.dtype), 0
    for band in picture.bands:
        pixels[top : top + len(band)] = band
        top += len(band)
    return pixels


def split_rows(
    picture: Pixels | PictureRows, rows: int, *, above: bool = False
) -> Iterator[NDArray[Any]]:
    """Yield a picture from its top by bands of `rows` rows, of which the last may have fewer.

    `above`: each with the row above it too, which is zeros over the first one.
    """
    if isinstance(picture, PictureRows):
        bands, shape, dtype = picture.bands, picture.shape, picture.dtype
    else:
        bands, shape, dtype = iter([picture]), picture.shape, picture.dtype
    held: NDArray[Any] = np.zeros((int(above), *shape[1:]), dtype)
    for band in bands:
        first = rows + above - len(held)  # of the new rows; only these are copied
        if len(band) < first:
            held = np.concatenate([held, band])
            continue
        yield np.concatenate([held, band[:first]]) if len(held) else band[:first]
        top = first
        while top + rows <= len(band):
            yield band[top - above : top + rows]
            top += rows
        held = band[top - above :]
    if len(held) > above:
        yield held
