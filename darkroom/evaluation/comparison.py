"""Comparisons: a photo as taken, as LibRaw brightens it, and as models do, to look at."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.evaluation.image_grid import BACKGROUND, draw_picture_grid
from darkroom.models.model import Model
from darkroom.output.orientation import upright
from darkroom.output.page import find_pages
from darkroom.pipeline import Options, enhance
from darkroom.raw.image import RawImage
from darkroom.raw.reader import develop

SIDE = 360
"""Pixels along each side of a place."""
PLACES = 3
"""Places that a comparison shows at 100 %."""
PAGE_SIDE = 1600
"""Pixels of a whole picture's longer side on a page."""
PAGE_QUALITY = 92
"""Of a page's JPEGs."""
Picture = NDArray[np.uint8]
Place = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class Rendering:
    """A photo's picture, (H, W, 3) uint8 sRGB, upright: whose, how bright, in how many seconds.

    `warnings`: what is odd about it, as of `Picture`.
    """

    name: str
    pixels: Picture
    gain: float
    seconds: float
    warnings: tuple[str, ...] = ()

    @property
    def caption(self) -> str:
        """Gain and seconds, in words."""
        return f"x{self.gain:.3g}, {self.seconds:.2f} s"


def render_photo(
    raw: RawImage, data: bytes, models: Sequence[Model], options: Options = Options()
) -> list[Rendering]:
    """Render a photo as taken, by LibRaw with the gain, and by each model, all of one size.

    `data`: the file's bytes. All get the gain that the first model finds, so that they differ by
    what they are and not by how bright they are. `Rendering.seconds` are those of the rendering,
    without reading, loading and writing. Raises RawError, and SensorError or UsageError for models
    that do not fit the sensor or the options.
    """
    made, options = [], replace(options, full=True)  # as LibRaw shows it
    for number, model in enumerate(models):
        started = perf_counter()
        picture = enhance(raw, model, options)
        seconds = perf_counter() - started
        if number == 0:
            options = replace(options, gain=picture.gain, ev=0.0, rule=None, brightness=None)
        pixels = picture.pixels.astype(np.uint8, copy=False)
        name = model.for_sensor(raw.cfa.sensor).name
        made.append(Rendering(name, pixels, 0.0, seconds, picture.warnings))
    gain = picture.gain.value
    made = [replace(one, gain=gain) for one in made]
    plain = [
        _develop(raw, data, factor, name, made[0].pixels.shape)
        for name, factor in (("as taken", 1.0), ("LibRaw", gain))
    ]
    return plain + made


def _develop(
    raw: RawImage, data: bytes, gain: float, name: str, shape: tuple[int, ...]
) -> Rendering:
    """Render by LibRaw, stretched by the pixel or so that its picture may be larger or smaller."""
    started = perf_counter()
    pixels = upright((develop(data, gain) // 257).astype(np.uint8), raw.orientation)
    seconds = perf_counter() - started
    if pixels.shape != shape:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        pixels = np.array(image.resize((shape[1], shape[0]), Image.Resampling.LANCZOS))
    return Rendering(name, pixels.astype(np.uint8, copy=False), gain, seconds)


def find_differing_places(
    pictures: Sequence[Picture], side: int = SIDE, count: int = PLACES
) -> list[Place]:
    """Choose the squares where pictures of one size differ most, by their mean codes' distance.

    Squares do not overlap; the first differs most. A picture with room for no two of them either
    way is taken whole.
    """
    height, width = pictures[0].shape[:2]
    if max(height, width) < 2 * side:
        return [(slice(None), slice(None))]
    places = [
        (slice(top, min(top + side, height)), slice(left, min(left + side, width)))
        for top in _spread_starts(height, side)
        for left in _spread_starts(width, side)
    ]

    def distance(place: Place) -> float:
        squares = [picture[place].astype(np.int16) for picture in pictures]
        return sum(float(np.abs(one - two).mean()) for one, two in combinations(squares, 2))

    return sorted(places, key=distance, reverse=True)[:count]


def _spread_starts(size: int, side: int) -> list[int]:
    """Spread squares evenly over one axis, without overlap where there is more than one."""
    count = max(size // side, 1)
    return [round(index * max(size - side, 0) / max(count - 1, 1)) for index in range(count)]


def _choose_places(renderings: Sequence[Rendering], side: int) -> list[Place]:
    """Where models differ most; one model alone from LibRaw."""
    compared = [one.pixels for one in renderings[2:]]
    return find_differing_places(
        compared if len(compared) > 1 else [renderings[1].pixels, *compared], side
    )


def draw_comparison(renderings: Sequence[Rendering], side: int = SIDE) -> Picture:
    """Lay out what `render_photo` gave: (H, W, 3) uint8.

    A column for each; the first row has whole pictures, the others 100 % of the places where they
    differ most; gain and seconds are beneath.
    """
    panels = [(one.name, _fit(one.pixels, side)) for one in renderings]
    for rows, columns in _choose_places(renderings, side):
        panels += [("100 %", one.pixels[rows, columns]) for one in renderings]
    captions = [one.caption for one in renderings]
    return draw_picture_grid(panels, columns=len(renderings), captions=captions)


def _fit(picture: Picture, side: int) -> Picture:
    """Reduce a picture into the middle of a square."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    whole = Image.new("RGB", (side, side), BACKGROUND)
    whole.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.array(whole)


def render_comparison_page(title: str, renderings: Sequence[Rendering], side: int = SIDE) -> str:
    """Write what `render_photo` gave as one page, with a slider on the whole and on each place."""
    places: list[Place] = [(slice(None), slice(None)), *_choose_places(renderings, side)]
    views = [
        (
            "whole" if number == 0 else f"100 %, place {number}",
            [_encode_jpeg(one.pixels[place]) for one in renderings],
        )
        for number, place in enumerate(places)
    ]
    page = find_pages("darkroom.evaluation").get_template("comparison.html.j2")
    return page.render(title=title, renderings=renderings, views=views)


def _encode_jpeg(picture: Picture) -> tuple[tuple[int, int], bytes]:
    """Reduce a picture to PAGE_SIDE; its width and height, and its bytes."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((PAGE_SIDE, PAGE_SIDE), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=PAGE_QUALITY, subsampling="4:4:4")
    return image.size, encoded.getvalue()
