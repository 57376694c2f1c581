"""From words on the command line to values: photos, gains, tiles."""

import os
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from darkroom.errors import RawError, UsageError

if TYPE_CHECKING:
    from darkroom.gain import Gain, GainRule
    from darkroom.models.tiling import TileOption
    from darkroom.pipeline import Options
    from darkroom.raw.image import RawImage

Choice = TypeVar("Choice", bound=Enum)

STANDARD = Path("-")
"""What stands for standard input or output."""


def read_photo(photo: Path) -> "RawImage":
    """Read a RAW photo from its path, or from standard input for `-`."""
    from darkroom.raw.reader import read_raw

    if photo != STANDARD:
        return read_raw(photo)
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal; pipe a RAW photo into it, or name a file")
    try:
        content = sys.stdin.buffer.read()
    except OSError as error:
        raise RawError(f"standard input: {error.strerror}; pipe a RAW photo into it") from error
    if not content:
        raise RawError("standard input was empty; pipe a RAW photo into it, or name a file")
    return read_raw(content)


def refuse_folder(out: Path | None) -> None:
    """Raise UsageError where the output, which is to be a file, is a folder."""
    if out is not None and os.path.isdir(out):  # noqa: PTH112 (Path's raises for long names)
        raise UsageError(f"{out}: is a folder; name a file in it")


def gain_rule(text: str | None) -> tuple["GainRule | None", int]:
    """Read `--gain-rule RULE`: a rule's name, `redi` with its brightness as in redi:5.

    Raises UsageError for anything else.
    """
    from darkroom.gain import GainRule

    if text is None:
        return None, 1
    name, _, brightness = text.partition(":")
    names = [rule.value for rule in GainRule]
    if name not in names or (brightness and not brightness.isdecimal()):
        raise UsageError(
            f"--gain-rule {text}: give one of {', '.join(names)}; redi:5 for brightness 5"
        )
    return GainRule(name), int(brightness or 1)


def given_gain(ratio: float | None, rule: str | None) -> "Gain | None":
    """Read `--ratio`; None where the gain is to be measured."""
    from darkroom.gain import given_gain

    if ratio is None:
        return None
    if rule is not None:
        raise UsageError("--ratio and --gain-rule both decide the gain; give one of them")
    return given_gain(ratio)


def enhance_options(
    ratio: float | None,
    rule: str | None,
    ev: float,
    tile: str,
    bits: int,
    hot: str | None = None,
    denoise: float = 1.0,
    light: str | None = None,
) -> "Options":
    """Gather what the user decided about the picture."""
    from darkroom.color.highlights import Highlights
    from darkroom.mosaic.hot_pixels import HotPixels
    from darkroom.pipeline import Options

    chosen, brightness = gain_rule(rule)
    return Options(
        gain=given_gain(ratio, rule),
        rule=chosen,
        brightness=brightness,
        ev=ev,
        tile=tile_size(tile),
        bits=bits,
        hot_pixels=choice("--hot-pixels", HotPixels, hot),
        denoise=denoise,
        highlights=choice("--highlights", Highlights, light),
    )


def choice(option: str, kind: type[Choice], text: str | None) -> Choice | None:
    """Read an option that names one of a few; None where it was left out. Raises UsageError."""
    names = [one.value for one in kind]
    if text is not None and text not in names:
        raise UsageError(f"{option} {text}: give one of {', '.join(names)}")
    return None if text is None else kind(text)


def tile_size(text: str) -> "TileOption":
    """Read `--tile`: auto, off, or a number of photosites. Raises UsageError for anything else."""
    if text in {"auto", "off"}:
        return text  # type: ignore[return-value]
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise UsageError(f"--tile {text}: give auto, off, or a number of photosites such as 2048")


def photo_size(text: str) -> tuple[int, int]:
    """Read `--size`: width x height in photosites. Raises UsageError for anything else."""
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size {text}: give width x height in photosites, such as 4000x3000")
    return int(width), int(height)
