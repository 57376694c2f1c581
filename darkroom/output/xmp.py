"""XMP out: what is kept of the photo's, and how the picture was made.

darkroom's own properties, in the namespace urn:x-darkroom:1.0/, are simple texts: Model (as asked
for), ModelSHA256 (as model_sha256 in a journal), Gain (how many times), GainRule (user: given),
GainReason, Black (sensor units, per site in reading order), BlackReason, Denoise (as --denoise).
Source: ISO 16684-1 (XMP part 1), 7.
"""

from collections.abc import Mapping

from darkroom.output.exif import SOFTWARE
from darkroom.raw.xmp import DARKROOM, RDF, XMP, is_position, write_property

MAX_PACKET = 60_000
"""Bytes: a JPEG's segment holds 65,503 of XMP. Source: Adobe, XMP specification part 3, 1.1.3."""
BEGIN = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="{SOFTWARE}">\n'
    f'<rdf:RDF xmlns:rdf="{RDF}">\n<rdf:Description rdf:about="">\n'
)
END = '</rdf:Description>\n</rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'


def pack_xmp(photo: Mapping[str, str], processing: Mapping[str, str], *, gps: bool = True) -> bytes:
    """Return an XMP packet of the photo's properties and of darkroom's own about its work.

    `photo`: as PhotoMetadata.xmp, of which the longest are left out where all would not fit a JPEG.
    `processing`: texts by their names. `gps`: whether coordinates are kept.
    """
    own = [write_property(f"{{{XMP}}}CreatorTool", SOFTWARE)]
    own += [write_property(f"{{{DARKROOM}}}{name}", text) for name, text in processing.items()]
    room = MAX_PACKET - len((BEGIN + "\n".join(own) + END).encode())
    kept = []
    for xml in sorted(photo.values(), key=len):
        room -= len(xml.encode()) + 1
        if room > 0 and (gps or not is_position(xml)):
            kept.append(xml)
    return (BEGIN + "".join(f"{xml}\n" for xml in [*sorted(kept), *own]) + END).encode()
