"""How much to amplify: one number per photo, with the reason for it in words.

A gain multiplies linear sensor values (black 0, white 1). It is measured once on the whole photo,
never per tile. White is the sensor's white level; "light" is what a photosite holds above black.
"""

from collections.abc import Callable

from darkroom.errors import UsageError
from darkroom.gain.learned import GainNetwork, learned_gain
from darkroom.gain.percentile import percentile_gain
from darkroom.gain.redi import REDI_BRIGHTNESS, redi_gain
from darkroom.gain.types import MAX_GAIN, MAX_RATIO, MIN_GAIN, Gain, GainRule, times
from darkroom.raw.image import RawImage

__all__ = [
    "MAX_GAIN",
    "MAX_RATIO",
    "MIN_GAIN",
    "REDI_BRIGHTNESS",
    "Gain",
    "GainNetwork",
    "GainRule",
    "choose_gain",
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
    m: int = 1,
    *,
    network: GainNetwork | None = None,
    amplifier: Callable[[RawImage], float] | None = None,
) -> Gain:
    """Find the gain of a photo from its own values, within MIN_GAIN and MAX_GAIN.

    `m`: REDI's choice of brightness, one of REDI_BRIGHTNESS. `network`: for the rule learned, whose
    weights it is. `amplifier`: for the rule llpacknet, that of the network that enhances. Raises
    UsageError for another `m`, and for these rules without what they need.
    """
    if rule is GainRule.REDI:
        return redi_gain(raw, m)
    if m != 1:
        raise UsageError(f"m = {m}: only the rule redi has a choice of brightness; leave m out")
    if rule is GainRule.LLPACKNET:
        return _llpacknet_gain(raw, amplifier)
    if rule is GainRule.PERCENTILE:
        return percentile_gain(raw)
    if network is None:
        raise UsageError("the rule learned needs its weights; use percentile or redi")
    return learned_gain(raw, network)


def _llpacknet_gain(raw: RawImage, amplifier: Callable[[RawImage], float] | None) -> Gain:
    """Take what a trained amplifier finds, as far as a gain goes."""
    if amplifier is None:
        raise UsageError(
            "the rule llpacknet needs weights with an amplifier (--model, LLPackNet of 2020); "
            "use learned, percentile or redi"
        )
    found = amplifier(raw)
    value = min(max(found, MIN_GAIN), MAX_GAIN)
    reason = f"the amplifier that was trained with the network finds {times(found)}"
    if value != found:
        reason += f"; {times(value)} is the {'most' if value == MAX_GAIN else 'least'} there is"
    return Gain(value, GainRule.LLPACKNET, reason, {"amplifier": found})
