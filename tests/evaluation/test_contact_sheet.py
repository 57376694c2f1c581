"""Contact sheets of models and LibRaw."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from darkroom.evaluation.contact_sheet import (
    draw_contact_sheet,
    find_telling_places,
    write_contact_sheets,
)
from darkroom.models.architectures.safelight import Safelight
from darkroom.models.loading import load_model
from darkroom.models.model import Model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(3)
    save_file(Safelight(widths=(8, 8, 8, 8)).state_dict(), path)
    return load_model(path, "cpu", "fp32")


def test_the_most_telling_places_are_found_once_each() -> None:
    picture = np.full((300, 400, 3), 90, np.uint8)
    picture[:100, 100:200] = 10
    picture[100:200, 300:] = 200
    picture[200:, :100] = np.random.default_rng(0).integers(60, 120, (100, 100, 1))
    picture[200:, 300:] = 199
    places = find_telling_places(picture, 100)
    assert places == {
        "most detail": (slice(200, 300), slice(0, 100)),
        "darkest": (slice(0, 100), slice(100, 200)),
        "brightest": (slice(100, 200), slice(300, 400)),
    }
    assert list(find_telling_places(picture[:150, :150], 100)) == ["whole"]


def test_a_sheet_has_a_column_for_each_model_and_one_for_libraw(
    dng_path: Callable[..., Path], model: Model
) -> None:
    once = draw_contact_sheet(dng_path(), [model], ratio=4)
    twice = draw_contact_sheet(dng_path(), [model, model], ratio=4)
    assert once.shape == twice.shape, "two models of one name are one column"
    assert once.shape[1] > 2 * min(once.shape[0] - 60, 60)


def test_what_is_no_photo_is_told_and_passed_over(
    dng_path: Callable[..., Path], model: Model, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.nef"
    bad.write_bytes(b"no photo")
    good = dng_path()
    told = dict(write_contact_sheets([bad, good], tmp_path / "sheets", [model], 4))
    assert "bad.nef" in told[bad]
    assert told[good] == ""
    assert [path.name for path in (tmp_path / "sheets").iterdir()] == [f"{good.stem}.png"]
