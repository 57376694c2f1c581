"""Lossless JPEG as LibRaw reads it in a DNG, and as the standard bounds it."""

import numpy as np
import pytest

from darkroom.output.lossless_jpeg import (
    CATEGORIES,
    MAX_LENGTH,
    HuffmanTable,
    Samples,
    _code_lengths,
    encode,
)


def decoded(data: bytes) -> Samples:
    """Read bit by bit, as annexes F.2 and H of T.81 say it; slow and plain."""
    at, table, shape = 2, {}, (0, 0, 0)
    while data[at : at + 2] != b"\xff\xda":
        mark, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if mark == 0xC3:
            shape = (int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[5])
        if mark == 0xC4:
            code, symbols = 0, iter(body[17:])
            for size, count in enumerate(body[1:17], start=1):
                for _ in range(count):
                    table[size, code] = next(symbols)
                    code += 1
                code <<= 1
        at += 2 + length
    at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    assert data.endswith(b"\xff\xd9")
    packed = data[at:-2].replace(b"\xff\x00", b"\xff")
    bits = "".join(f"{byte:08b}" for byte in packed)
    place, samples = 0, np.zeros(shape, np.int64)
    for row, column, component in np.ndindex(*shape):
        size = 1
        while (size, int(bits[place : place + size], 2)) not in table:
            size += 1
        category = table[size, int(bits[place : place + size], 2)]
        place += size
        difference = 32768 if category == 16 else 0
        if 0 < category < 16:
            difference = int(bits[place : place + category], 2)
            if difference < 1 << (category - 1):
                difference -= (1 << category) - 1
            place += category
        before = 32768
        if column:
            before = samples[row, column - 1, component]
        elif row:
            before = samples[row - 1, 0, component]
        samples[row, column, component] = (before + difference) % 65536
    assert len(bits) - place < 8
    assert set(bits[place:]) <= {"1"}
    return samples.astype(np.uint16)


@pytest.mark.parametrize("shape", [(5, 7, 3), (16, 8, 2), (1, 1, 3), (33, 31, 3)])
@pytest.mark.parametrize("spread", [0, 3, 300, 65536])
def test_every_sample_comes_back(shape: tuple[int, int, int], spread: int) -> None:
    samples = np.random.default_rng(spread).integers(0, spread + 1, shape).astype(np.uint16)
    table = HuffmanTable.of([samples])
    np.testing.assert_array_equal(decoded(encode(samples, table)), samples)


def test_a_table_of_one_picture_holds_any_other() -> None:
    table = HuffmanTable.of([np.zeros((64, 64, 3), np.uint16)])
    extremes = np.array([[0, 32768, 65535, 0, 1, 65535, 32767]], np.uint16).repeat(3, 0)
    samples = np.stack([extremes] * 3, axis=2)
    np.testing.assert_array_equal(decoded(encode(samples, table)), samples)


@pytest.mark.parametrize("counts", [[1] * CATEGORIES, [2**n for n in range(CATEGORIES)]])
def test_codes_are_no_longer_than_the_standard_allows(counts: list[int]) -> None:
    """The second is what makes Huffman codes longest, but for Fibonacci's numbers."""
    lengths = _code_lengths(np.array(counts))
    assert max(lengths) <= MAX_LENGTH
    # Kraft's sum is below 1: the code of ones alone is left free.
    assert sum(2.0**-length for length in lengths) < 1


def test_fibonacci_counts_too() -> None:
    counts = [1, 1]
    while len(counts) < CATEGORIES:
        counts.append(counts[-1] + counts[-2])
    assert max(_code_lengths(np.array(counts) * 10**6)) <= MAX_LENGTH


def test_smooth_pictures_take_few_bits() -> None:
    """A ramp of one step a pixel: near one bit and its sign a sample; 3 leaves room for heads."""
    ramp = np.broadcast_to(np.arange(256)[None, :, None], (256, 256, 3)).astype(np.uint16)
    size = len(encode(ramp, HuffmanTable.of([ramp])))
    assert size * 8 < 3 * ramp.size
