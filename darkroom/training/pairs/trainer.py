"""Train a published network on pairs by its paper's recipe, or go on where a run stood."""

import copy
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam

from darkroom.errors import UsageError
from darkroom.models.architectures import find_architectures
from darkroom.models.architectures.base import difference, shapes_of
from darkroom.output.atomic import make_folder, remove_strays
from darkroom.training.layer_statistics import LayerValues, watch_layers
from darkroom.training.pairs.batches import PairSource, draw_batch, draw_batches
from darkroom.training.pairs.distributed import Processes
from darkroom.training.pairs.export import write_run_facts, write_weights
from darkroom.training.pairs.loss import find_loss
from darkroom.training.pairs.networks.base import PairBatch, TrainableNetwork, run_network
from darkroom.training.pairs.recipes import PairRecipe
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

FIRST_EMA = (1, 10)
"""Early on the average follows closely, (1 + step) / (10 + step), as in safelight's training."""


@dataclass(frozen=True, slots=True)
class PairJob:
    """What is to be trained, on what and where.

    `bfloat16`: whether convolutions run in it. `begin`: a checkpoint of the network to begin with.
    Raises UsageError where crops do not fit the network or the processes.
    """

    network: TrainableNetwork
    recipe: PairRecipe
    source: PairSource
    processes: Processes = field(default_factory=lambda: Processes("cpu"))
    bfloat16: bool = False
    begin: Path | None = None

    def __post_init__(self) -> None:
        find_loss(self.recipe.loss)
        if self.recipe.crop % self.grid:
            near = max(1, round(self.recipe.crop / self.grid)) * self.grid
            raise UsageError(
                f"--crop {self.recipe.crop}: {self.network.name} takes multiples of {self.grid} "
                f"photosites, such as {near}"
            )
        if self.recipe.m and self.network.forward is not run_network:
            raise UsageError(f"--m changes nothing for {self.network.name}; leave it out")
        if self.source.photos and not self.recipe.mix:
            raise UsageError("--photos are for --mix, as 0.5; give both or neither")
        if self.recipe.mix and self.network.draw is None:
            raise UsageError(f"--mix is for safelight; leave it out for {self.network.name}")
        if self.recipe.mix and not self.source.photos:
            raise UsageError("--mix: give --photos FOLDER too, clean photographs to simulate from")
        if self.recipe.batch % self.processes.count:
            raise UsageError(
                f"--batch {self.recipe.batch} cannot be shared by {self.processes.count} "
                f"processes; give a multiple of {self.processes.count}"
            )

    @property
    def grid(self) -> int:
        """Photosites in whose steps the network takes crops."""
        named = find_architectures(self.network.architecture)
        (known,) = (one for one in named if one.sensor is self.network.sensor)
        return known.multiple * known.scale

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.recipe.count_steps(len(self.source.scenes))

    def describe(self) -> dict[str, Any]:
        """Return what decides the run's weights, as JSON has it."""
        begin = self.begin and hashlib.sha256(self.begin.read_bytes()).hexdigest()
        facts = {
            "network": self.network.name,
            "sensor": self.network.sensor.value,
            "architecture": self.network.architecture,
            "recipe": asdict(self.recipe),
            "precision": "bf16" if self.bfloat16 else "fp32",
            "begin": begin,
            "data": {
                "scenes": len(self.source.scenes),
                "pairs": sum(map(len, self.source.scenes)),
                "sha256": self.source.digest,
            },
        }
        described: dict[str, Any] = json.loads(json.dumps(facts))
        return described


@dataclass(frozen=True, slots=True)
class PairProgress:
    """What a run reports after each step: `waited`, seconds that it waited for crops.

    `layers`: root mean squares in each layer, where they were asked for.
    """

    step: int
    loss: float
    rate: float
    waited: float = 0.0
    layers: LayerValues = field(default_factory=dict)


class PairRun:
    """A training run: the network, its averaged weights and the optimiser, at some step."""

    def __init__(self, job: PairJob) -> None:
        torch.manual_seed(job.recipe.seed)
        self.job, self.step = job, 0
        self.scores: dict[str, dict[str, float]] = {}
        self.device = torch.device(job.processes.device)
        self.loss = find_loss(job.recipe.loss)
        self.network = job.network.make()
        _check_norms(self.network, job)
        if job.begin is not None:
            _begin_with(self.network, job.begin)
        if self.device.type == "cuda":  # or resuming would not be to the bit
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.train()
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}
        recipe = job.recipe
        self.optimiser = Adam(self.network.parameters(), recipe.rate, recipe.betas)
        self._parallel: nn.Module | None = None

    @property
    def parallel(self) -> nn.Module:
        """The network, whose gradients all processes share; asked for once it has its weights."""
        if self.job.processes.count == 1:
            return self.network
        if self._parallel is None:
            places = [self.device] if self.device.type == "cuda" else None
            self._parallel = DistributedDataParallel(self.network, device_ids=places)
        return self._parallel

    def propagate(self, batch: PairBatch) -> Tensor:
        """Run a batch forward and back: gradients are those of the loss, which is returned."""
        batch = batch.to(self.device)
        packed = batch.packed.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, self.job.bfloat16):
            pictures = self.job.network.forward(self.parallel, replace(batch, packed=packed))
        loss = self.loss(pictures.float(), batch.targets, self.network, self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def advance(self, batch: PairBatch, look: bool = False) -> PairProgress:
        """Take one step; `look`: measure each layer in it."""
        recipe, layers = self.job.recipe, {}
        rate = recipe.rate_at(self.step, self.job.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with watch_layers(self.network) if look else nullcontext() as watched:
            loss = self.propagate(batch)
            if watched is not None:
                layers = watched.read()
        self.optimiser.step()
        self.step += 1
        if recipe.ema:
            keep = min(recipe.ema, (FIRST_EMA[0] + self.step) / (FIRST_EMA[1] + self.step))
            for name, value in self.network.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1 - keep)
                else:
                    self.average[name].copy_(value)
        return PairProgress(self.step, self.job.processes.mean(loss).item(), rate, layers=layers)

    def weights(self) -> dict[str, Tensor]:
        """Return the weights that the run stands for: averaged ones where the recipe has them."""
        return self.average if self.job.recipe.ema else self.network.state_dict()

    def finished_network(self) -> nn.Module:
        """Return a copy of the network with these weights, ready to be scored."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.weights())
        return network.eval().requires_grad_(False)

    def save(self, path: Path) -> None:
        """Write everything that resuming needs, whole or not at all."""
        state = {
            "job": self.job.describe(),
            "step": self.step,
            "scores": self.scores,
            "network": self.network.state_dict(),
            "average": self.average if self.job.recipe.ema else {},
            "optimiser": self.optimiser.state_dict(),
        }
        write_state(path, state)

    def restore(self, path: Path) -> None:
        """Go on from `path`; raises UsageError where it is damaged or of another run."""
        state = read_state(path)
        try:
            if (found := _unwrap(state["job"])) != self.job.describe():
                raise UsageError(f"{path}: {_tell_other(found, self.job.describe())}")
            self.network.load_state_dict(state["network"])
            for name, average in state["average"].items():
                self.average[name].copy_(average)
            load_optimiser(self.optimiser, state["optimiser"])
            self.step = read_step(state, self.job.steps)
            self.scores = {
                name: {"psnr": float(score["psnr"]), "ssim": float(score["ssim"])}
                for name, score in state["scores"].items()
            }
        except DAMAGED as error:
            raise damaged(path) from error


def _unwrap(found: Any) -> dict[str, Any]:
    """Check that a description is one."""
    if not isinstance(found, dict):
        raise TypeError(found)
    return found


def _tell_other(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Say in what a run that was begun differs from the one that is wanted."""
    both = ({**one, **one["recipe"], "recipe": None} for one in (found, wanted))
    begun, asked = both
    for name in (*asked, *begun):
        if begun.get(name) != asked.get(name):
            return (
                f"begun with {name} {begun.get(name)}, not {asked.get(name)}; give the same "
                "options and pairs, or a new folder"
            )
    return "begun otherwise; give a new folder"


def _check_norms(network: nn.Module, job: PairJob) -> None:
    """Raise UsageError where batch norms would see one value: its variance is nothing."""
    normed = any(
        name.endswith(("running_mean", "moving_mean")) for name, _ in network.named_buffers()
    )
    coarsest = job.recipe.batch // job.processes.count * (job.recipe.crop // job.grid) ** 2
    if normed and coarsest == 1:
        raise UsageError(
            f"--crop {job.recipe.crop}: too small for the batch norms of {job.network.name}; "
            f"give {2 * job.grid} or more, or a larger --batch"
        )


def _begin_with(network: nn.Module, path: Path) -> None:
    """Load a checkpoint of the network under its published names. Raises UsageError."""
    state, own = read_checkpoint(path), network.state_dict()
    counters = {name: value for name, value in own.items() if not value.is_floating_point()}
    state = counters | state
    differs = difference(shapes_of(state), shapes_of(own))
    if differs:
        raise UsageError(f"--begin {path}: is of another network than is trained: {differs}")
    network.load_state_dict(state)


def train_pairs(
    job: PairJob,
    folder: Path,
    watch: Callable[[PairRun, PairProgress], None] = lambda run, progress: None,
    look: Callable[[int], bool] = lambda step: False,
    save_seconds: float = SAVE_SECONDS,
) -> Iterator[PairProgress]:
    """Train, or go on where `folder` stands; yields after each step.

    Leaves `recipe.json`, `state.safetensors` (to resume from), `NAME.safetensors` (the weights) and
    `NAME.md` (their card). `watch` is called by the first process alone. `look`: whether layers are
    to be measured in the step of that number, and all is kept after it.
    """
    run, processes = PairRun(job), job.processes
    if processes.first:
        make_folder(folder)
        remove_strays(folder)
    processes.wait()
    if (folder / STATE).exists():
        run.restore(folder / STATE)
    elif processes.first:
        write_run_facts(run, folder)
    if processes.first and run.step and not (folder / f"{job.network.name}.safetensors").exists():
        write_weights(run, folder)
    processes.wait()
    saved = time.monotonic()
    before = time.perf_counter()
    steps = range(run.step, job.steps)
    draw = job.network.draw or draw_batch
    share = processes.rank, processes.count
    for batch in draw_batches(job.source, job.recipe, steps, *share, draw):
        waited = time.perf_counter() - before
        progress = run.advance(batch, look(run.step + 1) and processes.first)
        progress = replace(progress, waited=waited)
        if processes.first:
            watch(run, progress)
            due = run.step == job.steps or look(run.step)
            if due or time.monotonic() - saved >= save_seconds:
                write_weights(run, folder)  # first, so that a state at the end means all is there
                run.save(folder / STATE)
                saved = time.monotonic()
        yield progress
        before = time.perf_counter()
