"""How good a model is on pairs of a dark RAW and its long exposure, as the papers measure it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from darkroom.color.highlights import Highlights
from darkroom.color.transfer import bt709_decode, bt709_encode, srgb_decode
from darkroom.errors import UsageError
from darkroom.evaluation.metrics import align_brightness, psnr, ssim, to_planes
from darkroom.gain import given_gain
from darkroom.models.model import Model
from darkroom.pairs.exposures import ExposurePair
from darkroom.pipeline import Options, enhance
from darkroom.raw.reader import read_raw
from darkroom.weights.registry import Output


@dataclass(frozen=True, slots=True)
class PairScore:
    """Scores of one pair: PSNR in dB and SSIM, plain and with the brightness aligned.

    Aligned: after the one scalar gain in linear light, within a stop either way, that gives this
    picture its best PSNR; ELD and PMN align brightness too.
    """

    name: str
    ratio: float
    psnr: float
    ssim: float
    aligned_psnr: float
    aligned_ssim: float


def score_pairs(
    pairs: list[ExposurePair], model: Model, options: Options = Options()
) -> Iterator[PairScore]:
    """Enhance each pair's RAW at the pair's ratio and compare with its long exposure."""
    for pair in pairs:
        picture = enhance_like_reference(pair, model, options)
        reference = read_picture(pair.long)
        if picture.shape != reference.shape:
            raise UsageError(
                f"{pair.long}: {reference.shape[2]}x{reference.shape[1]} pixels, but its RAW gives "
                f"{picture.shape[2]}x{picture.shape[1]}; check the list"
            )
        aligned = align_brightness(picture, reference, bt709_decode, bt709_encode)
        yield PairScore(
            name=pair.short.stem,
            ratio=pair.ratio,
            psnr=psnr(picture, reference),
            ssim=ssim(picture, reference),
            aligned_psnr=aligned.psnr,
            aligned_ssim=ssim(aligned.picture, reference),
        )


def enhance_like_reference(pair: ExposurePair, model: Model, options: Options) -> Tensor:
    """Enhance a pair's RAW: (3, H, W) with the curve of SID's references, which is BT.709's.

    Networks that paint finished pictures have learned that curve; ours gets it instead of sRGB's.
    """
    # The references are clipped at white.
    wanted = replace(options, gain=given_gain(pair.ratio), bits=16, highlights=Highlights.CLIP)
    picture = to_planes(enhance(read_raw(pair.short), model, wanted).pixels)
    return bt709_encode(srgb_decode(picture)) if model.output is Output.CAMERA else picture


def read_picture(path: Path) -> Tensor:
    """Read an 8- or 16-bit picture: (3, H, W) in [0, 1]. Raises UsageError."""
    try:
        import cv2
    except ImportError as error:
        raise UsageError("scoring needs OpenCV: pip install 'darkroom[evaluate]'") from error
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if pixels is None or pixels.shape[2:] != (3,) or pixels.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"{path}: no RGB picture can be read there; check the list")
    rgb = pixels[:, :, ::-1]
    return to_planes(rgb.astype(np.uint8) if rgb.dtype == np.uint8 else rgb.astype(np.uint16))
