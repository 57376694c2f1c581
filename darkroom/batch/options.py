"""What a user may decide about a batch, and what of that the pixels depend on."""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from darkroom.batch.devices import weights_sha256
from darkroom.errors import UsageError
from darkroom.gain import Gain
from darkroom.models.model import Model
from darkroom.output.picture import WITH_QUALITY, PictureFormat, SaveOptions
from darkroom.pipeline import Options

APART = ("tile", "profile", "dark", "dng")
"""Options of the picture that pixels do not depend on, or that are told of by what identifies them.
"""
ALWAYS = (
    "gain",
    "rule",
    "brightness",
    "ev",
    "bits",
    "hot_pixels",
    "denoise",
    "highlights",
    "edges",
    "black",
    "cfa",
)
"""Options that journals have always told of. Those that join later are told of where they are not
left at their default, so that what was made before stays valid."""
MAX_JOBS = 8
"""Decoders by default, at most: of 12 MP each does 4 a second where LibRaw is slow (compressed
RAWs take it 0.25 s), 10 where it is fast. Source: measured, README "How many of each"."""
CORES_PER_JOB, CORES_PER_JOB_BESIDE_GPU = 4, 2
"""Cores for each decoder by default, where the network has them too and where it has its own.

A photo's decoding is a sixteenth to a sixth of its work on processors, a fifth to two fifths beside
a GPU; there twice as many, so that packing and rendering, which have as many places, keep up."""


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What a user may decide about a batch.

    `picture`: per photo. `save`: how pictures are written; without its `overwrite`, only pictures
    that an earlier batch made and nobody changed since are ever replaced. `jobs`: photos decoded,
    and as many encoded, at the same time; None for what the processor bears. `timeout`: seconds
    after which decoding a photo is given up. `resume`: skip what the journal says is done; False
    does all again. `check_hash`: tell changed inputs by their SHA-256, not size and time.
    Raises UsageError for numbers out of range.
    """

    picture: Options = Options()
    save: SaveOptions = SaveOptions(PictureFormat.PNG)  # noqa: RUF009 - frozen
    jobs: int | None = None
    timeout: float = 60.0
    resume: bool = True
    check_hash: bool = False

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise UsageError(f"--jobs {self.jobs}: at least 1")
        if not self.timeout > 0:
            raise UsageError(f"--timeout {self.timeout:g}: give seconds, more than 0")
        if self.picture.bits != self.save.picture_bits:
            raise UsageError("pictures are made and saved with the same bits; give both alike")
        self.save.check_space(self.picture.color_space)
        if (self.picture.dng is None) == (self.save.format is PictureFormat.DNG):
            raise UsageError("DNGs are made and saved as such; ask for both, or for neither")

    def decoders(self, device: str = "") -> int:
        """Return how many decoder processes: `jobs`, or as cores allow.

        `device`: where the network runs, as torch names kinds of devices; "": nowhere.
        """
        share = CORES_PER_JOB if device == "cpu" else CORES_PER_JOB_BESIDE_GPU
        return self.jobs or max(1, min(MAX_JOBS, count_cores() // share))

    def capacity(self, devices: int, decoders: int) -> int:
        """Photos at hand for so many devices: decode, network, encode, and one ahead."""
        return 2 * (decoders + devices)


def count_cores() -> int:
    """Return how many processors this process may run on, as of a Slurm job, not the machine's."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Windows and macOS have none
        return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Settings:
    """What pixels depend on besides the photo; as in `Outcome`."""

    options: Mapping[str, Any]
    model_sha256: str


def settings(options: BatchOptions, model: Model) -> Settings:
    """Return what pictures depend on besides the photo; tiles are not among it.

    The network's name is: the same tensors may be read as two networks.
    """
    decided: dict[str, Any] = {}
    for field in dataclasses.fields(Options):
        name, value = field.name, getattr(options.picture, field.name)
        if name in APART or (name not in ALWAYS and value == field.default):
            continue
        decided[name] = value.value if isinstance(value, Enum | Gain) else value
    for name, reference in (("profile", options.picture.profile), ("dark", options.picture.dark)):
        if reference is not None:  # else records stay as they were before there was such a thing
            decided[name] = reference.identity
    if options.picture.dng is not None:
        decided["dng"] = options.picture.dng.value
    decided |= {
        "format": options.save.format.value,
        "precision": str(model.dtype)[6:],
        "network": model.architecture.name,
        "norm_statistics": model.norm_statistics,
    }
    if options.save.format in WITH_QUALITY:
        decided["quality"] = options.save.quality
    save = options.save
    if save.bits != save.picture_bits:
        decided["saved_bits"] = save.bits
    chosen = {"strip": save.strip, "no_gps": not save.gps, "keep_time": save.keep_time}
    decided |= {name: True for name, value in chosen.items() if value}
    return Settings(json.loads(json.dumps(decided)), weights_sha256(model))
