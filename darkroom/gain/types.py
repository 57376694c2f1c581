"""What a gain is, the rules that find one, and how both are told to people."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType

from darkroom.errors import UsageError

MIN_GAIN = 1.0
MAX_GAIN = 300.0
"""The most that darkroom's own rules give, and within REDI's.

Source: the largest exposure ratio of SID (Chen et al., CVPR 2018, section 3).
"""

MAX_RATIO = 1000.0
"""The most that any gain is; the user's, and what published rules find, go up to it."""


class GainRule(Enum):
    """The rules that find a gain from the photo; llpacknet needs a network's amplifier for it."""

    LEARNED = "learned"
    PERCENTILE = "percentile"
    REDI = "redi"
    REDI_TRAIN = "redi-train"
    LLPACKNET = "llpacknet"


@dataclass(frozen=True, slots=True)
class Gain:
    """A gain and where it comes from.

    `value`: the factor on linear, black-subtracted sensor values. `rule`: None where the user gave
    the number. `reason`: one sentence for people. `details`: the measured numbers behind it.
    """

    value: float
    rule: GainRule | None
    reason: str
    details: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def rule_name(self) -> str | None:
        """The rule as `--gain-rule` takes it, REDI's with their m, as redi:2.5."""
        if self.rule is None or "m" not in self.details:
            return self.rule and self.rule.value
        return f"{self.rule.value}:{str(self.details['m']).removesuffix('.0')}"

    def brightened(self, stops: float) -> "Gain":
        """Add `stops` of exposure (negative darkens); the result stays within 1 and MAX_RATIO.

        Raises UsageError where `stops` is no finite number.
        """
        if not math.isfinite(stops):
            raise UsageError(f"--ev {stops}: not a number of stops; give one such as 0.5 or -1")
        if stops == 0:
            return self
        wanted = self.value * 2.0**stops if abs(stops) < 64 else math.copysign(math.inf, stops)
        value = min(max(wanted, MIN_GAIN), MAX_RATIO)
        held = "" if value == wanted else ", as far as a gain goes"
        reason = f"{self.reason}; {stops:+g} EV makes it {times(value)}{held}"
        return replace(self, value=value, reason=reason, details={**self.details, "ev": stops})


def held(value: float) -> tuple[float, str]:
    """Hold a published rule's gain to what any gain is, 1 to MAX_RATIO.

    Second: what to add to the reason; empty where nothing changed.
    """
    most = MAX_RATIO if value > MAX_RATIO else max(value, MIN_GAIN)
    if most == value:
        return value, ""
    return most, f"; {times(most)} is the {'most' if most == MAX_RATIO else 'least'} there is"


def times(value: float) -> str:
    """Write a gain for people: x1.3, x96."""
    return f"x{value:.0f}" if value >= 10 else f"x{value:.2g}"


def percent(value: float) -> str:
    """Write a share for people: 0.08 %, 75 %."""
    return f"{100 * value:.2g} %" if value < 0.995 else f"{100 * value:.0f} %"
