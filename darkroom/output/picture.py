"""Finished pictures out, and DNGs; whole or not at all."""

import errno
import io
import struct
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from PIL.ExifTags import Base

from darkroom.color.color_space import ColorSpace
from darkroom.errors import OutputError, UsageError
from darkroom.output.atomic import atomic_write
from darkroom.output.exif import EXIF_MARK
from darkroom.output.icc import build_profile
from darkroom.output.metadata import PictureMetadata, describe_file
from darkroom.output.orientation import Pixels
from darkroom.output.png import write_png
from darkroom.output.rows import PictureRows, gather
from darkroom.output.tiff import MAX_BYTES, write_tiff
from darkroom.raw.iptc import IPTC_RESOURCE, PHOTOSHOP_MARK

if TYPE_CHECKING:
    from darkroom.output.linear_dng import CameraPicture

FULL_CHROMA_QUALITY = 90
"""Quality of JPEG and AVIF from which colour is stored at full resolution."""
WEBP_METHOD, AVIF_SPEED = 2, 8
"""Of 12 megapixels WebP takes 0.4 s of one core so (0.9 s by its default, 3 % larger), AVIF 1.6 s
(6 s, 1 % smaller)."""


class PictureFormat(Enum):
    """The kinds of picture file that darkroom writes; the value is the usual ending."""

    PNG = "png"
    TIFF = "tif"
    JPEG = "jpg"
    WEBP = "webp"
    AVIF = "avif"
    JXL = "jxl"
    EXR = "exr"
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
    "webp": PictureFormat.WEBP,
    "avif": PictureFormat.AVIF,
    "jxl": PictureFormat.JXL,
    "exr": PictureFormat.EXR,
}
DNG_NAME = {"dng": PictureFormat.DNG}
"""Apart, as not every picture can be one: it holds the camera's colours."""
LOSSY = {PictureFormat.JPEG: 65500, PictureFormat.WEBP: 16383, PictureFormat.AVIF: 65536}
"""Formats that lose, and have 8 bits; the pixels of a side that they hold at most.

Sources: libjpeg, JPEG_MAX_DIMENSION; libwebp, WEBP_MAX_DIMENSION; libavif through Pillow.
"""
WITH_QUALITY = {*LOSSY, PictureFormat.JXL}
"""Formats of which a quality is asked; JPEG XL's 100 loses nothing, and it has 16 bits too."""
FLOATS = {PictureFormat.TIFF: (32,), PictureFormat.EXR: (16, 32)}
"""Bits of formats that hold linear light as floats."""


@dataclass(frozen=True, slots=True)
class SaveOptions:
    """How a picture is written.

    `bits`: 8 or 16 per sample, or 32 for linear light as floats; OpenEXR has floats of 16 too.
    `quality`: of lossy formats, 1 to 100; other formats lose nothing. `inputs`: files, or
    descriptors of open ones, that it never replaces, whatever `overwrite` says. `strip`: say
    nothing of the photo; `gps`: keep its coordinates; `keep_time`: give the file the photo's time;
    these three are the caller's to carry out, by `save_picture`'s arguments. Raises UsageError for
    bits or a quality that the format does not have, and where what writes it is not installed.
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
        if self.bits not in (8, 16, 32):
            raise UsageError(
                f"{self.bits} bits per sample cannot be written; use 8 or 16, or 32 for TIFF"
            )
        if self.bits == 32 and self.format not in FLOATS:
            raise UsageError(
                "only TIFF and OpenEXR hold 32 bits; end the name in .tif or .exr, or use 8 or 16"
            )
        if self.bits == 8 and self.format is PictureFormat.EXR:
            raise UsageError("OpenEXR holds floats of 16 or 32 bits, not 8; use 16, or PNG or TIFF")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality {self.quality} is out of range; use 1 to 100")
        if self.format is PictureFormat.DNG and self.bits == 8:
            raise UsageError("DNG holds 16 bits, not 8; use 16 bits, or PNG, TIFF or JPEG")
        if self.format in LOSSY and self.bits == 16:
            raise UsageError(f"{self.format.name} holds 8 bits, not 16; use PNG or TIFF, or 8 bits")
        name = self.format.name.lower()
        if self.format in (PictureFormat.WEBP, PictureFormat.AVIF) and not features.check(name):
            raise UsageError(f"this Pillow writes no {self.format.name}; upgrade it, or use JPEG")
        if self.format is PictureFormat.JXL:
            from darkroom.output.jpeg_xl import load_encoder

            load_encoder()
        if self.format is PictureFormat.EXR:
            from darkroom.output.open_exr import load_package

            load_package()

    @property
    def picture_bits(self) -> int:
        """Bits of the picture that is to be saved: OpenEXR's shorter floats are made of 32."""
        return 32 if self.format is PictureFormat.EXR else self.bits

    def check_space(self, space: ColorSpace) -> None:
        """Raise UsageError for a colour space that the format does not have."""
        if self.format is PictureFormat.JXL and space is not ColorSpace.SRGB:
            raise UsageError(
                f"--color-space {space.value}: JPEG XL is written in sRGB alone; use AVIF or PNG"
            )


def save_picture(
    picture: Pixels | PictureRows,
    target: Path | BinaryIO,
    options: SaveOptions,
    *,
    metadata: PictureMetadata | None = None,
    time: float | None = None,
    space: ColorSpace = ColorSpace.SRGB,
    camera: "CameraPicture | None" = None,
) -> None:
    """Write a finished picture with the profile of its colour space embedded, or a DNG.

    `picture`: (H, W, 3) in `space`, upright, uint8, uint16 or, of its light, float32, as
    `options.picture_bits` says, any memory layout; or its rows, which PNG and TIFF take as they
    are made, while other formats need the whole. `target`: a path, which gets the whole file or
    nothing, or a binary stream such as standard output. `metadata`: what it says besides. `time`:
    when the file is to say it was written, in seconds since 1970; None: now. `camera`: what a DNG
    holds, `picture` then being its preview. Raises OutputError where it cannot be written,
    UsageError for a space that the format does not have; a closed pipe stays BrokenPipeError.
    """
    bits = options.picture_bits
    if picture.dtype != np.dtype("float32" if bits == 32 else f"uint{bits}"):
        raise TypeError(f"{bits} bits asked for, the picture has {picture.dtype}")
    options.check_space(space)
    side = LOSSY.get(options.format)
    if side is not None and max(picture.shape) > side:
        raise OutputError(
            f"{target}: {options.format.name} holds at most {side} pixels a side; use PNG or TIFF"
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
            _encode(picture, stream, options, metadata, space, camera)
        return
    try:
        _encode(picture, target, options, metadata, space, camera)
        target.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        reason = " is closed" if error.errno == errno.EBADF else f": {error.strerror}"
        raise OutputError(f"standard output{reason}; write to a file instead") from error


def _encode(
    picture: Pixels | PictureRows,
    stream: BinaryIO,
    options: SaveOptions,
    metadata: PictureMetadata | None,
    space: ColorSpace,
    camera: "CameraPicture | None",
) -> None:
    """Write the picture's bytes, in order where the stream cannot go back."""
    profile = build_profile(space, linear=options.picture_bits == 32)
    match options.format:
        case PictureFormat.PNG:
            write_png(stream, picture, profile=profile, metadata=metadata)
        case PictureFormat.JPEG | PictureFormat.WEBP | PictureFormat.AVIF:
            _write_lossy(stream, gather(picture), options, metadata, profile)
        case PictureFormat.JXL:
            from darkroom.output.jpeg_xl import encode_jpeg_xl

            stream.write(encode_jpeg_xl(gather(picture), options.quality, metadata))
        case PictureFormat.EXR:
            from darkroom.output.open_exr import write_exr

            light = np.asarray(gather(picture), np.float32)
            write_exr(stream, light, space, half=options.bits == 16, metadata=metadata)
        case PictureFormat.DNG:
            from darkroom.output.linear_dng import write_linear_dng

            assert camera is not None, "save_picture has looked"
            pixels = gather(picture)
            said = describe_file(pixels.shape[:2]) if metadata is None else metadata
            write_linear_dng(stream, camera, pixels, said)
        case PictureFormat.TIFF:
            if stream.seekable() and stream.readable():  # not so: a device, a terminal, a pipe
                write_tiff(stream, picture, profile=profile, metadata=metadata)
                return
            whole = io.BytesIO()  # TIFF needs going back, a pipe cannot
            write_tiff(whole, picture, profile=profile, metadata=metadata)
            stream.write(whole.getbuffer())


def _write_lossy(
    stream: BinaryIO,
    picture: NDArray[np.generic],
    options: SaveOptions,
    metadata: PictureMetadata | None,
    profile: bytes,
) -> None:
    """Encode in memory first: Pillow hides why a write of its own failed."""
    said: dict[str, Any] = {}
    if metadata is not None:
        packed = (
            _without_orientation(metadata) if options.format is PictureFormat.AVIF else metadata
        )
        exif = packed.pack_exif(jpeg=options.format is PictureFormat.JPEG)
        said = {"exif": EXIF_MARK + exif, "xmp": metadata.xmp}
    chroma = "4:4:4" if options.quality >= FULL_CHROMA_QUALITY else "4:2:0"
    match options.format:
        case PictureFormat.JPEG:
            said |= {"subsampling": chroma, "progressive": True}
            if metadata is not None:
                said["extra"] = _iptc_segment(metadata.iptc)
        case PictureFormat.WEBP:  # knows no other chroma than 4:2:0
            said["method"] = WEBP_METHOD
        case _:
            said |= {"subsampling": chroma, "speed": AVIF_SPEED}
    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(
        encoded,
        options.format.name,
        quality=options.quality,
        icc_profile=profile,
        **said,
    )
    stream.write(encoded.getbuffer())


def _without_orientation(metadata: PictureMetadata) -> PictureMetadata:
    """Leave out the orientation, which AVIF holds elsewhere: for it Pillow would rewrite EXIF."""
    main = {code: value for code, value in metadata.main.items() if code != Base.Orientation}
    return replace(metadata, main=main)


def _iptc_segment(iptc: bytes) -> bytes:
    """Return IPTC as JPEG holds it, one of Photoshop's image resources; empty for none."""
    if not iptc:
        return b""
    head = PHOTOSHOP_MARK + b"8BIM" + struct.pack(">HHI", IPTC_RESOURCE, 0, len(iptc))
    body = head + iptc + bytes(len(iptc) % 2)
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
