"""Which black is taken off: the file's own, the measured one, or a number; and what is said."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import synthetic_raw

from darkroom.errors import UsageError
from darkroom.mosaic.noise import measure_noise
from darkroom.raw.black_choice import default_black, with_black
from darkroom.raw.black_level import explain_black
from darkroom.raw.image import BlackOrigin, BlackSource, RawImage

STATED, MEASURED = BlackSource.STATED, BlackSource.MEASURED


def measured(cfa: str = "RGGB") -> RawImage:
    """A photo whose black was measured as 510, where its file states 512."""
    raw = synthetic_raw(24, 24, cfa, warnings=("no white balance in the file",))
    origin = BlackOrigin(raw.black, "measured on the masked pixels", known=True)
    return replace(raw, black=raw.black - 2, black_origin=origin)


def said(raw: RawImage) -> tuple[object, str]:
    found = explain_black(raw)
    assert found is not None
    return found["source"], found["reason"]


def test_noise_says_whether_black_is_known() -> None:
    """As networks are told: what a file states or a user gives has to be doubted."""
    raw = measured()
    assert measure_noise(with_black(raw, MEASURED)).black_known
    assert not measure_noise(with_black(raw, STATED)).black_known
    assert not measure_noise(with_black(raw, 511)).black_known
    assert not measure_noise(synthetic_raw()).black_known


def test_other_warnings_stay() -> None:
    raw = measured()
    assert with_black(raw, STATED).warnings == with_black(raw, 9).warnings == raw.warnings


@pytest.mark.parametrize("cfa", ["RGGB", "xtrans"])
def test_a_number_is_that_of_all_sites(cfa: str) -> None:
    raw = with_black(measured(cfa), 510.5)
    assert raw.black.shape == raw.white.shape
    assert np.all(raw.black == np.float32(510.5))
    assert said(raw) == (510.5, "the number that was asked for")


@pytest.mark.parametrize("number", [16383.0, 1e9, -1.0, np.nan])
def test_a_number_must_be_below_white(number: float) -> None:
    with pytest.raises(UsageError, match="white is 16383 here"):
        with_black(synthetic_raw(), number)


def test_photos_of_ones_own_making_have_but_one_black() -> None:
    raw = synthetic_raw()
    assert with_black(raw, STATED) is raw
    assert np.all(with_black(raw, 3).black == 3)


def test_networks_that_paint_get_the_published_black() -> None:
    assert (default_black(True), default_black(False)) == (STATED, MEASURED)
