"""Recipes: steps, rates, and numbers out of range."""

from dataclasses import replace

import pytest

from darkroom.errors import UsageError
from darkroom.training.pairs.networks.sid import SID_RECIPE


def test_sid_learns_for_4000_epochs_a_tenth_as_fast_from_the_middle_on() -> None:
    steps = SID_RECIPE.count_steps(161)
    assert steps == 4000 * 161
    assert SID_RECIPE.rate_at(0, steps) == SID_RECIPE.rate_at(steps // 2 - 1, steps) == 1e-4
    assert SID_RECIPE.rate_at(steps // 2, steps) == SID_RECIPE.rate_at(steps - 1, steps) == 1e-5


def test_an_epoch_is_of_whole_batches_and_steps_count_instead() -> None:
    tens = replace(SID_RECIPE, batch=10, epochs=3)
    assert tens.count_steps(25) == 6
    assert tens.count_steps(4) == 3
    assert replace(tens, steps=7).count_steps(25) == 7
    assert replace(tens, drop_at=1.0).rate_at(10**9, 10) == 1e-4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate": 0.0}, "--rate 0: give a number above 0"),
        ({"rate": float("nan")}, "--rate nan"),
        ({"fraction": 1.5}, "--fraction 1.5"),
        ({"batch": 0}, "--batch 0: give 1 to 1024"),
        ({"crop": 0}, "--crop 0"),
        ({"ema": 1.0}, "--ema 1"),
        ({"epochs": 0}, "give --epochs or --steps"),
        ({"rate_after": -1.0}, "--rate-after -1"),
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        replace(SID_RECIPE, **changes)
