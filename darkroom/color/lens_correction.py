"""What a lens does to a picture, taken back: dark corners, bent lines and colour fringes.

Done to linear camera RGB, before it is rendered: corners are brightened as light, and geometry and
fringes are taken back in one resampling. What each lens does is known to lensfun's database, by the
names of camera and lens in the photo's EXIF, focal length, aperture and distance.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.ExifTags import Base
from torch import Tensor
from torch.nn import functional

from darkroom.errors import UsageError
from darkroom.raw.exif_tags import RATIONAL, decode_text
from darkroom.raw.image import RawImage, TagValue

NEEDED = "--lens-correct needs lensfunpy: pip install 'darkroom[lens]'"
FAR = 1000.0
"""Meters, where a photo does not say how far the focus was. Source: lensfun, "lfModifier"."""
SHADING_SIDE = 512
"""Columns in which brightness is measured, which changes slowly: its error is below 0.1 %."""
BAND = 16
"""Rows that are resampled at a time."""
TAPS = 4
"""Samples each way that one is made of."""
CROPPED = 0.15
"""A stated angle of view that is off the camera's by this share means a part of the sensor."""


@dataclass(frozen=True, slots=True)
class LensCorrection:
    """What is taken back of a photo's lens.

    `words`: of which lens, and what; or why nothing. `geometry`: lensfun's modifier, None
    where nothing moves. `apart`: whether colours move apart. `shading`: (h, w) factors of light,
    its corners over the photo's, None where there are none.
    """

    words: str
    geometry: Any = None
    apart: bool = False
    shading: NDArray[np.float32] | None = None

    @property
    def is_known(self) -> bool:
        """Whether there is anything to take back."""
        return self.geometry is not None or self.shading is not None

    def correct(self, light: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield a picture's rows, corrected, from the top: their place, and (3, rows, W).

        `light`: (3, H, W) float32 linear camera RGB in the sensor's own orientation; its corners
        are brightened in place.
        """
        height = light.shape[1]
        bands = [slice(top, min(top + BAND, height)) for top in range(0, height, BAND)]
        if self.shading is not None:
            for rows in bands:
                light[:, rows] *= _enlarge(self.shading, rows, light.shape[1:])
        for rows in bands:
            yield rows, light[:, rows] if self.geometry is None else self._resample(light, rows)

    def _resample(self, light: Tensor, rows: slice) -> Tensor:
        width, count = light.shape[2], rows.stop - rows.start
        places = self.geometry.apply_subpixel_geometry_distortion(0, rows.start, width, count)
        colors = slice(None) if self.apart else slice(1)
        return _sample(light, np.moveaxis(places[:, :, colors], 2, 0))


def _enlarge(shading: NDArray[np.float32], rows: slice, size: Sequence[int]) -> Tensor:
    """Interpolate some rows of factors over a picture of this size, corner to corner."""
    at = np.arange(rows.start, rows.stop) * ((len(shading) - 1) / max(size[0] - 1, 1))
    low = np.minimum(at.astype(int), len(shading) - 2)
    share = (at - low)[:, None].astype(np.float32)
    lines = torch.from_numpy(shading[low] * (1 - share) + shading[low + 1] * share)
    return functional.interpolate(lines[:, None], size[1], mode="linear", align_corners=True)[:, 0]


def _sample(light: Tensor, places: NDArray[np.float32]) -> Tensor:
    """Interpolate (3, H, W) at places (3, h, w, 2), or the same for all (1, h, w, 2), in pixels.

    Cubic convolution, held between the least and the most of the samples that each is made of: in
    linear light, where lamps are hundreds of times their surroundings, there would be black rings.
    """
    height, width = light.shape[1:]
    inside = np.clip(places, 0, np.array([width - 1, height - 1], np.float32))
    top = max(int(inside[..., 1].min()) - 1, 0)
    bottom = min(int(inside[..., 1].max()) + 3, height)
    part = functional.pad(light[None, :, top:bottom], (1, 2, 1, 2), mode="replicate")[0]
    step = part.shape[2]
    x, y = torch.from_numpy(inside).flatten(1, 2).unbind(-1)
    left, above = x.floor(), y.floor()
    first = (above.long() - top) * step + left.long()  # of the sixteen, in the padded part
    across, down = _weigh(x - left), _weigh(y - above)
    flat = part.flatten(1)
    result = torch.zeros(3, first.shape[1])
    least, most = torch.full_like(result, math.inf), torch.full_like(result, -math.inf)
    for row in range(TAPS):
        line = torch.zeros_like(result)
        for column in range(TAPS):
            one = flat.gather(1, (first + (row * step + column)).expand(3, -1))
            line.addcmul_(across[column], one)
            torch.minimum(least, one, out=least)
            torch.maximum(most, one, out=most)
        result.addcmul_(down[row], line)
    torch.minimum(torch.maximum(result, least, out=result), most, out=result)
    return result.view(3, *places.shape[1:3])


def _weigh(share: Tensor) -> tuple[Tensor, ...]:
    """Return the weights of four samples, by how far a place is from the second to the third.

    Source: Keys, "Cubic convolution interpolation for digital image processing", 1981, eq. 15,
    whose error falls with the third power of the distance between samples.
    """
    square = share * share
    cube = square * share
    return (
        square - (share + cube) / 2,
        1 - 2.5 * square + 1.5 * cube,
        share / 2 + 2 * square - 1.5 * cube,
        (cube - square) / 2,
    )


def check_lensfun() -> None:
    """Raise UsageError where lensfun's Python binding is not installed."""
    try:
        import lensfunpy  # noqa: F401
    except ImportError:
        raise UsageError(NEEDED) from None


@cache
def _read_database() -> Any:
    """Read lensfun's database, once."""
    import lensfunpy

    return lensfunpy.Database()


def find_lens_correction(raw: RawImage) -> LensCorrection:
    """Find what a photo's lens does to it; nothing, with the reason, where that is not known.

    Raises UsageError where lensfun's Python binding is not installed.
    """
    check_lensfun()
    maker, model = (decode_text(raw.metadata.main.get(tag)) for tag in (Base.Make, Base.Model))
    exif = raw.metadata.exif
    focal = _read_number(exif.get(Base.FocalLength))
    if raw.pixel_aspect != 1:
        return LensCorrection("not corrected: the camera's pixels are not square")
    cameras = _read_database().find_cameras(maker, model) if model else []
    if not cameras:
        return LensCorrection(
            f"not corrected: lensfun does not know the camera {model or raw.camera}"
        )
    camera = cameras[0]
    name = decode_text(exif.get(Base.LensModel)) or raw.lens or ""
    lens = _find_lens(camera, decode_text(exif.get(Base.LensMake)), name, focal)
    if lens is None and not name:
        return LensCorrection("not corrected: the photo does not name its lens")
    if lens is None:
        return LensCorrection(f"not corrected: lensfun does not know the lens {name} on {model}")
    if focal is None and lens.min_focal == lens.max_focal:
        focal = lens.min_focal
    if focal is None:
        return LensCorrection(
            f"not corrected: the photo does not state its focal length on {lens.model}"
        )
    crop = _find_crop(exif.get(Base.FocalLengthIn35mmFilm), focal, camera.crop_factor)
    aperture = raw.exposure.aperture
    distance = _read_number(exif.get(Base.SubjectDistance))
    return _prepare(lens, crop, raw.mosaic.shape, focal, aperture, distance or FAR)


def _read_number(value: TagValue | None) -> float | None:
    """Return a tag's rational number; None where there is none above zero."""
    if value is None or value.kind != RATIONAL:
        return None
    above, below = np.frombuffer(value.data[:8], "<u4").tolist()
    return above / below if above and 0 < below < 2**32 - 1 > above else None


def _find_lens(camera: Any, maker: str, name: str, focal: float | None) -> Any:
    """Find a lens by its name, or where it cannot be taken off by its camera; None for none."""
    fixed = camera.mount[:1].islower()  # as lensfun marks mounts of one camera
    if not name and not fixed:
        return None
    found = _read_database().find_lenses(camera, maker or None, name or None)
    if not found and fixed:
        found = _read_database().find_lenses(camera, None, None)
    fits = [one for one in found if focal is None or _covers(one, focal)]
    # The best come first; of names that fit equally, the one that is the same.
    same = [one for one in fits if _spell(one.model).endswith(_spell(name))]
    return next(iter(same[:1] + fits[:1]), None)


def _covers(lens: Any, focal: float) -> bool:
    """Whether a lens has a focal length, which EXIF and lensfun may round."""
    return bool(lens.min_focal * 0.95 <= focal <= lens.max_focal * 1.05)


def _spell(name: str) -> str:
    """Return a lens's name in the letters that all spellings share."""
    return re.sub(r"[^a-z0-9.]|(?<=f)/", "", name.lower())


def _find_crop(film: TagValue | None, focal: float, crop: float) -> float:
    """Return how many times smaller than film the photo is: as its camera is, or a part of it."""
    stated = 0 if film is None else int(np.frombuffer(film.data[:2], "<u2")[0])
    own = stated / focal
    return own if stated and own / crop - 1 > CROPPED else crop


def _prepare(
    lens: Any,
    crop: float,
    shape: tuple[int, ...],
    focal: float,
    aperture: float | None,
    distance: float,
) -> LensCorrection:
    """Set lensfun up for a photo of so many rows and columns."""
    from lensfunpy import Modifier, ModifyFlags

    height, width = shape

    def modify(flags: int, rows: int, columns: int) -> Any:
        modifier = Modifier(lens, crop, columns, rows)
        modifier.initialize(
            focal,
            aperture or lens.min_aperture or 1.0,
            distance,
            0.0,  # scaled so that no corner is empty
            lens.type,
            np.float32,
            flags,
        )
        return modifier

    bent = lens.interpolate_distortion(focal) is not None
    apart = lens.interpolate_tca(focal) is not None
    flags = ModifyFlags.SCALE | ModifyFlags.DISTORTION * bent | ModifyFlags.TCA * apart
    geometry = modify(flags, height, width) if bent or apart else None
    shading = None
    if aperture and lens.interpolate_vignetting(focal, aperture, distance) is not None:
        columns = min(SHADING_SIDE, width)
        factors = np.ones((max(round(height * columns / width), 2), columns, 3), np.float32)
        modifier = modify(ModifyFlags.VIGNETTING, *factors.shape[:2])
        if modifier.apply_color_modification(factors):
            shading = np.ascontiguousarray(factors[..., 0])
    done = [("distortion", bent), ("TCA", apart), ("vignetting", shading is not None)]
    said = ", ".join(word for word, is_done in done if is_done)
    name = f"{lens.model} at {focal:.3g} mm" + (f", f/{aperture:.3g}" if aperture else "")
    if not said:
        return LensCorrection(f"not corrected: lensfun has nothing measured for {name}")
    return LensCorrection(f"{name}: {said}", geometry, apart, shading)
