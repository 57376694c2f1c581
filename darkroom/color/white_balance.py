"""White balance: neutral surfaces get R = G = B.

Camera RGB: what the sensor's red, green and blue filters see, linear. White-balanced: scaled so
that neutral surfaces have R = G = B and a saturated sensor is at least 1 in all three.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.color.matrix import SRGB_TO_XYZ, camera_to_srgb
from darkroom.errors import UsageError
from darkroom.mosaic.packed_photo import PackedPhoto
from darkroom.mosaic.packing import COLORS_OF_CHANNELS
from darkroom.raw.image import Color, RawImage, WhiteBalance

GRAY_WORLD_SAMPLES = 1 << 16
GRAY_WORLD_DARKEST = 0.1  # share of the pixels left out: noise more than colour
GRAY_WORLD_CLIPPED = 0.98
GRAY_WORLD_LIMIT = 8.0
MIN_KELVIN, DAYLIGHT_KELVIN, MAX_KELVIN = 2000, 4000, 25000
BALANCED_TWICE = (
    "the photo's own white balance is 1 throughout: if its camera balanced the values itself, "
    "colours are balanced twice; then use --wb auto"
)
MIN_SEEN = 1 / 64
"""The least share of D65's that a channel is taken to see of other light."""


def balance_white(light: Tensor, color: Color) -> Tensor:
    """Multiply each channel by its white-balance multiplier, scaled so that the smallest is 1.

    `light`: (..., C, h, w), a packed mosaic (C 4 or 9) or a camera RGB picture (C 3); where the
    white balance is unknown it is returned as it is. No multiplier is below 1, so that where the
    sensor was saturated all three channels reach white: clipped highlights stay neutral.
    """
    if color.white_balance is None:
        return light
    multipliers = (color.white_balance / color.white_balance.min()).tolist()
    chosen = [multipliers[index] for index in COLORS_OF_CHANNELS[light.shape[-3]]]
    scale = torch.tensor(chosen, dtype=light.dtype, device=light.device)
    return light * scale[:, None, None]


def with_white_balance_choice(raw: RawImage, choice: WhiteBalance | float) -> RawImage:
    """Return a photo with the white balance that was asked for, as `choose_white_balance` has it.

    What the photo was warned of, that its own is missing, goes with it.
    """
    if choice is WhiteBalance.AS_SHOT:
        return raw
    color, warning = choose_white_balance(raw.color, choice), raw.color.warning
    warnings = tuple(line for line in raw.warnings if line != warning)
    if warning and color.white_balance is not None and raw.color.white_balance is None:
        warnings += (BALANCED_TWICE,)
    return replace(raw, color=replace(color, warning=None), warnings=warnings)


def choose_white_balance(color: Color, choice: WhiteBalance | float) -> Color:
    """Return a photo's colours with the white balance that was asked for; a number is in kelvin.

    Gray world is None, to be measured on the picture. As shot is what the photo has. Raises
    UsageError where the camera's balance in daylight, which others follow from, is not known.
    """
    if choice is WhiteBalance.AS_SHOT:
        return color
    if choice is WhiteBalance.GRAY_WORLD:
        return replace(color, white_balance=None, source=choice)
    if color.daylight is None:
        wanted = choice.value if isinstance(choice, WhiteBalance) else f"{choice:g}"
        raise UsageError(
            f"--wb {wanted}: nobody knows this camera's balance in daylight; use --wb auto"
        )
    if choice is WhiteBalance.DAYLIGHT:
        return replace(color, white_balance=color.daylight, source=choice)
    assert not isinstance(choice, WhiteBalance), "the three are above"
    x, y = find_illuminant(choice)
    srgb = np.linalg.solve(SRGB_TO_XYZ.numpy(), [x / y, 1, (1 - x - y) / y])
    # What is neutral under D65 is (1, 1, 1) on both sides of the matrix.
    seen = np.linalg.solve(camera_to_srgb(color).numpy(), srgb)
    balance = color.daylight / np.maximum(seen, MIN_SEEN)
    return replace(color, white_balance=balance / balance[1])


def find_illuminant(kelvin: float) -> tuple[float, float]:
    """Return the chromaticity, x and y, of light of a temperature.

    From DAYLIGHT_KELVIN on daylight, below it a black body's, as lamps are. Raises UsageError out
    of the range from MIN_KELVIN to MAX_KELVIN. Sources: CIE 15:2018, 4.1.2; Kim et al., US patent
    7024034 (expired), cubic fits of the Planckian locus.
    """
    if not MIN_KELVIN <= kelvin <= MAX_KELVIN:
        raise UsageError(f"--wb {kelvin:g}: give {MIN_KELVIN} to {MAX_KELVIN} kelvin")
    t = 1000 / kelvin
    if kelvin >= DAYLIGHT_KELVIN:
        low = kelvin <= 7000
        terms = (-4.6070, 2.9678, 0.09911, 0.244063) if low else (-2.0064, 1.9018, 0.24748, 0.23704)
        x = float(np.polyval(terms, t))
        return x, -3 * x * x + 2.870 * x - 0.275
    x = float(np.polyval((-0.2661239, -0.2343589, 0.8776956, 0.179910), t))
    if kelvin < 2222:
        return x, float(np.polyval((-1.1063814, -1.34811020, 2.18555832, -0.20219683), x))
    return x, float(np.polyval((-0.9549476, -1.37418593, 2.09137015, -0.16748867), x))


def gray_world(light: Tensor) -> NDArray[np.float64]:
    """Measure the white balance that makes a brightened picture gray on average.

    `light`: (C, h, w) or (C, n), packed (C 4 or 9) or camera RGB (C 3), amplified, not balanced.
    Returns (3,) float64 multipliers of R, G, B, green 1. Clipped and the darkest pixels are left
    out; each multiplier stays within a factor of GRAY_WORLD_LIMIT; all 1 where nothing is left.
    """
    flat = light.flatten(1)
    samples = flat[:, :: max(1, flat.shape[1] // GRAY_WORLD_SAMPLES)].double()
    floor = torch.quantile(samples.mean(0), GRAY_WORLD_DARKEST)
    usable = (samples.mean(0) > floor) & (samples.amax(0) < GRAY_WORLD_CLIPPED)
    channels = np.array(COLORS_OF_CHANNELS[len(light)])
    means = samples[:, usable].mean(1).cpu().numpy()
    rgb = np.array([means[channels == index].mean() for index in range(3)])
    if not np.all(rgb > 0):
        return np.ones(3)
    return np.asarray(np.clip(rgb[1] / rgb, 1 / GRAY_WORLD_LIMIT, GRAY_WORLD_LIMIT))


def with_white_balance(color: Color, packed: Tensor | PackedPhoto) -> Color:
    """Return a photo's colours with a white balance, measured on the picture where there is none.

    `packed`: as `gray_world` takes it, or a photo in that form.
    """
    if color.white_balance is not None:
        return color
    if isinstance(packed, PackedPhoto):
        packed = torch.from_numpy(packed.sample(GRAY_WORLD_SAMPLES))
    return replace(color, white_balance=gray_world(packed))
