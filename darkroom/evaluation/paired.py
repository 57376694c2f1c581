"""How good models are on pairs of a dark RAW and its long exposure, as the papers measure it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from darkroom.errors import UsageError
from darkroom.evaluation.contenders import Contender, Photo
from darkroom.evaluation.decoded_pairs import DecodedPairs
from darkroom.evaluation.metrics import to_planes
from darkroom.evaluation.scores import Metric, score_picture
from darkroom.pairs.exposures import ExposurePair


@dataclass(frozen=True, slots=True)
class PairScore:
    """What one model scored on one pair.

    `gain`: by which the photo was amplified, None for LibRaw. `figures`: by their names in
    `darkroom.evaluation.scores.FIGURES`.
    """

    model: str
    name: str
    scene: str
    ratio: float
    gain: float | None
    misaligned: bool
    figures: dict[str, float]


Known = Callable[[int, str], PairScore | None]
"""Gives a score that is known already, by the pair's index and the model's name."""


def know_nothing(index: int, model: str) -> None:
    """Know no score: every one is to be found."""


def score_pairs(
    pairs: Sequence[ExposurePair],
    contenders: Sequence[Contender],
    metrics: Collection[Metric],
    decoded: DecodedPairs,
    known: Known = know_nothing,
) -> Iterator[tuple[int, PairScore]]:
    """Score every contender on every pair, in this order; yields the pair's index and the score.

    Each pair is read once for all of them: networks are small (1 to 40 MB), the photo with what
    they make of it is what takes memory, and no more than one is held at a time. `known`: a score
    that need not be found again. Raises UsageError where a picture is not of its reference's size.
    """
    for index, pair in enumerate(pairs):
        photo = None
        for contender in contenders:
            score = known(index, contender.name)
            if score is None:
                photo = photo or read_photo(pair, decoded)
                score = score_pair(photo, contender, metrics)
            yield index, score


def read_photo(pair: ExposurePair, decoded: DecodedPairs) -> Photo:
    """Read both exposures of a pair as the sensor saw them: not upright, a pixel for each site."""
    raw, reference = decoded.open_pair(pair)
    return Photo(
        pair, replace(raw, orientation=1, pixel_aspect=1.0, default_crop=None), to_planes(reference)
    )


def score_pair(photo: Photo, contender: Contender, metrics: Collection[Metric]) -> PairScore:
    """Score what a contender makes of a pair's dark photo. Raises UsageError as `fit_reference`."""
    picture, gain = contender.render(photo)
    figures = score_picture(picture, fit_reference(picture, photo, contender.max_crop), metrics)
    pair = photo.pair
    return PairScore(
        contender.name, pair.name, pair.scene, pair.ratio, gain, pair.misaligned, figures
    )


def fit_reference(picture: Tensor, photo: Photo, max_crop: int = 0) -> Tensor:
    """Cut a reference to the size of a picture that was cropped to its network's grid.

    As published code does. Raises UsageError where the picture lacks more than `max_crop`.
    """
    (height, width), (rows, columns) = picture.shape[1:], photo.reference.shape[1:]
    if not (0 <= rows - height <= max_crop and 0 <= columns - width <= max_crop):
        raise UsageError(
            f"{photo.pair.long}: {columns}x{rows} pixels, but {photo.pair.short.name} gives "
            f"{width}x{height}; a reference has to have the photo's size: check the list"
        )
    return photo.reference[:, :height, :width]
