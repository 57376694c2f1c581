"""The networks that can be trained on pairs, as their authors published and trained them.

To add one: a module here whose `nn.Module` has the published names and shapes, so that its state
dict is a checkpoint that `darkroom.models` recognises, and an entry in its `NETWORKS`.
"""

from darkroom.errors import UsageError
from darkroom.raw.image import Sensor
from darkroom.training.pairs.networks import llpacknet, perceptilabs, redi, safelight, sid
from darkroom.training.pairs.networks.base import KINDS
from darkroom.training.pairs.networks.base import TrainableNetwork as TrainableNetwork

NETWORKS: tuple[TrainableNetwork, ...] = (
    *sid.NETWORKS,
    *perceptilabs.NETWORKS,
    *llpacknet.NETWORKS,
    *redi.NETWORKS,
    *safelight.NETWORKS,
)


def find_network(name: str, sensor: Sensor | None = None) -> TrainableNetwork:
    """Return the network of that name for a kind of sensor, or for the first that it has one for.

    Raises UsageError, which lists the names, where there is none.
    """
    named = [network for network in NETWORKS if network.name == name]
    if not named:
        known = ", ".join(dict.fromkeys(network.name for network in NETWORKS))
        raise UsageError(f"--network {name}: unknown; give one of {known}")
    for network in named:
        if sensor in (None, network.sensor):
            return network
    fits = dict.fromkeys(network.name for network in NETWORKS if network.sensor is sensor)
    raise UsageError(
        f"--network {name} is for {KINDS[named[0].sensor]} sensors, and these photos are of "
        f"another kind; give one of {', '.join(fits)}"
    )
