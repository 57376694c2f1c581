"""Pictures by rows: files are what whole pictures give, and few rows are held at a time."""

import io
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from darkroom import parallel
from darkroom.output.picture import PictureFormat, SaveOptions, save_picture
from darkroom.output.rows import PictureRows, gather, split_rows

Samples = NDArray[Any]


def make_picture(height: int, width: int, dtype: str = "uint8") -> Samples:
    random = np.random.default_rng(height)
    return (random.random((height, width, 3)) * 200).astype(dtype)


def by_rows(picture: Samples, cuts: Sequence[int]) -> PictureRows:
    height, width, _ = picture.shape
    bands = iter(np.split(picture, cuts))
    return PictureRows((height, width, 3), picture.dtype, bands)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 40),
    st.lists(st.integers(0, 40), max_size=8).map(sorted),
    st.integers(1, 45),
    st.booleans(),
)
def test_bands_are_cut_anew(height: int, cuts: list[int], rows: int, above: bool) -> None:
    """Against slices of the picture with a row of zeros above it; some that come are empty."""
    picture = make_picture(height, 2)
    under = np.concatenate([np.zeros_like(picture[:1]), picture])
    expected = [under[top + (not above) : top + rows + 1] for top in range(0, height, rows)]
    come = by_rows(picture, [min(cut, height) for cut in cuts])
    for given_as in (picture, come):
        found = list(split_rows(given_as, rows, above=above))
        assert len(found) == len(expected)
        assert all(map(np.array_equal, found, expected))


@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        (PictureFormat.PNG, 8),
        (PictureFormat.PNG, 16),
        (PictureFormat.TIFF, 8),
        (PictureFormat.TIFF, 32),
        (PictureFormat.JPEG, 8),
        (PictureFormat.WEBP, 8),
    ],
)
def test_a_file_by_rows_is_that_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: PictureFormat, bits: int
) -> None:
    monkeypatch.setattr("darkroom.parallel.rows_per_band.__defaults__", (2000,))
    picture = make_picture(101, 30, "float32" if bits == 32 else f"uint{bits}")
    whole, rows = (tmp_path / f"{name}.{kind.value}" for name in ("whole", "rows"))
    save = SaveOptions(kind, bits=bits)
    save_picture(picture, whole, save)
    save_picture(by_rows(picture, [7, 8, 50, 50, 99]), rows, save)
    assert rows.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("kind", [PictureFormat.PNG, PictureFormat.TIFF])
def test_few_rows_are_held(kind: PictureFormat) -> None:
    """So many as threads take, which work ahead a little; 60 bands come, of one row each."""
    width = parallel.BAND_BYTES // 3 + 1
    living: list[int] = []
    most = 0

    def make() -> Iterator[Samples]:
        nonlocal most
        for number in range(60):
            band = np.zeros((1, width, 3), np.uint8)
            living.append(number)
            weakref.finalize(band, living.remove, number)
            most = max(most, len(living))
            yield band

    pixels = PictureRows((60, width, 3), np.dtype(np.uint8), make())
    save_picture(pixels, io.BytesIO(), SaveOptions(kind))
    assert 1 < most <= 2 * parallel.MAX_THREADS + 8


@pytest.mark.parametrize("kind", [PictureFormat.PNG, PictureFormat.TIFF, PictureFormat.JPEG])
def test_a_picture_that_fails_midway_leaves_nothing(tmp_path: Path, kind: PictureFormat) -> None:
    def make() -> Iterator[Samples]:
        for _ in range(30):
            yield np.zeros((1, 60_000, 3), np.uint8)
        raise MemoryError

    target = tmp_path / f"out.{kind.value}"
    target.write_bytes(b"before")
    pixels = PictureRows((60, 60_000, 3), np.dtype(np.uint8), make())
    with pytest.raises(MemoryError):
        save_picture(pixels, target, SaveOptions(kind, overwrite=True))
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_what_is_whole_stays() -> None:
    picture = make_picture(5, 4)
    assert gather(picture) is picture
    np.testing.assert_array_equal(gather(by_rows(picture, [2])), picture)
