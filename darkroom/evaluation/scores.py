"""The scores of a picture against its reference, each as one paper's script computes it."""

from collections.abc import Collection, Iterable
from enum import StrEnum

from torch import Tensor

from darkroom.color.transfer import bt709_decode, bt709_encode
from darkroom.errors import UsageError
from darkroom.evaluation.metrics import (
    align_brightness,
    gaussian_ssim,
    psnr,
    ssim,
    truncate_to_8_bits,
)
from darkroom.evaluation.perceptual import load_lpips, measure_lpips


class Metric(StrEnum):
    """A way to score pictures; the value is what `--metrics` takes.

    `SID`: PSNR and SSIM in scikit-image's form on values in [0, 1], not rounded to 8 bits.
    `EIGHT_BIT`: the same after picture and reference were truncated to 8 bits. Source: LLPackNet's
    test.py, `(np.clip(...) * 255).astype(np.uint8)`, as SID's batch-norm reproduction has it too.
    `GAUSSIAN`: SSIM over Gaussian windows of 11x11. Source: cydonia999's PyTorch reproduction of
    SID, utils.py, `compare_ssim(..., gaussian_weights=True, use_sample_covariance=False)`; its PSNR
    is that of `SID`. `ALIGNED`: that of `SID` after the one scalar gain in linear light, within a
    stop either way, that gives this picture its best PSNR; ELD and PMN align brightness too.
    `LPIPS`: the distance of Zhang et al., CVPR 2018, by AlexNet's features; less is better.
    """

    SID = "sid"
    EIGHT_BIT = "8bit"
    GAUSSIAN = "gaussian"
    ALIGNED = "aligned"
    LPIPS = "lpips"


DEFAULT = (Metric.SID, Metric.ALIGNED)
FIGURES = {
    Metric.SID: ("psnr", "ssim"),
    Metric.EIGHT_BIT: ("psnr_8bit", "ssim_8bit"),
    Metric.GAUSSIAN: ("ssim_gaussian",),
    Metric.ALIGNED: ("aligned_psnr", "aligned_ssim"),
    Metric.LPIPS: ("lpips",),
}
"""What each metric's numbers are called, in records and tables."""


def parse_metrics(words: Iterable[str]) -> tuple[Metric, ...]:
    """Read names of metrics, alone or several with commas; each once, in `Metric`'s order.

    Raises UsageError for others, and where LPIPS is asked for and cannot be computed here.
    """
    names = {name.strip() for word in words for name in word.split(",")}
    if unknown := names - set(Metric):
        known = ", ".join(Metric)
        raise UsageError(f"--metrics {min(unknown)}: give some of {known}")
    if Metric.LPIPS in names:
        load_lpips()
    return tuple(metric for metric in Metric if metric in names)


def score_picture(
    picture: Tensor, reference: Tensor, metrics: Collection[Metric]
) -> dict[str, float]:
    """Score (3, H, W) in [0, 1] against its reference, both with BT.709's curve; PSNR in dB."""
    found: dict[str, float] = {}
    for metric in metrics:
        match metric:
            case Metric.SID:
                numbers = [psnr(picture, reference), ssim(picture, reference)]
            case Metric.EIGHT_BIT:
                cut = truncate_to_8_bits(picture), truncate_to_8_bits(reference)
                numbers = [psnr(*cut), ssim(*cut)]
            case Metric.GAUSSIAN:
                numbers = [gaussian_ssim(picture, reference)]
            case Metric.ALIGNED:
                aligned = align_brightness(picture, reference, bt709_decode, bt709_encode)
                numbers = [aligned.psnr, ssim(aligned.picture, reference)]
            case Metric.LPIPS:
                numbers = [measure_lpips(picture, reference)]
        found |= dict(zip(FIGURES[metric], numbers, strict=True))
    return found
