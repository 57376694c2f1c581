"""White balances of one's own against published chromaticities, then their properties."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from darkroom.color.matrix import SRGB_TO_XYZ
from darkroom.color.white_balance import (
    BALANCED_TWICE,
    choose_white_balance,
    find_illuminant,
    with_white_balance_choice,
)
from darkroom.errors import UsageError
from darkroom.raw.color_matrix import read_color
from darkroom.raw.image import Color, RawImage, WhiteBalance

# A camera: XYZ to its RGB, and so what is neutral to it under D65.
MATRIX = np.array([[0.58, -0.14, -0.02], [-0.35, 1.15, 0.23], [-0.07, 0.19, 0.59]])
D65 = SRGB_TO_XYZ.numpy().sum(1)
DAYLIGHT = (MATRIX @ D65)[1] / (MATRIX @ D65)
COLOR = Color(np.array([1.5, 1.0, 2.5]), MATRIX, daylight=DAYLIGHT)


@pytest.mark.parametrize(
    ("kelvin", "published"),
    [
        (2856, (0.4476, 0.4074)),  # CIE 15: illuminant A, a black body
        (5003, (0.3457, 0.3585)),  # D50
        (6504, (0.3127, 0.3290)),  # D65
        (7504, (0.2990, 0.3149)),  # D75
    ],
)
def test_illuminants_are_as_published(kelvin: float, published: tuple[float, float]) -> None:
    # The cubic fit of black bodies is 5e-4 off at 2856 K.
    np.testing.assert_allclose(find_illuminant(kelvin), published, atol=6e-4)


@pytest.mark.parametrize("kelvin", [2500, 3200, 5000, 6504, 15000])
def test_a_white_under_a_light_comes_out_neutral(kelvin: float) -> None:
    """Against the camera's own answer to that light, which the multipliers are to undo."""
    x, y = find_illuminant(kelvin)
    answer = MATRIX @ [x / y, 1, (1 - x - y) / y]
    balance = choose_white_balance(COLOR, kelvin).white_balance
    assert balance is not None
    np.testing.assert_allclose(answer * balance / answer[1], 1, rtol=1e-6)


def test_the_three_by_name() -> None:
    assert choose_white_balance(COLOR, WhiteBalance.AS_SHOT) is COLOR
    assert choose_white_balance(COLOR, WhiteBalance.GRAY_WORLD).white_balance is None
    daylight = choose_white_balance(COLOR, WhiteBalance.DAYLIGHT)
    assert daylight.white_balance is DAYLIGHT
    assert daylight.source is WhiteBalance.DAYLIGHT


@pytest.mark.parametrize("choice", [WhiteBalance.DAYLIGHT, 3200.0])
def test_cameras_that_nobody_measured_have_no_daylight(choice: WhiteBalance | float) -> None:
    with pytest.raises(UsageError, match="use --wb auto"):
        choose_white_balance(Color(np.ones(3), np.eye(3)), choice)


@pytest.mark.parametrize("kelvin", [1999, 25001, float("nan")])
def test_kelvin_out_of_range(kelvin: float) -> None:
    with pytest.raises(UsageError, match="give 2000 to 25000 kelvin"):
        find_illuminant(kelvin)


ZEROS = (np.zeros((3, 4), np.float32), np.zeros((4, 3), np.float32))
MISSING, UNIFORM = (0.0, 1.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("as_shot", "choice", "said"),
    [
        (MISSING, WhiteBalance.GRAY_WORLD, ()),
        (MISSING, WhiteBalance.DAYLIGHT, ()),
        (MISSING, 3200.0, ()),
        (UNIFORM, WhiteBalance.GRAY_WORLD, ()),
        (UNIFORM, WhiteBalance.DAYLIGHT, (BALANCED_TWICE,)),
        (UNIFORM, 3200.0, (BALANCED_TWICE,)),
    ],
)
def test_a_chosen_balance_takes_the_warning_of_the_missing_one_with_it(
    synthetic_raw: Callable[..., RawImage],
    as_shot: tuple[float, ...],
    choice: WhiteBalance | float,
    said: tuple[str, ...],
) -> None:
    color, warnings = read_color(as_shot, (2.0, 1.0, 1.5, 1.0), *ZEROS)
    assert color.warning == warnings[0]
    raw = replace(synthetic_raw(), color=color, warnings=(*warnings, "another"))
    assert with_white_balance_choice(raw, WhiteBalance.AS_SHOT) is raw
    chosen = with_white_balance_choice(raw, choice)
    assert chosen.warnings == (*warnings[1:], "another", *said)
    assert with_white_balance_choice(chosen, choice).warnings == chosen.warnings, "repeatable"
