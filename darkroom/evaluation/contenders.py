"""What is scored on pairs of exposures: networks, and LibRaw's picture beside them.

Each makes a picture with the curve of SID's references, BT.709's as LibRaw has it by default.
Networks that paint finished pictures have learned that curve; ours gets it instead of sRGB's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from darkroom.color.highlights import Highlights
from darkroom.color.transfer import bt709_encode, srgb_decode
from darkroom.errors import UsageError
from darkroom.evaluation.decoded_pairs import DecodedPairs
from darkroom.evaluation.metrics import to_planes
from darkroom.gain import Gain, given_gain
from darkroom.models.model import Model
from darkroom.models.tiling import Edges
from darkroom.pairs.exposures import ExposurePair
from darkroom.pipeline import Options, enhance
from darkroom.raw.image import RawImage
from darkroom.weights.registry import Output

MAX_CROP = 63
"""Rows or columns that cropping leaves out: the grids of published networks are 6 to 64 sites."""
LIBRAW = "libraw"
"""What `--model` takes for LibRaw's picture."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How much each dark photo is amplified.

    `ratio`: all by this; None for each by the ratio of its pair's exposures, as SID's paper does.
    `automatic`: by what the model finds in the photo, its amplifier where it has one, else its
    rule; as LLPackNet's paper does in its second comparison.
    """

    ratio: float | None = None
    automatic: bool = False

    def __post_init__(self) -> None:
        if self.ratio is not None:
            if self.automatic:
                raise UsageError("--ratio and --gain auto both decide the gain; give one of them")
            given_gain(self.ratio)

    def find_gain(self, pair: ExposurePair) -> Gain | None:
        """Return the gain of a pair, None where the model is to find it."""
        return None if self.automatic else given_gain(max(self.ratio or pair.ratio, 1.0))

    def __str__(self) -> str:
        if self.automatic:
            return "automatic gain"
        return "true ratio" if self.ratio is None else f"ratio {self.ratio:g}"


@dataclass(frozen=True, slots=True)
class Photo:
    """A pair that is read: the RAW as it is to be enhanced, and (3, H, W) in [0, 1] of its long."""

    pair: ExposurePair
    raw: RawImage
    reference: Tensor


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that is scored.

    `name`: unlike any other's. `weights`: what tells its weights from others; empty where there are
    none. `render`: makes the picture of a photo, (3, H, W) in [0, 1], and says its gain, if it has
    one. `max_crop`: rows or columns that the picture may lack at the bottom and the right.
    `architecture`: what `darkroom.models.architectures` calls it; `has_amplifier`: of its own.
    """

    name: str
    weights: str
    render: Callable[[Photo], tuple[Tensor, float | None]]
    max_crop: int = 0
    architecture: str = ""
    has_amplifier: bool = False


def contend(
    name: str, weights: str, model: Model, options: Options, protocol: Protocol
) -> Contender:
    """Enter a network under a name; `options`: what else is decided about its pictures."""
    # The references are clipped at white.
    wanted = replace(options, bits=16, highlights=Highlights.CLIP)
    return Contender(
        name,
        weights,
        partial(enhance_like_reference, model, wanted, protocol),
        MAX_CROP if options.edges is Edges.CROP else 0,
        model.architecture.name,
        model.amplifier is not None,
    )


def enhance_like_reference(
    model: Model, options: Options, protocol: Protocol, photo: Photo
) -> tuple[Tensor, float]:
    """Enhance a pair's RAW: (3, H, W) with BT.709's curve, and the gain that it got."""
    wanted = replace(options, gain=protocol.find_gain(photo.pair))
    made = enhance(photo.raw, model, wanted)
    picture = to_planes(made.pixels)
    if model.for_sensor(photo.raw.cfa.sensor).output is Output.CAMERA:
        picture = bt709_encode(srgb_decode(picture))
    return picture, made.gain.value


def contend_libraw(decoded: DecodedPairs) -> Contender:
    """Enter LibRaw's picture, scaled to the reference's mean: no network, all knowledge of it."""
    return Contender(LIBRAW, "", partial(develop_like_reference, decoded))


def with_itself(pair: ExposurePair) -> ExposurePair:
    """Make a pair of a dark photo and LibRaw's picture of the same: what `libraw` looks at."""
    return replace(pair, long=pair.short)


def develop_like_reference(decoded: DecodedPairs, photo: Photo) -> tuple[Tensor, None]:
    """Develop a pair's RAW as its reference was and scale it to the reference's mean brightness.

    Scaled as codes, after the curve. Source: SID's test_Sony.py, `scale_full * np.mean(gt_full) /
    np.mean(scale_full)`, clipped where it is written to a file.
    """
    picture = to_planes(decoded.open_pair(with_itself(photo.pair))[1])
    factor = photo.reference.double().mean() / picture.double().mean().clamp(min=1e-12)
    return (picture * factor.float()).clamp(0, 1), None
