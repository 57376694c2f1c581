"""IPTC: where it stands among Photoshop's image resources, what of it is kept, and XMP's words.

Source: Adobe, "Photoshop file formats", image resource blocks; IPTC, IIM 4.2, chapters 1, 3 and 6;
IPTC, Photo Metadata Standard 2023, "IPTC Core" (which of XMP's properties say the same).
"""

import re
import struct
from collections.abc import Collection, Iterator

from darkroom.raw.xmp import DC, IPTC_CORE, PHOTOSHOP, Property, write_list, write_property

PHOTOSHOP_MARK = b"Photoshop 3.0\0"
IPTC_RESOURCE = 0x0404
MAX_IPTC = 32768
"""Bytes of IPTC that are kept: it has to fit a JPEG's segment of 65,533."""
IIM_MARK, ENVELOPE, APPLICATION, PREVIEWS = 0x1C, 1, 2, (200, 201, 202)
"""A dataset's first byte; records that are kept; the latter's datasets that hold a picture."""
CHARACTERS, UTF8 = 90, b"\x1b%G"
"""The envelope's dataset that names the texts' characters."""
TO_IPTC = {
    f"{{{namespace}}}{name}": dataset
    for namespace, name, dataset in (
        *((DC, "title", 5), (DC, "subject", 25), (DC, "creator", 80)),
        *((DC, "rights", 116), (DC, "description", 120)),
        *((PHOTOSHOP, "Instructions", 40), (PHOTOSHOP, "DateCreated", 55)),
        *((PHOTOSHOP, "AuthorsPosition", 85), (PHOTOSHOP, "City", 90), (PHOTOSHOP, "State", 95)),
        *((PHOTOSHOP, "Country", 101), (PHOTOSHOP, "TransmissionReference", 103)),
        *((PHOTOSHOP, "Headline", 105), (PHOTOSHOP, "Credit", 110), (PHOTOSHOP, "Source", 115)),
        *((PHOTOSHOP, "CaptionWriter", 122), (IPTC_CORE, "Location", 92)),
        (IPTC_CORE, "CountryCode", 100),
    )
}
"""Datasets of the application record by the properties of XMP that say the same."""
LISTS = {f"{{{DC}}}subject": "Bag", f"{{{DC}}}creator": "Seq"}
LISTS |= dict.fromkeys((f"{{{DC}}}{name}" for name in ("title", "rights", "description")), "Alt")
DATE, TIME = 55, 60
DIGITS = re.compile(r"(\d{4})(\d\d)(\d\d)"), re.compile(r"(\d\d)(\d\d)(\d\d)([+-]\d\d)(\d\d)")
NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Source: W3C, XML 1.0, production 2."""


def find_iptc(resources: bytes) -> bytes:
    """Find IPTC among Photoshop's image resources; empty where there is none."""
    at = 0
    while resources[at : at + 4] == b"8BIM" and len(resources) >= at + 12:
        name = resources[at + 6] + 1
        start = at + 6 + name + name % 2
        if len(resources) < start + 4:
            break
        (size,) = struct.unpack_from(">I", resources, start)
        if struct.unpack_from(">H", resources, at + 4)[0] == IPTC_RESOURCE:
            return resources[start + 4 : start + 4 + size]
        at = start + 4 + size + size % 2
    return b""


def clean_iptc(block: bytes, stale: Collection[int] = ()) -> bytes:
    """Keep the whole datasets that describe the photo, up to the first that is damaged.

    `stale`: those of the application record that are left out; without its date goes the time.
    """
    left_out = {*PREVIEWS, *stale, *((TIME,) if DATE in stale else ())}
    kept = b""
    for record, number, dataset in _datasets(block):
        dropped = record == APPLICATION and number in left_out
        if record in (ENVELOPE, APPLICATION) and not dropped:
            kept += dataset if len(kept) + len(dataset) <= MAX_IPTC else b""
    return kept


def iptc_to_xmp(block: bytes) -> dict[str, Property]:
    """Return what IPTC says as the properties of XMP that say the same, for those who read these.

    WebP, AVIF and others have no place for IPTC itself.
    """
    texts: dict[int, list[str]] = {}
    utf8 = (ENVELOPE, CHARACTERS, UTF8) in ((*head, one[5:]) for *head, one in _datasets(block))
    for record, number, dataset in _datasets(block):
        if record == APPLICATION and (text := _decode(dataset[5:], utf8)):
            texts.setdefault(number, []).append(text)
    if DATE in texts:
        texts[DATE] = _dates(texts[DATE][0], texts.get(TIME, [""])[0])
    found = {}
    for name, number in TO_IPTC.items():
        if said := texts.get(number):
            xml = write_list(name, LISTS[name], said) if name in LISTS else ""
            found[name] = Property(xml or write_property(name, said[0]), tuple(said))
    return found


def _datasets(block: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield record, number and the whole of each dataset, up to the first that is damaged."""
    at = 0
    while len(block) >= at + 5 and block[at] == IIM_MARK:
        (size,) = struct.unpack_from(">H", block, at + 3)
        dataset = block[at : at + 5 + size]
        if size & 0x8000 or len(dataset) < 5 + size:  # 32 KiB and more: no text
            return
        yield block[at + 1], block[at + 2], dataset
        at += 5 + size


def _decode(data: bytes, utf8: bool) -> str:
    """Return a text; where nothing says that it is UTF-8, and it cannot be, it is Latin-1."""
    try:
        text = data.decode("utf-8", "replace" if utf8 else "strict")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return NOT_XML.sub("", text).strip()


def _dates(date: str, time: str) -> list[str]:
    """Return a date with its time, if any, as XMP says them; nothing for what is no date."""
    day, clock = (one.fullmatch(text) for one, text in zip(DIGITS, (date, time), strict=True))
    if day is None:
        return []
    said = "T{}:{}:{}{}:{}".format(*clock.groups()) if clock else ""
    return ["{}-{}-{}".format(*day.groups()) + said]
