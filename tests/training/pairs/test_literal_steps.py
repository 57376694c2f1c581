"""One step of each recipe against the papers' own steps, written out in plain torch."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import literal_perceptilabs
import literal_sid
import numpy as np
import pytest
import torch
from literal_sid import Draw, Weights
from pair_photos import XTRANS_PHASE, make_source
from torch import Tensor

from darkroom.raw.image import Sensor
from darkroom.training.pairs.batches import PairSource, draw_batch
from darkroom.training.pairs.networks import find_network
from darkroom.training.pairs.recipes import PairRecipe
from darkroom.training.pairs.trainer import PairJob, PairRun

PACKED = 32


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks are small, and threads that wait for each other cost more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def replay(source: PairSource, recipe: PairRecipe, step: int, place: int) -> tuple[str, Draw]:
    """Draw in the order that seed and step decide: scene, exposure, corner, turns."""
    order = np.random.default_rng((recipe.seed, 1, step)).permutation(len(source.scenes))
    scene = source.scenes[order[place % len(order)]]
    random = np.random.default_rng((recipe.seed, 2, step, place))
    pair = scene[random.integers(len(scene))]
    height, width = source.store.raw(pair.short).mosaic.shape
    scale = 2 if source.sensor is Sensor.BAYER else 3
    block = 1 if scale == 2 else 2
    rows, columns = (size // (scale * block) * block for size in (height, width))
    corner = (int(random.integers(rows - PACKED + 1)), int(random.integers(columns - PACKED + 1)))
    chances = (recipe.flip_rows, recipe.flip_columns, recipe.transpose)
    return pair.name, Draw(*corner, *(random.random() < chance for chance in chances))


def literal_batch(source: PairSource, recipe: PairRecipe, step: int) -> tuple[Tensor, Tensor]:
    pairs = {pair.name: pair for scene in source.scenes for pair in scene}
    both = []
    for place in range(recipe.batch):
        name, draw = replay(source, recipe, step, place)
        raw, reference = source.store.open_pair(pairs[name])
        fuji = source.sensor is Sensor.XTRANS
        ratio = pairs[name].ratio
        both.append(literal_sid.patches(raw.mosaic, ratio, reference, draw, PACKED, fuji))
    return torch.cat([one for one, _ in both]), torch.cat([other for _, other in both])


def leaves(run: PairRun) -> Weights:
    """The run's weights by their published names, to differentiate by."""
    state = run.network.state_dict()
    return {
        name: value.detach().clone().contiguous().requires_grad_(value.is_floating_point())
        for name, value in state.items()
    }


LITERAL: list[tuple[str, Callable[[Weights, Tensor], Tensor], Callable[..., Tensor]]] = [
    ("sid", literal_sid.sid, literal_sid.l1),
    ("sid-xtrans", literal_sid.sid, literal_sid.l1),
    ("sid-batch-norm-none", partial(literal_sid.batch_norm, norms="none"), literal_sid.l1),
    ("sid-batch-norm-single", partial(literal_sid.batch_norm, norms="single"), literal_sid.l1),
    ("sid-batch-norm-double", partial(literal_sid.batch_norm, norms="double"), literal_sid.l1),
    (
        "sid-batch-norm-double-last",
        partial(literal_sid.batch_norm, norms="double", last=True),
        literal_sid.l1,
    ),
    ("perceptilabs", literal_perceptilabs.perceptilabs, literal_perceptilabs.quadratic),
]


@pytest.mark.parametrize(("name", "network", "measure"), LITERAL, ids=[one[0] for one in LITERAL])
def test_a_step_is_that_of_the_paper(
    name: str, network: Callable[[Weights, Tensor], Tensor], measure: Callable[..., Tensor]
) -> None:
    """Crops to the bit but for one rounding; loss and gradients to 1e-5 of the largest gradient."""
    xtrans = name.endswith("-xtrans")
    source = make_source(
        size=(120, 126), **{"cfa": XTRANS_PHASE} if xtrans else {}, exposures=(100.0, 300.0)
    )
    known = find_network(name.removesuffix("-xtrans"), source.sensor)
    if name.startswith("sid"):  # a quarter of its widths, for speed
        known = replace(known, make=partial(known.make, narrower=4))
    scale = 3 if xtrans else 2
    recipe = replace(known.recipe, crop=PACKED * scale, batch=min(known.recipe.batch, 2), seed=3)
    run = PairRun(PairJob(known, recipe, source))
    weights = leaves(run)
    batch = draw_batch(source, recipe, 0)
    given, targets = literal_batch(source, recipe, 0)
    ours = batch.packed.clamp(0, 1)
    ours = ours if xtrans else ours[:, [0, 1, 3, 2]]
    assert torch.allclose(ours, given, rtol=1e-6, atol=1e-7)
    assert torch.allclose(batch.targets, targets, rtol=1e-7, atol=0)
    before = {key: value.detach().clone() for key, value in weights.items()}
    expected = measure(network(weights, given), targets)
    expected.backward()
    loss = run.propagate(batch)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = dict(run.network.named_parameters())
    largest = max(value.grad.abs().max() for value in weights.values() if value.grad is not None)
    for published, value in weights.items():
        own = gradients.get(published.replace("/", "."))
        if own is not None:
            assert (own.grad - value.grad).abs().max() <= 1e-5 * largest, published
    run.optimiser.step()
    for published, value in run.network.state_dict().items():
        if value.is_floating_point() and weights[published].grad is not None:
            gradient = weights[published].grad
            # Adam's first step: the rate, in the direction of the gradient's sign.
            step = -recipe.rate * gradient / (gradient.abs() + 1e-8)
            clear = gradient.abs() > 1e-3 * largest
            moved = value - before[published]
            assert torch.allclose(moved[clear], step[clear], rtol=1e-2, atol=1e-7), published
