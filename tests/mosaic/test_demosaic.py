"""Demosaicing alone: against its paper's filters and known pictures, in any tiles."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from places import SHARED
from torch import Tensor

from darkroom.mosaic.demosaic import demosaic
from darkroom.mosaic.packing import BAYER, XTRANS, pack
from darkroom.raw.image import CFA

KODAK = SHARED / "data" / "kodak"
ARRAYS = pytest.mark.parametrize("cfa", [BAYER, XTRANS], ids=["bayer", "xtrans"])


def mosaiced(picture: NDArray[np.float64], cfa: CFA) -> Tensor:
    """(3, H, W) -> (1, C, h, w)."""
    repeats = (picture.shape[1] // cfa.period, picture.shape[2] // cfa.period)
    channels = np.tile(cfa.channels, repeats)
    mosaic = np.take_along_axis(picture, channels[None], axis=0)[0]
    return torch.from_numpy(pack(mosaic.astype(np.float32), cfa))[None]


def test_bayer_is_the_papers_filters_site_by_site() -> None:
    """One bright photosite of each colour: its surroundings are the paper's numbers, by eighths.

    Figure 2 of Malvar, He, Cutler: what a filter takes from a site, a site gives to its filter.
    """
    for row, column, colour, expected in (
        # Green of the red sites around a green one; red of a blue site beside a red one; ...
        ((8, 9), (8, 8), 1, 2),
        ((8, 8), (8, 10), 1, -1),
        ((8, 8), (9, 8), 0, 4),
        ((8, 8), (9, 9), 0, 2),
        ((9, 9), (9, 7), 0, -1.5),
        ((8, 9), (8, 11), 0, -1),
        ((8, 9), (10, 9), 0, 0.5),
        ((8, 9), (10, 9), 2, -1),
    ):
        mosaic = np.zeros((20, 20), np.float32)
        mosaic[row] = 8
        packed = torch.from_numpy(pack(mosaic, BAYER))[None]
        assert demosaic(packed)[0, colour][column] == pytest.approx(expected, abs=1e-6)


@ARRAYS
def test_a_constant_stays_itself_to_the_edges(cfa: CFA) -> None:
    picture = np.broadcast_to(np.array([0.7, -0.1, 0.4])[:, None, None], (3, 24, 36))
    gray = np.full((3, 24, 36), 0.3)
    assert np.allclose(demosaic(mosaiced(gray, cfa))[0], 0.3, atol=1e-6)
    if cfa == XTRANS:  # Malvar's filters carry detail from one colour to the others
        assert np.allclose(demosaic(mosaiced(picture, cfa))[0], picture, atol=1e-6)


@ARRAYS
def test_a_ramp_is_continued_exactly(cfa: CFA) -> None:
    rows, columns = np.mgrid[:36, :48]
    ramp = np.broadcast_to(0.1 + 0.01 * rows - 0.002 * columns, (3, 36, 48))
    error = np.abs(demosaic(mosaiced(ramp, cfa))[0].numpy() - ramp)
    assert error[:, 2:-2, 2:-2].max() < 1e-6
    assert error.max() < 0.1


@ARRAYS
def test_photosites_keep_their_own_values(cfa: CFA) -> None:
    picture = np.random.default_rng(1).normal(size=(3, 24, 36))
    channels = np.tile(cfa.channels, (24 // cfa.period, 36 // cfa.period))
    result = demosaic(mosaiced(picture, cfa))[0].numpy()
    own = np.take_along_axis(result, channels[None], axis=0)
    assert np.allclose(own, np.take_along_axis(picture, channels[None], axis=0), atol=1e-6)


@ARRAYS
@settings(deadline=None, max_examples=10)
@given(top=st.integers(1, 5), left=st.integers(1, 5))
def test_a_window_with_one_packed_pixel_more_gives_what_the_whole_gives(
    cfa: CFA, top: int, left: int
) -> None:
    step = 1 if cfa == BAYER else 2
    top, left = top * step, left * step
    torch.manual_seed(top * 100 + left)
    packed = torch.rand(1, 4 if cfa == BAYER else 9, 20, 24)
    scale, margin = (2, 1) if cfa == BAYER else (3, 2)
    part = demosaic(packed[:, :, top - margin if top > margin else 0 :, left - step :])
    down = (margin if top > margin else top) * scale
    part = part[:, :, down:, step * scale :]
    assert torch.allclose(part, demosaic(packed)[:, :, top * scale :, left * scale :], atol=1e-6)


def test_the_smallest_photos() -> None:
    assert demosaic(torch.ones(1, 4, 1, 1)).shape == (1, 3, 2, 2)
    assert torch.allclose(demosaic(torch.ones(1, 4, 1, 3)), torch.ones(1))
    assert torch.allclose(demosaic(torch.ones(1, 9, 2, 2)), torch.ones(1))


@pytest.mark.parametrize("shape", [(2, 4, 7, 5), (1, 9, 10, 6)])
def test_bands_are_parts_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    """Each site has its own sum, whatever is interpolated with it."""
    packed = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    whole = demosaic(packed)
    monkeypatch.setattr("darkroom.mosaic.demosaic.BAND_SITES", 1)  # a block's rows
    assert torch.allclose(demosaic(packed), whole, atol=1e-6)  # float32, in any order


@pytest.mark.skipif(not KODAK.is_dir(), reason="the Kodak pictures are not here")
@pytest.mark.parametrize(("cfa", "least"), [(BAYER, 34.0), (XTRANS, 28.0)])
def test_kodak(cfa: CFA, least: float) -> None:
    """Malvar's filters reach 34-36 dB on Kodak's pictures in the literature; here 35.0 and 28.7."""
    found = []
    for path in sorted(KODAK.glob("*.png"))[::2]:
        with Image.open(path) as image:
            picture = np.moveaxis(np.asarray(image) / 255.0, 2, 0)
        picture = picture[:, : picture.shape[1] // 6 * 6, : picture.shape[2] // 6 * 6]
        error = demosaic(mosaiced(picture, cfa))[0].clamp(0, 1).numpy() - picture
        found.append(-10 * np.log10(np.mean(error[:, 8:-8, 8:-8] ** 2)))
    assert least < np.mean(found) < least + 3
