"""Means by group, as tables for people and programs, published numbers where they belong."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from darkroom.evaluation.contenders import Contender, Protocol
from darkroom.evaluation.paired import PairScore
from darkroom.evaluation.published_scores import LISTS, PUBLISHED, find_published
from darkroom.evaluation.score_summary import (
    HEADINGS,
    MAX_RATIOS,
    list_figures,
    summarise,
    tabulate,
    write_csv,
    write_markdown,
)
from darkroom.evaluation.scores import Metric
from darkroom.pairs.exposures import ExposurePair, Split


def score(
    model: str, ratio: float, psnr: float, scene: str = "10003", gain: float | None = 100.0
) -> PairScore:
    figures = {"psnr": psnr, "ssim": psnr / 100}
    return PairScore(model, f"{scene}_00", scene, ratio, gain, scene == "10034", figures)


TRUE = Protocol()
SCORES = [
    score("a", 100, 30),
    score("b", 100, 20, gain=None),
    score("a", 250, 28),
    score("b", 250, 18, gain=None),
    score("a", 300, 20, "10034"),
    score("b", 300, 10, "10034", gain=None),
]


def test_means_are_over_all_by_ratio_and_without_misaligned_scenes() -> None:
    found = {(one.model, one.group): one for one in summarise(SCORES)}
    groups = ["all", "x100", "x250", "x300", "without misaligned"]
    assert list(found) == [(model, group) for model in "ab" for group in groups]
    assert found["a", "all"].figures == {"psnr": pytest.approx(26), "ssim": pytest.approx(0.26)}
    assert found["a", "x300"].figures["psnr"] == 20
    assert found["a", "without misaligned"].figures["psnr"] == 29
    assert [found["b", group].count for group in groups] == [3, 1, 1, 1, 2]


def test_groups_that_say_nothing_are_left_out() -> None:
    assert [one.group for one in summarise(SCORES[:2])] == ["all", "all"]
    many = [score("a", 100 + i, 30) for i in range(MAX_RATIOS + 1)]
    assert [one.group for one in summarise(many)] == ["all"]
    assert [one.group for one in summarise(SCORES[4:5])] == ["all"]  # misaligned throughout
    assert summarise([]) == []


def test_tables_hold_every_figure() -> None:
    summaries = summarise(SCORES, {"a": [PUBLISHED[0]]})
    heads, rows = tabulate(summaries)
    assert heads == ["model", "over", "pairs", "PSNR", "SSIM", "published"]
    assert rows[0] == ["a", "all", "3", "26.00", "0.260", "28.88 / 0.787 [Chen et al., CVPR 2018]"]
    assert rows[1][-1] == ""
    assert tabulate(summarise(SCORES))[0] == heads[:-1]
    assert tabulate([]) == (["model", "over", "pairs"], [])
    assert set(list_figures(Metric)) == set(HEADINGS)


def test_markdown_has_a_row_for_each() -> None:
    awkward = [replace(one, model="a|b") for one in SCORES[:1]]
    lines = write_markdown(summarise(awkward), "1 pair").splitlines()
    assert lines[:2] == ["1 pair", ""]
    assert lines[3] == "| --- | --- | ---: | ---: | ---: |"
    assert lines[4] == r"| a\|b | all | 1 | 30.00 | 0.300 |"


def test_csv_has_every_digit_of_every_pair() -> None:
    exact = [replace(SCORES[1], figures={"psnr": 1 / 3, "ssim": 0.1})]
    rows = list(csv.DictReader(io.StringIO(write_csv(exact, ("psnr", "ssim")))))
    assert len(rows) == 1
    assert (rows[0]["model"], rows[0]["scene"], rows[0]["gain"]) == ("b", "10003", "")
    assert float(rows[0]["psnr"]) == 1 / 3


def pairs(count: int, ending: str = ".ARW", split: Split = Split.TEST) -> list[ExposurePair]:
    path = Path(f"10003_00_0.1s{ending}")
    return [ExposurePair(path, path, 100.0, "10003", split)] * count


def network(architecture: str, amplifier: bool = False) -> Contender:
    return Contender("mine", "", lambda photo: (photo.reference, 1.0), 0, architecture, amplifier)


def means(
    listed: list[ExposurePair], contender: Contender, protocol: Protocol = TRUE
) -> list[float]:
    return [one.psnr for one in find_published(listed, contender, protocol)]


def test_published_numbers_stand_beside_their_own_network_list_and_protocol() -> None:
    """The numbers of the papers and of the reproduction, as their tables have them."""
    assert means(pairs(598), network("sid")) == [28.88, 28.88]
    assert means(pairs(93), network("sid")) == [28.59]
    assert means(pairs(524, ".RAF"), network("sid")) == [26.61, 27.01]
    assert means(pairs(598), network("redi")) == [28.66]
    assert means(pairs(598), network("llpacknet-2020")) == [27.83]
    automatic = Protocol(automatic=True)
    assert means(pairs(598), network("llpacknet-2020", amplifier=True), automatic) == [23.27]
    assert means(pairs(598), network("sid", amplifier=True), automatic) == [22.98]


def test_published_numbers_stand_nowhere_else() -> None:
    sid = network("sid")
    assert means(pairs(598), network("safelight")) == []
    assert means(pairs(598), network("")) == []
    assert means(pairs(598), sid, Protocol(ratio=100)) == []
    assert means(pairs(598), sid, Protocol(automatic=True)) == []  # by another rule than theirs
    assert means(pairs(597), sid) == []
    assert means(pairs(598, split=Split.TRAIN), sid) == []
    assert means(pairs(598, ".dng"), sid) == []
    assert means(pairs(598, ".RAF"), sid) == []
    assert means([*pairs(1, ".RAF"), *pairs(597)], sid) == []
    assert means([], sid) == []
    assert sorted(LISTS.values()) == [93, 94, 524, 598]
