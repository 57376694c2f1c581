"""Pairs scored one by one: what is read, how much is amplified, whose sizes fit, what is drawn."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import synthetic_raw
from numpy.typing import NDArray
from sid_layout import write_sid
from torch import Tensor

from darkroom.errors import UsageError
from darkroom.evaluation.contenders import Contender, Photo, Protocol, contend_libraw
from darkroom.evaluation.decoded_pairs import DecodedAnew
from darkroom.evaluation.paired import PairScore, fit_reference, read_photo, score_pairs
from darkroom.evaluation.score_sheet import SIDE, choose_pairs, draw_score_sheet, find_place
from darkroom.evaluation.scores import Metric
from darkroom.pairs.exposures import ExposurePair
from darkroom.pairs.layouts import read_pairs
from darkroom.pairs.store import PairStore
from darkroom.raw.image import RawImage

PAIR = ExposurePair(Path("10003_00_0.1s.ARW"), Path("10003_00_10s.ARW"), 100.0, "10003")


class Counted:
    """Decoded pairs out of nothing; counts how often each is opened."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def open_pair(self, pair: ExposurePair) -> tuple[RawImage, NDArray[np.uint16]]:
        self.opened.append(pair.name)
        return synthetic_raw(orientation=6), np.full((48, 64, 3), 32768, np.uint16)


def flat(name: str, value: float) -> Contender:
    """A contender whose picture is one grey."""
    return Contender(name, "", lambda photo: (torch.full_like(photo.reference, value), 1.0))


def test_each_pair_is_read_once_for_all_models() -> None:
    pairs = [replace(PAIR, short=Path(f"1000{i}_00_0.1s.ARW"), scene=f"1000{i}") for i in range(3)]
    decoded = Counted()
    found = list(score_pairs(pairs, [flat("a", 0.5), flat("b", 0.6)], [Metric.SID], decoded))
    assert [(index, one.model) for index, one in found] == [
        (index, name) for index in range(3) for name in "ab"
    ]
    assert decoded.opened == [pair.name for pair in pairs]
    assert found[0][1].figures["psnr"] > found[1][1].figures["psnr"]


def test_nothing_is_read_for_scores_that_are_known() -> None:
    decoded = Counted()
    known = PairScore("a", "x", "x", 1.0, 1.0, False, {"psnr": 7.0, "ssim": 0.5})
    found = score_pairs([PAIR], [flat("a", 0.5)], [Metric.SID], decoded, lambda i, m: known)
    assert [one for _, one in found] == [known]
    assert decoded.opened == []


def test_photos_are_compared_as_the_sensor_saw_them() -> None:
    """The reference lies as the sensor; so must the picture, whatever the photo's orientation."""
    photo = read_photo(PAIR, Counted())
    assert photo.raw.orientation == 1
    assert photo.reference.shape == (3, 48, 64)


def test_protocols_decide_the_gain() -> None:
    steep = replace(PAIR, ratio=250.0)
    gain = Protocol().find_gain(steep)
    assert gain is not None
    assert gain.value == 250
    gain = Protocol(ratio=100.0).find_gain(steep)
    assert gain is not None
    assert gain.value == 100
    assert Protocol(automatic=True).find_gain(steep) is None
    names = [str(one) for one in (Protocol(), Protocol(100.0), Protocol(automatic=True))]
    assert names == ["true ratio", "ratio 100", "automatic gain"]
    with pytest.raises(UsageError, match="both decide the gain"):
        Protocol(100.0, automatic=True)
    with pytest.raises(UsageError, match="between 1 and 1000"):
        Protocol(0.0)


def test_references_are_cut_only_to_cropped_pictures() -> None:
    photo = Photo(PAIR, synthetic_raw(), torch.zeros(3, 48, 64))
    assert fit_reference(torch.zeros(3, 48, 64), photo).shape == (3, 48, 64)
    assert fit_reference(torch.zeros(3, 32, 64), photo, max_crop=16).shape == (3, 32, 64)
    for size, crop in (((48, 63), 0), ((31, 64), 16), ((49, 64), 16)):
        with pytest.raises(UsageError, match=r"64x48 pixels, but 10003_00_0.1s.ARW gives"):
            fit_reference(torch.zeros(3, *size), photo, crop)


@pytest.fixture(params=["store", "off"])
def listed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, object]]:
    path = write_sid(tmp_path, size=(96, 128))
    if request.param == "store":
        yield path, PairStore(tmp_path / "cache")
    else:
        with DecodedAnew() as decoded:
            yield path, decoded


def test_scores_are_the_same_from_the_store_and_from_the_files(tmp_path: Path) -> None:
    """To the bit: the store keeps the sensor's and LibRaw's values as they are."""
    pairs = read_pairs(write_sid(tmp_path))
    store = PairStore(tmp_path / "cache")
    with DecodedAnew() as files:
        first, second = (
            [one for _, one in score_pairs(pairs, [contend_libraw(d)], [Metric.SID], d)]
            for d in (store, files)
        )
    assert first == second
    assert [one.misaligned for one in first] == [False, False, True]
    assert all(5 < one.figures["psnr"] < 50 for one in first)


def score(scene: str, psnr: float, model: str = "a") -> PairScore:
    return PairScore(model, f"{scene}_00", scene, 100.0, 100.0, False, {"psnr": psnr})


def test_the_worst_and_the_best_are_of_different_scenes() -> None:
    values = {"1": 20.0, "2": 30.0, "3": 25.0, "4": 28.0, "5": 22.0, "6": 29.0, "7": 27.0}
    scores = list(enumerate(score(scene, psnr) for scene, psnr in values.items()))
    assert choose_pairs(scores) == ([0, 4, 2], [3, 5, 1])
    again = [*scores, (7, score("1", 19.0)), (8, score("2", 31.0))]
    assert choose_pairs(again) == ([7, 4, 2], [3, 5, 8])
    assert choose_pairs(scores[:1]) == ([0], [])
    assert choose_pairs(scores[:2]) == ([0], [1])


def test_crops_are_taken_where_the_picture_is_worst_and_best() -> None:
    """The best not in the flat half, where nothing can be wrong."""
    reference = torch.zeros(3, 4 * SIDE, SIDE)
    reference[:, SIDE:] = torch.rand(3, 3 * SIDE, SIDE, generator=torch.manual_seed(1))
    picture = reference.clone()
    picture[:, 2 * SIDE :] += 0.1
    picture[:, 3 * SIDE :] += 0.3
    rows, columns = find_place(picture, reference, worst=True)
    assert (rows.start, columns) == (3 * SIDE, slice(0, SIDE))
    rows, _ = find_place(picture, reference, worst=False)
    assert reference[:, rows].std() > 0.2
    assert torch.equal(picture[:, rows], reference[:, rows])


def test_sheets_have_the_photo_each_model_and_the_reference(
    listed: tuple[Path, PairStore | DecodedAnew],
) -> None:
    path, decoded = listed
    pairs = read_pairs(path)

    def copy(photo: Photo) -> tuple[Tensor, float]:
        return photo.reference, 1.0

    contenders = [Contender("copy", "", copy), contend_libraw(decoded)]
    scores = list(score_pairs(pairs, contenders, [Metric.ALIGNED], decoded))
    sheet = draw_score_sheet(pairs, contenders, scores, decoded)
    height, width = 96, 128
    assert sheet.dtype == np.uint8
    assert 2 * height < len(sheet) < 3 * height
    assert 4 * width < sheet.shape[1] < 4.3 * width
    # The last two panels of the first row are LibRaw's and the reference; the second is a copy.
    wanted = (read_photo(pairs[0], decoded).reference * 255).round().byte().permute(1, 2, 0).numpy()
    found = [
        bool((sheet[y : y + height, x : x + width] == wanted).all())
        for y in range(20, 40)
        for x in range(sheet.shape[1] - width)
    ]
    assert sum(found) == 2
