"""safelight fine-tuned on pairs: its input as `enhance` makes it, judged as the reference looks.

safelight gives camera RGB, references are finished pictures. So its output takes the way that
LibRaw's references took: the photo's own colour matrix, and the curve of BT.709.

A scene may differ from its exposures' ratio by a third of a stop, as lamps and clouds do, and its
white balance is not always the reference's. The network is not to learn either: each photo's red,
green and blue are amplified by what brings the bundled network's picture of its middle to the
reference's light. (Exposures fitted to each crop anew as the network changes do not hold it: least
squares find too little gain for a picture with errors, and it grew brighter by a stop in 250 steps.
One factor for all three colours does not either: colours of the scenes trained on came nearer by
1.6 dB, and those of two others went off by 1.0 dB.)

Crops of simulated sensors, of safelight's own training, may be mixed in, so that it stays good on
cameras that the pairs do not show.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from darkroom.color.matrix import camera_to_srgb
from darkroom.color.transfer import bt709_decode, bt709_encode
from darkroom.color.white_balance import balance_white, with_white_balance
from darkroom.errors import UsageError
from darkroom.models.architectures.base import Conditions
from darkroom.models.loading import load_model
from darkroom.mosaic.noise import Noise, measure_noise
from darkroom.mosaic.packing import BAYER, XTRANS, align, linearise, pack
from darkroom.pairs.exposures import ExposurePair
from darkroom.pairs.store import PairStore
from darkroom.raw.crop import crop_raw
from darkroom.raw.image import CFA, RawImage, Sensor
from darkroom.training.noise_model import draw_sensors
from darkroom.training.pairs.networks.base import PairBatch
from darkroom.training.pairs.recipes import PairRecipe
from darkroom.training.scenes import draw_scenes
from darkroom.training.trainer import photograph_scenes

if TYPE_CHECKING:
    from darkroom.training.pairs.batches import PairSource

MIDDLE, GRID = 768, 96
"""Photosites per side of a photo's middle that its light is found on, at most, in steps."""

MAX_STOPS = 1.0
SHADOW = 0.02
"""Of white: light around which pixels begin to count by their own light."""

PAIRS_KEPT = 4096
"""Pairs whose noise and exposure are remembered; SID has 2,697."""

WHITE = np.float32(65535)

NAMES = {Sensor.BAYER: "safelight", Sensor.XTRANS: "safelight-xtrans"}


@dataclass(frozen=True, slots=True)
class DevelopedBatch(PairBatch):
    """Crops of dark photos as safelight takes them: `packed` is white-balanced too.

    `targets` have the curve of BT.709; `colors` are empty. `conditions`: each photo's noise, as
    measured on all of it. `matrices`: (N, 3, 3), from camera RGB to linear sRGB.
    """

    conditions: Conditions
    matrices: Tensor

    def to(self, device: torch.device) -> "DevelopedBatch":
        """Return the same on a device."""
        return DevelopedBatch(
            self.packed.to(device, non_blocking=True),
            self.ratios.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
            self.colors,
            self.conditions.to(device),
            self.matrices.to(device, non_blocking=True),
        )


class Window(NamedTuple):
    """A part of a pair in the packed phase: (h, w) mosaic, (h, w, 3) codes, and its filters."""

    mosaic: NDArray[np.float32]
    picture: NDArray[np.uint16]
    cfa: CFA
    raw: RawImage


def draw_developed(
    source: "PairSource", recipe: PairRecipe, step: int, rank: int = 0, processes: int = 1
) -> DevelopedBatch:
    """Draw the batch of one step, or one process's part: decided by seed and step alone.

    Each crop is of a random pair of a random scene, turned in one of eight ways; a share of
    `recipe.mix` is of simulated sensors. Raises UsageError where a photo is smaller than a crop.
    """
    share = recipe.batch // processes
    simulated = round(recipe.mix * recipe.batch)
    crops = []
    for place in range(rank * share, (rank + 1) * share):
        random = np.random.default_rng((recipe.seed, 3, step, place))
        if place < simulated:
            crops.append(_simulate(source, recipe.crop, int(random.integers(1 << 62))))
            continue
        scene = source.scenes[random.integers(len(source.scenes))]
        pair = scene[random.integers(len(scene))]
        window = cut_turned(source.store, pair, recipe.crop, random)
        noise = measure(source.store.folder, pair.short)
        light = fit_light(source.store.folder, pair)
        crops.append(develop_window(window, pair.ratio, noise, light))
    return join_batches(crops)


def cut_middle(store: PairStore, pair: ExposurePair, side: int) -> DevelopedBatch:
    """Cut a square of `side` photosites out of a pair's middle, amplified by the pair's ratio."""
    raw, reference = store.open_pair(pair)
    top, left = ((size - side) // 2 // raw.cfa.period * raw.cfa.period for size in raw.mosaic.shape)
    window = _align(_cut(raw, reference, (top, left), side + raw.cfa.period - 1), side)
    return develop_window(window, pair.ratio, measure(store.folder, pair.short))


def cut_turned(
    store: PairStore, pair: ExposurePair, side: int, random: np.random.Generator
) -> Window:
    """Cut a square of `side` photosites out of a pair, mirrored and transposed at random.

    The mosaic is turned, not its packed form, and begins again where the filters do: its sites keep
    their colours and places. The black is the photo's own, as `enhance` takes it.
    """
    raw, reference = store.open_pair(pair)
    need = side + raw.cfa.period - 1  # the filters begin within a period
    rooms = [size - need for size in raw.mosaic.shape]
    if min(rooms) < 0:
        height, width = raw.mosaic.shape
        raise UsageError(
            f"{pair.short}: {width}x{height} photosites are too few for crops of {side}; "
            "give a smaller --crop"
        )
    corner = int(random.integers(rooms[0] + 1)), int(random.integers(rooms[1] + 1))
    window = _cut(raw, reference, corner, need)
    down, across, swap = random.integers(2, size=3).tolist()

    def turn(plane: NDArray[Any]) -> NDArray[Any]:
        turned = plane[:: 1 - 2 * down, :: 1 - 2 * across]
        return turned.swapaxes(0, 1) if swap else turned

    repeats = -(-need // raw.cfa.period)
    sites = turn(np.tile(window.cfa.channels, (repeats, repeats))[:need, :need])
    period = sites[: raw.cfa.period, : raw.cfa.period]
    cfa = CFA("".join("RGB"[site] for site in period.flat))
    return _align(Window(turn(window.mosaic), turn(window.picture), cfa, raw), side)


def develop_window(
    window: Window, gain: float, noise: Noise, light: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> DevelopedBatch:
    """Make a batch of one: amplified and white-balanced, with what safelight is told of it.

    `light`: what red, green and blue are multiplied by besides.
    """
    packed = torch.from_numpy(pack(window.mosaic, window.cfa))
    color = with_white_balance(window.raw.color, packed * gain)
    assert color.white_balance is not None, "it has just been found"
    balance = color.white_balance * light
    gain *= float(balance.min() / color.white_balance.min())
    color, packed = replace(color, white_balance=balance), packed * gain
    target = np.ascontiguousarray((window.picture / WHITE).transpose(2, 0, 1))
    return DevelopedBatch(
        packed=balance_white(packed, color)[None],
        ratios=torch.tensor([gain]),
        targets=torch.from_numpy(target)[None],
        colors=(),
        conditions=Conditions.of(noise.amplified(gain), balance),
        matrices=camera_to_srgb(color).float()[None],
    )


def join_batches(batches: Sequence[DevelopedBatch]) -> DevelopedBatch:
    """Make one batch of several."""

    def join(of: Sequence[Any], name: str) -> Tensor:
        return torch.cat([getattr(one, name) for one in of])

    told = [batch.conditions for batch in batches]
    return DevelopedBatch(
        packed=join(batches, "packed"),
        ratios=join(batches, "ratios"),
        targets=join(batches, "targets"),
        colors=(),
        conditions=Conditions(*(join(told, name) for name in Conditions.__slots__)),
        matrices=join(batches, "matrices"),
    )


def paint(network: nn.Module, batch: PairBatch) -> Tensor:
    """Run safelight: crops to pictures as the references are, (N, 3, H, W), not clipped to [0, 1].

    Camera RGB is clipped at white first, as where a photo is finished, so that lamps are neutral.
    """
    assert isinstance(batch, DevelopedBatch), "safelight draws its own"
    camera_rgb: Tensor = network(batch.packed, batch.conditions)
    with torch.autocast(batch.packed.device.type, enabled=False):
        return _encode(camera_rgb.to(batch.targets), batch.matrices)


@lru_cache(PAIRS_KEPT)
def measure(folder: Path, photo: Path) -> Noise:
    """Measure the noise of a photo in the store at `folder`, once."""
    return measure_noise(PairStore(folder).raw(photo))


@lru_cache(PAIRS_KEPT)
@torch.inference_mode()
def fit_light(folder: Path, pair: ExposurePair) -> tuple[float, float, float]:
    """Find what a pair's red, green and blue are to be multiplied by, each within a stop, once.

    They bring the bundled safelight's picture of the photo's middle to the reference's light, where
    that is neither black nor white. Raises UsageError where the photo is too small for a middle.
    """
    store = PairStore(folder)
    raw = store.raw(pair.short)
    side = min(MIDDLE, (min(raw.mosaic.shape) - raw.cfa.period + 1) // GRID * GRID)
    if side == 0:
        raise UsageError(f"{pair.short}: is smaller than {GRID} photosites; leave the pair out")
    batch = cut_middle(store, pair, side)
    found = _load_bundled(raw.cfa.sensor)(batch.packed, batch.conditions)[0]
    code = batch.targets[0]
    wanted = torch.einsum("ij,jhw->ihw", torch.inverse(batch.matrices[0]), bt709_decode(code))
    # Shadows count as the eye sees them, and clipping hides what light there was.
    weight = ((code > 0) & (code < 1)).all(0) / (wanted.mean(0).clamp(min=0) + SHADOW)
    light = (found * weight).sum((1, 2))
    factors = torch.where(light > 0, (wanted * weight).sum((1, 2)) / light, 1.0)
    red, green, blue = factors.clamp(2.0**-MAX_STOPS, 2.0**MAX_STOPS).tolist()
    return red, green, blue


@lru_cache
def _load_bundled(sensor: Sensor) -> nn.Module:
    """Load the bundled network that exposures are found with."""
    return load_model(NAMES[sensor], device="cpu", precision="fp32").network


def _encode(camera_rgb: Tensor, matrices: Tensor) -> Tensor:
    """(N, 3, H, W) linear camera RGB to the curve of BT.709, clipped at the camera's white."""
    linear = torch.einsum("nij,njhw->nihw", matrices, camera_rgb.clamp(max=1))
    return bt709_encode(linear)


def _simulate(source: "PairSource", side: int, seed: int) -> DevelopedBatch:
    """Photograph a scene of the source's photographs by a simulated sensor: a batch of one."""
    generator = Generator().manual_seed(seed)
    scenes = draw_scenes(list(source.photos), 1, side, generator)
    cfa = BAYER if source.sensor is Sensor.BAYER else XTRANS
    batch = photograph_scenes(scenes, draw_sensors(1, generator), generator, cfa)
    return DevelopedBatch(
        packed=batch.packed,
        ratios=torch.ones(1),
        targets=_encode(scenes.camera_rgb, scenes.camera_to_srgb),
        colors=(),
        conditions=batch.conditions,
        matrices=scenes.camera_to_srgb,
    )


def _cut(
    raw: RawImage, reference: NDArray[np.uint16], corner: tuple[int, int], side: int
) -> Window:
    """Cut a square out of a pair, less where the photo ends."""
    (top, left), (height, width) = corner, raw.mosaic.shape
    rows, columns = min(side, height - top), min(side, width - left)
    region = crop_raw(raw, top, left, rows, columns)
    picture = reference[top : top + rows, left : left + columns]
    return Window(linearise(region), picture, region.cfa, raw)


def _align(window: Window, side: int) -> Window:
    """Begin where the filters do in the packed form, and end `side` photosites on."""
    mosaic, cfa, top, left = align(window.mosaic, window.cfa)
    picture = window.picture[top : top + side, left : left + side]
    return Window(mosaic[:side, :side], picture, cfa, window.raw)
