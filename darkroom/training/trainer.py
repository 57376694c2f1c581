"""Train safelight: simulated sensors over clean photographs, resumable at any step."""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Generator, Tensor, nn
from torch.optim import AdamW

from darkroom.calibration.profile import SensorNoise
from darkroom.errors import UsageError
from darkroom.models.architectures.base import Conditions
from darkroom.models.architectures.safelight import LARGE_WIDTHS, WIDTHS, Safelight
from darkroom.models.device import find_device, prefers_bfloat16
from darkroom.mosaic.demosaic import pack_mosaic, sample_mosaic
from darkroom.mosaic.packing import BAYER, COLORS_OF_CHANNELS, XTRANS
from darkroom.output.atomic import atomic_write, make_folder, remove_strays
from darkroom.raw.image import CFA
from darkroom.training.initialization import begin_as_demosaicing, begin_with
from darkroom.training.loss import measure_loss
from darkroom.training.muon import Muon
from darkroom.training.noise_model import (
    Sensors,
    draw_known_sensors,
    draw_sensors,
    expose,
    log_uniform,
)
from darkroom.training.scenes import Scenes, draw_scenes
from darkroom.training.state import (
    DAMAGED,
    SAVE_SECONDS,
    STATE,
    damaged,
    load_optimiser,
    read_state,
    read_step,
    write_state,
)
from darkroom.weights.checkpoint import read_checkpoint

# Structure counts in the last part of a run only: it makes a step a sixth longer.
STRUCTURE_SHARE = 0.4

# Of so many photos one is told of more noise than it has, up to so many times its std, as
# `--denoise` tells it, and one has that noise indeed: the first is to be smoothed as the second is.
# Batches of fewer have none.
TOLD_MORE_SHARE = 8
TOLD_MORE = 3.0

NOISE_ERROR = 0.15  # of what the photo's noise is measured to be, std of its logarithm
EMA = 0.999
WARM_UP = 300
LAST_RATE = 0.005
GRADIENT_LIMIT = 1.0
WEIGHT_DECAY = 1e-4
CONVOLUTION = 4  # dimensions of its weights


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides a training run; two runs of one recipe on one device are the same.

    `xtrans`: for X-Trans sensors, not Bayer's. `large`: four times the work, for quality. `begin`:
    a file of safelight's weights to begin with: its own, a narrower one's, or of another sensor.
    `sensor`: the noise of a camera that was measured, by rising ISO, for photos of it alone; empty
    for any. Raises UsageError for a rate out of range and a device that is not there.
    """

    steps: int = 20000
    batch: int = 8
    size: int = 192
    rate: float = 1e-3
    seed: int = 0
    device: str = "cpu"
    xtrans: bool = False
    large: bool = False
    begin: str = ""
    sensor: tuple[SensorNoise, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise UsageError(f"--rate {self.rate:g}: give a number above 0, at most 1")
        if self.device == "auto":  # it would not be the same recipe on another machine
            raise UsageError("--device auto: name the device to train on, cpu or cuda:0")
        find_device(self.device)

    def record(self) -> dict[str, Any]:
        """Return it as JSON values; without `sensor` where there is none, as before there was."""
        values = asdict(self)
        sensor = list(values.pop("sensor"))
        return values | ({"sensor": sensor} if sensor else {})

    @property
    def cfa(self) -> CFA:
        """The colour filter array of the simulated sensors."""
        return XTRANS if self.xtrans else BAYER

    @property
    def name(self) -> str:
        """Name of the weights that come out."""
        return "safelight" + "-large" * self.large + "-xtrans" * self.xtrans


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """What a training run reports after each step."""

    step: int
    loss: float
    rate: float


@dataclass(frozen=True, slots=True)
class Batch:
    """What the network is given, packed (N, C, h, w) and conditions, and the scenes behind it.

    The last `told_more` photos are told of more noise than they have: of that which the
    `told_more` photos of the same scenes before them have.
    """

    packed: Tensor
    conditions: Conditions
    scenes: Scenes
    told_more: int = 0

    def to(self, device: str) -> "Batch":
        """Return the same on a device."""
        place = torch.device(device)
        scenes = Scenes(*(getattr(self.scenes, name).to(place) for name in Scenes.__slots__))
        packed = self.packed.to(place, memory_format=torch.channels_last)
        return replace(self, packed=packed, conditions=self.conditions.to(place), scenes=scenes)

    def targets(self, output: Tensor) -> Scenes:
        """Return what the network shall have made: the scenes, or what it makes of that noise."""
        if not self.told_more:
            return self.scenes
        camera_rgb = self.scenes.camera_rgb.clone()
        noisier = output[-2 * self.told_more : -self.told_more]
        camera_rgb[-self.told_more :] = noisier.detach()
        return replace(self.scenes, camera_rgb=camera_rgb)


def draw_batch(photos: list[NDArray[np.uint8]], recipe: Recipe, step: int) -> Batch:
    """Draw the batch of one step.

    Each step has a generator of its own, so that resuming needs no generator's state.
    """
    generator = Generator().manual_seed(recipe.seed * 1_000_000_007 + step)
    scenes = draw_scenes(photos, recipe.batch, recipe.size, generator)
    if recipe.sensor:
        sensors = draw_known_sensors(recipe.batch, generator, recipe.sensor)
    else:
        sensors = draw_sensors(recipe.batch, generator)
    told_more = recipe.batch // TOLD_MORE_SHARE
    return photograph_scenes(scenes, sensors, generator, recipe.cfa, told_more)


def photograph_scenes(
    scenes: Scenes, sensors: Sensors, generator: Generator, cfa: CFA, told_more: int = 0
) -> Batch:
    """Photograph scenes, each by a sensor of its own, whose noise is known about.

    The last `told_more` are the scenes and sensors before them again, with less noise than told.
    """
    told = sensors
    if told_more:
        again = torch.arange(len(sensors.shot))
        again[-told_more:] -= told_more
        scenes, told = scenes.select(again), sensors.select(again)
        more = torch.ones(len(again), 1, 1)
        more[-told_more:] = log_uniform(1, TOLD_MORE, told_more, generator)
        sensors = told.quieter(more)
    balance = scenes.white_balance
    mosaic = sample_mosaic(scenes.camera_rgb / balance[:, :, None, None], cfa)
    packed = pack_mosaic(expose(mosaic, sensors, generator, cfa)[:, None], cfa)
    colors = list(COLORS_OF_CHANNELS[packed.shape[1]])

    def measured(value: Tensor) -> Tensor:
        error = NOISE_ERROR * torch.randn(len(value), generator=generator)
        return value.flatten() * error.exp()

    conditions = Conditions(
        shot=measured(told.shot),
        read=measured(told.read),
        clipped=told.clips_black.flatten(),
        white_balance=balance,
        black_known=told.knows_black.flatten(),
    )
    return Batch(packed * balance[:, colors, None, None], conditions, scenes, told_more)


def draw_batches(photos: list[NDArray[np.uint8]], recipe: Recipe, first: int) -> Iterator[Batch]:
    """Draw the batches from step `first` to the last, each while the one before is used."""
    with ThreadPoolExecutor(1) as executor:
        ahead = executor.submit(draw_batch, photos, recipe, first)
        for step in range(first, recipe.steps):
            ready, ahead = ahead, executor.submit(draw_batch, photos, recipe, step + 1)
            yield ready.result()


def rate_at(step: int, recipe: Recipe) -> float:
    """Learning rate: a short warm-up, then half a cosine down to half a percent."""
    if step < WARM_UP:
        return recipe.rate * (step + 1) / WARM_UP
    share = (step - WARM_UP) / max(1, recipe.steps - WARM_UP)
    return recipe.rate * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * share)))


class TrainingRun:
    """A training run: the network, its averaged weights, and the optimiser, at some step."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.step = 0
        # Half precision halves a step where the machine is faster in it.
        self.bfloat16 = recipe.device != "cpu" or prefers_bfloat16()
        if recipe.device.startswith("cuda"):  # or resuming would not be to the bit
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        widths = LARGE_WIDTHS if recipe.large else WIDTHS
        self.network = Safelight(9 if recipe.xtrans else 4, widths)
        begin_as_demosaicing(self.network)
        if recipe.begin:
            begin_with(self.network, read_checkpoint(Path(recipe.begin)))
        self.network.to(recipe.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}
        parameters = list(self.network.parameters())
        rest = [p for p in parameters if p.ndim != CONVOLUTION]
        self.optimisers = (
            Muon((p for p in parameters if p.ndim == CONVOLUTION), recipe.rate, WEIGHT_DECAY),
            AdamW(rest, recipe.rate, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY, fused=True),
        )

    def advance(self, batch: Batch) -> TrainingProgress:
        """Take one step on the batch that `draw_batch` made for it."""
        batch = batch.to(self.recipe.device)
        rate = rate_at(self.step, self.recipe)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        modulation = self.network.modulation(batch.conditions)
        with torch.autocast(batch.packed.device.type, torch.bfloat16, self.bfloat16):
            output = self.network.body(batch.packed, modulation)
        structure = self.step >= (1 - STRUCTURE_SHARE) * self.recipe.steps
        output = output.float()
        loss = measure_loss(output, batch.targets(output), structure)
        self.network.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_LIMIT)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        # Early on the average follows closely, or it would hold the random start for long.
        keep = min(EMA, (1 + self.step) / (10 + self.step))
        for key, value in self.network.state_dict().items():
            self.average[key].lerp_(value, 1 - keep)
        return TrainingProgress(self.step, loss.item(), rate)

    def save(self, path: Path) -> None:
        """Write everything that resuming needs, whole or not at all."""
        state = {
            "recipe": self.recipe.record(),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }
        write_state(path, state)

    def restore(self, path: Path) -> None:
        """Go on from `path`; raises UsageError where it is damaged or of a different recipe."""
        state = read_state(path)
        try:
            recipe = state["recipe"]
            if recipe != self.recipe.record():
                if "sensor" in recipe:
                    recipe = recipe | {"sensor": "a profile"}
                raise UsageError(
                    f"{path}: begun with {recipe}; give the same options, or a new folder"
                )
            self.step = read_step(state, self.recipe.steps)
            self.network.load_state_dict(state["network"])
            for name, average in self.average.items():
                average.copy_(state["average"][name])
            for optimiser, own in zip(self.optimisers, state["optimisers"], strict=True):
                load_optimiser(optimiser, own)
        except DAMAGED as error:
            raise damaged(path) from error

    def export(self, path: Path) -> None:
        """Write the averaged weights as a float16 safetensors file, ready for `--model`."""
        half = {key: value.half().contiguous().cpu() for key, value in self.average.items()}
        with atomic_write(path, overwrite=True) as stream:
            stream.write(save(half))


def train_network(
    photos: list[NDArray[np.uint8]],
    recipe: Recipe,
    folder: Path,
    save_seconds: float = SAVE_SECONDS,
    watch: Callable[[TrainingRun, TrainingProgress], None] = lambda run, progress: None,
) -> Iterator[TrainingProgress]:
    """Train by `recipe`, or go on where `folder` stands; yields after each step.

    Leaves `folder/state.safetensors` (to resume from) and `folder/NAME.safetensors` (the weights).
    """
    make_folder(folder)
    remove_strays(folder)
    run = TrainingRun(recipe)
    if (folder / STATE).exists():
        run.restore(folder / STATE)
    saved = time.monotonic()
    for batch in draw_batches(photos, recipe, run.step):
        progress = run.advance(batch)
        if run.step == recipe.steps or time.monotonic() - saved >= save_seconds:
            run.export(folder / f"{recipe.name}.safetensors")
            run.save(folder / STATE)
            saved = time.monotonic()
        watch(run, progress)
        yield progress
