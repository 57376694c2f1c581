"""ICC profiles of the colour spaces that pictures are written in.

Source: ICC.1:2022 (version 4.4), sections 7 to 10 and, for matrix profiles, 8.4.3.
"""

import struct
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import ImageCms

from darkroom.color.color_space import (
    D50_XYZ,
    LINEAR,
    ColorSpace,
    TransferCurve,
    space_to_pcs,
    white_to_pcs,
)

HEADER, ENTRY = 128, 12
PROFILE_DATE, PROFILE_ID = slice(24, 36), slice(84, 100)
"""Source: table 17, "Date and time" and "Profile ID" of the header."""
DATE = bytes.fromhex("07d0 0001 0001 0000 0000 0000")
"""2000-01-01 00:00:00, so that the same picture gives the same bytes."""
PARAMETRIC_LINE = 3
"""A power, and a line below it. Source: table 68."""
PLAIN_POWER = 0
NAMES = {
    ColorSpace.DISPLAY_P3: "Display P3",
    ColorSpace.ADOBE_RGB: "Compatible with Adobe RGB (1998)",
    ColorSpace.REC2020: "Rec. 2020",
    ColorSpace.PROPHOTO: "ROMM RGB (ProPhoto)",
    ColorSpace.LINEAR: "Linear sRGB",
}
RIGHTS = "No copyright, use freely"


@cache
def srgb_profile() -> bytes:
    """Return the ICC profile of sRGB, the same bytes on every call and every day.

    Source: IEC 61966-2-1, as Little CMS builds it.
    """
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[PROFILE_DATE] = DATE
    profile[PROFILE_ID] = bytes(16)  # "not computed"
    return bytes(profile)


@cache
def build_profile(space: ColorSpace, *, linear: bool = False) -> bytes:
    """Return the ICC profile, version 4, of a space; `linear`: of its light, without its curve."""
    if space is ColorSpace.SRGB:
        if not linear:
            return srgb_profile()
        space = ColorSpace.LINEAR
    curve = LINEAR if linear else space.curve
    name = NAMES[space] if curve == space.curve else f"Linear {NAMES[space]}"
    red, green, blue = space_to_pcs(space).T
    bent = _pack_curve(curve)
    return _pack_profile(
        {
            b"desc": _pack_text(name),
            b"cprt": _pack_text(RIGHTS),
            b"wtpt": _pack_xyz(D50_XYZ),
            b"chad": b"sf32" + bytes(4) + _pack_fixed(white_to_pcs(space).ravel()),
            b"rXYZ": _pack_xyz(red),
            b"gXYZ": _pack_xyz(green),
            b"bXYZ": _pack_xyz(blue),
            b"rTRC": bent,
            b"gTRC": bent,
            b"bTRC": bent,
        }
    )


def _pack_profile(tags: dict[bytes, bytes]) -> bytes:
    """Return a display profile; tags of the same value share it."""
    table, values, places = struct.pack(">I", len(tags)), b"", dict[bytes, int]()
    behind = HEADER + 4 + ENTRY * len(tags)
    for name, value in tags.items():
        if value not in places:
            places[value] = behind + len(values)
            values += value + bytes(-len(value) % 4)
        table += struct.pack(">4sII", name, places[value], len(value))
    size = HEADER + len(table) + len(values)
    header = struct.pack(">I4xI4s4s4s", size, 0x04400000, b"mntr", b"RGB ", b"XYZ ")
    header += DATE + b"acsp" + bytes(28) + _pack_fixed(D50_XYZ)
    return header.ljust(HEADER, b"\0") + table + values


def _pack_curve(curve: TransferCurve) -> bytes:
    """Return the way back, from samples to light, as a parametric curve."""
    if not curve.offset and curve.slope * curve.knee < 1 / 65535:
        return b"para" + bytes(4) + struct.pack(">Hxx", PLAIN_POWER) + _pack_fixed([curve.power])
    scale = 1 / (1 + curve.offset)
    numbers = [curve.power, scale, curve.offset * scale, 1 / curve.slope, curve.slope * curve.knee]
    return b"para" + bytes(4) + struct.pack(">Hxx", PARAMETRIC_LINE) + _pack_fixed(numbers)


def _pack_xyz(xyz: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + _pack_fixed(xyz)


def _pack_fixed(numbers: NDArray[np.float64] | list[float]) -> bytes:
    """Return numbers as s15Fixed16."""
    fixed: bytes = np.rint(np.asarray(numbers) * 65536).astype(">i4").tobytes()
    return fixed


def _pack_text(text: str) -> bytes:
    """Return a text in one language as multiLocalizedUnicode."""
    words = text.encode("utf-16-be")
    return (
        b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(words), 28) + words
    )
