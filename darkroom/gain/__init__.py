"""How much to amplify: one number per photo, with the reason for it in words.

A gain multiplies linear sensor values (black 0, white 1). It is measured once on the whole photo,
never per tile. White is the sensor's white level; "light" is what a photosite holds above black.
"""

import math
from collections.abc import Callable

from darkroom.errors import CheckpointError, UsageError
from darkroom.gain.learned import GainNetwork, learned_gain
from darkroom.gain.percentile import percentile_gain
from darkroom.gain.redi import find_m, redi_gain
from darkroom.gain.types import MAX_GAIN, MAX_RATIO, MIN_GAIN, Gain, GainRule, held, times
from darkroom.raw.image import RawImage

__all__ = [
    "MAX_GAIN",
    "MAX_RATIO",
    "MIN_GAIN",
    "Gain",
    "GainNetwork",
    "GainRule",
    "choose_gain",
    "find_m",
    "given_gain",
]


def given_gain(ratio: float) -> Gain:
    """Take the user's own exposure ratio as the gain; UsageError unless it is 1 to 1000."""
    if not MIN_GAIN <= ratio <= MAX_RATIO:
        raise UsageError(f"--ratio {ratio:g}: must be between 1 and {MAX_RATIO:g}")
    return Gain(float(ratio), None, f"{times(ratio)} was asked for")


def choose_gain(
    raw: RawImage,
    rule: GainRule,
    m: float | None = None,
    *,
    network: GainNetwork | None = None,
    amplifier: Callable[[RawImage], float] | None = None,
) -> Gain:
    """Find the gain of a photo from its own values, within MIN_GAIN and MAX_RATIO.

    `m`: REDI's choice of brightness, 1 to 9; None for the rule's own. `network`: for the rule
    learned, whose weights it is. `amplifier`: for the rule llpacknet, that of the network that
    enhances. Raises UsageError for an `m` that does not fit, and for these rules without what they
    need; CheckpointError where the amplifier finds no number.
    """
    brightness = find_m(rule, m)
    if brightness is not None:
        return redi_gain(raw, rule, brightness)
    if rule is GainRule.LLPACKNET:
        return _llpacknet_gain(raw, amplifier)
    if rule is GainRule.PERCENTILE:
        return percentile_gain(raw)
    if network is None:
        raise UsageError("the rule learned needs its weights; use percentile or redi")
    return learned_gain(raw, network)


def _llpacknet_gain(raw: RawImage, amplifier: Callable[[RawImage], float] | None) -> Gain:
    """Take what a trained amplifier finds, as far as a gain goes: published, it has no limit."""
    if amplifier is None:
        raise UsageError(
            "the rule llpacknet needs weights with an amplifier (--model, LLPackNet of 2020); "
            "use learned, percentile or redi"
        )
    found = amplifier(raw)
    if not math.isfinite(found):
        raise CheckpointError(
            f"the amplifier that came with the weights finds {found}: its numbers are damaged; "
            "fetch the file again, or give --ratio"
        )
    value, limit = held(found)
    reason = f"the amplifier that was trained with the network finds {times(found)}{limit}"
    return Gain(value, GainRule.LLPACKNET, reason, {"amplifier": found})
