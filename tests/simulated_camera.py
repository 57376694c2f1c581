"""A camera of known truth that takes dark frames, flat frames and photos, as DNGs.

Its figures are those of a full-frame camera at high ISO, as the shared pairs of the SID data set
have them: a shot gain of 0.42 and a read noise of 1.7 sensor units at the lower ISO.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from conftest import synthetic_raw
from numpy.typing import NDArray

from darkroom.output.dng import write_dng
from darkroom.raw.image import CFA, Exposure, RawImage

WHITE = 16383


@dataclass
class SimulatedCamera:
    """One camera at one ISO; all in sensor units. `shape`: Tukey's lambda, None for Gaussian."""

    height: int = 288
    width: int = 384
    cfa: str = "RGGB"
    name: str = "Example One"
    iso: float = 1600
    black: NDArray[np.float64] = field(
        default_factory=lambda: np.array([[512.3, 511.6], [512.8, 511.9]])
    )
    stated: float = 512
    shot: float = 0.42
    read: float = 1.7
    shape: float | None = None
    row: float = 0.6
    column: float = 0.0
    fixed_rows: float = 0.0
    shading: float = 0.0
    unlike: float = 0.005
    hot: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        fixed = np.random.default_rng([self.seed, 1])
        size = self.height, self.width
        self.rows = self.fixed_rows * fixed.normal(size=self.height)
        y, x = np.linspace(-1, 1, self.height)[:, None], np.linspace(-1, 1, self.width)
        self.shade = self.shading * (x * y + 0.5 * x)
        self.response = 1 + self.unlike * fixed.normal(size=size)
        self.fall_off = 1 - 0.3 * (x**2 + y**2) / 2
        self.hot_sites = fixed.random(size) < self.hot
        self.hot_sites[:4] = self.hot_sites[-4:] = False
        self.heat = np.where(self.hot_sites, fixed.uniform(20, 800, size) * self.read, 0.0)
        self.random = np.random.default_rng([self.seed, 2])

    def expose(self, light: NDArray[np.float64] | float) -> NDArray[np.uint16]:
        """(H, W) of one exposure; `light`: mean signal of every site, in sensor units."""
        size = self.height, self.width
        signal = np.broadcast_to(light, size) * self.response + self.heat
        values = self.random.poisson(np.maximum(signal, 0) / self.shot) * self.shot
        values += self.read * self._read_noise(size)
        values += self.row * self.random.normal(size=(self.height, 1))
        values += self.column * self.random.normal(size=(1, self.width))
        values += self.rows[:, None] + self.shade
        values += np.tile(self.black, np.array(size) // self.black.shape)
        return np.clip(np.rint(values), 0, WHITE).astype(np.uint16)

    def dark(self, extra: float = 0.0) -> RawImage:
        """Return a dark frame; `extra`: light that leaked in."""
        return self.describe(self.expose(extra))

    def flat(self, light: float, *, flicker: float = 0.0) -> RawImage:
        """Return a flat frame through a lens whose corners are darker; green is the brightest."""
        colors = np.tile(
            np.array([0.6, 1.0, 0.8])[CFA(self.cfa).channels],
            np.array([self.height, self.width]) // CFA(self.cfa).period,
        )
        phase = self.random.uniform(0, 2 * np.pi)
        waves = 1 + flicker * np.sin(np.arange(self.height) / 25 + phase)
        return self.describe(self.expose(light * colors * self.fall_off * waves[:, None]))

    def describe(self, mosaic: NDArray[np.uint16], **fields: Any) -> RawImage:
        """Make a photo of sensor values."""
        period = CFA(self.cfa).period
        raw = synthetic_raw(12, 12, self.cfa)
        return replace(
            raw,
            **{
                "mosaic": mosaic,
                "black": np.full((period, period), self.stated, np.float32),
                "white": np.full((period, period), WHITE, np.float32),
                "camera": self.name,
                "exposure": Exposure(0.1, self.iso, 2.8),
                **fields,
            },
        )

    def save_frames(
        self, folder: Path, darks: int = 6, lights: tuple[float, ...] = (300, 2000, 7000)
    ) -> Path:
        """Write dark frames and a pair of flat frames of each light into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(darks):
            write_dng(folder / f"dark{self.iso:g}-{number}.dng", self.dark())
        for light in lights:
            for number in range(2):
                name = f"flat{self.iso:g}-{light:g}-{number}.dng"
                write_dng(folder / name, self.flat(light))
        return folder

    def _read_noise(self, size: tuple[int, int]) -> NDArray[np.float64]:
        """Draw noise of unit std."""
        if self.shape is None:
            return self.random.normal(size=size)
        uniform = np.random.default_rng(3).random(1 << 20)
        quantiles = (uniform**self.shape - (1 - uniform) ** self.shape) / self.shape
        drawn = self.random.random(size)
        values = (drawn**self.shape - (1 - drawn) ** self.shape) / self.shape
        return np.asarray(values / quantiles.std())
