"""What a finished picture says about how it was taken."""

from fractions import Fraction

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from darkroom.raw.image import RawImage

SOFTWARE = "darkroom"
SRGB = 1
"""Source: CIPA DC-008 (Exif 2.32), ColorSpace."""
MOST = 2**32 - 1
PRECISION = 1e-4
"""Relative error of rationals: cameras round more, and short fractions read well (1/30)."""


def picture_exif(raw: RawImage) -> bytes:
    """Return the EXIF of a finished picture: camera, lens, time, exposure; pixels are upright.

    A TIFF structure without the mark that JPEG puts before it.
    """
    exif = Image.Exif()
    base, detail = ExifTags.Base, exif.get_ifd(ExifTags.IFD.Exif)
    exif[base.Orientation] = 1
    exif[base.Software] = SOFTWARE
    if raw.camera:
        exif[base.Make] = raw.camera.split()[0]
        exif[base.Model] = raw.camera
    if raw.time:
        stamp = raw.time.strftime("%Y:%m:%d %H:%M:%S")
        exif[base.DateTime] = stamp
        detail[base.DateTimeOriginal] = stamp
    if raw.exposure.seconds:
        detail[base.ExposureTime] = rational(raw.exposure.seconds)
    if raw.exposure.aperture:
        detail[base.FNumber] = rational(raw.exposure.aperture)
    if raw.exposure.iso:
        detail[base.ISOSpeedRatings] = round(raw.exposure.iso)
    if raw.lens:
        detail[base.LensModel] = raw.lens
    detail[base.ColorSpace] = SRGB
    return exif.tobytes().removeprefix(b"Exif\x00\x00")


def rational(value: float) -> IFDRational:
    """Return a positive number as EXIF wants it, two whole numbers of 32 bits; floats it has not.

    The shortest fraction within PRECISION; what is nearly none becomes the least there is.
    """
    exact = Fraction(value)
    for digits in range(10):
        near = exact.limit_denominator(10**digits)
        if abs(near - exact) <= PRECISION * exact:
            break
    near = min(max(near, Fraction(1, MOST)), Fraction(MOST))
    return IFDRational(near.numerator, near.denominator)
