"""What papers and reproductions report on SID's test lists, to stand beside what is measured.

Shown only where list, protocol and network are the same: a number of another protocol misleads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from darkroom.evaluation.contenders import Contender, Protocol
from darkroom.pairs.exposures import ExposurePair, Split

ALL, ALIGNED_SCENES = "all", "without misaligned"
"""The groups of pairs that the papers' means are over."""
LISTS = {("sony", False): 598, ("sony", True): 93, ("fuji", False): 524, ("fuji", True): 94}
"""Pairs in SID's lists of test photos by camera, and with only the first photo of each burst.

Source: Sony_test_list.txt and Fuji_test_list.txt of the SID repository; the firsts as cydonia999's
reproduction counts them.
"""
ENDINGS = {".arw": "sony", ".raf": "fuji"}


@dataclass(frozen=True, slots=True)
class PublishedScore:
    """One published mean: PSNR in dB and SSIM, what exactly of, and by whom.

    `camera`: sony or fuji. `first`: of the first photo of each burst alone. `automatic`: with the
    gain found by the network's own amplifier, not the true ratio. `group`: ALL or ALIGNED_SCENES.
    """

    architecture: str
    camera: str
    psnr: float
    ssim: float
    source: str
    first: bool = False
    automatic: bool = False
    group: str = ALL


_SID = "Chen et al., CVPR 2018"
_CONVERTED = "SID's weights in cydonia999's PyTorch, Gaussian SSIM"
_LLPACKNET = "Lamba et al., BMVC 2020"
_REDI = "Lamba and Mitra, CVPR 2021"

# The two later papers leave out the scenes that SID's read-me has called misaligned since 2018.
PUBLISHED = (
    PublishedScore("sid", "sony", 28.88, 0.787, _SID),
    PublishedScore("sid", "fuji", 26.61, 0.680, _SID),
    PublishedScore("sid", "sony", 28.88, 0.798, _CONVERTED),
    PublishedScore("sid", "fuji", 27.01, 0.724, _CONVERTED),
    PublishedScore("sid", "sony", 28.59, 0.783, _CONVERTED, first=True),
    PublishedScore("sid", "fuji", 26.61, 0.704, _CONVERTED, first=True),
    PublishedScore("llpacknet", "sony", 27.83, 0.75, _LLPACKNET, group=ALIGNED_SCENES),
    PublishedScore("llpacknet", "fuji", 24.13, 0.59, _LLPACKNET, group=ALIGNED_SCENES),
    PublishedScore(
        "llpacknet", "sony", 23.27, 0.69, _LLPACKNET, automatic=True, group=ALIGNED_SCENES
    ),
    PublishedScore("sid", "sony", 22.98, 0.71, _LLPACKNET, automatic=True, group=ALIGNED_SCENES),
    PublishedScore("redi", "sony", 28.66, 0.790, _REDI, group=ALIGNED_SCENES),
    PublishedScore("redi", "fuji", 26.60, 0.682, _REDI, group=ALIGNED_SCENES),
)
FORMS = {
    "sid-depth-to-space": "sid",
    "llpacknet-2020": "llpacknet",
    "redi-xtrans": "redi",
}
"""What a paper's network is called where its form, kept as tensors, or its sensor differs."""


def find_published(
    pairs: Sequence[ExposurePair], contender: Contender, protocol: Protocol
) -> tuple[PublishedScore, ...]:
    """Find what was published of this network, on these very photos, by this protocol."""
    camera, first = _recognise_list(pairs)
    network = FORMS.get(contender.architecture, contender.architecture)
    if protocol.ratio is not None or (protocol.automatic and not contender.has_amplifier):
        return ()
    return tuple(
        one
        for one in PUBLISHED
        if (one.architecture, one.camera, one.first, one.automatic)
        == (network, camera, first, protocol.automatic)
    )


def _recognise_list(pairs: Sequence[ExposurePair]) -> tuple[str, bool]:
    """Say which camera's test list this is, and whether of first photos only; "" for others."""
    endings = {pair.short.suffix.lower() for pair in pairs}
    if len(endings) == 1 and all(pair.split is Split.TEST for pair in pairs):
        camera = ENDINGS.get(endings.pop(), "")
        for first in (False, True):
            if LISTS.get((camera, first)) == len(pairs):
                return camera, first
    return "", False
