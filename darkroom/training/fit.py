"""Train safelight: simulated sensors over clean photographs, resumable at any step."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

from darkroom.color import srgb_encode
from darkroom.errors import UsageError
from darkroom.evaluation.metrics import similarity
from darkroom.nets.safelight import Safelight
from darkroom.training.noise import draw_sensors, expose
from darkroom.training.scenes import Scenes, draw_scenes

LINEAR_WEIGHT = 0.1
STRUCTURE_WEIGHT = 0.1  # Source: the order of Zhao et al., "Loss Functions", IEEE TCI 2017
EMA = 0.999
WARM_UP = 200
LAST_RATE = 0.005
GRADIENT_LIMIT = 1.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides a training run; two runs of one recipe on one device are the same."""

    steps: int = 20000
    batch: int = 8
    size: int = 192
    rate: float = 4e-4  # 1e-3 diverged
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Progress:
    """What a training run reports after each step."""

    step: int
    loss: float
    rate: float


def draw_batch(photos: list[NDArray[np.uint8]], recipe: Recipe, step: int) -> tuple[Tensor, Scenes]:
    """Draw the batch of one step: packed (N, 4, h, w) network input, and the scenes behind it.

    Each step has a generator of its own, so that resuming needs no generator's state.
    """
    generator = Generator().manual_seed(recipe.seed * 1_000_000_007 + step)
    scenes = draw_scenes(photos, recipe.batch, recipe.size, generator)
    sensors = draw_sensors(recipe.batch, generator)
    balance = scenes.white_balance[:, :, None, None]
    mosaic = expose(bayer(scenes.camera_rgb / balance), sensors, generator)
    packed = nn.functional.pixel_unshuffle(mosaic[:, None], 2)
    return packed * balance[:, (0, 1, 1, 2)], scenes


def batches(
    photos: list[NDArray[np.uint8]], recipe: Recipe, first: int
) -> Iterator[tuple[Tensor, Scenes]]:
    """Draw the batches from step `first` to the last, each while the one before is used."""
    with ThreadPoolExecutor(1) as executor:
        ahead = executor.submit(draw_batch, photos, recipe, first)
        for step in range(first, recipe.steps):
            ready, ahead = ahead, executor.submit(draw_batch, photos, recipe, step + 1)
            yield ready.result()


def bayer(picture: Tensor) -> Tensor:
    """Sample (N, 3, H, W) through an RGGB array: (N, H, W)."""
    mosaic = picture[:, 1].clone()
    mosaic[:, 0::2, 0::2] = picture[:, 0, 0::2, 0::2]
    mosaic[:, 1::2, 1::2] = picture[:, 2, 1::2, 1::2]
    return mosaic


def loss_between(output: Tensor, scenes: Scenes) -> Tensor:
    """L1 as the eye sees it (sRGB, after the camera's matrix), and a little of two others.

    These are L1 in linear light, and what is missing to a structural similarity of 1.
    """
    target = scenes.camera_rgb.clamp(max=1)

    def seen(camera_rgb: Tensor) -> Tensor:
        srgb = torch.einsum("nij,njhw->nihw", scenes.camera_to_srgb, camera_rgb)
        return srgb_encode(srgb)

    found, wanted = seen(output), seen(target)
    visible = (found - wanted).abs().mean()
    structure = 1 - similarity(found, wanted).mean()
    linear = (output - target).abs().mean()
    return visible + LINEAR_WEIGHT * linear + STRUCTURE_WEIGHT * structure


def rate_at(step: int, recipe: Recipe) -> float:
    """Learning rate: a short warm-up, then half a cosine down to half a percent."""
    if step < WARM_UP:
        return recipe.rate * (step + 1) / WARM_UP
    share = (step - WARM_UP) / max(1, recipe.steps - WARM_UP)
    return recipe.rate * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * share)))


class Run:
    """A training run: the network, its averaged weights, and the optimiser, at some step."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.step = 0
        self.network = Safelight().to(recipe.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=recipe.rate,
            betas=(0.9, 0.99),
            weight_decay=1e-4,
            fused=True,
        )

    def advance(self, packed: Tensor, scenes: Scenes) -> Progress:
        """Take one step on the batch that `draw_batch` made for it."""
        device = self.recipe.device
        scenes = Scenes(*(getattr(scenes, f).to(device) for f in Scenes.__slots__))
        rate = rate_at(self.step, self.recipe)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        on_gpu = device.startswith("cuda")
        with torch.autocast("cuda", torch.bfloat16) if on_gpu else nullcontext():
            output = self.network(packed.to(device, memory_format=torch.channels_last))
        loss = loss_between(output.float(), scenes)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_LIMIT)
        self.optimiser.step()
        self.step += 1
        # Early on the average follows closely, or it would hold the random start for long.
        keep = min(EMA, (1 + self.step) / (10 + self.step))
        for key, value in self.network.state_dict().items():
            self.average[key].lerp_(value, 1 - keep)
        return Progress(self.step, loss.item(), rate)

    def save(self, path: Path) -> None:
        """Write everything that resuming needs, whole or not at all."""
        state = {
            "recipe": asdict(self.recipe),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }
        beside = path.with_suffix(".part")
        torch.save(state, beside)
        beside.replace(path)

    def restore(self, path: Path) -> None:
        """Go on from `path`; raises UsageError where it comes from a different recipe."""
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=self.recipe.device)
        if state["recipe"] != asdict(self.recipe):
            raise UsageError(
                f"{path}: begun with {state['recipe']}; give the same options, or a new folder"
            )
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])

    def export(self, path: Path) -> None:
        """Write the averaged weights as a float16 safetensors file, ready for `--model`."""
        half = {key: value.half().contiguous().cpu() for key, value in self.average.items()}
        save_file(half, path)


def fit(
    photos: list[NDArray[np.uint8]],
    recipe: Recipe,
    folder: Path,
    save_every: int = 500,
    watch: Callable[[Run, Progress], None] = lambda run, progress: None,
) -> Iterator[Progress]:
    """Train by `recipe`, or go on where `folder` stands; yields after each step.

    Leaves `folder/run.pt` (to resume from) and `folder/safelight.safetensors` (the weights).
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(recipe)
    if (folder / "run.pt").exists():
        run.restore(folder / "run.pt")
    for packed, scenes in batches(photos, recipe, run.step):
        progress = run.advance(packed, scenes)
        if run.step % save_every == 0 or run.step == recipe.steps:
            run.save(folder / "run.pt")
            run.export(folder / "safelight.safetensors")
        watch(run, progress)
        yield progress
