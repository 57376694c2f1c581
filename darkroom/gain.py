"""How much to amplify: one number per photo, with the reason for it in words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from darkroom.files.sensor import RawImage

MIN_GAIN = 1.0
MAX_GAIN = 300.0


class GainRule(Enum):
    """The rules that find a gain from the photo alone."""

    REDI = "redi"
    PERCENTILE = "percentile"


@dataclass(frozen=True, slots=True)
class Gain:
    """A gain and where it comes from.

    `value`: the factor on linear, black-subtracted sensor values. `rule`: None where the user gave
    the number. `reason`: one sentence for people. `details`: the measured numbers behind it.
    """

    value: float
    rule: GainRule | None
    reason: str
    details: Mapping[str, float] = field(default_factory=dict)

    def brightened(self, stops: float) -> "Gain":
        """Return this gain with `stops` of exposure added (negative darkens), unbounded."""
        raise NotImplementedError


def given_gain(ratio: float) -> Gain:
    """Return the user's own exposure ratio, 1 to 1000, as a gain; UsageError outside."""
    raise NotImplementedError


def choose_gain(raw: RawImage, rule: GainRule, m: int = 1) -> Gain:
    """Find the gain of a photo, between MIN_GAIN and MAX_GAIN; `m` is REDI's brightness choice."""
    raise NotImplementedError
