"""What a RAW file says before it is decoded: its size and its exposure, in a millisecond."""

import io
import mmap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import rawpy

from darkroom.errors import RawError
from darkroom.raw.image import Exposure
from darkroom.raw.quiet_stderr import silence_stderr
from darkroom.raw.reader import LIBRAW_ERRORS, find_exposure, read_raw
from darkroom.raw.tiff_tags import read_directories, read_exposure


class Frame(NamedTuple):
    """The visible area in the file's full frame.

    `height`, `width`: in photosites. `margins`: rows above and columns left of it.
    """

    height: int
    width: int
    margins: tuple[int, int]


def read_frame(path: Path) -> Frame:
    """Read a RAW photo's size without decoding it.

    The photo as read may be smaller, where lines without a picture are cut off. Raises RawError as
    `read_raw` does.
    """
    with _opened(path) as file:
        sizes = file.sizes
    return Frame(sizes.height, sizes.width, (sizes.top_margin, sizes.left_margin))


def find_shot(path: Path) -> Exposure:
    """Tell how a RAW photo was taken; only where its tags do not say all is it decoded.

    Raises RawError as `read_raw` does.
    """
    with _opened(path) as file:
        with path.open("rb") as stream:  # of which only the pages with tags are read
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        tagged = read_exposure(read_directories(data))  # type: ignore[arg-type]
        if tagged is not None and tagged.iso is not None:
            return tagged
        return find_exposure(file, tagged)


@contextmanager
def _opened(path: Path) -> Iterator[rawpy.RawPy]:
    """Open a RAW by its name; what LibRaw raises meanwhile becomes RawError."""
    try:
        with silence_stderr(), closing(rawpy.RawPy()) as file:
            try:
                file.open_file(str(path))
            except UnicodeEncodeError:  # a name that is no UTF-8, which rawpy does not take
                file.open_buffer(io.BytesIO(path.read_bytes()))
            yield file
    except LIBRAW_ERRORS as error:
        read_raw(path)  # says what the file is, or what is wrong with it
        raise RawError(f"{path}: cannot be opened ({error}); copy it again") from error
