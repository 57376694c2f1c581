"""A dark RAW photo and the long exposure of the same scene."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

MAX_RATIO = 300.0
"""No exposure ratio counts for more. Source: SID's published code, `min(gt_exposure / in_exposure,
300)`: times such as 0.033 s stand for 1/30 s, so that 10 s would be 303 times as long."""
MISALIGNED = ("10034", "10045", "10172")
"""Sony's test scenes whose two exposures do not lie on each other. Source: SID's read-me; Fuji's
list has another scene 10172, and no 10034 and 10045."""
SID_NAME = re.compile(r"(?P<scene>\d{5})_(?P<burst>\d+)_(?P<seconds>\d*\.?\d+)s")
"""What SID calls its files: scene, place in the burst, exposure time."""


class Split(StrEnum):
    """What pairs are for. SID's scenes are 0xxxx, 1xxxx and 2xxxx, in this order."""

    TRAIN = "train"
    TEST = "test"
    VALIDATION = "validation"


@dataclass(frozen=True, slots=True)
class ExposurePair:
    """A dark RAW, its long exposure (RAW or picture), and how many times longer that is.

    `ratio`: of the exposures, at most MAX_RATIO unless the user gave another. `scene`: what pairs
    of one scene share, such as SID's "10003". `split`: None where names do not tell.
    """

    short: Path
    long: Path
    ratio: float
    scene: str
    split: Split | None = None

    @property
    def name(self) -> str:
        """What to call the pair: the dark photo's name, which holds its scene."""
        stem = self.short.stem
        return stem if stem.startswith(self.scene) else f"{self.scene}_{stem}"

    @property
    def misaligned(self) -> bool:
        """Whether the two exposures are known not to lie on each other."""
        is_fuji = self.short.suffix.lower() == ".raf" or "Fuji" in self.short.parts
        is_sid = SID_NAME.fullmatch(self.short.stem) is not None
        return is_sid and not is_fuji and self.scene in MISALIGNED


def find_split(stem: str) -> Split | None:
    """Tell by a file's name what its scene is for; None for names other than SID's."""
    found = SID_NAME.fullmatch(stem)
    splits = dict(zip("012", Split, strict=True))
    return None if found is None else splits.get(found["scene"][0])


def find_scene(stem: str) -> str:
    """Name a dark photo's scene: SID's five digits, else the file's own name."""
    found = SID_NAME.fullmatch(stem)
    return stem if found is None else found["scene"]
