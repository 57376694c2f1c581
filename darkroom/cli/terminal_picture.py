"""Pictures drawn on terminals that can: kitty's protocol, iTerm2's, or sixels."""

import base64
import io
import os
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.cli import output
from darkroom.color.color_space import (
    SRGB_CURVE,
    ColorSpace,
    decode_samples,
    encode_light,
    srgb_to_space,
)

SIDE = 800
"""Pixels of a drawn picture's longer side."""
CHUNK = 4096
"""Source: kitty's terminal graphics protocol, "Remote client"."""
COLORS = 255
"""Of a sixel picture; terminals have 256 registers."""
SIXEL_TERMS = ("foot", "mlterm", "contour", "yaft")
ITERM_PROGRAMS = ("iTerm.app", "WezTerm")
KITTY_PROGRAMS = ("ghostty",)


class TerminalProtocol(Enum):
    """How a terminal takes pictures."""

    KITTY = "kitty"
    ITERM2 = "iTerm2"
    SIXEL = "sixel"


def find_protocol(environment: Mapping[str, str]) -> TerminalProtocol | None:
    """Tell by its variables how a terminal takes pictures; None where it takes none.

    tmux and screen, which pass no pictures on, take none.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or term.startswith(("tmux", "screen")):
        return None
    if "KITTY_WINDOW_ID" in environment or term == "xterm-kitty" or program in KITTY_PROGRAMS:
        return TerminalProtocol.KITTY
    if program in ITERM_PROGRAMS or environment.get("LC_TERMINAL") == "iTerm2":
        return TerminalProtocol.ITERM2
    if term.startswith(SIXEL_TERMS) or "sixel" in term:
        return TerminalProtocol.SIXEL
    return None


def show_picture(pixels: NDArray[Any], target: Path, space: ColorSpace = ColorSpace.SRGB) -> None:
    """Draw a picture on the terminal of standard error, or say where its file is.

    `pixels`, `space`: as of `encode_picture`.
    """
    protocol = find_protocol(os.environ) if sys.stderr.isatty() else None
    if protocol is None:
        output.say(f"this terminal draws no pictures; open {target}")
        return
    sys.stderr.write("".join(encode_picture(pixels, protocol, space)) + "\n")
    sys.stderr.flush()


def encode_picture(
    pixels: NDArray[Any], protocol: TerminalProtocol, space: ColorSpace = ColorSpace.SRGB
) -> Iterator[str]:
    """Yield what draws a picture, reduced to SIDE, in the sRGB that terminals show.

    `pixels`: (H, W, 3) uint8 or uint16, or float32 for linear light; in the colours of `space`.

    Source: kitty, "Terminal graphics protocol"; iTerm2, "Inline Images Protocol"; DEC, "VT330/VT340
    Programmer Reference Manual", volume 2, chapter 14.
    """
    from PIL import Image

    step = max(1, max(pixels.shape[:2]) // (2 * SIDE))
    image = Image.fromarray(_to_srgb(np.ascontiguousarray(pixels[::step, ::step]), space))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    if protocol is TerminalProtocol.SIXEL:
        yield from _encode_sixels(image.quantize(COLORS))
        return
    file = io.BytesIO()
    image.save(file, "PNG")
    text = base64.b64encode(file.getvalue()).decode("ascii")
    if protocol is TerminalProtocol.ITERM2:
        yield f"\x1b]1337;File=inline=1;size={file.tell()}:{text}\a"
        return
    for start in range(0, len(text), CHUNK):
        head = "a=T,f=100," if start == 0 else ""
        more = int(start + CHUNK < len(text))
        yield f"\x1b_G{head}m={more};{text[start : start + CHUNK]}\x1b\\"


def _to_srgb(pixels: NDArray[Any], space: ColorSpace) -> NDArray[np.uint8]:
    """Return a picture of any space and depth as 8 bits of sRGB."""
    if pixels.dtype != np.float32 and space is ColorSpace.SRGB:
        return (pixels >> (8 * pixels.dtype.itemsize - 8)).astype(np.uint8)
    light = pixels
    if pixels.dtype != np.float32:
        light = decode_samples(pixels / np.iinfo(pixels.dtype).max, space.curve)
    light = (light @ np.linalg.inv(srgb_to_space(space)).T).astype(np.float32)
    return (encode_light(light, SRGB_CURVE) * 255 + 0.5).astype(np.uint8)


def _encode_sixels(image: Any) -> Iterator[str]:
    """Yield a picture with a palette, six rows at a time, one colour after the other."""
    codes = np.asarray(image)
    palette = np.reshape(image.getpalette(), (-1, 3))
    yield f'\x1bP0;1;0q"1;1;{image.width};{image.height}'
    for number in np.unique(codes):
        red, green, blue = (round(int(code) * 100 / 255) for code in palette[number])
        yield f"#{number};2;{red};{green};{blue}"
    bits = 1 << np.arange(6)
    for top in range(0, image.height, 6):
        band = codes[top : top + 6]
        for number in np.unique(band):
            sixels = bits[: len(band)] @ (band == number)
            yield f"#{number}{_pack_runs(sixels)}$"
        yield "-"
    yield "\x1b\\"


def _pack_runs(sixels: NDArray[np.integer[Any]]) -> str:
    """Write a row of sixels, those that repeat as !COUNT."""
    ends = np.flatnonzero(np.append(np.diff(sixels), 1)) + 1
    counts = np.diff(ends, prepend=0)
    signs = (chr(63 + int(sixels[end - 1])) for end in ends)
    return "".join(
        f"!{count}{sign}" if count > 3 else sign * count
        for count, sign in zip(counts.tolist(), signs, strict=True)
    )
