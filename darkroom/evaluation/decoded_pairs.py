"""Where an evaluation takes its decoded pairs from: the store that keeps them, or the files."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from darkroom.pairs.exposures import ExposurePair
from darkroom.pairs.store import PairStore
from darkroom.raw.image import RawImage


class DecodedPairs(Protocol):
    """Where decoded pairs come from: `darkroom.pairs.store.PairStore`, or the files themselves."""

    def open_pair(self, pair: ExposurePair) -> tuple[RawImage, NDArray[np.uint16]]:
        """Return a dark photo and (H, W, 3) of its long exposure, site upon pixel."""


class DecodedAnew:
    """Decodes pairs when they are asked for and keeps those of one scene, in a temporary store.

    Photos of a burst share their long exposure, which is decoded once for all that follow each
    other. To be used in a `with` block, which removes the store.
    """

    def __init__(self) -> None:
        self._scene = ""
        self._folder = self._make_folder()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._folder.cleanup()

    def open_pair(self, pair: ExposurePair) -> tuple[RawImage, NDArray[np.uint16]]:
        """Return a dark photo and (H, W, 3) of its long exposure, site upon pixel."""
        if pair.scene != self._scene:
            self._folder.cleanup()
            self._folder = self._make_folder()
            self._scene = pair.scene
        return PairStore(Path(self._folder.name)).open_pair(pair)

    def _make_folder(self) -> TemporaryDirectory[str]:
        # On Windows what is mapped into memory cannot be removed.
        return TemporaryDirectory(prefix="darkroom-pairs-", ignore_cleanup_errors=True)
