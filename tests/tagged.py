"""A DNG that is tagged with everything, by Pillow and tifffile, for tests of metadata."""

import io
import struct
from typing import Any

import tifffile
from conftest import synthetic_raw
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

from darkroom.output.dng import write_dng

EXIF_TAG, GPS_TAG, XMP_TAG, IPTC_TAG = 34665, 34853, 700, 33723

MAIN: dict[int, Any] = {
    270: "Nächtlicher Wald",  # ImageDescription
    271: "SONY",
    272: "ILCE-7SM2",
    306: "2026:11:20 22:11:10",
    315: "Ada Lovelace",
    33432: "(c) 2026 Ada",
}
EXPOSED: dict[int, Any] = {
    33434: IFDRational(1, 8),  # ExposureTime
    33437: IFDRational(9, 5),
    34850: 3,  # ExposureProgram
    34855: 12800,
    34864: 2,
    34866: 12800,
    36864: b"0230",
    36867: "2026:11:20 22:11:09",
    36868: "2026:11:20 22:11:08",
    36880: "+01:00",
    36881: "+01:00",
    36882: "+01:00",
    37377: IFDRational(3, 1),  # ShutterSpeedValue
    37378: IFDRational(17, 10),
    37380: IFDRational(-7, 10),  # ExposureBiasValue
    37383: 5,
    37384: 4,
    37385: 16,
    37386: IFDRational(55, 1),
    37500: b"the maker's own notes",
    37510: b"ASCII\0\0\0a comment",
    37520: "12",
    37521: "345",
    37522: "67",
    40962: 9999,  # of the file itself
    40963: 8888,
    41486: IFDRational(3000, 1),
    41487: IFDRational(4000, 1),
    41986: 1,
    41987: 1,
    41989: 82,
    42016: "0123456789abcdef0123456789abcdef",
    42032: "Ada",
    42033: "B456",
    42034: (IFDRational(55, 1), IFDRational(55, 1), IFDRational(9, 5), IFDRational(9, 5)),
    42035: "Zeiss",
    42036: "FE 55mm F1.8 ZA",
    42037: "L123",
}
OF_THE_FILE = {36864, 37500, 40962, 40963}
"""What the picture says otherwise, or not at all."""
PLACE: dict[int, Any] = {
    0: b"\2\3\0\0",
    1: "N",
    2: (IFDRational(46), IFDRational(56), IFDRational(528, 10)),
    3: "E",
    4: (IFDRational(7), IFDRational(26), IFDRational(506, 10)),
    5: b"\0",
    6: IFDRational(540),
    7: (IFDRational(21), IFDRational(11), IFDRational(9)),
    29: "2026:11:20",
}
XMP = """<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>
<rdf:Description rdf:about='' xmlns:xmp='http://ns.adobe.com/xap/1.0/' xmp:Rating='4'
  xmlns:dc='http://purl.org/dc/elements/1.1/' xmlns:crs='http://ns.adobe.com/camera-raw-settings/1.0/'
  crs:Exposure2012='+1.00' xmlns:mine='http://example.org/survey/' mine:Station='7 &amp; 8'
  xmlns:exif='http://ns.adobe.com/exif/1.0/' exif:GPSDestBearing='3/1' exif:PixelXDimension='9999'>
  <dc:title><rdf:Alt><rdf:li xml:lang='x-default'>Wald</rdf:li></rdf:Alt></dc:title>
  <dc:subject><rdf:Bag><rdf:li>owl</rdf:li><rdf:li>night</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>""".encode()
IPTC = b"".join(
    struct.pack(">BBBH", 0x1C, 2, dataset, len(text)) + text
    for dataset, text in ((25, b"owl"), (25, b"night"), (90, b"Bern"), (202, b"a preview"))
)


def pack(tags: dict[int, Any], at: int) -> bytes:
    """A directory that stands at `at`, as Pillow writes it."""
    directory = ImageFileDirectory_v2()
    for code, value in tags.items():
        if code == 42034:
            directory.tagtype[code] = 5
        directory[code] = value
    return directory.tobytes(at)


def tag_dng(**fields: Any) -> bytes:
    """A small dark DNG with all of the above; `fields` as of `synthetic_raw`."""
    stream = io.BytesIO()
    write_dng(stream, synthetic_raw(**({"exposure": 0.05, "time": None} | fields)))
    return add_directory(stream.getvalue())


def add_directory(dng: bytes, **replaced: Any) -> bytes:
    """Give a DNG's first directory the tags above; `replaced`: xmp, iptc, main, exif."""
    with tifffile.TiffFile(io.BytesIO(dng)) as file:
        old = {tag.code: dng[tag.offset : tag.offset + 12] for tag in file.pages.first.tags}
    data = dng + bytes(len(dng) % 2)
    entries = dict(old)

    def put(code: int, kind: int, count: int, value: bytes) -> None:
        nonlocal data
        place = value.ljust(4, b"\0")
        if len(value) > 4:
            place = struct.pack("<I", len(data))
            data += value + bytes(len(value) % 2)
        entries[code] = struct.pack("<HHI", code, kind, count) + place

    for code, text in (MAIN | replaced.get("main", {})).items():
        put(code, 2, len(text.encode()) + 1, text.encode() + b"\0")
    xmp, iptc = replaced.get("xmp", XMP), replaced.get("iptc", IPTC)
    put(XMP_TAG, 1, len(xmp), xmp)
    put(IPTC_TAG, 7, len(iptc), iptc)
    for code, tags in ((EXIF_TAG, EXPOSED | replaced.get("exif", {})), (GPS_TAG, PLACE)):
        place = len(data)
        data += pack(tags, place)
        put(code, 4, 1, struct.pack("<I", place))
    start = len(data) + len(data) % 2
    data = data.ljust(start, b"\0") + struct.pack("<H", len(entries))
    data += b"".join(entries[code] for code in sorted(entries)) + bytes(4)
    return data[:4] + struct.pack("<I", start) + data[8:]
