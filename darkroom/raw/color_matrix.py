"""From LibRaw's four colour tables to one Color, with LibRaw's own order of preference."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from darkroom.raw.image import SRGB_TO_XYZ, Color, WhiteBalance

MIN_CMATRIX = 0.125
"""LibRaw prefers a file's own matrix where its first value is above this (`dcraw_process`)."""
MAX_MULTIPLIER = 64.0
"""No light needs a channel six stops over green: beyond it, multipliers are damage."""


def read_color(
    as_shot: Sequence[float],
    daylight: Sequence[float],
    camera_to_srgb: NDArray[np.float32],
    xyz_to_camera: NDArray[np.float32],
    kodak: NDArray[np.float64] | None = None,
) -> tuple[Color, tuple[str, ...]]:
    """Choose the photo's colours, and a warning for each part that had to be replaced.

    `as_shot`, `daylight`: LibRaw's four multipliers. `camera_to_srgb`: (3, 4), rows sum to 1, as
    computed from the file's matrix, or zeros. `xyz_to_camera`: (4, 3) from LibRaw's list, or zeros.
    `kodak`: (3, 3) camera to sRGB from tags that LibRaw uses but does not hand out.
    """
    balance, source, warnings = _white_balance(as_shot, daylight)
    matrix, more = _matrix(camera_to_srgb[:, :3], xyz_to_camera[:3], kodak)
    return Color(balance, matrix, source, _scaled(daylight), *warnings), warnings + more


def _white_balance(
    as_shot: Sequence[float], daylight: Sequence[float]
) -> tuple[NDArray[np.float64] | None, WhiteBalance, tuple[str, ...]]:
    """Multipliers with green = 1, where they come from, and what was missing."""
    if (balance := _scaled(as_shot)) is not None:
        return balance, WhiteBalance.AS_SHOT, ()
    if as_shot[0] > 0 and len(set(as_shot[:3])) == 1:
        # Cameras that set none write this, or that balanced the values before (Nikon D1), so
        # daylight would be a guess.
        warning = "the white balance is 1 throughout; measuring it on the brightened picture"
        return None, WhiteBalance.GRAY_WORLD, (warning,)
    if (balance := _scaled(daylight)) is not None:
        warning = "no white balance in the file; using the camera's daylight balance"
        return balance, WhiteBalance.DAYLIGHT, (warning,)
    warning = "no white balance known; measuring it on the brightened picture (gray world)"
    return None, WhiteBalance.GRAY_WORLD, (warning,)


def _scaled(multipliers: Sequence[float]) -> NDArray[np.float64] | None:
    """(3,) with green = 1; None for zeros, damage, or all ones, which stand for "not set"."""
    balance = np.array(multipliers[:3], dtype=np.float64)
    if not np.all(np.isfinite(balance)) or balance.min() <= 0 or np.ptp(balance) == 0:
        return None
    balance = balance / balance[1]
    return balance if 1 / MAX_MULTIPLIER < balance.min() <= balance.max() < MAX_MULTIPLIER else None


def _matrix(
    camera_to_srgb: NDArray[np.float32],
    xyz_to_camera: NDArray[np.float32],
    kodak: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """(3, 3) XYZ to camera RGB from the first usable of the three, else sRGB's own."""
    xyz_to_srgb = np.asarray(np.linalg.inv(SRGB_TO_XYZ), dtype=np.float64)
    own = camera_to_srgb.astype(np.float64)
    if own[0, 0] > MIN_CMATRIX and _invertible(own):
        return np.asarray(np.linalg.inv(own) @ xyz_to_srgb, dtype=np.float64), ()
    listed = xyz_to_camera.astype(np.float64)
    if _invertible(listed):
        return listed, ()
    if kodak is not None and _invertible(kodak):
        return np.asarray(np.linalg.inv(kodak) @ xyz_to_srgb, dtype=np.float64), ()
    return xyz_to_srgb, ("no colour matrix known for this camera; colours are approximate",)


def _invertible(matrix: NDArray[np.float64]) -> bool:
    """Whether colours survive this matrix."""
    return bool(np.all(np.isfinite(matrix)) and abs(np.linalg.det(matrix)) > 1e-6)
