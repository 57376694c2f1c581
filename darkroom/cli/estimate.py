"""darkroom estimate: how much a photo needs to be amplified, and why."""

from typing import TYPE_CHECKING

from darkroom.cli import inputs, output
from darkroom.cli.options import Black, Cfa, Ev, GainRule, Json, ModelName, Photo, Ratio

if TYPE_CHECKING:
    from darkroom.gain import Gain
    from darkroom.gain import GainRule as Rule
    from darkroom.raw.image import Black as Level
    from darkroom.raw.image import RawImage

AMPLIFIED = (
    "llpacknet",
    "llpacknet-2020",
    "llpacknet-2020-pixel-shuffle",
)
"""Networks whose checkpoints may bring an amplifier, which then finds the gain."""


def estimate(
    photo: Photo,
    model: ModelName = "safelight",
    ratio: Ratio = None,
    gain: GainRule = None,
    ev: Ev = 0.0,
    black: Black = None,
    cfa: Cfa = None,
    as_json: Json = False,
) -> None:
    """Print the amplification that a photo would get, with the reason.

    It is what enhance would take with the same --model: by that network's rule, or its amplifier.

    Examples:

    darkroom estimate IMG.ARW

    darkroom estimate IMG.ARW --gain-rule redi:5 --json

    darkroom estimate IMG.ARW --model llpacknet-2020.pth
    """
    from darkroom.raw.black_level import explain_black
    from darkroom.raw.filter_check import with_cfa

    rule, brightness = inputs.gain_rule(gain)
    given = inputs.given_gain(ratio, gain)
    wanted, pattern = inputs.black_level(black), inputs.bayer_pattern(cfa)
    raw = with_cfa(inputs.read_photo(photo), pattern)
    notes: tuple[str, ...] = ()
    if given is None:
        raw, given, notes = _measure(raw, model, wanted, rule, brightness)
    found, warnings = given.brightened(ev), (*raw.warnings, *notes)
    if as_json:
        output.print_json(
            {
                "photo": str(photo),
                "model": model,
                "gain": found.value,
                "rule": found.rule_name,
                "reason": found.reason,
                "details": dict(found.details),
                "black": explain_black(raw),
                "warnings": list(warnings),
            }
        )
        return
    for line in warnings:
        output.warn(line)
    output.show(f"{found.value:.4g}  {found.reason}")


def _measure(
    raw: "RawImage",
    model: str,
    black: "Level | None",
    rule: "Rule | None",
    brightness: float | None,
) -> "tuple[RawImage, Gain, tuple[str, ...]]":
    """Find a photo's gain as enhance does, the photo with the black it is above, and notes.

    The network is loaded only where its tensors decide; the notes are its.
    """
    from darkroom.gain import GainRule as Rule
    from darkroom.gain import choose_gain
    from darkroom.raw.black_choice import default_black, with_black
    from darkroom.weights import registry, store
    from darkroom.weights.gain_network import load_gain_network

    known = rule
    entry = {**registry.ENTRIES, **store.imported()}.get(model)
    if entry is not None:
        black = default_black(entry.output is registry.Output.SRGB) if black is None else black
        if rule is None and entry.architecture not in AMPLIFIED:  # else only tensors tell
            known = entry.gain_rule
    if known not in (None, Rule.LLPACKNET) and black is not None:
        raw = with_black(raw, black)
        return raw, choose_gain(raw, known, brightness, network=load_gain_network()), ()
    from darkroom.models.loading import load_model
    from darkroom.pipeline import Options, find_gain

    network = load_model(model, "cpu", "fp32").for_sensor(raw.cfa.sensor)
    network.check(raw)
    settings = Options(rule=rule, brightness=brightness, black=black).resolve(network)
    raw = with_black(raw, settings.black)
    return raw, find_gain(raw, network, settings), network.notes
