"""Seeded synthetic RAW photos, shared by all tests; nothing is read from disk or the network."""

import signal
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from darkroom.output.dng import write_dng
from darkroom.raw.image import CFA, Color, Exposure, RawImage

# Shells have SIGINT ignored for what runs in the background, and the commands under test would
# inherit that: those that are to be ended by it would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

BLACK, WHITE = 512, 16383
WHITE_BALANCE = (2.1, 1.0, 1.6)

# Adobe's published D65 matrix of the Sony ILCE-7S, in the sense of DNG's ColorMatrix.
XYZ_TO_CAMERA = (
    np.array([[5838, -1430, -246], [-3497, 11477, 2297], [-748, 1885, 5778]], dtype=np.float64)
    / 10000
)

# Fujifilm's array at one of its 36 phases.
XTRANS = "GBGGRGRGRBGBGBGGRGGRGGBGBGBRGRGRGGBG"


def smooth_scene(height: int, width: int, seed: int) -> NDArray[np.float64]:
    """(3, H, W) camera RGB in about 0.02-0.9: a few random waves per channel, no sharp edges."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    scene = np.full((3, height, width), 0.45)
    for _ in range(4):
        down, right = random.uniform(-6, 6, 2)
        wave = np.sin(2 * np.pi * (down * rows + right * columns) + random.uniform(0, 6.28))
        scene += random.uniform(-0.1, 0.1, (3, 1, 1)) * wave
    return scene


def synthetic_raw(
    height: int = 48,
    width: int = 64,
    cfa: str = "RGGB",
    seed: int = 0,
    *,
    exposure: float = 1.0,
    read_noise: float = 4.0,
    **fields: Any,
) -> RawImage:
    """A seeded smooth scene seen through `cfa`, black 512, white 16383.

    `exposure` scales the light (0.01 is dark), `read_noise` is in sensor units, shot noise has
    about 4 units per electron; read_noise=0 gives a noise-free photo. `fields` replace RawImage's.
    """
    array = CFA("".join(XTRANS) if cfa == "xtrans" else cfa)
    scene = smooth_scene(height, width, seed) / np.array(WHITE_BALANCE)[:, None, None]
    repeats = (-(-height // array.period), -(-width // array.period))
    channels = np.tile(array.channels, repeats)[:height, :width]
    light = np.take_along_axis(scene, channels[None], axis=0)[0] * exposure * (WHITE - BLACK)
    if read_noise > 0:
        random = np.random.default_rng(seed + 1)
        light = random.poisson(np.maximum(light, 0) / 4) * 4.0
        light += random.normal(0, read_noise, light.shape)
    period = (array.period, array.period)
    values: dict[str, Any] = {
        "mosaic": np.clip(np.rint(light + BLACK), 0, WHITE).astype(np.uint16),
        "cfa": array,
        "black": np.full(period, BLACK, dtype=np.float32),
        "white": np.full(period, WHITE, dtype=np.float32),
        "color": Color(np.array(WHITE_BALANCE), XYZ_TO_CAMERA.copy()),
        "exposure": Exposure(seconds=0.1, iso=1600, aperture=2.8),
        "camera": "Example One",
        "time": datetime(2024, 2, 29, 23, 59, 58),
    }
    return RawImage(**(values | fields))


@pytest.fixture(autouse=True, scope="session")
def _cache_of_decoded_pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests decode out of the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DARKROOM_CACHE", str(tmp_path_factory.mktemp("pairs")))
        yield


@pytest.fixture(name="synthetic_raw")
def synthetic_raw_fixture() -> Callable[..., RawImage]:
    """The function `synthetic_raw`, for tests that would rather not import conftest."""
    return synthetic_raw


@pytest.fixture
def dng_path(tmp_path: Path) -> Callable[..., Path]:
    """`dng_path(raw=None, name="photo.dng", **fields)` writes a DNG and gives its path.

    Without `raw`, `fields` go to `synthetic_raw`.
    """

    def write(raw: RawImage | None = None, name: str = "photo.dng", **fields: Any) -> Path:
        path = tmp_path / name
        write_dng(path, synthetic_raw(**fields) if raw is None else raw)
        return path

    return write
