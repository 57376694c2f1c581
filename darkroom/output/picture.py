"""Finished pictures out: PNG, TIFF and JPEG in sRGB, DNG; whole or not at all."""

import errno
import io
import struct
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from darkroom.errors import OutputError, UsageError
from darkroom.output.atomic import atomic_write
from darkroom.output.exif import EXIF_MARK
from darkroom.output.metadata import PictureMetadata, describe_file
from darkroom.output.png import write_png
from darkroom.output.tiff import MAX_BYTES, write_tiff
from darkroom.raw.embedded import IPTC_RESOURCE, PHOTOSHOP_MARK

if TYPE_CHECKING:
    from darkroom.output.linear_dng import CameraPicture

FULL_CHROMA_QUALITY = 90
"""JPEG quality from which colour is stored at full resolution."""
MAX_JPEG_SIDE = 65500
"""Source: libjpeg, jmorecfg.h, JPEG_MAX_DIMENSION."""
PROFILE_DATE = slice(24, 36)
PROFILE_ID = slice(84, 100)
"""Source: ICC.1:2022, table 17, "Date and time" and "Profile ID" of the header."""
DATE = bytes.fromhex("07d0 0001 0001 0000 0000 0000")
"""2000-01-01 00:00:00, so that the same picture gives the same bytes."""


class PictureFormat(Enum):
    """The kinds of picture file that darkroom writes; the value is the usual ending."""

    PNG = "png"
    TIFF = "tif"
    JPEG = "jpg"
    DNG = "dng"

    @classmethod
    def from_name(cls, name: str, *, dng: bool = False) -> "PictureFormat":
        """Find the format called `name`, as `tiff` or `.JPG`; `dng`: or DNG. Raises UsageError."""
        known = NAMES | DNG_NAME if dng else NAMES
        try:
            return known[name.lower().removeprefix(".")]
        except KeyError:
            raise UsageError(f"{name}: no picture format; use {', '.join(known)}") from None

    @classmethod
    def from_path(cls, path: Path, *, dng: bool = False) -> "PictureFormat":
        """Find the format by a file's ending; `dng`: or DNG. Raises UsageError."""
        known = NAMES | DNG_NAME if dng else NAMES
        if path.suffix.lower().removeprefix(".") not in known:
            ending = f"ends in {path.suffix}" if path.suffix else "has no ending"
            raise UsageError(f"{path}: {ending}, no picture format; end it in {', '.join(known)}")
        return cls.from_name(path.suffix, dng=dng)


NAMES = {
    "png": PictureFormat.PNG,
    "tif": PictureFormat.TIFF,
    "tiff": PictureFormat.TIFF,
    "jpg": PictureFormat.JPEG,
    "jpeg": PictureFormat.JPEG,
}
DNG_NAME = {"dng": PictureFormat.DNG}
"""Apart, as not every picture can be one: it holds the camera's colours."""


@dataclass(frozen=True, slots=True)
class SaveOptions:
    """How a picture is written.

    `bits`: 8 or 16 per sample. `quality`: of JPEG, 1 to 100; other formats lose nothing. `inputs`:
    files, or descriptors of open ones, that it never replaces, whatever `overwrite` says. `strip`:
    say nothing of the photo; `gps`: keep its coordinates; `keep_time`: give the file the photo's
    time; these three are the caller's to carry out, by `save_picture`'s arguments. Raises
    UsageError for bits or a quality that the format does not have.
    """

    format: PictureFormat
    bits: int = 8
    quality: int = 92
    overwrite: bool = False
    inputs: tuple[Path | int, ...] = ()
    strip: bool = False
    gps: bool = True
    keep_time: bool = False

    def __post_init__(self) -> None:
        if self.bits not in (8, 16):
            raise UsageError(f"{self.bits} bits per sample cannot be written; use 8 or 16")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality {self.quality} is out of range; use 1 to 100")
        if self.format is PictureFormat.JPEG and self.bits == 16:
            raise UsageError("JPEG holds 8 bits, not 16; use PNG or TIFF, or 8 bits")
        if self.format is PictureFormat.DNG and self.bits == 8:
            raise UsageError("DNG holds 16 bits, not 8; use 16 bits, or PNG, TIFF or JPEG")


def save_picture(
    picture: NDArray[np.uint8] | NDArray[np.uint16],
    target: Path | BinaryIO,
    options: SaveOptions,
    *,
    metadata: PictureMetadata | None = None,
    time: float | None = None,
    camera: "CameraPicture | None" = None,
) -> None:
    """Write a finished picture with the sRGB profile embedded, or a DNG.

    `picture`: (H, W, 3) sRGB, upright, uint8 or uint16 as `options.bits` says, any memory layout.
    `target`: a path, which gets the whole file or nothing, or a binary stream such as standard
    output. `metadata`: what it says besides. `time`: when the file is to say it was written, in
    seconds since 1970; None: now. `camera`: what a DNG holds, `picture`
    then being its preview. Raises OutputError where it cannot be written; a closed pipe stays
    BrokenPipeError.
    """
    if picture.dtype != np.dtype(f"uint{options.bits}"):
        raise TypeError(f"{options.bits} bits asked for, the picture has {picture.dtype}")
    if options.format is PictureFormat.JPEG and max(picture.shape) > MAX_JPEG_SIDE:
        raise OutputError(
            f"{target}: JPEG holds at most {MAX_JPEG_SIDE} pixels a side; use PNG or TIFF"
        )
    if options.format in (PictureFormat.TIFF, PictureFormat.DNG) and picture.nbytes > MAX_BYTES:
        raise OutputError(f"{target}: {options.format.name} holds at most 4 GB; use PNG")
    if options.format is PictureFormat.DNG and camera is None:
        raise UsageError(
            f"{target}: a DNG needs the camera's colours, there is sRGB alone; write PNG or TIFF"
        )
    if isinstance(target, Path):
        size = picture.nbytes + picture.nbytes // 64 + 4096  # pure noise does not compress
        with atomic_write(
            target, options.overwrite, size=size, inputs=options.inputs, written=time
        ) as stream:
            _encode(picture, stream, options, metadata, camera)
        return
    try:
        _encode(picture, target, options, metadata, camera)
        target.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        reason = " is closed" if error.errno == errno.EBADF else f": {error.strerror}"
        raise OutputError(f"standard output{reason}; write to a file instead") from error


@cache
def srgb_profile() -> bytes:
    """Return the ICC profile of sRGB, the same bytes on every call and every day.

    Source: IEC 61966-2-1, as Little CMS builds it.
    """
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[PROFILE_DATE] = DATE
    profile[PROFILE_ID] = bytes(16)  # "not computed"
    return bytes(profile)


def _encode(
    picture: NDArray[np.uint8] | NDArray[np.uint16],
    stream: BinaryIO,
    options: SaveOptions,
    metadata: PictureMetadata | None,
    camera: "CameraPicture | None",
) -> None:
    """Write the picture's bytes, in order where the stream cannot go back."""
    match options.format:
        case PictureFormat.PNG:
            write_png(stream, picture, profile=srgb_profile(), metadata=metadata)
        case PictureFormat.JPEG:
            _write_jpeg(stream, picture, options.quality, metadata)
        case PictureFormat.DNG:
            from darkroom.output.linear_dng import write_linear_dng

            assert camera is not None, "save_picture has looked"
            said = describe_file(picture.shape[:2]) if metadata is None else metadata
            write_linear_dng(stream, camera, picture, said)
        case PictureFormat.TIFF:
            if stream.seekable() and stream.readable():  # not so: a device, a terminal, a pipe
                write_tiff(stream, picture, profile=srgb_profile(), metadata=metadata)
                return
            whole = io.BytesIO()  # TIFF needs going back, a pipe cannot
            write_tiff(whole, picture, profile=srgb_profile(), metadata=metadata)
            stream.write(whole.getbuffer())


def _write_jpeg(
    stream: BinaryIO,
    picture: NDArray[np.generic],
    quality: int,
    metadata: PictureMetadata | None,
) -> None:
    """Encode in memory first: Pillow hides why a write of its own failed."""
    said = (
        {}
        if metadata is None
        else {
            "exif": EXIF_MARK + metadata.pack_exif(jpeg=True),
            "xmp": metadata.xmp,
            "extra": _iptc_segment(metadata.iptc),
        }
    )
    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(
        encoded,
        "JPEG",
        quality=quality,
        subsampling="4:4:4" if quality >= FULL_CHROMA_QUALITY else "4:2:0",
        icc_profile=srgb_profile(),
        **said,
    )
    stream.write(encoded.getbuffer())


def _iptc_segment(iptc: bytes) -> bytes:
    """Return IPTC as JPEG holds it, one of Photoshop's image resources; empty for none."""
    if not iptc:
        return b""
    head = PHOTOSHOP_MARK + b"8BIM" + struct.pack(">HHI", IPTC_RESOURCE, 0, len(iptc))
    body = head + iptc + bytes(len(iptc) % 2)
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
