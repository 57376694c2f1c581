"""Which crops of which pairs a step learns from: decided by seed and step alone, read from a store.

As in SID's code, an epoch sees each scene once, in random order and in a random one of its short
exposures, and a crop is cut from the packed mosaic, turned as it is, whatever that does to the
colours of its sites.
"""

import hashlib
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from darkroom.errors import UsageError
from darkroom.gain import GainRule
from darkroom.gain.redi import redi_gain
from darkroom.mosaic.packing import Packed, align, linearise, pack
from darkroom.pairs.exposures import SID_NAME, ExposurePair
from darkroom.pairs.store import PairStore
from darkroom.raw.black_choice import with_black
from darkroom.raw.crop import crop_raw
from darkroom.raw.image import BlackSource, RawImage, Sensor
from darkroom.training.pairs.networks.base import KINDS, PairBatch
from darkroom.training.pairs.recipes import PairRecipe

SCALES = {Sensor.BAYER: 2, Sensor.XTRANS: 3}
"""Photosites along each side of a packed pixel."""

Scenes = tuple[tuple[ExposurePair, ...], ...]
"""Pairs by scene, in the order of names."""

SWAPPED = {-2: [2, 3, 0, 1], -1: [1, 0, 3, 2]}
"""Where Bayer's packed channels go when the rows or the columns of the mosaic are flipped."""

PAIRS_KEPT = 4096
"""Pairs whose estimated gain is remembered; SID has 2,697."""

WHITE = np.float32(65535)


class PairCrop(NamedTuple):
    """A crop of a pair: (C, h, w) amplified, (3, s*h, s*w) in [0, 1], and whose it is."""

    packed: NDArray[np.float32]
    target: NDArray[np.float32]
    pair: ExposurePair
    raw: RawImage


@dataclass(frozen=True, slots=True)
class PairSource:
    """The scenes that are learned from, and the store that holds them; all of one sensor's kind.

    `name`: what to call them, such as the list's file name. `photos`: clean ones, (H, W, 3), for
    crops of simulated sensors, where the recipe mixes such in.
    """

    store: PairStore
    scenes: Scenes
    sensor: Sensor
    name: str = ""
    photos: tuple[NDArray[np.uint8], ...] = ()

    @property
    def digest(self) -> str:
        """Tell these pairs from others: their names, exposures' ratios and order."""
        names = [
            f"{pair.name} {pair.long.stem} {pair.ratio!r}" for one in self.scenes for pair in one
        ]
        names += [f"{zlib.crc32(photo.tobytes())} {photo.shape}" for photo in self.photos]
        return hashlib.sha256("\n".join(names).encode()).hexdigest()


def group_scenes(pairs: Iterable[ExposurePair]) -> Scenes:
    """Put the pairs of each scene together, scenes and pairs in the order of names."""
    scenes: dict[str, list[ExposurePair]] = {}
    for pair in sorted(pairs, key=lambda pair: (pair.scene, str(pair.short))):
        scenes.setdefault(pair.scene, []).append(pair)
    return tuple(tuple(scene) for scene in scenes.values())


def keep_first_of_bursts(scenes: Scenes) -> Scenes:
    """Keep of each scene the photos whose names have SID's _00_; all where none has."""

    def is_first(pair: ExposurePair) -> bool:
        found = SID_NAME.fullmatch(pair.short.stem)
        return found is not None and found["burst"] == "00"

    return tuple(tuple(filter(is_first, scene)) or scene for scene in scenes)


def choose_scenes(scenes: Scenes, fraction: float, seed: int) -> Scenes:
    """Choose a fraction of the scenes by the seed, at least one; smaller ones are parts of it."""
    count = max(1, round(fraction * len(scenes)))
    order = np.random.default_rng((seed, 0)).permutation(len(scenes))
    return tuple(scenes[i] for i in sorted(order[:count]))


def open_stated(store: PairStore, pair: ExposurePair) -> tuple[RawImage, NDArray[np.uint16]]:
    """Open a pair with the black that its file states, as networks that paint sRGB are run."""
    raw, reference = store.open_pair(pair)
    return with_black(raw, BlackSource.STATED), reference


@lru_cache(PAIRS_KEPT)
def amplify_by_redi(store: PairStore, pair: ExposurePair, m: float) -> ExposurePair:
    """Return a pair whose ratio is what REDI's training code finds in the whole dark photo, once.

    Source: `get_na` in common_classes.py of REDI, where `gt_amp` is off.
    """
    raw = open_stated(store, pair)[0]
    return replace(pair, ratio=redi_gain(raw, GainRule.REDI_TRAIN, m).value)


def cut_crop(
    store: PairStore, pair: ExposurePair, side: int, random: np.random.Generator | None = None
) -> PairCrop:
    """Cut a square of `side` photosites out of a pair, at random or, without, from the middle.

    It starts at any packed pixel, as in the papers. Raises UsageError where the photo is smaller.
    """
    raw, reference = open_stated(store, pair)
    frame = find_frame(raw)
    scale, count = frame.scale, side // frame.scale
    if min(frame.size) < count:
        height, width = raw.mosaic.shape
        raise UsageError(
            f"{pair.short}: {width}x{height} photosites are too few for crops of {side}; "
            f"give --crop {min(frame.size) * scale} or less"
        )
    rooms = [size - count + 1 for size in frame.size]
    if random is None:
        top, left = ((room - 1) // 2 // frame.block * frame.block for room in rooms)
    else:
        top, left = (int(random.integers(room)) for room in rooms)
    packed = _pack_region(raw, frame, (top, left), count)
    y, x = (cut + one * scale for cut, one in zip(frame.start, (top, left), strict=True))
    target = reference[y : y + count * scale, x : x + count * scale].astype(np.float32) / WHITE
    return PairCrop(
        packed * np.float32(pair.ratio), np.ascontiguousarray(target.transpose(2, 0, 1)), pair, raw
    )


class PackedFrame(NamedTuple):
    """Where a photo's packed form lies: photosites cut at its start, its size in packed pixels.

    `block`: packed pixels along a period of its filters, `scale`: photosites along one of them.
    """

    start: tuple[int, int]
    size: tuple[int, int]
    block: int
    scale: int


def find_frame(raw: RawImage) -> PackedFrame:
    """Find where a photo's packed form lies; what is left over at its end is cut, as in SID's."""
    scale = SCALES[raw.cfa.sensor]
    aligned = align(np.empty((12, 12), np.float32), raw.cfa)
    period = aligned.cfa.period
    height, width = raw.mosaic.shape
    block = period // scale
    size = ((height - aligned.top) // period * block, (width - aligned.left) // period * block)
    return PackedFrame((aligned.top, aligned.left), size, block, scale)


def _pack_region(raw: RawImage, frame: PackedFrame, corner: tuple[int, int], count: int) -> Packed:
    """Pack `count` x `count` packed pixels from `corner` on.

    Only the periods of the filters that hold them are read; the values are those of the whole
    photo's packed form.
    """
    first = [one // frame.block * frame.block for one in corner]
    last = [-(-(one + count) // frame.block) * frame.block for one in corner]
    height, width = ((e - b) * frame.scale for b, e in zip(first, last, strict=True))
    top, left = (cut + b * frame.scale for cut, b in zip(frame.start, first, strict=True))
    region = crop_raw(raw, top, left, height, width)
    packed = pack(linearise(region), region.cfa)
    y, x = (one - begin for one, begin in zip(corner, first, strict=True))
    return packed[:, y : y + count, x : x + count]


def draw_crop(source: PairSource, recipe: PairRecipe, step: int, place: int) -> PairCrop:
    """Draw the crop at one place in the batch of one step, turned at random."""
    per_epoch = max(1, len(source.scenes) // recipe.batch)
    epoch, number = divmod(step, per_epoch)
    order = np.random.default_rng((recipe.seed, 1, epoch)).permutation(len(source.scenes))
    scene = source.scenes[order[(number * recipe.batch + place) % len(order)]]
    random = np.random.default_rng((recipe.seed, 2, step, place))
    pair = scene[int(random.integers(len(scene)))]
    if recipe.m:
        pair = amplify_by_redi(source.store, pair, recipe.m)
    crop = cut_crop(source.store, pair, recipe.crop, random)
    if crop.raw.cfa.sensor is not source.sensor:
        kinds = KINDS[source.sensor], KINDS[crop.raw.cfa.sensor]
        raise UsageError(f"{crop.pair.short}: {kinds[1]} among {kinds[0]}; train on one kind")
    return turn_crop(crop, recipe, random)


def turn_crop(crop: PairCrop, recipe: PairRecipe, random: np.random.Generator) -> PairCrop:
    """Flip and transpose a crop and its target alike, with the recipe's probabilities."""
    flipped = tuple(
        axis
        for axis, chance in ((-2, recipe.flip_rows), (-1, recipe.flip_columns))
        if random.random() < chance
    )
    packed, target = (np.flip(one, flipped) for one in (crop.packed, crop.target))
    if recipe.flip_sites:
        for axis in flipped:
            packed = packed[SWAPPED[axis]]
    if random.random() < recipe.transpose:
        packed, target = packed.swapaxes(-2, -1), target.swapaxes(-2, -1)
    return crop._replace(packed=packed, target=target)


def stack_crops(crops: Sequence[PairCrop]) -> PairBatch:
    """Make a batch of crops."""
    return PairBatch(
        packed=torch.from_numpy(np.stack([crop.packed for crop in crops])),
        ratios=torch.tensor([crop.pair.ratio for crop in crops]),
        targets=torch.from_numpy(np.stack([crop.target for crop in crops])),
        colors=tuple(crop.raw.color for crop in crops),
    )


def draw_batch(
    source: PairSource, recipe: PairRecipe, step: int, rank: int = 0, processes: int = 1
) -> PairBatch:
    """Draw one step's batch, or the part of it that one of several processes works on."""
    share = recipe.batch // processes
    places = range(rank * share, (rank + 1) * share)
    return stack_crops([draw_crop(source, recipe, step, place) for place in places])


DrawBatch = Callable[[PairSource, PairRecipe, int, int, int], PairBatch]
"""Of pairs, a recipe, the step, the process's number, and how many processes there are."""


def draw_batches(
    source: PairSource,
    recipe: PairRecipe,
    steps: range,
    rank: int = 0,
    processes: int = 1,
    draw: DrawBatch = draw_batch,
) -> Iterator[PairBatch]:
    """Draw the batches of steps, in order, the next ones while one is used."""
    with ThreadPoolExecutor(AHEAD, "crops") as pool:
        waiting: deque[Future[PairBatch]] = deque()
        ahead = iter(steps)
        try:
            while True:
                while len(waiting) <= AHEAD and (step := next(ahead, None)) is not None:
                    waiting.append(pool.submit(draw, source, recipe, step, rank, processes))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


AHEAD = 2
"""Batches that are drawn while one is learned from; a crop takes milliseconds."""
