"""Clean scenes for training: photographs turned into what a perfect camera would have measured."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional

from darkroom.color.transfer import srgb_decode
from darkroom.errors import UsageError
from darkroom.evaluation.cameras import XYZ_TO_CAMERA
from darkroom.evaluation.simulated import read_scenes
from darkroom.raw.image import SRGB_TO_XYZ
from darkroom.training.noise_model import log_uniform, uniform

# Linear light of each 8-bit sRGB code.
LINEAR = srgb_decode(torch.arange(256) / 255).numpy()

# Multipliers of red and blue against green, daylight to candle light.
RED_GAIN = (1.3, 2.6)
BLUE_GAIN = (1.2, 3.2)

# Published photographs are vivid in every detail: beside light's, their energy of colour is three
# times that of Kodak's scenes in the finest octave. Three of four keep so much of its detail.
COLOR_DETAIL_KEPT = (0.2, 1.0)
COLOR_SIGMA = 2.0  # pixels; what is coarser is no detail

# Scenes as bright as a day and as dark as a street corner at night.
BRIGHTNESS = (0.06, 1.3)

# One scene of six has a lit window: a half of the frame or a strip, so many stops brighter.
WINDOW_SHARE = 1 / 6
WINDOW_STOPS = (1.0, 5.0)
STRIP_WIDTH = (4.0, 80.0)  # pixels

# Light that lenses scatter over everything, as a share of the scene's mean: no real black is 0,
# as it is in photographs that have been developed.
FLARE = (1e-3, 3e-2)


@dataclass(frozen=True, slots=True)
class Scenes:
    """A batch of scenes: what the camera should give, and what it takes to get there.

    `camera_rgb`: (N, 3, H, W) white-balanced linear camera RGB, at least 0, lamps far above 1.
    `white_balance`: (N, 3). `camera_to_srgb`: (N, 3, 3).
    """

    camera_rgb: Tensor
    white_balance: Tensor
    camera_to_srgb: Tensor

    def select(self, photos: Tensor) -> "Scenes":
        """Return some of the scenes, given by index."""
        return Scenes(*(getattr(self, name)[photos] for name in Scenes.__slots__))


def load_photos(folder: Path, size: int = 1) -> list[NDArray[np.uint8]]:
    """Read every JPEG and PNG below `folder`: (H, W, 3) uint8 sRGB each, in the order of names.

    Raises UsageError where there are none, for one that cannot be read, and for one that has no
    crop of `size` x `size` pixels.
    """
    scenes = read_scenes(folder, "**/*", "photographs to train on")
    for scene in scenes:
        if min(scene.codes.shape[:2]) < size:
            raise UsageError(
                f"{scene.name} in {folder} is smaller than a crop of {size}x{size}; take it away, "
                "or give a smaller --size"
            )
    return [scene.codes for scene in scenes]


def draw_crop(photos: list[NDArray[np.uint8]], size: int, generator: Generator) -> Tensor:
    """Cut one random square out of a random photo, flipped and turned: (3, size, size) linear.

    A third of them are averaged down from twice the size, a fifth softened as by lenses, three of
    four less colourful in their detail.
    """

    def draw(end: int) -> int:
        return int(torch.randint(end, (), generator=generator))

    photo = photos[draw(len(photos))]
    scale = 2 if draw(3) == 0 and min(photo.shape[:2]) >= 2 * size else 1
    side = size * scale
    top, left = draw(photo.shape[0] - side + 1), draw(photo.shape[1] - side + 1)
    square = photo[top : top + side, left : left + side]
    linear = torch.from_numpy(np.take(LINEAR, square)).permute(2, 0, 1)
    if scale > 1:
        linear = functional.avg_pool2d(linear, scale)
    if draw(5) < 1:
        linear = soften(linear, 0.4 + 1.2 * float(torch.rand((), generator=generator)))
    if draw(4):
        low, high = COLOR_DETAIL_KEPT
        linear = fade_detail(
            linear, low + (high - low) * float(torch.rand((), generator=generator))
        )
    if draw(3) == 0:
        linear = relight(linear, 8 * float(torch.rand((), generator=generator)))
    linear = torch.rot90(linear, draw(4), (1, 2))
    return linear.flip(2) if draw(2) else linear


def soften(image: Tensor, sigma: float) -> Tensor:
    """Blur (3, H, W) with a Gaussian of `sigma` pixels."""
    taps = torch.exp(-0.5 * (torch.arange(-4, 5) / sigma) ** 2)
    taps = (taps / taps.sum()).expand(3, 1, 1, 9)
    padded = functional.pad(image[None], (4, 4, 4, 4), mode="reflect")
    rows = functional.conv2d(padded, taps, groups=3)
    return functional.conv2d(rows, taps.transpose(2, 3), groups=3)[0]


def fade_detail(image: Tensor, kept: float) -> Tensor:
    """Keep a share of the colours' detail of (3, H, W) linear sRGB, and all of the luminance's."""
    luminance = torch.einsum("c,chw->hw", torch.tensor(SRGB_TO_XYZ[1]).to(image), image)
    color = image - luminance
    return (luminance + torch.lerp(soften(color, COLOR_SIGMA), color, kept)).clamp(min=0)


def relight(image: Tensor, boost: float) -> Tensor:
    """Give lamps and skies back what the photograph clipped: up to 1 + `boost` times white."""
    excess = ((image.amax(0, keepdim=True) - 0.8) / 0.2).clamp(min=0)
    return image * (1 + boost * excess**2)


def draw_light(count: int, size: int, generator: Generator) -> Tensor:
    """(N, 1, size, size) uneven light: half of the scenes fall off smoothly, by up to 4 stops."""
    stops = torch.randn(count, 1, 3, 3, generator=generator)
    field = functional.interpolate(stops, size=(size, size), mode="bicubic", align_corners=True)
    depth = uniform(0, 1.3, count, generator)[..., None]
    uneven = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    return torch.where(uneven, torch.exp2(depth * field), 1.0)


def draw_windows(count: int, size: int, generator: Generator) -> Tensor:
    """(N, 1, size, size) light with hard edges, as of lit windows at night, 1 where there is none.

    Photographs hold few of them: where they clip, what `relight` gives back rises slowly.
    """
    angle = uniform(0, 2 * math.pi, count, generator)
    middle = uniform(-0.35, 0.35, count, generator) * size
    side = torch.arange(size) - size / 2
    beyond = angle.sin() * side[:, None] + angle.cos() * side - middle
    half_width = uniform(*STRIP_WIDTH, count, generator) / 2
    strips = torch.rand(count, 1, 1, generator=generator) < 0.5
    inside = torch.where(strips, half_width - beyond.abs(), beyond)
    lit = torch.rand(count, 1, 1, generator=generator) < WINDOW_SHARE
    brighter = torch.exp2(uniform(*WINDOW_STOPS, count, generator)) - 1
    return (1 + lit * brighter * (inside + 0.5).clamp(0, 1))[:, None]


def draw_scenes(
    photos: list[NDArray[np.uint8]], count: int, size: int, generator: Generator
) -> Scenes:
    """Draw `count` scenes of `size` x `size` pixels, each seen by a camera of its own."""
    linear = torch.stack([draw_crop(photos, size, generator) for _ in range(count)])
    linear = linear * log_uniform(*BRIGHTNESS, count, generator)[..., None]
    linear = linear * draw_light(count, size, generator)
    linear = linear * draw_windows(count, size, generator)
    flare = log_uniform(*FLARE, count, generator)[..., None]
    linear = linear + flare * linear.mean((1, 2, 3), keepdim=True)

    srgb_to_camera = draw_cameras(count, generator)
    camera_rgb = torch.einsum("nij,njhw->nihw", srgb_to_camera, linear).clamp(min=0)
    white_balance = torch.ones(count, 3)
    white_balance[:, 0] = uniform(*RED_GAIN, count, generator).flatten()
    white_balance[:, 2] = uniform(*BLUE_GAIN, count, generator).flatten()
    return Scenes(camera_rgb, white_balance, torch.linalg.inv(srgb_to_camera))


def draw_cameras(count: int, generator: Generator) -> Tensor:
    """(N, 3, 3) sRGB -> white-balanced camera RGB: mixtures of two known cameras."""
    known = torch.tensor(tuple(XYZ_TO_CAMERA.values()), dtype=torch.float64).reshape(-1, 3, 3)
    picks = torch.randint(len(known), (2, count), generator=generator)
    share = torch.rand(count, 1, 1, generator=generator, dtype=torch.float64)
    mixed = share * known[picks[0]] + (1 - share) * known[picks[1]]
    matrix = mixed @ torch.from_numpy(SRGB_TO_XYZ)
    return (matrix / matrix.sum(2, keepdim=True)).float()
