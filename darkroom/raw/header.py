"""What a RAW file says before it is decoded: its size and its exposure, in a millisecond."""

import mmap
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import rawpy

from darkroom.errors import RawError
from darkroom.raw.image import Exposure
from darkroom.raw.quiet_stderr import silence_stderr
from darkroom.raw.reader import LIBRAW_ERRORS, read_raw
from darkroom.raw.tiff_tags import read_directories, read_exposure


class Header(NamedTuple):
    """The visible area in the file's full frame, and how the photo was taken.

    `height`, `width`: of the visible area, in photosites. `margins`: rows above and columns left of
    it. `exposure`: None of it where the file does not say.
    """

    height: int
    width: int
    margins: tuple[int, int]
    exposure: Exposure


def read_header(path: Path) -> Header:
    """Read a RAW photo's size and exposure without decoding it.

    The photo as read may be smaller, where lines without a picture are cut off. Raises RawError as
    `read_raw` does.
    """
    try:
        with silence_stderr(), closing(rawpy.RawPy()) as file:
            file.open_file(str(path))
            sizes = file.sizes
            exposure = _read_exposure(path) or _libraw_exposure(file)
    except LIBRAW_ERRORS as error:
        read_raw(path)  # says what the file is, or what is wrong with it
        raise RawError(f"{path}: cannot be opened ({error}); copy it again") from error
    return Header(sizes.height, sizes.width, (sizes.top_margin, sizes.left_margin), exposure)


def _read_exposure(path: Path) -> Exposure | None:
    """Read the exposure as the EXIF tags say, touching only the pages of the file with them."""
    with path.open("rb") as stream:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    return read_exposure(read_directories(data))  # type: ignore[arg-type]


def _libraw_exposure(file: rawpy.RawPy) -> Exposure:
    """Read the exposure as LibRaw found it in the maker's notes."""
    try:
        other = file.other
    except (ValueError, OverflowError, OSError):  # an impossible date spoils all of it
        return Exposure()
    return Exposure(
        *(
            float(value) if value > 0 else None
            for value in (other.shutter_speed, other.iso_speed, other.aperture)
        )
    )
