"""What a photo of a known scene looks like developed plainly, and how far a picture is from it."""

import numpy as np
import torch
from numpy.typing import NDArray

from darkroom.color.render import render_codes
from darkroom.color.transfer import srgb_decode, srgb_encode
from darkroom.color.white_balance import balance_white
from darkroom.evaluation.metrics import AlignedPicture, align_brightness, to_planes
from darkroom.mosaic.packing import align, linearise, pack
from darkroom.raw.image import RawImage

MAX_STOPS = 4.0
"""How far a picture's gain may be from that of the scene, which nobody told it."""


def develop_plainly(raw: RawImage, gain: float) -> NDArray[np.uint8]:
    """Amplify a Bayer photo and do no more: (H, W, 3) uint8 sRGB, as noisy as it was taken.

    Each 2x2 block of photosites becomes 2x2 pixels of one colour.
    """
    mosaic, cfa, _, _ = align(linearise(raw), raw.cfa)
    packed = balance_white(torch.from_numpy(pack(mosaic, cfa)) * gain, raw.color)
    binned = torch.stack([packed[0], (packed[1] + packed[2]) / 2, packed[3]])
    codes = render_codes(binned, raw.color, 8).numpy()
    height, width = mosaic.shape
    return codes.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]


def compare_with_truth(pixels: NDArray[np.uint8], truth: NDArray[np.float32]) -> AlignedPicture:
    """Compare an 8-bit picture with the scene, (H, W, 3) linear sRGB, at its best brightness."""
    seen = srgb_encode(torch.from_numpy(truth).permute(2, 0, 1).clamp(0, 1))
    return align_brightness(to_planes(pixels), seen, srgb_decode, srgb_encode, MAX_STOPS)
