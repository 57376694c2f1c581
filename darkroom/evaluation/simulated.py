"""Photos of known truth: clean pictures behind one fixed sensor, in less and less light.

The same pictures at the same ratio give the same photos to the bit, so that scores of different
networks, and of one network while it is trained, can be compared. None of it may be trained on.
"""

import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from darkroom.color.highlights import Highlights
from darkroom.color.transfer import srgb_decode
from darkroom.errors import UsageError
from darkroom.evaluation.chart import BLACK, COLOR, WHITE, describe_photo, sample_light
from darkroom.evaluation.metrics import psnr, ssim, to_planes
from darkroom.gain import given_gain
from darkroom.models.model import Model
from darkroom.mosaic.noise import Noise
from darkroom.mosaic.packing import BAYER
from darkroom.output.dng import write_dng
from darkroom.pipeline import Options, enhance
from darkroom.raw.image import CFA, Color, RawImage
from darkroom.raw.reader import develop

SHOT = 0.4
"""Variance of shot noise in sensor steps (DN) squared per step of signal."""
READ = 1.7
"""Standard deviation of the read noise in sensor steps, Gaussian.

Source of both: full-frame photos at high ISO, the shared pairs of the SID data set (1.6 to 1.8).
"""

NOISE_FREE = 0.0
"""The ratio that stands for no noise and no whole steps: demosaicing alone."""
RATIOS = (NOISE_FREE, 1.0, 10.0, 100.0, 300.0)
BORDER = 8
"""Pixels along each edge that are not scored: there no method has all neighbours."""
ENDINGS = {".png", ".jpg", ".jpeg"}
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for damaged pictures; found with 32,000 of them."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A clean picture: its name, and (H, W, 3) uint8 sRGB."""

    name: str
    codes: NDArray[np.uint8]

    @property
    def picture(self) -> Tensor:
        """(3, H, W) sRGB in [0, 1]: the truth."""
        return to_planes(self.codes)

    def crop_middle(self, side: int, grid: int = 1) -> "Scene":
        """Cut the middle out: sides of at most `side`, multiples of `grid`; 0 where too small."""
        height, width = (min(size, side) // grid * grid for size in self.codes.shape[:2])
        top, left = (self.codes.shape[0] - height) // 2, (self.codes.shape[1] - width) // 2
        return replace(self, codes=self.codes[top : top + height, left : left + width])


@dataclass(frozen=True, slots=True)
class PictureScore:
    """How close a picture is to the truth in sRGB: PSNR in dB and SSIM, without its border."""

    psnr: float
    ssim: float


@dataclass(frozen=True, slots=True)
class SceneScore:
    """Scores of one scene at one ratio: a model's, and of LibRaw's picture of the same photo."""

    name: str
    ratio: float
    ours: PictureScore
    libraw: PictureScore


def read_scenes(
    folder: Path, pattern: str = "*", purpose: str = "pictures to simulate photos of"
) -> list[Scene]:
    """Read the JPEGs and PNGs in `folder`, in the order of names.

    Raises UsageError where there are none, and for one that cannot be read: left out in silence, it
    would make another set of pictures.
    """
    paths = sorted(path for path in folder.glob(pattern) if path.suffix.lower() in ENDINGS)
    if not paths:
        raise UsageError(f"{folder}: no JPEG or PNG {purpose}")
    scenes = []
    for path in paths:
        try:
            with Image.open(path) as image:
                scenes.append(Scene(path.name, np.asarray(image.convert("RGB"))))
        except UNREADABLE as error:
            raise UsageError(
                f"{path}: no JPEG or PNG that can be read; copy it again, or take it away"
            ) from error
    return scenes


def photograph_scene(
    scene: Scene, ratio: float, cfa: CFA = BAYER, color: Color = COLOR, shot: int = 0
) -> RawImage:
    """Take a scene in 1 / `ratio` of the light that lets its white just fill the green sites.

    uint16 with Poisson and Gaussian noise, rounded and clipped as a 14-bit file is; float32 without
    any of it for NOISE_FREE. Noise depends on the scene's name, the ratio and which `shot` of a
    burst it is alone.
    """
    linear = srgb_decode(scene.picture.double()).permute(1, 2, 0).numpy()
    return photograph_light(scene.name, linear, ratio, cfa, color, shot)


def photograph_light(
    name: str,
    linear: NDArray[np.floating],
    ratio: float,
    cfa: CFA = BAYER,
    color: Color = COLOR,
    shot: int = 0,
    *,
    row_noise: float = 0.0,
    full: int = WHITE,
) -> RawImage:
    """Take a scene of any light, (H, W, 3) linear sRGB, as `photograph_scene` does.

    `row_noise`: standard deviation in steps of what each row is off. `full`: the step at which the
    sensor is saturated; the photo states WHITE all the same.
    """
    light = sample_light(linear, cfa, color) * (WHITE - BLACK)
    mosaic: NDArray[np.uint16] | NDArray[np.float32]
    mosaic = np.minimum(light + BLACK, full).astype(np.float32)
    if ratio != NOISE_FREE:
        seed = [zlib.crc32(name.encode()), round(1000 * ratio), *([shot] if shot else [])]
        random = np.random.default_rng(seed)
        steps = random.poisson(light / ratio / SHOT) * SHOT
        steps += random.normal(BLACK, READ, steps.shape)
        if row_noise:
            steps += random.normal(0, row_noise, (len(steps), 1))
        mosaic = np.clip(np.rint(steps), 0, full).astype(np.uint16)
    return describe_photo(mosaic, cfa, "darkroom simulated", color)


def true_noise(ratio: float) -> Noise:
    """Return the noise of such photos after amplification by `ratio`, rounding included."""
    unit = 1 / (WHITE - BLACK)
    reason = "the sensor is simulated"
    if ratio == NOISE_FREE:
        return Noise(0.0, 0.0, reason)
    return Noise(SHOT * unit, (READ**2 + 1 / 12) ** 0.5 * unit, reason).amplified(ratio)


def name_ratio(ratio: float) -> str:
    """Return what to call a ratio: noise-free, x1, x100."""
    return "noise-free" if ratio == NOISE_FREE else f"x{ratio:g}"


def amplification(ratio: float) -> float:
    """Return the gain that brings a photo back to the scene's brightness."""
    return 1.0 if ratio == NOISE_FREE else ratio


def score_picture(picture: Tensor, scene: Scene) -> PictureScore:
    """Score an sRGB picture, (3, H, W) in [0, 1] on any device, against a scene."""
    inner = (slice(None), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    truth = scene.picture.to(picture.device)[inner]
    return PictureScore(psnr(picture[inner], truth), ssim(picture[inner], truth))


def score_scenes(
    scenes: Sequence[Scene],
    ratios: Sequence[float],
    model: Model,
    options: Options,
    cfa: CFA = BAYER,
) -> Iterator[SceneScore]:
    """Enhance a photo of each scene at each ratio, its gain known, and compare with the truth.

    All else is found on the photo as on any; highlights are clipped, as the truth's are. LibRaw
    brightens the same photo by the same gain. Raises SensorError where the model is for another
    kind of sensor.
    """
    for ratio in ratios:
        gain = amplification(ratio)
        wanted = replace(options, gain=given_gain(gain), bits=16, highlights=Highlights.CLIP)
        for scene in scenes:
            raw = photograph_scene(scene, ratio, cfa)
            pictures = enhance(raw, model, wanted).pixels, develop(encode_dng(raw), gain)
            ours, libraw = (score_picture(to_planes(codes), scene) for codes in pictures)
            yield SceneScore(scene.name, ratio, ours, libraw)


def encode_dng(raw: RawImage) -> bytes:
    """Return a photo as the bytes of a DNG."""
    stream = io.BytesIO()
    write_dng(stream, raw)
    return stream.getvalue()
