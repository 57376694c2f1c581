"""Light that is made where it is read, against arithmetic on the whole photo."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.mosaic.linear import LinearMosaic, linearise
from darkroom.raw.image import RawImage

Photo = Callable[..., RawImage]


def whole(raw: RawImage) -> NDArray[np.float32]:
    """(value - black - row) / (white - black), in float32 as the photo is."""
    repeats = [
        -(-size // side) for size, side in zip(raw.mosaic.shape, raw.black.shape, strict=True)
    ]
    height, width = raw.mosaic.shape
    black = np.tile(raw.black, repeats)[:height, :width]
    white = np.tile(raw.white, repeats)[:height, :width]
    light = raw.mosaic.astype(np.float32) - black
    if raw.row_black is not None:
        light -= raw.row_black[:, None]
    light *= (1.0 / (white - black)).astype(np.float32)
    if raw.missing is not None:
        light[raw.missing] = 0
    return light


def photo(synthetic_raw: Photo, kind: str) -> RawImage:
    random = np.random.default_rng(5)
    raw = synthetic_raw(29, 34)
    match kind:
        case "levels":
            black = random.uniform(100, 600, (4, 6)).astype(np.float32)
            return replace(raw, black=black, white=np.full((4, 6), 16000, np.float32))
        case "rows":
            return replace(raw, row_black=random.normal(size=29).astype(np.float32))
        case "missing":
            return replace(raw, missing=random.random((29, 34)) < 0.1)
        case "floats":
            return replace(raw, mosaic=(raw.mosaic + random.random((29, 34))).astype(np.float32))
        case _:
            return raw


KINDS = pytest.mark.parametrize("kind", ["plain", "levels", "rows", "missing", "floats"])


@KINDS
def test_any_part_is_that_part_of_the_whole(synthetic_raw: Photo, kind: str) -> None:
    """Bit for bit: the same three roundings."""
    raw = photo(synthetic_raw, kind)
    light, expected = LinearMosaic(raw), whole(raw)
    assert np.array_equal(linearise(raw), expected)
    for part in (np.s_[3:], np.s_[7:20, 5:6], np.s_[28:, :33], np.s_[5:5]):
        assert np.array_equal(light[part], expected[part])
    rows, columns = np.random.default_rng(6).integers(0, 29, (2, 3, 50))
    assert np.array_equal(light[rows, columns], expected[rows, columns])


@KINDS
def test_what_is_written_is_read_and_the_photo_stays(synthetic_raw: Photo, kind: str) -> None:
    raw = photo(synthetic_raw, kind)
    before, expected, light = raw.mosaic.copy(), whole(raw), LinearMosaic(raw)
    for seed in (1, 2):  # the later wins
        random = np.random.default_rng(seed)
        rows, columns = random.integers(0, 29, (2, 40))
        places = np.unique(np.stack([rows, columns], axis=1), axis=0).T
        values = random.random(places.shape[1]).astype(np.float32)
        light[places[0], places[1]] = expected[places[0], places[1]] = values
    assert np.array_equal(light[:], expected)
    assert np.array_equal(light[9:21, 4:30], expected[9:21, 4:30])
    rows, columns = np.indices(expected.shape)
    assert np.array_equal(light[rows, columns], expected)
    assert np.array_equal(raw.mosaic, before)
