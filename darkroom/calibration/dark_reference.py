"""Dark frames taken for one photo: what is taken off it.

The level is well known from a single frame, and so are hot pixels and what changes slowly over the
frame. Anything finer than that holds the frames' own noise, which subtracting would add to the
photo; it is shrunk by how much of it is noise, which one frame alone cannot tell.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darkroom.calibration.dark_stack import DarkStack
from darkroom.calibration.fixed_pattern import Mosaic, Values, spread_cells
from darkroom.calibration.frames import (
    is_dark_enough,
    is_gray,
    list_files,
    measure_content,
    read_frame,
)
from darkroom.errors import RawError, UsageError
from darkroom.raw.image import CFA, Exposure, RawImage

EXPOSURE_RATIO = 1.1
"""Dark frames of exposures or ISOs that differ by more have another dark current or gain."""


@dataclass(frozen=True, slots=True, eq=False)
class DarkReference:
    """What dark frames hold, in sensor units.

    `black`: (period, period) levels. `fixed`: (H, W) what they always have on top of it. `hot`: (n,
    2) rows and columns of hot pixels. `count`: how many frames. `lit`: the first that shows
    colours, by its name; empty where none does.
    """

    camera: str
    margins: tuple[int, int]
    cfa: CFA
    exposure: Exposure
    black: Values
    fixed: Mosaic
    hot: NDArray[np.intp]
    count: int
    lit: str = ""

    @property
    def identity(self) -> dict[str, str | int]:
        """What records of pictures say of it."""
        digest = hashlib.sha256(self.black.tobytes() + self.hot.tobytes())
        digest.update(self.fixed.tobytes())
        return {"frames": self.count, "sha256": digest.hexdigest()}

    def refuse(self, raw: RawImage) -> str | None:
        """Say in one line why these frames do not go with a photo; None if they do."""
        if raw.camera != self.camera:
            return f"the dark frames are of {self.camera}, the photo of {raw.camera or 'another'}"
        if (raw.mosaic.shape, raw.margins) != (self.fixed.shape, self.margins):
            (height, width), (tall, wide) = raw.mosaic.shape, self.fixed.shape
            return f"the dark frames have {wide} x {tall} photosites, the photo {width} x {height}"
        return None

    def doubt(self, raw: RawImage) -> str | None:
        """Say in one line why the frames may not go with a photo; None if they seem to."""
        if self.lit:
            return f"--dark {self.lit} shows colours, as only light has them"
        pairs = (
            ("ISO", raw.exposure.iso, self.exposure.iso),
            ("exposure in seconds", raw.exposure.seconds, self.exposure.seconds),
        )
        for name, own, theirs in pairs:
            if own and theirs and not 1 / EXPOSURE_RATIO <= own / theirs <= EXPOSURE_RATIO:
                return f"the dark frames' {name} is {theirs:g}, the photo's {own:g}"
        return None


def read_dark_frames(places: Sequence[Path]) -> DarkReference:
    """Read dark frames, files or folders of them, one after the other.

    Raises RawError for what is no RAW file, and UsageError where there is none, one is no dark
    frame, or they differ in camera, size, ISO or exposure.
    """
    paths = [
        path for place in places for path in (list_files(place) if place.is_dir() else [place])
    ]
    first: RawImage | None = None
    stack: DarkStack | None = None
    lit = ""
    for path in paths:
        try:
            raw = read_frame(path)
        except RawError as error:
            if path not in places:  # what else lies in a folder
                continue
            raise RawError(f"--dark {error}") from error
        content = measure_content(raw)
        if not is_dark_enough(content):
            raise UsageError(f"--dark {path}: is too bright for a dark frame; put the lens cap on")
        if first is None or stack is None:
            first, stack = raw, DarkStack(raw.cfa.period)
        elif _kind(raw) != _kind(first):
            raise UsageError(
                f"--dark {path}: differs from {paths[0].name} in camera, size, ISO or exposure; "
                "give frames that were taken alike"
            )
        if not lit and not is_gray(content):
            lit = path.name
        stack.add(raw.mosaic)
    if first is None or stack is None:
        raise UsageError(f"--dark {places[0]}: no RAW file in there; name dark frames")
    black, _ = stack.measure_black()
    pattern = stack.measure_pattern()
    fixed = np.zeros(first.mosaic.shape, np.float32) if pattern.sites is None else pattern.sites
    if pattern.rows is not None:
        fixed += pattern.rows[:, None].astype(np.float32)
    if pattern.columns is not None:
        fixed += pattern.columns[None].astype(np.float32)
    if pattern.shading is not None:
        fixed += spread_cells(pattern.shading, fixed.shape)
    return DarkReference(
        first.camera,
        first.margins,
        first.cfa,
        first.exposure,
        black,
        fixed,
        pattern.hot[:, :2].astype(np.intp),
        stack.count,
        lit,
    )


def _kind(raw: RawImage) -> tuple[object, ...]:
    """Return what dark frames that go together share."""
    return (raw.camera, raw.mosaic.shape, raw.margins, raw.exposure.iso, raw.exposure.seconds)
