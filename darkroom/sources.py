"""Which photos a batch works on, and what their pictures are called."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """One photo to do.

    `source`: absolute path (or URL, for a cluster) of the RAW photo. `target`: the picture's name
    with ending, "/" between folders, relative to the output folder.
    """

    source: str
    target: str
