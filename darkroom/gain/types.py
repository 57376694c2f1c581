"""What a gain is, the rules that find one, and how both are told to people."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType

from darkroom.errors import UsageError

MIN_GAIN = 1.0
MAX_GAIN = 300.0  # Source: the largest exposure ratio of SID (Chen et al., CVPR 2018, section 3).
MAX_RATIO = 1000.0


class GainRule(Enum):
    """The rules that find a gain from the photo; llpacknet needs a network's amplifier for it."""

    LEARNED = "learned"
    PERCENTILE = "percentile"
    REDI = "redi"
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


def times(value: float) -> str:
    """Write a gain for people: x1.3, x96."""
    return f"x{value:.0f}" if value >= 10 else f"x{value:.2g}"


def percent(value: float) -> str:
    """Write a share for people: 0.08 %, 75 %."""
    return f"{100 * value:.2g} %" if value < 0.995 else f"{100 * value:.0f} %"
