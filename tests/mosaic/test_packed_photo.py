"""Windows of a packed photo against packing the whole of it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import XTRANS as FUJI

from darkroom.color.white_balance import gray_world
from darkroom.errors import SensorError
from darkroom.models.tiling import Grid, run_tiled
from darkroom.mosaic.demosaic import demosaic
from darkroom.mosaic.linear import LinearMosaic
from darkroom.mosaic.packed_photo import PackedPhoto
from darkroom.mosaic.packing import COLORS_OF_CHANNELS, align, linearise, pack
from darkroom.raw.image import RawImage

Photo = Callable[..., RawImage]
GAIN, BALANCE = 37.3, np.array([2.03, 1.0, 1.61])
ARRAYS = pytest.mark.parametrize("pattern", ["RGGB", "GBRG", "BGGR", FUJI])


def both(raw: RawImage) -> tuple[PackedPhoto, np.ndarray]:
    """A photo packed when asked, and all at once."""
    aligned = align(linearise(raw), raw.cfa)
    expected = pack(aligned.mosaic, aligned.cfa) * np.float32(GAIN)
    colors = list(COLORS_OF_CHANNELS[len(expected)])
    expected *= BALANCE.astype(np.float32)[colors][:, None, None]
    photo = PackedPhoto.of(LinearMosaic(raw), raw.cfa)
    return PackedPhoto(
        photo.light, photo.cfa, photo.top, photo.left, photo.sites, GAIN, BALANCE
    ), expected


@ARRAYS
@pytest.mark.parametrize(("height", "width"), [(36, 48), (41, 53), (43, 46)])
def test_any_window_is_that_of_the_whole(
    synthetic_raw: Photo, monkeypatch: pytest.MonkeyPatch, pattern: str, height: int, width: int
) -> None:
    """Bit for bit, whatever the bands: sizes off the array's period are continued alike."""
    monkeypatch.setattr("darkroom.mosaic.packed_photo.LIGHT_BYTES", 2000)  # a few rows
    photo, expected = both(synthetic_raw(height, width, pattern))
    assert photo.shape == expected.shape
    _, rows, columns = photo.shape
    random = np.random.default_rng(8)
    for _ in range(20):
        top, left = random.integers(0, rows), random.integers(0, columns)
        window = np.s_[:, top : top + random.integers(1, 9), left : left + random.integers(1, 9)]
        assert np.array_equal(photo[window], expected[window])
    assert np.array_equal(photo[:, :, :], expected)


@ARRAYS
def test_samples_are_spread_as_over_the_whole(
    synthetic_raw: Photo, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.setattr("darkroom.mosaic.packed_photo.LIGHT_BYTES", 2000)
    photo, expected = both(synthetic_raw(41, 53, pattern))
    flat = expected.reshape(len(expected), -1)
    assert np.array_equal(photo.sample(50), flat[:, :: flat.shape[1] // 50])
    assert np.array_equal(photo.sample(10**6), flat)
    measured = gray_world(torch.from_numpy(photo.sample(1 << 16)))
    assert np.array_equal(measured, gray_world(torch.from_numpy(expected)))


class Demosaicing:
    grid = Grid(2, 2, 2)
    device = torch.device("cpu")

    def __call__(self, packed: torch.Tensor) -> torch.Tensor:
        return demosaic(packed)

    def on_cpu(self) -> "Demosaicing":
        return self


@pytest.mark.parametrize("tile", ["off", 8, 20])
def test_tiles_of_it_are_tiles_of_the_whole(synthetic_raw: Photo, tile: int) -> None:
    """Also past its end, where it is continued by reflection."""
    photo, expected = both(synthetic_raw(42, 54))
    assert photo.shape[1] % 2 == 1, "it ends off the grid"
    found = run_tiled(Demosaicing(), photo, tile)
    assert torch.equal(found, run_tiled(Demosaicing(), torch.from_numpy(expected), tile))


def test_photos_smaller_than_their_array_are_refused(synthetic_raw: Photo) -> None:
    raw = synthetic_raw(5, 24, FUJI)
    with pytest.raises(SensorError, match="22x4 is smaller than its colour filter array"):
        PackedPhoto.of(LinearMosaic(raw), raw.cfa)
