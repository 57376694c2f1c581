"""Where a photo's blocks lie: as many as fit, evenly, each with the black of its own sites."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import BLACK, WHITE, synthetic_raw

from darkroom.mosaic.noise_blocks import measure_blocks


@pytest.mark.parametrize(
    ("cfa", "height", "width"), [("RGGB", 8, 16), ("GBRG", 8, 16), ("xtrans", 6, 24)]
)
def test_a_photo_is_large_enough_from_a_pair_of_blocks_on(
    cfa: str, height: int, width: int
) -> None:
    """Of twenty pairs that fit exactly, that with the brightest site may be saturated."""
    for size, pairs in [
        ((height, 20 * width), 19),
        ((20 * height, width), 19),
        ((height - 1, 20 * width), 0),
        ((20 * height, width - 1), 0),
        ((height, width), 0),
    ]:
        random = np.random.default_rng(0)
        mosaic = random.permutation(size[0] * size[1]).reshape(size).astype(np.uint16)
        found = measure_blocks(synthetic_raw(*size, cfa, mosaic=mosaic + BLACK))
        assert len(found.mean) == 2 * pairs, size


@pytest.mark.parametrize("cfa", ["RGGB", "xtrans"])
@pytest.mark.parametrize("levels", [(2, 2), (6, 6), (6, 4), (36, 12)])
def test_each_block_has_the_black_of_its_sites(cfa: str, levels: tuple[int, int]) -> None:
    """Flat light is flat over any pattern of levels, to float32; the brightest part is left out."""
    raw = synthetic_raw(1100, 1500, cfa)
    black = np.arange(np.prod(levels), dtype=np.float32).reshape(levels) + BLACK
    repeats = (-(-1100 // levels[0]), -(-1500 // levels[1]))
    mosaic = np.tile(black, repeats)[:1100, :1500] + 1000
    mosaic[:60] += 1000
    white = black + (WHITE - BLACK)
    found = measure_blocks(replace(raw, mosaic=mosaic.astype(np.uint16), black=black, white=white))
    assert len(found.mean) > 1000
    light = 1000 / (WHITE - BLACK)
    np.testing.assert_allclose(found.mean, light, rtol=1e-6)
    np.testing.assert_allclose(found.beside, light, rtol=1e-6)
    assert found.variance.max() < (1e-6 * light) ** 2


def test_large_photos_take_no_longer_than_middling_ones() -> None:
    """Some 4000 pairs of a photo of any size."""
    counts = []
    for size in ((1400, 1600), (2400, 3200)):
        random = np.random.default_rng(0)
        mosaic = random.integers(BLACK, 9000, size).astype(np.uint16)
        counts.append(len(measure_blocks(synthetic_raw(2, 2, mosaic=mosaic)).mean) / 2)
    assert min(counts) > 3000
    assert max(counts) < 4500
