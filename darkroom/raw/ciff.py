"""What a Canon CRW says of a photo, as the tags of EXIF that say the same.

Source: the CIFF specification 1.0, section 4; for the arrays, ExifTool's tables Canon.pm and
CanonRaw.pm.
"""

import struct
from datetime import UTC, datetime

import numpy as np
from PIL.ExifTags import Base

from darkroom.raw.exif_tags import RATIONAL, SHORT, SRATIONAL, encode_numbers, encode_text
from darkroom.raw.image import TagValue
from darkroom.raw.tiff_tags import CIFF_CAMERA, ciff_entries

OWNER, FOCAL, SHOT, SETTINGS, SERIAL, TIME = 0x0810, 0x1029, 0x102A, 0x102D, 0x180B, 0x180E
"""Records; of SERIAL it is known that it is one in EOS cameras only."""
FLASH_MODE, METERING, PROGRAM, LONGEST, SHORTEST, UNITS, MAX_APERTURE = 4, 17, 20, 23, 24, 25, 26
FLASH_FIRED = 28
"""Places in SETTINGS."""
COMPENSATION, BALANCE = 6, 7
"""Places in SHOT."""
METERING_MODES = {1: 3, 2: 1, 3: 5, 4: 6, 5: 2}
PROGRAMS = {1: 2, 2: 4, 3: 3, 4: 1}
"""Canon's numbers to EXIF's."""
STEPS = 32
"""Of a stop, in Canon's arrays."""
FIRED, OFF = 1, 16
"""Of EXIF's Flash: fired; off, did not fire."""
ZONE_IS_SET, MAX_ZONE = 0x80000000, 15 * 3600
MAX_RECORD = 1024


def read_ciff(data: bytes) -> tuple[dict[int, TagValue], dict[int, TagValue]]:
    """Read EXIF's main directory and its own; both empty for any file that is no CRW."""
    order = "<" if data[:2] == b"II" else ">"
    found = {code: bytes(block[:MAX_RECORD]) for code, block in ciff_entries(data)}
    make, _, model = found.get(CIFF_CAMERA, b"").partition(b"\0")
    main = {Base.Make: _text(make), Base.Model: _text(model)}
    settings, shot, focal = (_words(found.get(one, b""), order) for one in (SETTINGS, SHOT, FOCAL))
    exif = _read_settings(settings, focal) | _read_shot(shot)
    exif[Base.CameraOwnerName] = _text(found.get(OWNER, b""))
    if b"EOS" in model and len(serial := found.get(SERIAL, b"")) >= 4:
        (number,) = struct.unpack_from(order + "I", serial)
        old = b"EOS D30" in model  # which writes it in two parts
        digits = f"{number >> 16:x}-{number & 0xFFFF:05}" if old else f"{number:010}"
        exif[Base.BodySerialNumber] = encode_text(digits)
    if len(time := found.get(TIME, b"")) >= 12:
        exif |= _read_time(*struct.unpack_from(order + "IiI", time))
    said = [{code: one for code, one in tags.items() if one.data != b"\0"} for tags in (main, exif)]
    return said[0], said[1]


def _words(block: bytes, order: str) -> list[int]:
    """Read an array of 16-bit numbers, signed."""
    return [int(one) for one in np.frombuffer(block[: len(block) // 2 * 2], order + "i2")]


def _text(block: bytes) -> TagValue:
    return encode_text(block.partition(b"\0")[0].decode("utf-8", "replace").strip())


def _read_settings(settings: list[int], focal: list[int]) -> dict[int, TagValue]:
    """Read metering, program, flash and lens."""
    if len(settings) <= FLASH_FIRED:
        return {}
    found: dict[int, TagValue] = {}
    if mode := METERING_MODES.get(settings[METERING]):
        found[Base.MeteringMode] = encode_numbers(SHORT, mode)
    if program := PROGRAMS.get(settings[PROGRAM]):
        found[Base.ExposureProgram] = encode_numbers(SHORT, program)
    fired = settings[FLASH_FIRED] > 0
    off = OFF if settings[FLASH_MODE] == 0 else 0
    found[Base.Flash] = encode_numbers(SHORT, FIRED if fired else off)
    if settings[MAX_APERTURE] > 0:
        found[Base.MaxApertureValue] = encode_numbers(RATIONAL, settings[MAX_APERTURE], STEPS)
    units, ends = settings[UNITS], (settings[SHORTEST], settings[LONGEST])
    if units > 0 and min(ends) > 0:
        zoom = (ends[0], units, ends[1], units, 0, 0, 0, 0)  # 0/0: not said
        found[Base.LensSpecification] = encode_numbers(RATIONAL, *zoom)
    if units > 0 and len(focal) > 1 and focal[1] > 0:
        found[Base.FocalLength] = encode_numbers(RATIONAL, focal[1], units)
    return found


def _read_shot(shot: list[int]) -> dict[int, TagValue]:
    """Read exposure compensation and white balance."""
    if len(shot) <= BALANCE:
        return {}
    return {
        Base.ExposureBiasValue: encode_numbers(SRATIONAL, shot[COMPENSATION], STEPS),
        Base.WhiteBalance: encode_numbers(SHORT, int(shot[BALANCE] != 0)),
    }


def _read_time(seconds: int, zone: int, flags: int) -> dict[int, TagValue]:
    """Read when the photo was taken; `seconds` since 1970 by the camera's clock."""
    if not seconds:
        return {}
    taken = datetime.fromtimestamp(seconds, UTC).strftime("%Y:%m:%d %H:%M:%S")
    codes: tuple[int, ...] = (Base.DateTimeOriginal, Base.DateTimeDigitized)
    found = dict.fromkeys(codes, encode_text(taken))
    if flags & ZONE_IS_SET and abs(zone) < MAX_ZONE:
        hours, minutes = divmod(abs(zone) // 60, 60)
        offset = encode_text(f"{'-' if zone < 0 else '+'}{hours:02}:{minutes:02}")
        found |= {Base.OffsetTimeOriginal: offset, Base.OffsetTimeDigitized: offset}
    return found
