"""A sensor simulated at the amplified scale: what a dark RAW really holds, for any camera.

Values are linear, black 0, the scene's white 1 *after* amplification; noise is what amplification
makes of it. Every parameter is drawn per photo from ranges that cover phones to full-frame, base
ISO to the highest, ratios 1 to 300; or from what was measured of one camera.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from darkroom.calibration.profile import SensorNoise
from darkroom.mosaic.packing import BAYER
from darkroom.raw.image import CFA

# Variance of shot noise per unit of signal: gain / full well. At ratio 100 a full-frame sensor at
# high ISO stands at 2.5e-3 (measured on pairs of the SID data set: 0.4 DN per DN, white 15871 DN).
SHOT = (6e-5, 3e-2)

# Photos that need little amplification: this share has up to so many decades less noise.
BRIGHT_SHARE = 0.45
BRIGHT_DECADES = 2.5

# Read noise in electrons, so that its std is shot * electrons. The same pairs give 4.
READ_ELECTRONS = (0.8, 10.0)
READ_LIMITS = (2e-5, 0.1)

# An error of the black level common to the photo, in stds of the read noise. Stated blacks tend to
# lie above the real ones: the pairs above sit at -0.4 (-0.65 DN of 1.6), the masked pixels of a
# Canon 550D at -1. Most so where values below black were clipped and nothing is left to tell.
CLIPPED_BLACK_ERROR = (-1.1, 0.1)
KEPT_BLACK_ERROR = (-0.7, 0.25)
# Black that was measured on masked pixels, in a profile or on dark frames, is off by this std and
# each channel's besides; a third of photos have it.
KNOWN_BLACK_ERROR, KNOWN_CHANNEL_ERROR = 0.05, 0.03
KNOWN_BLACK_SHARE = 1 / 3
KNOWN_SHADING = 0.05
# On those pairs green is further off than red and blue, by 0.2 stds.
CLIPPED_GREEN_ERROR = (-0.4, 0.0)
CHANNEL_BLACK_ERROR = 0.08
ROW_NOISE = 0.3
COLUMN_NOISE = 0.1
SHADING = 0.15

MAX_AMPLIFICATION = 300.0  # Source: SID's code, min(gt / in, 300)

# Quantisation steps in stds of the read noise.
QUANTISATION = (0.05, 1.5)

# Compressed RAWs have steps that grow with the noise, as lossy NEF and ARW do.
COMPRESSED_SHARE = 0.2

# Shape of the read noise: Tukey's lambda; 0.14 is Gaussian, negative has heavy tails.
# Source: Wei et al., "A Physics-based Noise Formation Model", CVPR 2020, section 4.
TUKEY_LAMBDA = (-0.1, 0.16)
MIN_LAMBDA = 0.02  # nearer to 0 the formulas cancel in float32


@dataclass(frozen=True, slots=True)
class Sensors:
    """One simulated sensor per photo of a batch, each (N, 1, 1).

    `knows_black`: whether black was measured, not stated. `row`, `column`: std of what rows and
    columns are off, in stds of the read noise; None draws it.
    """

    shot: Tensor
    read: Tensor
    shape: Tensor
    step: Tensor
    white: Tensor
    clips_black: Tensor
    compressed: Tensor
    knows_black: Tensor
    row: Tensor | None = None
    column: Tensor | None = None

    def select(self, photos: Tensor) -> "Sensors":
        """Return the sensors of some photos, given by index."""
        parts = {name: getattr(self, name) for name in Sensors.__slots__}
        chosen = {name: part[photos] for name, part in parts.items() if part is not None}
        return replace(self, **chosen)

    def quieter(self, factor: Tensor) -> "Sensors":
        """Return sensors whose noise has `factor` (N, 1, 1) times less std, steps alike."""
        return replace(
            self,
            shot=self.shot / factor**2,
            read=self.read / factor,
            step=self.step / factor,
        )


def uniform(low: float, high: float, count: int, generator: Generator) -> Tensor:
    """(count, 1, 1) uniform draws."""
    return low + (high - low) * torch.rand(count, 1, 1, generator=generator)


def log_uniform(low: float, high: float, count: int, generator: Generator) -> Tensor:
    """(count, 1, 1) draws that are uniform in the logarithm."""
    ends = torch.tensor([low, high]).log().tolist()
    return uniform(ends[0], ends[1], count, generator).exp()


def draw_sensors(count: int, generator: Generator) -> Sensors:
    """Draw `count` sensors, each with its amplification already applied."""

    def chance(share: float) -> Tensor:
        return torch.rand(count, 1, 1, generator=generator) < share

    # The geometric mean of two draws: most photos in the middle of the range, few at its ends.
    shot = (log_uniform(*SHOT, count, generator) * log_uniform(*SHOT, count, generator)).sqrt()
    decades = uniform(0, BRIGHT_DECADES, count, generator)
    shot = torch.where(chance(BRIGHT_SHARE), shot * 10**-decades, shot)
    read = (shot * log_uniform(*READ_ELECTRONS, count, generator)).clamp(*READ_LIMITS)
    # Photos that needed little amplification clip in the scene's own highlights.
    white = log_uniform(0.9, 30.0, count, generator).clamp(min=1.0)
    return Sensors(
        shot=shot,
        read=read,
        shape=uniform(*TUKEY_LAMBDA, count, generator),
        step=read * log_uniform(*QUANTISATION, count, generator),
        white=white,
        clips_black=chance(0.5),
        compressed=chance(COMPRESSED_SHARE),
        knows_black=chance(KNOWN_BLACK_SHARE),
    )


def draw_known_sensors(count: int, generator: Generator, known: Sequence[SensorNoise]) -> Sensors:
    """Draw `count` photos of a camera that was measured, each amplified 1 to 300 times.

    Its ISO lies anywhere between those measured, evenly in its logarithm, and its noise between
    theirs, as `CameraProfile.at` has it. `known`: at least one, by rising ISO.
    """
    table = torch.tensor([[one.shot, one.read, one.row, one.column] for one in known])
    table = torch.cat(
        [table.clamp(min=1e-9).log(), torch.tensor([[one.shape] for one in known])], 1
    )
    stops = torch.tensor([one.iso for one in known]).log()
    low, high = float(stops[0]), float(stops[-1])
    place = low + (high - low) * torch.rand(count, generator=generator)
    above = torch.searchsorted(stops, place).clamp(1, max(len(known) - 1, 1))
    above = above.clamp(max=len(known) - 1)
    below = (above - 1).clamp(min=0)
    share = ((place - stops[below]) / (stops[above] - stops[below]).clamp(min=1e-6)).clamp(0, 1)
    found = torch.lerp(table[below], table[above], share[:, None])
    shot, read, row, column = found[:, :4].exp().T[:, :, None, None]
    gain = log_uniform(1.0, MAX_AMPLIFICATION, count, generator)
    never = torch.zeros(count, 1, 1, dtype=torch.bool)
    return Sensors(
        shot=shot * gain,
        read=read * gain,
        shape=found[:, 4, None, None],
        step=torch.full((count, 1, 1), known[0].step) * gain,
        white=gain,
        clips_black=never,
        compressed=never,
        knows_black=~never,
        row=row,
        column=column,
    )


def draw_tukey(shape: tuple[int, ...], lam: Tensor, generator: Generator) -> Tensor:
    """Draw Tukey-lambda noise of unit std; `lam` broadcasts against `shape`."""
    lam = torch.where(lam.abs() < MIN_LAMBDA, torch.full_like(lam, MIN_LAMBDA), lam)
    u = torch.rand(shape, generator=generator).clamp(1e-6, 1 - 1e-6)
    variance = (2 / lam**2) * (
        1 / (1 + 2 * lam) - (2 * torch.lgamma(lam + 1) - torch.lgamma(2 * lam + 2)).exp()
    )
    # exp of log is three times as fast as a power with a tensor for its exponent.
    tails = (u.log() * lam).exp_() - ((-u).log1p_() * lam).exp_()
    return tails / (lam * variance.sqrt())


def expose(mosaic: Tensor, sensors: Sensors, generator: Generator, cfa: CFA = BAYER) -> Tensor:
    """Photograph clean mosaics: (N, H, W) linear, before white balance -> the same, noisy."""
    n, height, width = mosaic.shape
    noisy = torch.poisson(mosaic.clamp(min=0) / sensors.shot, generator=generator) * sensors.shot

    noise = draw_tukey(mosaic.shape, sensors.shape, generator)
    row, column = sensors.row, sensors.column
    row = uniform(0, ROW_NOISE, n, generator) if row is None else row
    noise += row * torch.randn(n, height, 1, generator=generator)
    column = uniform(0, COLUMN_NOISE, n, generator) if column is None else column
    noise += column * torch.randn(n, 1, width, generator=generator)
    noise += draw_black_errors(sensors, (height, width), generator, cfa)
    shading = torch.where(sensors.knows_black, KNOWN_SHADING, SHADING)
    noise += shading * draw_shading(n, height, width, generator)
    noisy += sensors.read * noise
    noisy += draw_hot_pixels(mosaic.shape, generator) * sensors.read

    noisy = quantise(noisy, sensors)
    floor = torch.where(sensors.clips_black, 0.0, -torch.inf)
    return torch.minimum(torch.maximum(noisy, floor), sensors.white)


def draw_black_errors(
    sensors: Sensors, size: tuple[int, int], generator: Generator, cfa: CFA
) -> Tensor:
    """(N, H, W) what is wrong with the stated black levels, in stds of the read noise."""
    n = len(sensors.read)
    clipped, kept = (uniform(*r, n, generator) for r in (CLIPPED_BLACK_ERROR, KEPT_BLACK_ERROR))
    common = torch.where(sensors.clips_black, clipped, kept)
    measured = KNOWN_BLACK_ERROR * torch.randn(n, 1, 1, generator=generator)
    common = torch.where(sensors.knows_black, measured, common)
    green = uniform(*CLIPPED_GREEN_ERROR, n, generator)
    green = torch.where(sensors.clips_black & ~sensors.knows_black, green, 0.0)
    # Bayer's two greens differ as colours do.
    kinds = torch.arange(4).view(2, 2) if cfa == BAYER else torch.from_numpy(cfa.channels).long()
    own = torch.randn(n, 4, generator=generator)
    own *= torch.where(sensors.knows_black, KNOWN_CHANNEL_ERROR, CHANNEL_BLACK_ERROR)[:, 0]
    is_green = torch.from_numpy(cfa.channels == 1)
    period = common + green * is_green + own[:, kinds]
    down, right = (-(-side // cfa.period) for side in size)
    return period.repeat(1, down, right)[:, : size[0], : size[1]]


def quantise(light: Tensor, sensors: Sensors) -> Tensor:
    """Round (N, H, W) to the sensors' steps, which of compressed RAWs grow as the noise does."""
    plain = (light / sensors.step).round_() * sensors.step
    if not bool(sensors.compressed.any()):
        return plain
    # The integral of 1 / noise, in which equal steps are equal parts of the noise.
    shot, read = sensors.shot, sensors.read
    root = (shot * light.clamp(min=0) + read**2).sqrt_()
    even = torch.where(light < 0, light / read, 2 * (root - read) / shot)
    step = sensors.step / read
    even = (even / step).round_() * step
    back = torch.where(even < 0, even * read, even * (read + shot * even / 4))
    return torch.where(sensors.compressed, back, plain)


def draw_shading(n: int, height: int, width: int, generator: Generator) -> Tensor:
    """(N, H, W) dark shading: a slope across the frame, of unit std."""
    slopes = torch.randn(n, 2, 1, 1, generator=generator)
    down = torch.linspace(-1, 1, height)[:, None]
    right = torch.linspace(-1, 1, width)[None, :]
    return slopes[:, 0] * down + slopes[:, 1] * right


def draw_hot_pixels(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """(N, H, W) rare bright sites, in stds of the read noise; two photos of three have none."""
    n = shape[0]
    density = log_uniform(1e-5, 1e-3, n, generator)
    density *= torch.rand(n, 1, 1, generator=generator) < 1 / 3
    hot = torch.rand(shape, generator=generator) < density
    level = torch.rand(shape, generator=generator).clamp(min=1e-6).log().neg_() * 40
    return hot * level
