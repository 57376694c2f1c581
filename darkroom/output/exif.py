"""What a finished picture says about how it was taken."""

from collections.abc import Mapping
from fractions import Fraction

from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.TiffImagePlugin import IFDRational

from darkroom.raw.image import RawImage

EXIF_MARK = b"Exif\0\0"
"""What JPEG puts before EXIF, and other formats do not."""
SOFTWARE = "darkroom"
SRGB = 1
"""Source: CIPA DC-008 (Exif 2.32), ColorSpace."""
MAX_PART = 2**32 - 1
PRECISION = 1e-4
"""Relative error of rationals: cameras round more, and short fractions read well (1/30)."""

Details = Mapping[int, str | bytes | int | IFDRational]
"""What tags say, by their codes."""


def picture_exif(raw: RawImage) -> bytes:
    """Return the EXIF of a finished picture: camera, lens, time, exposure; pixels are upright.

    A TIFF structure without the mark that JPEG puts before it.
    """
    exif, details = Image.Exif(), shot_details(raw)
    exif.update({Base.Orientation: 1, Base.Software: SOFTWARE})
    if raw.camera:
        exif.update({Base.Make: raw.camera.split()[0], Base.Model: raw.camera})
    if raw.time:
        exif[Base.DateTime] = details[Base.DateTimeOriginal]
    exif.get_ifd(IFD.Exif).update({**details, Base.ColorSpace: SRGB})
    return exif.tobytes().removeprefix(EXIF_MARK)


def shot_details(raw: RawImage) -> Details:
    """Exposure, time and lens, as far as they are known, for EXIF's own directory."""
    exposure, time = raw.exposure, raw.time
    known = {
        Base.ExposureTime: exposure.seconds and rational(exposure.seconds),
        Base.FNumber: exposure.aperture and rational(exposure.aperture),
        Base.ISOSpeedRatings: exposure.iso and round(exposure.iso),
        Base.DateTimeOriginal: time and time.strftime("%Y:%m:%d %H:%M:%S"),
        Base.LensModel: raw.lens,
    }
    return {code: value for code, value in known.items() if value}


def rational(value: float) -> IFDRational:
    """Return a positive number as EXIF wants it, two whole numbers of 32 bits; floats it has not.

    The shortest fraction within PRECISION; what is nearly none becomes the least there is.
    """
    exact = Fraction(value)
    for digits in range(1, 10):
        near = exact.limit_denominator(10**digits)
        if abs(near - exact) <= PRECISION * exact:
            break
    near = min(max(near, Fraction(1, MAX_PART)), Fraction(MAX_PART))
    return IFDRational(near.numerator, near.denominator)
