"""What a network paints: the one fact that registry, networks and pipeline must agree on."""

from enum import Enum


class Output(Enum):
    """What the three channels of a network's picture are.

    `SRGB`: finished sRGB in [0, 1], in the colours of the camera that it was trained on; its input
    is the amplified mosaic as it is. `CAMERA`: linear camera RGB; its input is white-balanced.
    """

    SRGB = "srgb"
    CAMERA = "camera"
