"""darkroom estimate: how much a photo needs to be amplified, and why."""

from typing import TYPE_CHECKING

from darkroom.cli import inputs, output
from darkroom.cli.options import Ev, GainRule, Json, ModelName, Photo, Ratio

if TYPE_CHECKING:
    from darkroom.gain import Gain
    from darkroom.gain import GainRule as Rule
    from darkroom.raw.image import RawImage

AMPLIFIED = ("llpacknet", "llpacknet-2020")
"""Networks whose checkpoints may bring an amplifier, which then finds the gain."""


def estimate(
    photo: Photo,
    model: ModelName = "safelight",
    ratio: Ratio = None,
    gain: GainRule = None,
    ev: Ev = 0.0,
    as_json: Json = False,
) -> None:
    """Print the amplification that a photo would get, with the reason.

    It is what enhance would take with the same --model: by that network's rule, or its amplifier.

    Examples:

    darkroom estimate IMG.ARW

    darkroom estimate IMG.ARW --gain-rule redi:5 --json

    darkroom estimate IMG.ARW --model llpacknet-2020.pth
    """
    rule, brightness = inputs.gain_rule(gain)
    given = inputs.given_gain(ratio, gain)
    raw = inputs.read_photo(photo)
    found = (given or _measure(raw, model, rule, brightness)).brightened(ev)
    if as_json:
        output.print_json(
            {
                "photo": str(photo),
                "model": model,
                "gain": found.value,
                "rule": found.rule.value if found.rule else None,
                "reason": found.reason,
                "details": dict(found.details),
                "warnings": list(raw.warnings),
            }
        )
        return
    for line in raw.warnings:
        output.warn(line)
    output.show(f"{found.value:.4g}  {found.reason}")


def _measure(raw: "RawImage", model: str, rule: "Rule | None", brightness: int) -> "Gain":
    """Find a photo's gain as enhance does, loading the network only where the rule needs it."""
    from darkroom.gain import GainRule as Rule
    from darkroom.gain import choose_gain
    from darkroom.weights import registry, store
    from darkroom.weights.gain_network import load_gain_network

    known = rule
    if rule is None:
        entry = {**registry.ENTRIES, **store.imported()}.get(model)
        if entry is not None and entry.architecture not in AMPLIFIED:  # else only tensors tell
            known = entry.gain_rule
    if known not in (None, Rule.LLPACKNET):
        return choose_gain(raw, known, brightness, network=load_gain_network())
    from darkroom.models.loading import load_model
    from darkroom.pipeline import Options, find_gain

    network = load_model(model, "cpu", "fp32").for_sensor(raw.cfa.sensor)
    network.check(raw)
    return find_gain(raw, network, Options(rule=rule, brightness=brightness).resolve(network))
