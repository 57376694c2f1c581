"""What files of all kinds and their sidecars say; what damage costs: a warning at most."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import synthetic_raw
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL.TiffImagePlugin import IFDRational
from places import DATA
from tagged import EXPOSED, IPTC, MAIN, PLACE, XMP, add_directory, pack, tag_dng

from darkroom.output.dng import write_dng
from darkroom.raw.embedded import CANON_BOX, XMP_BOX
from darkroom.raw.exif_tags import MAX_DIRECTORY, decode_text
from darkroom.raw.image import PhotoMetadata
from darkroom.raw.iptc import MAX_IPTC, clean_iptc, iptc_to_xmp
from darkroom.raw.metadata import read_metadata
from darkroom.raw.reader import read_raw
from darkroom.raw.tiff_tags import read_directories
from darkroom.raw.xmp import DamagedXmpError, find_sidecars, read_xmp

DC, NS = "{http://purl.org/dc/elements/1.1/}", "{http://ns.adobe.com/xap/1.0/}"
ARTIST, MODEL, TIME, LENS = 315, 272, 33434, 42036
HEAD = (
    "<x:xmpmeta xmlns:x='adobe:ns:meta/'>"
    "<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
)
TAIL = "</rdf:RDF></x:xmpmeta>"


def sidecar(rating: int, creator: str, ending: str = "") -> str:
    return (
        f"{HEAD}<rdf:Description rdf:about='' xmlns:xmp='http://ns.adobe.com/xap/1.0/'"
        " xmlns:photoshop='http://ns.adobe.com/photoshop/1.0/'"
        f" photoshop:SidecarForExtension='{ending}'"
        f" xmlns:dc='http://purl.org/dc/elements/1.1/' xmp:Rating='{rating}'><dc:creator><rdf:Seq>"
        f"<rdf:li>{creator}</rdf:li></rdf:Seq></dc:creator></rdf:Description>{TAIL}"
    )


def said(data: bytes, photo: Path | None = None) -> tuple[PhotoMetadata, tuple[str, ...]]:
    return read_metadata(data, read_directories(data), photo)


def tiff(tags: dict[int, object]) -> bytes:
    return b"II*\0\x08\0\0\0" + pack(tags, 8)


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def cr3() -> bytes:
    canon = CANON_BOX + box(b"CNCV", b"CanonCR3_001") + box(b"CMT1", tiff(MAIN))
    canon += box(b"CMT2", tiff(EXPOSED)) + box(b"CMT3", b"the maker's") + box(b"CMT4", tiff(PLACE))
    moov = box(b"moov", box(b"uuid", canon) + box(b"mvhd", bytes(100)))
    head = box(b"ftyp", b"crx \0\0\0\1crx isom")
    return head + moov + box(b"uuid", XMP_BOX + XMP) + box(b"mdat", bytes(64))


def raf() -> bytes:
    """A RAF's header and its JPEG, with EXIF, XMP and IPTC in segments."""
    directories = dict(MAIN) | {34665: 0, 34853: 0}
    at = 8 + len(pack(directories, 8))
    directories[34665] = at
    exif = pack(EXPOSED, at)
    directories[34853] = at + len(exif)
    block = tiff(directories) + exif + pack(PLACE, at + len(exif))
    resources = b"Photoshop 3.0\0" + b"8BIM\x04\x25\0\0\0\0\0\x02xx"
    resources += b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC
    jpeg = b"\xff\xd8"
    for marker, content in (
        (0xE1, b"Exif\0\0" + block),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
        (0xED, resources),
        (0xDA, b""),
    ):
        jpeg += struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
    return (
        (b"FUJIFILMCCD-RAW 0201".ljust(84) + struct.pack(">II", 92, len(jpeg))) + jpeg + bytes(32)
    )


@pytest.mark.parametrize("make", [tag_dng, cr3, raf])
def test_each_kind_of_file_is_understood(make: Callable[[], bytes]) -> None:
    found, warnings = said(make())
    assert warnings == ()
    assert decode_text(found.main[MODEL]) == "ILCE-7SM2"
    assert found.exif[TIME].data == struct.pack("<II", 1, 8)
    assert decode_text(found.exif[LENS]) == EXPOSED[LENS]
    assert found.gps[6].data == struct.pack("<II", 540, 1)
    assert 37500 not in found.exif  # MakerNote
    assert f"{DC}title" in found.xmp
    if make is not cr3:  # which has none
        assert found.iptc.endswith(b"Bern")


@pytest.mark.parametrize("order", "<>")
def test_both_byte_orders_are_read(order: str) -> None:
    """A text, a SHORT that is to become EXIF's LONG and back, a rational, and a signed one."""
    entries = (
        (33434, 5, 1, struct.pack(order + "II", 1, 250)),
        (34855, 4, 1, struct.pack(order + "I", 6400)),
        (34866, 3, 1, struct.pack(order + "H", 6400)),
        (37380, 10, 1, struct.pack(order + "ii", -1, 3)),
    )
    data = struct.pack(order + "2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(entries))
    behind, values = 8 + 2 + 12 * len(entries) + 4, b""
    for code, kind, count, value in entries:
        place = value.ljust(4, b"\0")
        if len(value) > 4:
            place = struct.pack(order + "I", behind + len(values))
            values += value
        data += struct.pack(order + "HHI", code, kind, count) + place
    found, _ = said(data + bytes(4) + values)
    assert found.exif[33434].data == struct.pack("<II", 1, 250)
    assert (found.exif[34855].kind, found.exif[34855].data) == (3, struct.pack("<H", 6400))
    assert (found.exif[34866].kind, found.exif[34866].data) == (4, struct.pack("<I", 6400))
    assert found.exif[37380].data == struct.pack("<ii", -1, 3)


@pytest.mark.parametrize(
    ("exif", "code"),
    [
        ({33434: IFDRational(0, 1)}, 33434),  # a time of zero, and of nothing
        ({33434: IFDRational(1, 0)}, 33434),
        ({36867: "0000:00:00 00:00:00"}, 36867),
        ({36867: "    :  :     :  :  "}, 36867),
        ({37386: "55 mm"}, 37386),  # a text where a number should be
        ({42034: 5}, 42034),  # one number of four
        ({42036: "   "}, 42036),
    ],
)
def test_what_cannot_be_is_left_out(exif: dict[int, object], code: int) -> None:
    found, _ = said(add_directory(tag_dng(), exif=exif))
    assert code not in found.exif
    assert 34850 in found.exif


# Sidecars


def test_a_sidecar_is_believed_before_the_file(tmp_path: Path) -> None:
    photo = tmp_path / "IMG.DNG"
    photo.write_bytes(tag_dng())
    assert decode_text(read_raw(photo).metadata.main[ARTIST]) == "Ada Lovelace"
    (tmp_path / "IMG.xmp").write_text(sidecar(1, "one"))
    (tmp_path / "IMG.DNG.xmp").write_text(sidecar(5, "two"))
    found = read_raw(photo).metadata
    assert decode_text(found.main[ARTIST]) == "two"
    assert ">5<" in found.xmp[f"{NS}Rating"]
    assert "two" in found.xmp[f"{DC}creator"]
    assert "owl" in found.xmp[f"{DC}subject"]  # of which no sidecar speaks
    assert found.iptc.startswith(b"\x1c\x02\x19\x00\x03owl")
    assert [path.name for path in find_sidecars(photo)] == ["IMG.xmp", "IMG.DNG.xmp"]


def test_a_sidecar_of_another_file_is_passed_over(tmp_path: Path) -> None:
    photo = tmp_path / "IMG.DNG"
    photo.write_bytes(tag_dng())
    for ending, rating in (("JPG", "4"), ("dng", "2")):
        (tmp_path / "IMG.xmp").write_text(sidecar(2, "two", ending))
        assert f">{rating}<" in read_raw(photo).metadata.xmp[f"{NS}Rating"]


def test_a_name_too_long_for_a_sidecar_has_none(tmp_path: Path) -> None:
    photo = tmp_path / f"{'n' * 250}.DNG"  # 255 bytes are the most on most file systems
    photo.write_bytes(tag_dng())
    assert find_sidecars(photo) == []


def test_what_the_file_does_not_say_is_taken_from_xmp() -> None:
    stream = io.BytesIO()
    write_dng(stream, synthetic_raw())
    data = add_directory(stream.getvalue(), xmp=sidecar(3, "me &amp; you").encode())
    assert decode_text(said(data)[0].main[ARTIST]) == "Ada Lovelace"  # EXIF's own
    bare = tiff({700: sidecar(3, "me &amp; you").encode(), 18246: 2})
    assert decode_text(said(bare)[0].main[ARTIST]) == "me & you"
    assert ">2<" in said(tiff({18246: 2}))[0].xmp[f"{NS}Rating"]


@pytest.mark.parametrize(
    ("latitude", "minutes"), [("46,56.88N", 56.88), ("46,56,53S", 56 + 53 / 60), ("46.9N", None)]
)
def test_a_sidecars_place_becomes_exifs(
    tmp_path: Path, latitude: str, minutes: float | None
) -> None:
    """Geotagging programs write sidecars; viewers read EXIF. To a millionth of a minute."""
    stream = io.BytesIO()
    write_dng(stream, synthetic_raw())
    photo = tmp_path / "IMG.dng"
    photo.write_bytes(stream.getvalue())
    (tmp_path / "IMG.xmp").write_text(
        f"{HEAD}<rdf:Description xmlns:exif='http://ns.adobe.com/exif/1.0/' exif:GPSLatitude='"
        f"{latitude}' exif:GPSLongitude='7,26.8E' exif:GPSAltitude='540/1'/>{TAIL}"
    )
    gps = read_raw(photo).metadata.gps
    if minutes is None:
        assert gps == {}
        return
    assert decode_text(gps[1]) == latitude[-1]
    degrees, one, part, whole, *_ = struct.unpack("<6I", gps[2].data)
    assert (degrees, one) == (46, 1)
    assert part / whole == pytest.approx(minutes, abs=1e-6)
    assert gps[6].data == struct.pack("<II", 540, 1)


# Damage and malice

BOMB = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]>"


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (f"{BOMB}<x>&b;</x>", "document type"),
        ("<!DOCTYPE x SYSTEM 'file:///etc/passwd'><x/>", "document type"),
        ("<x>" * 40 + "</x>" * 40, "too many elements"),
        ("<x>" + "<y/>" * 100_001 + "</x>", "too many elements"),
        (f"{HEAD}<rdf:Description><dc:title>", "unbound prefix"),
        (f"{HEAD}", "no element found"),
        ("no XML", "syntax error"),
        ("", "no element found"),
        ("<?xml version='1.0' encoding='x-none'?><x/>", "encoding"),
        (" " * (8 << 20) + "<x/>", "longer than 8 MiB"),
    ],
)
def test_hostile_xmp_is_refused(packet: str, reason: str) -> None:
    with pytest.raises(DamagedXmpError, match=reason):
        read_xmp(packet.encode())


def test_damage_costs_a_warning_and_not_the_photo(tmp_path: Path) -> None:
    photo = tmp_path / "IMG.DNG"
    photo.write_bytes(add_directory(tag_dng(), xmp=XMP[:300]))
    (tmp_path / "IMG.xmp").write_text("<not XML")
    raw = read_raw(photo)
    assert [line.partition(" (")[0] for line in raw.warnings] == [
        "XMP cannot be read",
        "sidecar IMG.xmp cannot be read",
    ]
    assert decode_text(raw.metadata.main[MODEL]) == "ILCE-7SM2"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_packets_of_any_encoding_are_read(encoding: str) -> None:
    """TIFFs pad their packets with zeros; UTF-16 may end in one."""
    packet = sidecar(4, "Zoë").encode(encoding)
    found = read_xmp(packet if encoding == "utf-16" else packet + bytes(3))
    assert found[f"{DC}creator"].texts == ("Zoë",)


def test_prefixes_and_structures_survive() -> None:
    """Namespaces that nobody knows keep their prefix; one that claims dc's gets another."""
    text = (
        f"{HEAD}<rdf:Description xmlns:a='urn:a/' xmlns:dc='urn:not-dc/' dc:x='1'>"
        "<a:list><rdf:Seq><rdf:li rdf:parseType='Resource'><a:part>&lt;1&gt;</a:part></rdf:li>"
        f"</rdf:Seq></a:list></rdf:Description>{TAIL}"
    )
    found = read_xmp(text.encode())
    assert found["{urn:a/}list"].xml.startswith('<a:list xmlns:a="urn:a/" xmlns:rdf=')
    assert "<a:part>&lt;1&gt;</a:part>" in found["{urn:a/}list"].xml
    assert found["{urn:not-dc/}x"].xml == '<dc0:x xmlns:dc0="urn:not-dc/">1</dc0:x>'


def test_iptc_is_kept_up_to_its_damage() -> None:
    good = b"\x1c\x02\x19\x00\x03owl"
    assert clean_iptc(good + b"\x1c\x02\x19\x00\x09night") == good
    assert clean_iptc(good + b"\x1c\x02\x19\x80\x04" + bytes(9)) == good
    assert clean_iptc(b"\x1c\x02\x50\x00\x01x" + good, {80}) == good
    assert clean_iptc(b"\x1c\x02\x37\x00\x01x\x1c\x02\x3c\x00\x01x" + good, {55}) == good
    assert clean_iptc(b"\x1c\x02\xca\x00\x01x" + b"\x1c\x08\x0a\x00\x01x" + good) == good
    assert len(clean_iptc((b"\x1c\x02\x19\x7f\xff" + bytes(32767)) * 3)) <= MAX_IPTC


def test_what_iptc_says_xmp_says_too() -> None:
    """WebP and AVIF have no place for IPTC. Latin-1, where nothing names the characters."""
    latin = b"\x1c\x02\x19\x00\x03owl\x1c\x02\x19\x00\x05n\xe4cht\x1c\x02\x50\x00\x04A\0&B"
    latin += b"\x1c\x02\x37\x00\x0820261120\x1c\x02\x3c\x00\x0b221109+0100"
    photo = tiff({33723: latin, 700: f"{HEAD}{TAIL}".encode()})
    found, warnings = said(photo)
    assert warnings == ()
    assert "<rdf:li>owl</rdf:li><rdf:li>nächt</rdf:li>" in found.xmp[f"{DC}subject"]
    assert "<rdf:li>A&amp;B</rdf:li>" in found.xmp[f"{DC}creator"]
    assert decode_text(found.main[ARTIST]) == "A&B"
    name = "{http://ns.adobe.com/photoshop/1.0/}DateCreated"
    assert ">2026-11-20T22:11:09+01:00<" in found.xmp[name]
    both = tiff({33723: latin, 700: sidecar(3, "me").encode()})
    assert "A&" not in said(both)[0].xmp[f"{DC}creator"]  # XMP's own goes first
    caption = b"\x1c\x02\x78\x00\x02\xc3\xa4"
    assert iptc_to_xmp(b"\x1c\x01\x5a\x00\x03\x1b%G" + caption)[f"{DC}description"].texts == ("ä",)
    assert iptc_to_xmp(b"\x1c\x02\x37\x00\x04none") == {}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("stated", "<>")
def test_a_comment_in_utf_16_is_turned_to_our_byte_order(order: str, stated: str) -> None:
    """Also where the camera kept to another order than its file's."""
    comment = b"UNICODE\0" + "cömment".encode("utf-16-le" if order == "<" else "utf-16-be")
    head = struct.pack(stated + "2sHIH", b"II" if stated == "<" else b"MM", 42, 8, 1)
    entry = struct.pack(stated + "HHII", 37510, 7, len(comment), 26)
    found, _ = said(head + entry + bytes(4) + comment)
    assert found.exif[37510].data == b"UNICODE\0" + "cömment".encode("utf-16-le")


def test_endless_values_are_bounded() -> None:
    long = dict.fromkeys((42032, 42033, 42035, 42036, 42037), "x" * 16000)
    found, _ = said(add_directory(tag_dng(), exif=long))
    assert sum(len(value.data) for value in found.exif.values()) <= MAX_DIRECTORY
    assert TIME in found.exif


@pytest.mark.parametrize("make", [tag_dng, cr3, raf])
@settings(max_examples=60, deadline=None)
@given(places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=20))
def test_no_damage_ends_in_a_traceback(
    make: Callable[[], bytes], places: list[tuple[float, int]]
) -> None:
    data = bytearray(make())
    for share, value in places:
        data[-1 - int(share * 2500) % len(data)] = value
    said(bytes(data))


# The real files


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the real photos")
def test_a_crw_says_what_it_has() -> None:
    """Against ExifTool 12.57's reading of the same file."""
    found, _ = said((DATA / "raw/canon_powershot_g2.crw").read_bytes())
    assert decode_text(found.main[MODEL]) == "Canon PowerShot G2"
    assert decode_text(found.exif[36867]) == "2022:01:20 08:13:42"
    assert found.exif[37386].data == struct.pack("<II", 7 * 32, 32)  # mm
    assert found.exif[37383].data == struct.pack("<H", 5)  # evaluative
    assert found.exif[34850].data == struct.pack("<H", 2)  # program
    assert 42033 not in found.exif  # what stands in the serial number's place is none
    trailer = b"CANON OPTIONAL DATA\0" + bytes(8) + XMP + b"CANON OPTIONAL DATA\0"
    added, _ = said((DATA / "raw/canon_powershot_g2.crw").read_bytes() + trailer)
    assert f"{DC}title" in added.xmp
    owner, _ = said((DATA / "raw/canon_powershot_g1_gmyc.crw").read_bytes())
    assert decode_text(owner.exif[42032]) == "Elia Vecellio-eliavecellio.com"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the real photos")
def test_make_and_model_stay_as_they_are() -> None:
    found, _ = said((DATA / "raw/nikon_d1.nef").read_bytes())
    assert found.main[271].data == b"NIKON CORPORATION\0"
    assert found.main[MODEL].data == b"NIKON D1 \0"
