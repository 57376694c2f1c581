"""The pairs that models did worst and best on, as crops at 100 % to look at.

A row for each pair: the dark photo brightened, what each model makes of it, the long exposure.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from darkroom.evaluation.contenders import Contender, Photo
from darkroom.evaluation.decoded_pairs import DecodedPairs
from darkroom.evaluation.image_grid import draw_picture_grid
from darkroom.evaluation.paired import PairScore, fit_reference, read_photo
from darkroom.evaluation.score_summary import HEADINGS, format_figure
from darkroom.pairs.exposures import ExposurePair
from darkroom.raw.reader import develop

SIDE = 320
"""Pixels along each side of a crop."""
ROWS = 3
"""Pairs at each end, at most; each of another scene."""
Place = tuple[slice, slice]


def draw_score_sheet(
    pairs: Sequence[ExposurePair],
    contenders: Sequence[Contender],
    scores: Sequence[tuple[int, PairScore]],
    decoded: DecodedPairs,
) -> NDArray[np.uint8]:
    """Draw the worst pairs, worst first, then the best, best last: (H, W, 3) uint8.

    By the first figure of the first contender, whose pictures also decide the place of each crop.
    `scores`: of all of them, with the index of the pair.
    """
    by_place = {(index, one.model): one for index, one in scores}
    worst, best = choose_pairs([(i, one) for i, one in scores if one.model == contenders[0].name])
    panels: list[tuple[str, NDArray[np.uint8]]] = []
    for word, indices in (("worst", worst), ("best", best)):
        for index in indices:
            found = [by_place[index, contender.name] for contender in contenders]
            photo = read_photo(pairs[index], decoded)
            panels += _draw_row(f"{word}: {found[0].name}", photo, contenders, found)
    return draw_picture_grid(panels, columns=len(contenders) + 2)


def choose_pairs(scores: Sequence[tuple[int, PairScore]]) -> tuple[list[int], list[int]]:
    """Choose the indices of the worst and of the best pairs, each of another scene, none twice.

    Of few pairs the worst are chosen first.
    """
    figure = next(iter(scores[0][1].figures))
    sign = -1 if figure == "lpips" else 1
    ranked = sorted(scores, key=lambda one: sign * one[1].figures[figure])
    scenes: set[str] = set()

    def take(order: Sequence[tuple[int, PairScore]]) -> Iterator[int]:
        for index, score in order:
            if score.scene not in scenes:
                scenes.add(score.scene)
                yield index

    half = min(ROWS, -(-len({one.scene for _, one in scores}) // 2))
    worst = list(islice(take(ranked), half))
    best = list(islice(take(ranked[::-1]), half))
    return worst, best[::-1]


def _draw_row(
    title: str, photo: Photo, contenders: Sequence[Contender], scores: Sequence[PairScore]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield labelled crops of one pair; whole pictures are held one at a time."""
    rows, columns = slice(0, 0), slice(0, 0)
    crops: list[tuple[str, NDArray[np.uint8]]] = []
    for contender, score in zip(contenders, scores, strict=True):
        picture, _ = contender.render(photo)
        if not crops:
            reference = fit_reference(picture, photo, contender.max_crop)
            rows, columns = find_place(picture, reference, worst=title.startswith("worst"))
        name, value = next(iter(score.figures.items()))
        label = f"{contender.name}: {HEADINGS[name]} {format_figure(name, value)}"
        crops.append((label, _to_codes(picture[:, rows, columns])))
    # Shifted by masked lines where the photo has any; it is there to be looked at only.
    gain = scores[0].gain or photo.pair.ratio
    plain = develop(photo.pair.short.read_bytes(), gain) // 257
    yield f"{title}, x{gain:.3g}", plain[rows, columns].astype(np.uint8)
    yield from crops
    yield "reference", _to_codes(photo.reference[:, rows, columns])


def find_place(picture: Tensor, reference: Tensor, worst: bool) -> Place:
    """Find the square where a picture is farthest from its reference, or nearest.

    The nearest of the more detailed half of all squares: in the dark there is little to get wrong.
    """
    height, width = (min(SIDE, size) for size in picture.shape[1:])
    window, stride = (height, width), (max(height // 2, 1), max(width // 2, 1))
    errors = avg_pool2d((picture - reference).square().mean(0)[None], window, stride)[0]
    if not worst:
        mean = avg_pool2d(reference.mean(0)[None], window, stride)[0]
        detail = avg_pool2d(reference.mean(0).square()[None], window, stride)[0] - mean.square()
        errors[detail < detail.median()] = errors.max() + 1
    place = int(errors.argmax() if worst else errors.argmin())
    row, column = divmod(place, errors.shape[1])
    top, left = row * stride[0], column * stride[1]
    return slice(top, top + height), slice(left, left + width)


def _to_codes(crop: Tensor) -> NDArray[np.uint8]:
    """Turn (3, H, W) in [0, 1] into (H, W, 3) uint8."""
    codes = (crop.clamp(0, 1) * 255).round().byte()
    return codes.permute(1, 2, 0).contiguous().numpy()
