"""The packed form against SID's published packing and against slow literal arithmetic."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import XTRANS as FUJI
from conftest import synthetic_raw
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.errors import SensorError
from darkroom.mosaic.demosaic import unpack_mosaic
from darkroom.mosaic.packing import BAYER, XTRANS, align, linearise, pack
from darkroom.raw.image import CFA, RawImage, Sensor

PHASES = [CFA(pattern) for pattern in ("RGGB", "GRBG", "GBRG", "BGGR")]
OFFSETS = [XTRANS.shifted(down, right) for down in range(6) for right in range(6)]


def colours(cfa: CFA, height: int, width: int) -> np.ndarray:
    """A mosaic whose values are its filters' colours: 0 red, 1 green, 2 blue."""
    repeats = (-(-height // cfa.period), -(-width // cfa.period))
    return np.tile(cfa.channels, repeats)[:height, :width].astype(np.float32)


def test_linearise_equals_the_formula_site_by_site(synthetic_raw):
    random = np.random.default_rng(3)
    black = random.uniform(100, 600, (4, 6)).astype(np.float32)
    white = random.uniform(9000, 16000, (4, 6)).astype(np.float32)
    raw = synthetic_raw(13, 17, black=black, white=white)
    linear = linearise(raw)
    assert linear.dtype == np.float32
    for row in range(13):
        for col in range(17):
            low, high = float(black[row % 4, col % 6]), float(white[row % 4, col % 6])
            expected = (float(raw.mosaic[row, col]) - low) / (high - low)
            # Three float32 roundings of numbers below 2^14, over a range of about 2^13.
            assert abs(linear[row, col] - expected) < 1e-6


def test_linearise_keeps_what_is_below_black_and_above_white(synthetic_raw):
    mosaic = np.array([[0, 512], [16383, 20000]], dtype=np.uint16)
    linear = linearise(synthetic_raw(mosaic=mosaic))
    assert linear[0, 0] == pytest.approx(-512 / 15871, rel=1e-6)
    assert linear[0, 1] == 0
    assert linear[1, 0] == pytest.approx(1, rel=1e-6)
    assert linear[1, 1] > 1.2


@given(st.integers(1, 90), st.integers(1, 20), st.sampled_from([2, 6]))
@settings(max_examples=30, deadline=None)
def test_linearise_takes_rows_offsets_off(height: int, width: int, period: int):
    random = np.random.default_rng(height)
    mosaic = random.integers(400, 900, (height, width), dtype=np.uint16)
    rows = random.normal(0, 2, height).astype(np.float32)
    black, white = random.uniform(1, 2, (2, period, period)).astype(np.float32) * [
        [[500]],
        [[9000]],
    ]
    raw = synthetic_raw(
        mosaic=mosaic, black=black.astype(np.float32), white=white.astype(np.float32)
    )
    plain = linearise(raw)
    at = np.arange(height)[:, None] % period, np.arange(width) % period
    expected = plain - rows[:, None] / (white - black)[at]
    # Three float32 roundings of numbers below 2^10, over a range of about 2^13.
    np.testing.assert_allclose(linearise(replace(raw, row_black=rows)), expected, atol=3e-8)


def test_linearise_takes_float_mosaics(synthetic_raw):
    whole = synthetic_raw(6, 6)
    real = synthetic_raw(6, 6, mosaic=whole.mosaic.astype(np.float32))
    np.testing.assert_array_equal(linearise(whole), linearise(real))


@pytest.mark.parametrize("cfa", PHASES, ids=lambda cfa: cfa.pattern)
def test_bayer_phases_align_to_red_green_green_blue(cfa: CFA):
    aligned = align(colours(cfa, 9, 11), cfa)
    assert (aligned.top, aligned.left) in {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert aligned.mosaic.shape == (9 - aligned.top, 11 - aligned.left)
    packed = pack(aligned.mosaic, aligned.cfa)
    assert [set(channel.flat) for channel in packed] == [{0}, {1}, {1}, {2}]


@pytest.mark.parametrize("cfa", OFFSETS, ids=str)
def test_xtrans_offsets_align_to_sids_phase(cfa: CFA):
    aligned = align(colours(cfa, 23, 25), cfa)
    assert max(aligned.top, aligned.left) <= 5
    assert aligned.top + aligned.left <= 7
    packed = pack(aligned.mosaic, aligned.cfa)
    # SID: red, green and blue of the mixed rows, red and blue of the green rows, four greens.
    assert [set(channel.flat) for channel in packed] == [{i} for i in (0, 1, 2, 0, 2, 1, 1, 1, 1)]


def test_the_array_in_fuji_files_is_one_of_the_36():
    assert align(np.zeros((12, 12), np.float32), CFA(FUJI)).cfa == XTRANS


def test_xtrans_equals_sids_published_packing():
    mosaic = np.random.default_rng(0).random((24, 36), dtype=np.float32)
    expected = np.zeros((9, 8, 12), dtype=np.float32)
    # The rows of the published function: channel, packed row and column, mosaic row and column.
    for line in (
        "000 00,001 04,010 31,011 33,100 02,101 05,110 32,111 35,200 01,201 03,210 30,211 34",
        "300 12,301 25,310 52,311 45,400 22,401 15,410 42,411 55",
    ):
        for item in line.split(","):
            (channel, down, right), (row, col) = (map(int, part) for part in item.split())
            expected[channel, down::2, right::2] = mosaic[row::6, col::6]
    for channel, (row, col) in enumerate([(1, 0), (1, 1), (2, 0), (2, 1)], start=5):
        expected[channel] = mosaic[row::3, col::3]
    np.testing.assert_array_equal(pack(mosaic, XTRANS), expected)


@given(st.integers(6, 20), st.integers(6, 20), st.sampled_from(PHASES + OFFSETS), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_unpack_undoes_pack(height: int, width: int, cfa: CFA, seed: int):
    mosaic = np.random.default_rng(seed).standard_normal((height + 5, width + 5), dtype=np.float32)
    aligned = align(mosaic, cfa)
    packed = pack(aligned.mosaic, aligned.cfa)
    back = unpack_mosaic(torch.from_numpy(packed)[None])[0, 0].numpy()
    height, width = aligned.mosaic.shape
    np.testing.assert_array_equal(back[:height, :width], aligned.mosaic)
    # What was added continues the array with values that the photo has.
    assert np.isin(back, aligned.mosaic).all()
    expected = colours(aligned.cfa, *back.shape)
    again = torch.from_numpy(pack(colours(aligned.cfa, height, width), aligned.cfa))
    filled = unpack_mosaic(again[None])[0, 0].numpy()
    np.testing.assert_array_equal(filled, expected)


def test_packed_sizes():
    assert pack(np.zeros((7, 10), np.float32), BAYER).shape == (4, 4, 5)
    assert pack(np.zeros((13, 18), np.float32), XTRANS).shape == (9, 6, 6)


def test_bayer_in_reading_order():
    mosaic = np.array([[1, 2, 5, 6], [3, 4, 7, 8]], dtype=np.float32)
    np.testing.assert_array_equal(pack(mosaic, BAYER)[:, 0], [[1, 5], [2, 6], [3, 7], [4, 8]])


def test_refusals():
    with pytest.raises(SensorError, match="smaller than its colour filter array"):
        pack(np.zeros((5, 12), np.float32), XTRANS)
    with pytest.raises(SensorError, match="not aligned"):
        pack(np.zeros((4, 4), np.float32), CFA("BGGR"))
    with pytest.raises(SensorError, match="RRGB is no Bayer"):
        align(np.zeros((4, 4), np.float32), CFA("RRGB"))


def test_a_synthetic_photo_packs_to_known_numbers(synthetic_raw):
    raw: RawImage = synthetic_raw(read_noise=0)
    means = pack(linearise(raw), raw.cfa).mean(axis=(1, 2))
    whole = raw.mosaic.astype(np.float64)
    expected = [
        (whole[r::2, c::2].mean() - 512) / 15871 for r, c in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    # float32 means of 768 numbers.
    np.testing.assert_allclose(means, expected, rtol=1e-5)
    assert Sensor.BAYER is raw.cfa.sensor
