"""What decoding a file may cost: no more memory than photos take, whatever the file claims."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from PIL.ExifTags import Base

from darkroom.raw.tiff_tags import Directory

MEMORY_LIMIT = 6 << 30
"""Bytes of address space that decoding may take; an uncompressed photo of 150 MP takes 0.8 GB."""
MAX_SITES = 1 << 29
"""Photosites of one photo; the largest sensors have 0.15 thousand million."""
SITES_PER_BYTE = 32
"""Photosites that a byte of a file holds at most: lossless JPEG, which takes a bit at least for
each, 8; lossy methods on a black frame some more. Deflate packs 260 into a byte (zeros)."""
ALWAYS_SITES = 1 << 24
"""So many may be in any file: decoding them takes 0.3 GB at most."""


def find_largest_tile(directories: tuple[Directory, ...]) -> int:
    """Return the photosites of the largest tile that a file's mosaics claim, 0 without tiles."""
    sizes = (
        (d.number(Base.TileWidth) or 0) * (d.number(Base.TileLength) or 0)
        for d in directories
        if d.is_mosaic
    )
    return max(sizes, default=0)


def claims_too_much(sites: int, size: int) -> str | None:
    """Say that a file of `size` bytes claims more photosites than it can hold; None if not."""
    if sites <= max(ALWAYS_SITES, min(SITES_PER_BYTE * size, MAX_SITES)):
        return None
    claim = f"claims {sites / 1e6:.0f} million photosites in {size / 1e6:.3g} MB"
    return f"{claim}, more than any camera packs into that"


@contextmanager
def bounded_memory(limit: int | None = None) -> Iterator[None]:
    """Let this process take at most `limit` bytes (MEMORY_LIMIT) of address space more meanwhile.

    What asks for more gets a MemoryError. On Linux only, where the system keeps such a limit; a
    stricter one of the user's stays. Everywhere `claims_too_much` bounds what is asked for.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError, ValueError):  # no /proc, or not allowed to
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        wanted = pages * resource.getpagesize() + (MEMORY_LIMIT if limit is None else limit)
        bounds = [wanted, *(bound for bound in before if bound != resource.RLIM_INFINITY)]
        resource.setrlimit(resource.RLIMIT_AS, (min(bounds), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
