"""The weights of the learned gain rule: 4 KB that come with darkroom, checked like all others."""

import hashlib

from safetensors.numpy import load

from darkroom.errors import WeightsError
from darkroom.gain import GainNetwork
from darkroom.weights import store
from darkroom.weights.registry import FileEntry

GAIN_NETWORK = FileEntry(
    "amplifier.safetensors",
    (),
    1628,
    "aecc2acfa75e1dd652c120211a87edbce8753ff9bef57d26f9808d4de57d8a84",
)
"""Its card is weights/amplifier.md."""


def load_gain_network() -> GainNetwork:
    """Load the network that the learned gain rule asks.

    Raises WeightsError where its file is missing or not the one that darkroom came with.
    """
    path = store.bundled_folder() / GAIN_NETWORK.name
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != GAIN_NETWORK.sha256:
            raise WeightsError(f"{path}: not the file that darkroom came with; reinstall darkroom")
        return GainNetwork(load(data))
    except OSError as error:
        raise WeightsError(f"{path}: missing; reinstall darkroom") from error
