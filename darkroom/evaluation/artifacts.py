"""What the eye sees and PSNR does not: casts, streaks, weaves, hues, speckle and false colour.

Pictures are (3, H, W) sRGB in [0, 1]; differences of codes are in 8-bit codes of 255, differences
of colour in CIELAB (D65), hues and what is measured across them in OKLab, whose hue does not depend
on the light.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from darkroom.color.transfer import srgb_decode, srgb_encode
from darkroom.raw.image import SRGB_TO_XYZ

CODES = 255
SIGMA = 8.0
"""Standard deviation in pixels of the Gaussian that parts low frequencies from high ones."""
BLOCK = 32
"""About the side of the blocks in which a weave is looked for: its phase may change between."""
SPECK_SIGMA = 4.0
SHINING = 0.5
"""sRGB of the largest channel from which on a lamp shines; no tone curve bends what is so dark."""
MIN_CHROMA = 0.005
"""OKLab's chroma below which a colour has no hue."""
LAB_KNEE, LAB_SLOPE = (6 / 29) ** 3, (29 / 6) ** 2 / 3
"""Source: CIE 15:2004, section 8.2.1."""
OKLAB_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
OKLAB_AXES = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
"""Linear sRGB to cones, and their cube roots to L, a, b. Source: Ottosson, "A perceptual color
space for image processing", 2020."""


def to_lab(picture: Tensor) -> Tensor:
    """Return CIELAB, (3, ...), of sRGB in [0, 1]; L from 0 to 100."""
    to_xyz = torch.from_numpy(SRGB_TO_XYZ / SRGB_TO_XYZ.sum(1, keepdims=True))  # white is 1, 1, 1
    xyz = torch.tensordot(to_xyz, srgb_decode(picture.double()), 1)
    bent = torch.where(xyz > LAB_KNEE, xyz.clamp(min=LAB_KNEE) ** (1 / 3), LAB_SLOPE * xyz + 4 / 29)
    x, y, z = bent
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def to_oklab(linear: Tensor) -> Tensor:
    """Return OKLab, (3, ...), of linear sRGB; L from 0 to 1, hue and chroma / L free of light."""
    cones, axes = (torch.tensor(one, dtype=torch.float64) for one in (OKLAB_CONES, OKLAB_AXES))
    light = torch.tensordot(cones, linear.double(), 1)
    lab: Tensor = torch.tensordot(axes, light.sign() * light.abs() ** (1 / 3), 1)
    return lab


def blur(planes: Tensor, sigma: float = SIGMA) -> Tensor:
    """Blur (C, H, W) by a Gaussian cut at three sigmas; edges go on as they end."""
    reach = math.ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2)
    weights /= weights.sum()
    wide = pad(planes.double()[:, None], (reach, reach, reach, reach), mode="replicate")
    return conv2d(conv2d(wide, weights[None, None, None]), weights[None, None, :, None])[:, 0]


def measure_chroma_error(picture: Tensor, truth: Tensor) -> float:
    """Return the mean CIELAB distance in a and b alone, both blurred: casts and blotches."""
    return float(blur((to_lab(picture) - to_lab(truth))[1:]).norm(dim=0).mean())


def measure_false_color(picture: Tensor) -> float:
    """Return the mean CIELAB chroma of pixels (3, ...) of a gray scene."""
    return float(to_lab(picture)[1:].norm(dim=0).mean())


def measure_contrast(picture: Tensor, truth: Tensor) -> float:
    """Return the share of a gray scene's contrast that is kept: the slope of sRGB on its truth."""
    seen, meant = (one.double().mean(0) for one in (picture, truth))
    meant = meant - meant.mean()
    return float((seen * meant).sum() / meant.square().sum())


def measure_residue(picture: Tensor, truth: Tensor) -> tuple[float, float]:
    """Return the standard deviation in codes of the means of rows, and of columns: streaks.

    Of the error without its low frequencies, in the mean of the channels' variances.
    """
    fine = _fine_error(picture, truth)
    return root_mean_square(fine.mean(2)), root_mean_square(fine.mean(1))


def measure_noise(picture: Tensor, truth: Tensor) -> float:
    """Return the standard deviation in codes of the error without its low frequencies."""
    return root_mean_square(_fine_error(picture, truth))


def measure_weave(picture: Tensor, truth: Tensor, *, period: int = 4) -> float:
    """Return the standard deviation in codes of what repeats every `period` pixels both ways.

    That holds all whole parts of the period: with 4 also 2. White noise of 1 code gives 0.12,
    the chance share of these frequencies in a block.
    """
    side = BLOCK // period * period
    fine = _fine_error(picture, truth)
    rows, columns = (size // side for size in fine.shape[1:])
    blocks = fine[:, : rows * side, : columns * side]
    parts = blocks.reshape(3, rows, side // period, period, columns, side // period, period)
    folded = parts.mean((2, 5))  # (3, rows, period, columns, period)
    return root_mean_square(folded - folded.mean((2, 4), keepdim=True))


def compare_hue(color: Tensor, truth: Tensor) -> tuple[float, float]:
    """Compare two linear sRGB colours (3,): degrees between hues, and the chroma kept.

    Degrees are OKLab's, 0 to 180, and 0 where one has no hue; what is kept is chroma over
    lightness, 1 for colours that differ in light alone.
    """
    seen, meant = to_oklab(color), to_oklab(truth)
    chroma = [float(one[1:].norm()) for one in (seen, meant)]
    kept = chroma[0] * float(meant[0]) / (chroma[1] * max(float(seen[0]), MIN_CHROMA))
    if min(chroma) < MIN_CHROMA:
        return 0.0, kept
    turned = float(torch.atan2(seen[2], seen[1]) - torch.atan2(meant[2], meant[1]))
    return abs(math.degrees(math.remainder(turned, 2 * math.pi))), kept


def find_off_hue(picture: Tensor, truth: Tensor) -> Tensor:
    """Return how far each pixel is from one hue, across it: (H, W), in 100ths of OKLab's units.

    `picture`: sRGB. `truth`: (3,) linear sRGB, with a hue. Light does not count, nor how far a
    pixel is along the hue, on which bright colours go to white.
    """
    axis = to_oklab(truth)[1:]
    _, a, b = to_oklab(srgb_decode(picture.double()))
    across: Tensor = 100 * (b * axis[0] - a * axis[1]) / axis.norm()
    return across


def find_specks(off_hue: Tensor) -> Tensor:
    """Return the part of `find_off_hue`, (H, W), that is no wider than specks are."""
    return off_hue - blur(off_hue[None], SPECK_SIGMA)[0]


def mean_light(picture: Tensor) -> Tensor:
    """Return the mean in linear light of an sRGB picture, (3,)."""
    return srgb_decode(picture.double()).mean((1, 2))


def measure_level(picture: Tensor, truth: Tensor) -> float:
    """Return by how many codes the mean light of a picture is above that of the truth."""
    seen, meant = (srgb_encode(mean_light(one).mean()) for one in (picture, truth))
    return CODES * float(seen - meant)


def measure_size(picture: Tensor, light: Tensor) -> float:
    """Return how many times as wide what shines is as it should be: the root of its area's ratio.

    `light`: (3, H, W) linear sRGB of any brightness, some of it shining.
    """
    meant = srgb_encode(light.double())
    seen, wanted = (float((one.amax(0) > SHINING).sum()) for one in (picture, meant))
    return math.sqrt(seen / wanted)


def _fine_error(picture: Tensor, truth: Tensor) -> Tensor:
    error = CODES * (picture.double() - truth.double())
    return error - blur(error)


def root_mean_square(values: Tensor) -> float:
    """Return the root of the mean of squares."""
    return float(values.square().mean().sqrt())
