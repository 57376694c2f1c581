"""Smaller pictures: the light stays, against exact averages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.color.color_space import LINEAR, SRGB_CURVE, ColorSpace, decode_samples, encode_light
from darkroom.output.resize import fit_size, resize


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(1, 10000))
def test_sizes_fit_and_are_never_larger(height: int, width: int, edge: int) -> None:
    rows, columns = fit_size((height, width, 3), edge)
    assert 1 <= rows <= height
    assert 1 <= columns <= width
    assert max(rows, columns) == min(edge, max(height, width))


def test_light_is_averaged_not_codes() -> None:
    """A checkerboard of black and white is half the light: 188 of 255, where codes give 128."""
    board = (np.indices((64, 64)).sum(0) % 2 * 65535).astype(np.uint16)
    small = resize(np.stack([board] * 3, 2), (16, 16), SRGB_CURVE, 8)
    assert small.dtype == np.uint8
    assert np.abs(small[2:-2, 2:-2].astype(int) - 188).max() <= 1


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_flat_pictures_stay_as_they_are(bits: int) -> None:
    if bits == 32:
        flat = np.full((50, 40, 3), 1.7, np.float32)  # above white
    else:
        flat = np.full((50, 40, 3), 12336, np.uint16)  # 48 codes of 8 bits
    small = resize(flat, (20, 16), SRGB_CURVE, bits)
    expected = {8: 48, 16: 12336, 32: 1.7}[bits]
    # One code of 16 bits, or float32's last digit.
    assert np.abs(small - np.float64(expected)).max() <= {8: 0, 16: 1, 32: 1e-6}[bits]


def test_no_rings_around_lamps() -> None:
    light = np.full((90, 90, 3), 0.001, np.float32)
    light[40:50, 40:50] = 100.0
    small = resize(light, (31, 31), LINEAR, 32)
    assert small.min() > 0.00099


@pytest.mark.parametrize("space", ColorSpace)
def test_curves_and_their_ways_back(space: ColorSpace) -> None:
    light = np.linspace(0, 1, 5000, dtype=np.float32)
    back = decode_samples(encode_light(light, space.curve).astype(np.float64), space.curve)
    np.testing.assert_allclose(back, light, atol=3e-6)  # float32 samples; sRGB's rounded knee
