"""Before/after sheets."""

import numpy as np
from numpy.typing import NDArray

from darkroom.evaluation.image_grid import draw_picture_grid


def plain(height: int, width: int, value: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def find(whole: NDArray[np.uint8], value: int) -> tuple[slice, slice]:
    """Where the picture of one value stands."""
    rows, columns = np.nonzero((whole == value).all(axis=2))
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)


def test_pictures_stand_side_by_side_unchanged() -> None:
    whole = draw_picture_grid([("before", plain(200, 300, 7)), ("after", plain(200, 150, 201))])
    before, after = find(whole, 7), find(whole, 201)
    assert whole[before].shape == (200, 300, 3)
    assert (whole[before] == 7).all()
    assert whole[after].shape == (200, 150, 3)
    assert before[0] == after[0]
    assert before[1].stop < after[1].start


def test_labels_are_drawn_above_their_picture() -> None:
    panels = [("before", plain(200, 300, 7)), ("", plain(200, 300, 201))]
    whole = draw_picture_grid(panels)
    rows, columns = find(whole, 7)
    label = whole[: rows.start, columns]
    assert (label > 128).any()
    assert not (whole[: rows.start, find(whole, 201)[1]] > 128).any()


def test_a_long_label_stays_above_its_picture() -> None:
    """What it begins and ends with is kept: a model's name, and its score."""
    path = "/a/very/long/path/to/some/weights" * 3
    long, short = (
        draw_picture_grid([(words, plain(200, 200, 7)), ("", plain(200, 200, 9))])
        for words in (f"redi={path}: 34.21", "redi")
    )
    rows, columns = slice(0, find(long, 7)[0].start), find(long, 9)[1]
    assert not (long[rows, columns] > 128).any()
    assert np.array_equal(long[rows, :20], short[rows, :20]), "of about 25"


def test_other_sizes_are_scaled_and_rows_broken() -> None:
    panels = [("a", plain(100, 100, 50)), ("b", plain(400, 200, 100)), ("c", plain(50, 100, 200))]
    whole = draw_picture_grid(panels, height=200, columns=2)
    shapes = [whole[find(whole, value)].shape for value in (50, 100, 200)]
    assert shapes == [(200, 200, 3), (200, 100, 3), (200, 400, 3)]
    assert find(whole, 200)[0].start > find(whole, 50)[0].stop
    assert find(whole, 50)[0] == find(whole, 100)[0]
