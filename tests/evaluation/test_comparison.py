"""Comparisons of a photo as taken, by LibRaw, and by models."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from batches import tiny_weights

from darkroom.evaluation.comparison import (
    draw_comparison,
    find_differing_places,
    render_comparison_page,
    render_photo,
)
from darkroom.evaluation.image_grid import BACKGROUND
from darkroom.gain import given_gain
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.pipeline import Options, enhance
from darkroom.raw.reader import develop, read_raw


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")
    return load_model(path, "cpu", "fp32")


def test_places_are_those_that_differ_most_without_overlap() -> None:
    one = np.full((300, 400, 3), 90, np.uint8)
    two, three = one.copy(), one.copy()
    two[200:, 300:] = 120
    three[:100, 100:200] = 70
    three[100:200, :100] = 89
    assert find_differing_places([one, two, three], 100) == [
        (slice(200, 300), slice(300, 400)),
        (slice(0, 100), slice(100, 200)),
        (slice(100, 200), slice(0, 100)),
    ]
    small = [picture[:150, :150] for picture in (one, two)]
    assert find_differing_places(small, 100) == [(slice(None), slice(None))]
    wide = [picture[:50] for picture in (one, three)]
    assert find_differing_places(wide, 100)[0] == (slice(0, 50), slice(100, 200))


@pytest.mark.parametrize("orientation", [1, 6])
def test_renderings_are_what_each_gives_alone(
    dng_path: Callable[..., Path], model: Model, orientation: int
) -> None:
    """To the bit; the second model gets the first one's gain."""
    photo = dng_path(exposure=0.02, orientation=orientation)
    raw = read_raw(photo)
    made = render_photo(raw, photo.read_bytes(), [model, model])
    assert [one.name for one in made] == ["as taken", "LibRaw", *[model.name] * 2]
    alone = enhance(raw, model)
    assert [one.gain for one in made] == [1.0, *[alone.gain.value] * 3]
    assert np.array_equal(made[2].pixels, alone.pixels)
    assert np.array_equal(made[3].pixels, alone.pixels)
    plain = develop(photo.read_bytes(), alone.gain.value) // 257
    turned = plain if orientation == 1 else np.rot90(plain, -1)
    assert np.array_equal(made[1].pixels, turned)
    assert made[0].pixels.mean() < made[1].pixels.mean() / 4
    assert all(one.seconds > 0 for one in made)


def test_pixels_that_are_not_square_are_laid_over_each_other(
    dng_path: Callable[..., Path], model: Model
) -> None:
    photo = dng_path(exposure=0.1)
    raw = read_raw(photo)
    object.__setattr__(raw, "pixel_aspect", 1.5)
    made = render_photo(raw, photo.read_bytes(), [model], Options(gain=given_gain(4)))
    assert len({one.pixels.shape for one in made}) == 1


def test_a_sheet_has_a_column_for_each_with_words_beneath(
    dng_path: Callable[..., Path], model: Model
) -> None:
    photo = dng_path(exposure=0.1)
    made = render_photo(read_raw(photo), photo.read_bytes(), [model], Options(gain=given_gain(4)))
    sheet = draw_comparison(made, side=24)
    assert sheet.shape[1] > 3 * 24
    assert sheet.shape[0] > 4 * 24, "the whole picture and three places of 24 pixels"
    assert (sheet[-24:] != BACKGROUND).any(), "gain and seconds are written beneath"
    assert sheet.shape[1] < draw_comparison([*made, made[-1]], side=24).shape[1]
    assert made[-1].caption.startswith("x4, ")
    assert made[-1].caption.endswith(" s")


def test_a_page_escapes_and_loads_nothing(dng_path: Callable[..., Path], model: Model) -> None:
    photo = dng_path(exposure=0.1)
    made = render_photo(read_raw(photo), photo.read_bytes(), [model], Options(gain=given_gain(4)))
    page = render_comparison_page("<b>&.dng", made, side=24)
    assert "&lt;b&gt;&amp;.dng" in page
    assert "<b>" not in page
    assert "default-src 'none'" in page
    assert page.count("data:image/jpeg;base64,") == 4 * 3
    assert "http" not in page.replace("http-equiv", "")
