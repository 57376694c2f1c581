"""XMP in: a photo's own and its sidecars', without what is not about the photo.

Read with expat and no document type, so that no entity can be declared: neither bombs nor foreign
files. Sizes, depth and the number of elements are bounded.
Source: ISO 16684-1 (XMP part 1), 7 (its RDF).
"""

import codecs
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, TreeBuilder
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

MAX_XMP = 8 << 20
"""Bytes of a packet or sidecar; darktable's, with their drawn masks, have up to 2 MB."""
MAX_ELEMENTS, MAX_DEPTH = 100_000, 32
"""Elements and attributes in all; and elements within each other (Lightroom's: 11)."""
MAX_PROPERTY = 16384
"""Bytes of one property's XML; longer ones are data of programs, not of photos."""

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XML = "http://www.w3.org/XML/1998/namespace"
DC = "http://purl.org/dc/elements/1.1/"
XMP = "http://ns.adobe.com/xap/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
TIFF = "http://ns.adobe.com/tiff/1.0/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
IPTC_CORE = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
DARKROOM = "urn:x-darkroom:1.0/"
"""Of what darkroom says about its own work (`darkroom.output.xmp`)."""
PREFIXES = {
    RDF: "rdf",
    DC: "dc",
    XMP: "xmp",
    EXIF: "exif",
    TIFF: "tiff",
    PHOTOSHOP: "photoshop",
    IPTC_CORE: "Iptc4xmpCore",
    DARKROOM: "darkroom",
}

OTHER_PROGRAMS = (
    "http://ns.adobe.com/camera-raw-",  # settings and defaults
    "http://ns.adobe.com/hdr-gain-map/",
    "http://ns.adobe.com/xap/1.0/mm/",  # identity and history of the file
    "http://ns.adobe.com/xmp/note/",
    "http://ns.google.com/photos/",
    "http://darktable.sf.net/",
    "http://www.metadataworkinggroup.com/schemas/regions/",
    "http://ns.microsoft.com/photo/1.2/",  # regions
    "adobe:ns:meta/",
    RDF,
)
"""Namespaces of how a file was or is to be developed, of the file itself, and of places in it."""
OF_THE_FILE = {
    f"{{{XMP}}}Thumbnails",
    f"{{{XMP}}}CreatorTool",
    f"{{{DC}}}format",
    *(f"{{{PHOTOSHOP}}}{name}" for name in ("EmbeddedXMPDigest", "LegacyIPTCDigest")),
    *(f"{{{PHOTOSHOP}}}{name}" for name in ("DocumentAncestors", "History")),
    *(f"{{{PHOTOSHOP}}}{name}" for name in ("ColorMode", "ICCProfile")),
    *(f"{{{EXIF}}}{name}" for name in ("PixelXDimension", "PixelYDimension", "ColorSpace")),
    *(f"{{{EXIF}}}{name}" for name in ("ComponentsConfiguration", "CompressedBitsPerPixel")),
    *(f"{{{EXIF}}}{name}" for name in ("ExifVersion", "FlashpixVersion", "MakerNote", "OECF")),
    *(f"{{{EXIF}}}{name}" for name in ("SubjectArea", "SubjectLocation", "CFAPattern")),
    *(f"{{{EXIF}}}{name}" for name in ("SpatialFrequencyResponse", "NativeDigest")),
}
TIFF_KEPT = ("Make", "Model", "Artist", "Copyright", "ImageDescription", "DateTime")
POSITION = re.compile(r"[<\s][\w.-]+:GPS\w+[\s=/>]|www\.w3\.org/2003/01/geo/")
"""Properties, or parts of them, that say where the photo was taken."""
SIDECAR_FOR = f"{{{PHOTOSHOP}}}SidecarForExtension"


class Property(NamedTuple):
    """One property: its XML, with the declarations it needs, and its texts, as far as simple."""

    xml: str
    texts: tuple[str, ...]


class DamagedXmpError(ValueError):
    """What is to be XMP cannot be read; the message says why."""


def read_xmp(packet: bytes) -> dict[str, Property]:
    """Read what a packet says of the photo, by the properties' names, "{namespace}name".

    What is about the file, its development or places in it is left out, but `SIDECAR_FOR`. Raises
    DamagedXmpError.
    """
    declared: dict[str, str] = {}
    root = _parse(packet, declared)
    found: dict[str, Property] = {}
    for description in (one for rdf in root.iter(f"{{{RDF}}}RDF") for one in rdf):
        attributes = [_text_element(name, text) for name, text in description.attrib.items()]
        for element in (*attributes, *description):
            if _is_about_photo(element.tag):
                xml = _write(element, declared)
                if len(xml) <= MAX_PROPERTY:
                    found[element.tag] = Property(xml, tuple(_texts(element)))
    return found


def find_sidecars(photo: Path) -> list[Path]:
    """List the sidecars that lie beside a photo, the one that names it wholly last.

    IMG.xmp as Adobe and many others write it, IMG.ARW.xmp as darktable and digiKam do.
    """
    names = (name + end for name in (photo.stem, photo.name) for end in (".xmp", ".XMP"))
    paths = (photo.with_name(name) for name in names)
    return [path for path in paths if os.path.isfile(path)]  # noqa: PTH113 - raises for no name


def is_position(xml: str) -> bool:
    """Whether a property says where the photo was taken, in coordinates."""
    return POSITION.search(xml) is not None


def write_property(name: str, text: str) -> str:
    """Return a property of one simple text as XML; `name`: "{namespace}name"."""
    return _write(_text_element(name, text), {})


def write_list(name: str, kind: str, texts: Iterable[str]) -> str:
    """Return a property that is a list of texts as XML.

    `name`: as of `write_property`. `kind`: Bag, Seq or, of one text in the default language, Alt.
    """
    element = Element(name)
    items = SubElement(element, f"{{{RDF}}}{kind}")
    for text in texts:
        attributes = {f"{{{XML}}}lang": "x-default"} if kind == "Alt" else {}
        SubElement(items, f"{{{RDF}}}li", attributes).text = text
        if kind == "Alt":
            break
    return _write(element, {})


def _text_element(name: str, text: str) -> Element:
    element = Element(name)
    element.text = text
    return element


def _is_about_photo(name: str) -> bool:
    """Whether a property is to be kept, or is `SIDECAR_FOR`."""
    namespace, brace, local = name.removeprefix("{").partition("}")
    return (
        bool(brace)
        and namespace != XML
        and not namespace.startswith(OTHER_PROGRAMS)
        and name not in OF_THE_FILE
        and (namespace != TIFF or local in TIFF_KEPT)
    )


def _parse(packet: bytes, declared: dict[str, str]) -> Element:
    """Read XML into elements whose names are "{namespace}name"; raises DamagedXmpError.

    `declared` takes the prefixes by their namespaces.
    """
    if len(packet) > MAX_XMP:
        raise DamagedXmpError(f"longer than {MAX_XMP >> 20} MiB")
    builder, depth, count = TreeBuilder(), 0, 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1 + len(attributes)
        if depth > MAX_DEPTH or count > MAX_ELEMENTS:
            raise DamagedXmpError("too many elements")
        builder.start(_clark(tag), {_clark(name): text for name, text in attributes.items()})

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        raise DamagedXmpError("declares a document type")

    def declare(prefix: str | None, uri: str | None) -> None:
        if prefix and uri:
            declared.setdefault(uri, prefix)

    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, refuse
    parser.StartNamespaceDeclHandler = declare
    try:
        wide = packet.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        parser.Parse(packet if wide else packet.rstrip(b"\0"), True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the latter: of encodings
        raise DamagedXmpError(str(error)) from error
    return builder.close()


def _clark(name: str) -> str:
    return "{" + name if "}" in name else name


def _texts(element: Element) -> Iterator[str]:
    """Yield a property's texts: its own, or those of its list, the default language's first."""
    items = list(element.iter(f"{{{RDF}}}li"))
    items.sort(key=lambda item: item.get(f"{{{XML}}}lang") != "x-default")
    for one in items or [element]:
        if text := (one.text or "").strip():
            yield text


def _write(element: Element, declared: Mapping[str, str]) -> str:
    """Write an element with the declarations that it needs, and without blanks between elements."""
    prefixes: dict[str, str] = {}

    def shorten(name: str) -> str:
        namespace, brace, local = name.removeprefix("{").rpartition("}")
        if namespace == XML or not brace:
            return f"xml:{local}" if brace else name
        if namespace not in prefixes:
            short = PREFIXES.get(namespace) or declared.get(namespace, "ns")
            taken = {*prefixes.values(), *PREFIXES.values()} - {PREFIXES.get(namespace)}
            prefixes[namespace] = f"{short}{len(prefixes)}" if short in taken else short
        return f"{prefixes[namespace]}:{local}"

    def write(element: Element) -> str:
        name = shorten(element.tag)
        begin = name + "".join(f" {shorten(k)}={quoteattr(v)}" for k, v in element.attrib.items())
        inner = "".join(map(write, element)) or escape(element.text or "")
        return f"<{begin}>{inner}</{name}>" if inner else f"<{begin}/>"

    body, name = write(element), shorten(element.tag)
    places = "".join(f" xmlns:{short}={quoteattr(uri)}" for uri, short in prefixes.items())
    return f"<{name}{places}{body[1 + len(name) :]}"
