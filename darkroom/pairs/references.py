"""Long exposures as the papers compare with them: LibRaw's rendering, or a picture of it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base

from darkroom.errors import RawError, UsageError
from darkroom.output.orientation import upright
from darkroom.raw.endings import RAW_ENDINGS
from darkroom.raw.reader import develop

BT709 = (2.222, 4.5)
"""The power and the slope of BT.709's curve, to the digit as rawpy has them unless told otherwise:
SID's code does not. 1 / 0.45 gives other codes at every second pixel, by up to 2 of 65535.
Source: rawpy's documentation, Params, "gamma".
"""
BYTES_TO_CODES = np.uint16(257)
"""8 bits to 16: white to white."""
INVERSE = {6: 8, 8: 6}
"""The orientation that undoes one; the others undo themselves."""
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for damaged pictures."""
NO_PICTURE = "no RGB picture of 8 or 16 bits can be read there; give PNG, TIFF or RAW"


def read_reference(path: Path) -> NDArray[np.uint16]:
    """Read a reference: (H, W, 3), 0 to 65535.

    A RAW as the papers develop it, through LibRaw with the camera's white balance, no automatic
    brightness, full size and 16 bits, in the sensor's own orientation. A PNG or TIFF of 8 or 16
    bits as it is to be seen; `turn_back` turns it. Raises RawError and UsageError.
    """
    if is_raw(path):
        try:
            return develop(path.read_bytes(), curve=BT709, name=str(path))
        except OSError as error:
            raise RawError(f"{path}: cannot be read ({error.strerror}); check the disk") from error
    return _read_picture(path)


def is_raw(path: Path) -> bool:
    """Whether a file is a camera's, by its name."""
    return path.name.lower().endswith(RAW_ENDINGS)


def turn_back(picture: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Turn an upright (H, W, 3) picture as the sensor saw it: a view.

    `orientation`: EXIF 1-8 of the sensor's photo.
    """
    return upright(picture, INVERSE.get(orientation, orientation)).astype(np.uint16, copy=False)


def _read_picture(path: Path) -> NDArray[np.uint16]:
    """Read an 8- or 16-bit RGB picture, upright."""
    try:
        import cv2
    except ImportError as error:
        message = "reading references needs OpenCV: pip install 'darkroom[evaluate]'"
        raise UsageError(message) from error
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        with Image.open(path) as picture:
            orientation = picture.getexif().get(Base.Orientation, 1)
    except UNREADABLE as error:
        raise UsageError(f"{path}: {NO_PICTURE}") from error
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.shape[2:] != (3,) or pixels.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"{path}: {NO_PICTURE}")
    rgb = pixels[:, :, ::-1].astype(np.uint16)
    codes = rgb if pixels.dtype == np.uint16 else rgb * BYTES_TO_CODES
    return upright(codes, orientation).astype(np.uint16, copy=False)
