"""Every error that darkroom raises on purpose; its message says what is wrong and what to do.

DarkroomError              1   at least one photo failed
├── TooLargeError          1   a photo needs more memory than there is, and cannot be cut
├── UsageError             2   options that do not fit together, a device that is not there
├── WeightsError           3   unknown name · not installed · download failed · hash differs
│   └── CheckpointError    3   damaged, unsafe, or no architecture recognises this file
├── RawError               4   not a RAW, damaged, or no colour filter array
│   └── SensorError        4   this model was made for another kind of sensor
└── OutputError            5   cannot write there, or not in that format

The number is the exit code of the command line (documented in the README).
"""

import errno
from typing import ClassVar

DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
"""What the system answers where the disk, or the user's share of it, is full."""


class DarkroomError(Exception):
    """Base of the tree: catch this to catch them all; `str()` is one line for the user."""

    exit_code: ClassVar[int] = 1


class TooLargeError(DarkroomError):
    """A photo needs more memory than there is, by a network that takes it in one piece only."""


class UsageError(DarkroomError):
    """The request cannot be carried out as given, whatever the photo."""

    exit_code = 2


class WeightsError(DarkroomError):
    """Weights are missing, unknown, or were rejected."""

    exit_code = 3


class CheckpointError(WeightsError):
    """A checkpoint file is damaged, unsafe, or of no known architecture."""


class RawError(DarkroomError):
    """A file is no RAW photo with a colour filter array, or is damaged."""

    exit_code = 4


class SensorError(RawError):
    """A photo's sensor is not of the kind that the model was made for."""


class OutputError(DarkroomError):
    """A result could not be written; nothing is left behind under its name."""

    exit_code = 5


def printable(words: str) -> str:
    """Return foreign words as one line that cannot drive a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in words).split())
