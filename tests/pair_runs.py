"""Small runs on made-up pairs."""

import copy
from dataclasses import replace
from functools import partial

from pair_photos import make_source
from torch import Tensor

from darkroom.raw.image import Sensor
from darkroom.training.pairs.batches import draw_batch
from darkroom.training.pairs.distributed import Processes
from darkroom.training.pairs.networks import find_network
from darkroom.training.pairs.recipes import PairRecipe
from darkroom.training.pairs.trainer import PairJob, PairRun

SID = find_network("sid", Sensor.BAYER)
SMALL = replace(SID.recipe, steps=6, batch=2, crop=32, seed=5)
ALONE = Processes("cpu")


def small_job(
    recipe: PairRecipe = SMALL, processes: Processes = ALONE, name: str = "sid"
) -> PairJob:
    """A job for a network of an eighth of its widths."""
    known = find_network(name, Sensor.BAYER)
    known = replace(known, make=partial(known.make, narrower=8))
    return PairJob(known, recipe, make_source(size=(64, 64)), processes)


def measure_gradients(job: PairJob) -> dict[str, Tensor]:
    """Gradients of the first step, with weights in float64, whose sums' order does not count."""
    run = PairRun(job)
    run.network.double()
    own = job.processes
    batch = draw_batch(job.source, job.recipe, 0, own.rank, own.count)
    run.propagate(replace(batch, packed=batch.packed.double()))
    found = {name: copy.deepcopy(one.grad) for name, one in run.network.named_parameters()}
    return {name: one for name, one in found.items() if one is not None}
