"""safelight to be fine-tuned on pairs: begins with the bundled weights, keeps its own forms.

Recipe: ours, about 30 minutes on one core. With `--mix 0.5` 97 steps of it on eight of SID's pairs
brought three others from 35.23 to 35.53 dB (aligned), the two of a scene that was not trained on by
0.25 and 0.41; at three times the rate one of two unseen scenes lost as much as the other gained.
"""

from functools import partial

from darkroom.models.architectures.safelight import LARGE_WIDTHS, WIDTHS, Safelight
from darkroom.raw.image import Sensor
from darkroom.training.initialization import begin_with
from darkroom.training.pairs.networks.base import TrainableNetwork
from darkroom.training.pairs.networks.safelight_pairs import cut_middle, draw_developed, paint
from darkroom.training.pairs.recipes import PairRecipe
from darkroom.weights import registry, store
from darkroom.weights.checkpoint import read_checkpoint


def make_safelight(name: str) -> Safelight:
    """Make safelight with its bundled weights, in float32. Raises WeightsError without them."""
    state = read_checkpoint(store.verify(registry.ENTRIES[name]))
    channels = 9 if name.endswith("-xtrans") else 4
    network = Safelight(channels, LARGE_WIDTHS if "-large" in name else WIDTHS)
    begin_with(network, state)
    return network


RECIPE = PairRecipe(
    loss="safelight",
    rate=1e-5,
    rate_after=2e-6,
    drop_at=0.6,
    epochs=1,
    steps=3000,
    batch=4,
    crop=192,
    bursts=True,
    ema=0.99,
)


def _bind(name: str, architecture: str, sensor: Sensor) -> TrainableNetwork:
    """Bind bundled weights to the recipe; their X-Trans twins share their name."""
    return TrainableNetwork(
        name=name.removesuffix("-xtrans"),
        sensor=sensor,
        make=partial(make_safelight, name),
        architecture=architecture,
        recipe=RECIPE,
        forward=paint,
        draw=draw_developed,
        middle=cut_middle,
    )


NETWORKS = (
    _bind("safelight", "safelight", Sensor.BAYER),
    _bind("safelight-xtrans", "safelight-xtrans", Sensor.XTRANS),
    _bind("safelight-large", "safelight", Sensor.BAYER),
    _bind("safelight-large-xtrans", "safelight-xtrans", Sensor.XTRANS),
)
