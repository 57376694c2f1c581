"""From words on the command line to values: photos, gains, tiles."""

import io
import math
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from darkroom.cli import output
from darkroom.cli.startup import defer_collection
from darkroom.errors import RawError, UsageError

if TYPE_CHECKING:
    from darkroom.calibration.profile import SensorNoise
    from darkroom.gain import Gain, GainRule
    from darkroom.models.model import Model
    from darkroom.models.tiling import TileOption
    from darkroom.output.linear_dng import DngKind
    from darkroom.output.picture import PictureFormat
    from darkroom.raw.image import Black, RawImage, WhiteBalance

Choice = TypeVar("Choice", bound=Enum)

STANDARD = Path("-")
"""What stands for standard input or output."""
PIECE = 1 << 24
"""Bytes read of standard input at a time, so that an endless one is refused at MAX_BYTES."""


def read_photo(photo: Path) -> "RawImage":
    """Read a RAW photo from its path, or from standard input for `-`."""
    from darkroom.raw.memory_bound import bounded_memory
    from darkroom.raw.reader import MAX_BYTES, TOO_LARGE, read_raw

    if photo != STANDARD:
        with bounded_memory():
            return read_raw(photo)
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal; pipe a RAW photo into it, or name a file")
    data = io.BytesIO()  # whose bytes can be had without a copy
    try:
        while data.tell() <= MAX_BYTES and (block := sys.stdin.buffer.read(PIECE)):
            data.write(block)
    except OSError as error:
        raise RawError(f"standard input: {error.strerror}; pipe a RAW photo into it") from error
    if data.tell() > MAX_BYTES:
        raise RawError(f"standard input: {TOO_LARGE}")
    if not data.tell():
        raise RawError("standard input was empty; pipe a RAW photo into it, or name a file")
    with bounded_memory():
        return read_raw(data.getvalue())


def refuse_folder(out: Path | None) -> None:
    """Raise UsageError where the output, which is to be a file, is a folder."""
    if out is not None and os.path.isdir(out):  # noqa: PTH112 (Path's raises for long names)
        raise UsageError(f"{out}: is a folder; name a file in it")


def load_network(
    name: str, device: str, precision: str, norm_statistics: str = "stored", bits: int = 8
) -> "Model":
    """Load a model, and say on standard error what is in doubt about its weights."""
    with defer_collection():
        from darkroom.models.loading import load_model

    network = load_model(name, device, precision, norm_statistics, bits)
    for line in network.notes:
        output.warn(line)
    return network


def gain_rule(text: str | None) -> tuple["GainRule | None", float | None]:
    """Read `--gain-rule RULE`: a rule's name, REDI's with their brightness as in redi:2.5.

    Raises UsageError for anything else.
    """
    from darkroom.gain import GainRule, find_m

    if text is None:
        return None, None
    name, colon, number = text.partition(":")
    names = [rule.value for rule in GainRule]
    try:
        brightness = float(number) if colon else None
        rule = GainRule(name)
    except ValueError:
        known = ", ".join(names)
        raise UsageError(
            f"--gain-rule {text}: give one of {known}; redi:2.5 for brightness 2.5"
        ) from None
    find_m(rule, brightness)
    return rule, brightness


def given_gain(ratio: float | None, rule: str | None) -> "Gain | None":
    """Read `--ratio`; None where the gain is to be measured."""
    from darkroom.gain import given_gain

    if ratio is None:
        return None
    if rule is not None:
        raise UsageError("--ratio and --gain-rule both decide the gain; give one of them")
    return given_gain(ratio)


def dng_kind(text: str | None, kind: "PictureFormat | None") -> "DngKind | None":
    """Read `--dng`; None for other formats. Raises UsageError where there is none to be of it."""
    from darkroom.output.linear_dng import DngKind
    from darkroom.output.picture import PictureFormat

    chosen = choice("--dng", DngKind, text)
    if kind is PictureFormat.DNG:
        return chosen or DngKind.LINEAR
    if chosen is not None:
        raise UsageError(f"--dng {text}: is about DNGs; name the output .dng, or --format dng")
    return None


def white_balance(text: str) -> "WhiteBalance | float":
    """Read `--wb`: as-shot, auto, daylight or kelvin. Raises UsageError for anything else."""
    from darkroom.raw.image import WhiteBalance

    names = {
        "as-shot": WhiteBalance.AS_SHOT,
        "auto": WhiteBalance.GRAY_WORLD,
        "daylight": WhiteBalance.DAYLIGHT,
    }
    if text in names:
        return names[text]
    try:
        return float(text.lower().removesuffix("k"))
    except ValueError:
        message = f"--wb {text}: give {', '.join(names)}, or kelvin such as 3200"
        raise UsageError(message) from None


def list_references(profile: Path | None, dark: Sequence[Path]) -> list[Path]:
    """List the files that `--profile` and `--dark` name, those of folders too."""
    from darkroom.calibration.frames import list_files

    files = [file for one in dark for file in (list_files(one) if one.is_dir() else [one])]
    return files if profile is None else [profile, *files]


def read_sensor(path: Path, *, xtrans: bool) -> "tuple[SensorNoise, ...]":
    """Read `--sensor`: the noise of a profile's camera. Raises UsageError where it is no use."""
    from darkroom.calibration.profile import list_noise
    from darkroom.calibration.profile_file import read_profile
    from darkroom.raw.image import CFA, Sensor

    profile = read_profile(path)
    if (CFA(profile.cfa).sensor is Sensor.XTRANS) != xtrans:
        what = "leave --xtrans out" if xtrans else "add --xtrans"
        raise UsageError(f"--sensor {path}: has colour filters of the other kind; {what}")
    return list_noise(profile)


def black_level(text: str | None) -> "Black | None":
    """Read `--black`: stated, measured, or a number; None where it was left out.

    Raises UsageError for anything else.
    """
    from darkroom.raw.image import BlackSource

    if text is None or text in {BlackSource.STATED.value, BlackSource.MEASURED.value}:
        return None if text is None else BlackSource(text)
    with suppress(ValueError):
        if 0 <= (number := float(text)) < math.inf:
            return number
    raise UsageError(f"--black {text}: give stated, measured, or a number such as 512")


def bayer_pattern(text: str | None) -> str | None:
    """Read `--cfa`: a Bayer pattern, in either case. Raises UsageError for anything else."""
    from darkroom.raw.filter_check import BAYER_PATTERNS

    if text is not None and text.upper() not in BAYER_PATTERNS:
        raise UsageError(f"--cfa {text}: give one of {', '.join(BAYER_PATTERNS)}")
    return text and text.upper()


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
