"""darkroom estimate: how much a photo needs to be amplified, and why."""

import typer

from darkroom.cli import inputs, output
from darkroom.cli.options import Ev, GainRule, Json, Photo, Ratio


def estimate(
    photo: Photo,
    ratio: Ratio = None,
    gain: GainRule = None,
    ev: Ev = 0.0,
    as_json: Json = False,
) -> None:
    """Print the amplification that a photo would get, with the reason.

    Examples:

    darkroom estimate IMG.ARW

    darkroom estimate IMG.ARW --gain redi:5 --json
    """
    from darkroom.gain import GainRule as Rule
    from darkroom.gain import choose_gain

    rule, brightness = inputs.gain_rule(gain)
    given = inputs.given_gain(ratio, gain)
    raw = inputs.read_photo(photo)
    measured = given or choose_gain(raw, rule or Rule.PERCENTILE, brightness)
    found = measured.brightened(ev)
    if as_json:
        output.print_json(
            {
                "photo": str(photo),
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
    typer.echo(f"{found.value:.4g}  {found.reason}")
