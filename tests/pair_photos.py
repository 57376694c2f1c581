"""Made-up pairs of exposures, and a store that holds them without files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darkroom.pairs.exposures import ExposurePair, Split
from darkroom.pairs.store import PairStore
from darkroom.raw.image import CFA, Color, RawImage, Sensor
from darkroom.training.pairs.batches import PairSource, group_scenes

BLACK, WHITE = 512, 16383
BAYER_PHASE, XTRANS_PHASE = CFA("RGGB"), CFA("RBGBRGGGRGGBGGBGGRBRGRBGGGBGGRGGRGGB")


def photo(seed: int, size: tuple[int, int], cfa: CFA = BAYER_PHASE) -> RawImage:
    """A dark photo whose every site has a value of its own, some below black."""
    random = np.random.default_rng(seed)
    mosaic = random.integers(BLACK - 20, BLACK + 160, size).astype(np.uint16)
    shape = (cfa.period, cfa.period)
    return RawImage(
        mosaic=mosaic,
        cfa=cfa,
        black=np.full(shape, BLACK, np.float32),
        white=np.full(shape, WHITE, np.float32),
        color=Color(np.ones(3), np.eye(3)),
    )


def reference(seed: int, size: tuple[int, int]) -> NDArray[np.uint16]:
    random = np.random.default_rng(1000 + seed)
    return random.integers(0, 65536, (*size, 3)).astype(np.uint16)


class MemoryStore(PairStore):
    """Holds what it is given; each pair's photo and reference by the dark one's path."""

    def __init__(self, photos: dict[Path, tuple[RawImage, NDArray[np.uint16]]]) -> None:
        super().__init__(Path("nowhere"))
        self.photos = photos

    def raw(self, path: Path) -> RawImage:
        return self.photos[path][0]

    def open_pair(self, pair: ExposurePair) -> tuple[RawImage, NDArray[np.uint16]]:
        return self.photos[pair.short]


def make_source(
    scenes: int = 3,
    size: tuple[int, int] = (96, 128),
    cfa: CFA = BAYER_PHASE,
    exposures: tuple[float, ...] = (100.0, 250.0),
) -> PairSource:
    """Scenes of SID's names, each in several short exposures."""
    photos, pairs = {}, []
    for scene in range(scenes):
        long = reference(scene, size)
        for ratio in exposures:
            name = f"{scene:05d}_00_{10 / ratio:g}s.ARW"
            short = Path(name)
            photos[short] = photo(scene * 10 + len(photos), size, cfa), long
            pairs.append(
                ExposurePair(short, Path(f"{scene:05d}.png"), ratio, f"{scene:05d}", Split.TRAIN)
            )
    sensor = Sensor.BAYER if cfa.period == 2 else Sensor.XTRANS
    return PairSource(MemoryStore(photos), group_scenes(pairs), sensor, "made-up")
