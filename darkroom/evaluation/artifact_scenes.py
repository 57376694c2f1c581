"""Scenes of known light that show what the eye would see, and what of it is in their pictures.

The sensor is that of `simulated`; a photo is amplified by its ratio, so that light of 1 is white.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import max_pool2d

from darkroom.color.highlights import Highlights
from darkroom.color.transfer import srgb_decode, srgb_encode
from darkroom.evaluation import artifacts, chart, simulated
from darkroom.evaluation.metrics import to_planes
from darkroom.gain import given_gain
from darkroom.models.model import Model
from darkroom.mosaic.packing import BAYER
from darkroom.output.orientation import Pixels
from darkroom.pipeline import Options, enhance
from darkroom.raw.image import CFA, RawImage
from darkroom.raw.reader import develop

SIDE = 516
"""Of the drawn scenes, in pixels: LibRaw develops X-Trans from 512 on; whole periods of both."""
EXPOSURES = (0.5, 1.0, 2.0, 4.0)
"""Light of the ColorChecker's white, in whites."""
RESOLVED = 0.4
"""Cycles a pixel on the zone plate up to which demosaicing can tell detail from colour."""
COLORED = 18
"""Patches before the grays."""
CLIPPED_SHARE = 0.001
"""Share of a patch's sites that may be at the sensor's end before it counts as saturated."""
GRAYS, WALLS = (30, 75, 118, 190), (12, 20, 32, 48)
"""Codes of flat squares, and of those that stand for walls in the dark."""
SHADOWS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Light in standard deviations of the amplified noise in black; the rest of that scene is gray."""
MARGIN = 0.12
"""Share of a flat square's side that is left out along each edge."""
LAMP_RADIUS = 12.0
LAMP_LIGHT, GLOW_LIGHT, GLOWING, NIGHT = 300.0, 3.0, 0.2, 0.003
"""The lamp's largest channel, its glow's, what of that is looked at, and the night, in whites."""
EARLY = 4480
"""Where a sensor ends whose files state WHITE: a real one's do."""

Light = NDArray[np.floating]
Place = tuple[slice, slice]
Pair = tuple[Tensor, Tensor]
Paint = Callable[[RawImage, float, Highlights | None], Pixels]
"""Makes a picture of a photo, amplified so many times; None: highlights as the model has them."""


class Found(NamedTuple):
    """One measured value: which part of the scene it is of, and whether the sensor is saturated."""

    measure: str
    value: float
    part: str = ""
    saturated: bool = False


@dataclass(frozen=True, slots=True)
class ArtifactScene:
    """A scene, (H, W, 3) linear sRGB, and who judges its picture; `row_noise`, `full`: its photo's.

    `judge` is given the photo, its picture in sRGB and the light, both (3, H, W).
    """

    name: str
    light: Light
    judge: Callable[[RawImage, Tensor, Tensor], Iterator[Found]]
    highlights: Highlights | None = None
    row_noise: float = 0.0
    full: int = chart.WHITE


@dataclass(frozen=True, slots=True)
class ArtifactScore:
    """One measured value of one model's picture of a scene."""

    model: str
    ratio: float
    scene: str
    measure: str
    value: float
    part: str
    saturated: bool


def paint_with(model: Model, options: Options) -> Paint:
    """Return how a model paints, as `enhance` does with all else left to it."""

    def paint(raw: RawImage, gain: float, highlights: Highlights | None) -> Pixels:
        wanted = replace(options, gain=given_gain(gain), bits=16, highlights=highlights)
        return enhance(raw, model, wanted).pixels

    return paint


def paint_with_libraw(raw: RawImage, gain: float, _: Highlights | None) -> Pixels:
    """Develop as LibRaw does, which clips highlights."""
    return develop(simulated.encode_dng(raw), gain)


def measure_artifacts(
    pictures: Sequence[simulated.Scene],
    ratios: Iterable[float],
    paints: Mapping[str, Paint],
    cfa: CFA = BAYER,
) -> Iterator[ArtifactScore]:
    """Photograph pictures and drawn scenes at each ratio, and measure each model's pictures.

    `paints`: by the model's name. Raises SensorError where a model is for another kind of sensor,
    RawError where LibRaw cannot develop.
    """
    for ratio in ratios:
        for scene in draw_scenes(pictures, ratio, cfa):
            raw = simulated.photograph_light(
                scene.name, scene.light, ratio, cfa, row_noise=scene.row_noise, full=scene.full
            )
            light = torch.from_numpy(scene.light).permute(2, 0, 1)
            for model, paint in paints.items():
                gain = simulated.amplification(ratio)
                picture = to_planes(paint(raw, gain, scene.highlights))
                for found in scene.judge(raw, picture, light):
                    yield ArtifactScore(model, ratio, scene.name, *found)


def draw_scenes(
    pictures: Iterable[simulated.Scene], ratio: float, cfa: CFA = BAYER
) -> Iterator[ArtifactScene]:
    """Draw what is photographed at a ratio; given pictures, whose highlights are clipped, first."""
    for picture in pictures:
        light = srgb_decode(picture.picture.double()).permute(1, 2, 0).numpy()
        yield ArtifactScene(picture.name, light, _judge_picture, Highlights.CLIP)
    for exposure in EXPOSURES:
        light = _draw_patches() * exposure
        yield ArtifactScene(f"ColorChecker, white at {exposure:g}", light, _judge_patches)
    judge_gray = partial(_judge_gray, 4 if cfa is BAYER else cfa.period)
    yield ArtifactScene("gray", _draw_squares(_decode(GRAYS), 2), judge_gray)
    walls = _draw_squares(_decode(WALLS), 2)
    yield ArtifactScene("walls", walls, _judge_walls, row_noise=chart.ROW_NOISE)
    noise = simulated.true_noise(ratio).read
    shadows = _draw_squares([*(noise * share for share in SHADOWS), *_decode(GRAYS[1:])], 3)
    yield ArtifactScene("shadows", shadows, _judge_shadows)
    rings = 0.4 + 0.36 * np.cos(np.pi * _distances() ** 2 / SIDE)  # distance / SIDE cycles a pixel
    yield ArtifactScene("zone plate", rings.repeat(3, axis=2), _judge_zone_plate)
    for name, full in (("lamp", chart.WHITE), ("lamp, early end", EARLY)):
        yield ArtifactScene(name, _draw_lamp(), partial(_judge_lamp, full), full=full)


def _judge_picture(_: RawImage, picture: Tensor, light: Tensor) -> Iterator[Found]:
    border = slice(simulated.BORDER, -simulated.BORDER)
    pair = picture[:, border, border], srgb_encode(light[:, border, border])
    yield Found("chroma", artifacts.measure_chroma_error(*pair))
    yield from map(Found, ("rows", "columns"), artifacts.measure_residue(*pair))


def _judge_patches(raw: RawImage, picture: Tensor, light: Tensor) -> Iterator[Found]:
    """Judge the colours, and casts of the grays, which are to be gray in saturation too."""
    for number, place in enumerate(map(_inner, _patch_places()[:COLORED]), start=1):
        seen, truth = picture[:, *place], light[:, *place].mean((1, 2))
        saturated = bool((raw.mosaic[place] >= chart.WHITE).mean() > CLIPPED_SHARE)
        hue, kept = artifacts.compare_hue(artifacts.mean_light(seen), truth)
        specks = artifacts.find_specks(artifacts.find_off_hue(seen, truth))
        values = {"hue": hue, "kept": kept, "speckle": artifacts.root_mean_square(specks)}
        for measure, value in values.items():
            yield Found(measure, value, f"patch {number}", saturated)
    for number, place in enumerate(map(_inner, _patch_places()[COLORED:]), start=COLORED + 1):
        gray = srgb_encode(artifacts.mean_light(picture[:, *place]))
        yield Found("gray_cast", artifacts.measure_false_color(gray), f"patch {number}")


def _judge_gray(period: int, _: RawImage, picture: Tensor, light: Tensor) -> Iterator[Found]:
    for part, pair in _squares(picture, light, 2):
        yield Found("noise", artifacts.measure_noise(*pair), part)
        yield Found("weave", artifacts.measure_weave(*pair, period=period), part)
        yield Found("blotches", artifacts.measure_chroma_error(*pair), part)


def _judge_walls(_: RawImage, picture: Tensor, light: Tensor) -> Iterator[Found]:
    for part, pair in _squares(picture, light, 2):
        yield Found("streaks", artifacts.measure_residue(*pair)[0], part)


def _judge_shadows(raw: RawImage, picture: Tensor, light: Tensor) -> Iterator[Found]:
    for share, (_, pair) in zip(SHADOWS, _squares(picture, light, 3), strict=False):
        yield Found("shadow", artifacts.measure_level(*pair), f"{share:g} of noise")


def _judge_zone_plate(_: RawImage, picture: Tensor, light: Tensor) -> Iterator[Found]:
    resolved = torch.from_numpy(_distances()[..., 0] < RESOLVED * SIDE)
    seen = picture[:, resolved]
    yield Found("false_color", artifacts.measure_false_color(seen))
    yield Found("detail", artifacts.measure_contrast(seen, srgb_encode(light[:, resolved])))


def _judge_lamp(full: int, raw: RawImage, picture: Tensor, light: Tensor) -> Iterator[Found]:
    """Judge its size, hue where no site near is saturated, casts where one is, and specks."""
    brightness, truth = light.amax(0), torch.from_numpy(chart.LAMP_LIGHT).double()
    sites = torch.from_numpy(raw.mosaic.astype(np.float32))
    saturated = sites >= 0.97 * (full - chart.BLACK) + chart.BLACK
    near = max_pool2d(saturated[None].float(), 7, 1, 3)[0] > 0
    shown = brightness > GLOWING
    core = shown & (near | (brightness > GLOW_LIGHT))
    off_hue = artifacts.find_off_hue(picture, truth)
    specks = artifacts.find_specks(off_hue)
    glow = artifacts.mean_light(picture[:, shown & ~core, None])
    yield Found("lamp_size", artifacts.measure_size(picture, light))
    yield Found("lamp_hue", artifacts.compare_hue(glow, truth)[0])
    yield Found("lamp_cast", artifacts.root_mean_square((off_hue - specks)[core]))
    yield Found("lamp_speckle", artifacts.root_mean_square(specks[shown]))


def _decode(codes: Sequence[int]) -> list[float]:
    return srgb_decode(torch.tensor(codes, dtype=torch.float64) / 255).tolist()


def _draw_patches() -> Light:
    """Draw a ColorChecker, its white at white; its grays have no tint."""
    light: Light = np.full((SIDE, SIDE, 3), chart.BACKGROUND)
    for place, code in zip(_patch_places(), chart.PATCHES.split(), strict=True):
        light[place] = _decode(list(bytes.fromhex(code)))
    for place in _patch_places()[COLORED:]:
        light[place] = light[place].mean()
    return light


def _patch_places() -> list[Place]:
    """Return where the patches are, row by row, with gaps between."""
    rows, columns = (np.linspace(0, SIDE, count + 1).astype(int) for count in (4, 6))
    return [
        (slice(top + 4, bottom - 4), slice(left + 4, right - 4))
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]


def _draw_squares(levels: Sequence[float], count: int) -> Light:
    """Draw `count` x `count` squares of gray light."""
    side = SIDE // count
    flat = np.array(levels).reshape(count, count).repeat(side, 0).repeat(side, 1)
    return flat[..., None].repeat(3, axis=2)


def _squares(picture: Tensor, light: Tensor, count: int) -> Iterator[tuple[str, Pair]]:
    """Yield the squares that were drawn, without their edges: name; picture and truth in sRGB."""
    places = [slice(start, start + SIDE // count) for start in range(0, SIDE, SIDE // count)]
    for whole in ((rows, columns) for rows in places for columns in places):
        place = _inner(whole)
        truth = srgb_encode(light[:, *place])
        yield f"code {255 * float(truth[0, 0, 0]):.0f}", (picture[:, *place], truth)


def _inner(place: Place) -> Place:
    """Leave the margins of a place out."""
    cuts = [round(MARGIN * (side.stop - side.start)) for side in place]
    rows, columns = (
        slice(side.start + cut, side.stop - cut) for side, cut in zip(place, cuts, strict=True)
    )
    return rows, columns


def _draw_lamp() -> Light:
    """Draw a lamp and its glow in the night."""
    disc = np.clip(LAMP_RADIUS - _distances() + 0.5, 0, 1)
    glow = (1 + (_distances() / (2 * LAMP_RADIUS)) ** 2) ** -1.25
    color = chart.LAMP_LIGHT / chart.LAMP_LIGHT.max()
    light: Light = (NIGHT + disc * LAMP_LIGHT + glow * GLOW_LIGHT) * color
    return light


def _distances() -> Light:
    """Return how many pixels each is from the middle, (SIDE, SIDE, 1)."""
    along = np.arange(SIDE) - (SIDE - 1) / 2
    distances: Light = np.hypot(along[:, None], along)[..., None]
    return distances
