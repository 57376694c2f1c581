"""Scores noted in a file: gone on from, torn lines dropped, other options refused."""

import json
from pathlib import Path

import pytest

from darkroom.errors import OutputError, UsageError
from darkroom.evaluation.contenders import Contender
from darkroom.evaluation.paired import PairScore
from darkroom.evaluation.score_journal import ScoreJournal, describe_pairs
from darkroom.pairs.exposures import ExposurePair

SETTINGS = {"gain": "true ratio", "metrics": "sid"}
SCORE = PairScore("a", "10003_00", "10003", 100.0, None, True, {"psnr": 1 / 3})


def contender(name: str = "a", weights: str = "w1") -> Contender:
    return Contender(name, weights, lambda photo: (photo.reference, 1.0))


def journal(path: Path, *contenders: Contender, **settings: str) -> ScoreJournal:
    return ScoreJournal(path, SETTINGS | settings, contenders or [contender()])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of one score."""
    path = tmp_path / "scores.jsonl"
    with journal(path) as begun:
        assert len(begun) == 0
        begun.append(3, SCORE)
        begun.append(3, SCORE)
    return path


def test_scores_come_back_to_the_bit(path: Path) -> None:
    with journal(path) as again:
        assert len(again) == 1
        assert again.find(3, "a") == SCORE
        assert again.find(3, "b") is None
        assert again.find(0, "a") is None
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2, "each score stands there once"


def test_a_torn_line_is_dropped_and_written_again(path: Path) -> None:
    whole = path.read_bytes()
    for cut in (1, 40):
        path.write_bytes(whole[:-cut])
        with journal(path) as again:
            assert len(again) == 0
            again.append(3, SCORE)
        assert path.read_bytes() == whole
    path.write_bytes(whole[:10])  # torn within the first line
    with journal(path) as again:
        again.append(3, SCORE)
    assert path.read_bytes() == whole


def test_other_options_and_weights_are_refused_with_one_line(path: Path) -> None:
    whole = path.read_bytes()
    with pytest.raises(UsageError, match=r"other options \(gain: true ratio, now ratio 100\)"):
        journal(path, gain="ratio 100")
    with pytest.raises(UsageError, match="a had other weights there"):
        journal(path, contender(weights="w2"))
    assert path.read_bytes() == whole


def test_more_models_may_join(path: Path) -> None:
    with journal(path, contender("b", "w9")) as more:
        assert more.find(3, "a") == SCORE
        more.append(3, PairScore("b", "10003_00", "10003", 100.0, 1.0, True, {"psnr": 2.0}))
    with journal(path, contender(), contender("b", "w9")) as both:
        assert len(both) == 2


@pytest.mark.parametrize(
    "text",
    ["[1]\n", "no JSON\n", '{"kind": "batch"}\n', '{"schema": 1}\n', "\0\0\n", "{" * 9 + "\n"],
)
def test_other_files_are_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="holds no scores"):
        journal(path)
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("line", ["[]", '{"index": 1}', '{"index": 1, "weights": "", "x": 2}'])
def test_damaged_records_are_refused(path: Path, line: str) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], line, lines[1], ""]), encoding="utf-8")
    with pytest.raises(UsageError, match="or is damaged"):
        journal(path)


def test_a_newer_journal_is_refused(path: Path) -> None:
    head, *rest = path.read_text(encoding="utf-8").splitlines(keepends=True)
    record = json.loads(head) | {"schema": 2}
    path.write_text("".join([json.dumps(record) + "\n", *rest]), encoding="utf-8")
    with pytest.raises(UsageError, match="of this darkroom"):
        journal(path)


def test_where_nothing_can_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        journal(tmp_path / "nowhere" / "scores.jsonl")


def test_lists_are_told_apart() -> None:
    one = ExposurePair(Path("x/10003_00_0.1s.ARW"), Path("y/10003_00_10s.ARW"), 100.0, "10003")
    moved = ExposurePair(Path("z/10003_00_0.1s.ARW"), Path("z/10003_00_10s.ARW"), 100.0, "10003")
    other = ExposurePair(one.short, one.long, 250.0, "10003")
    assert describe_pairs([one]) == describe_pairs([moved]), "a disk mounted elsewhere"
    assert len({describe_pairs(p) for p in ([one], [other], [one, other], [other, one], [])}) == 5
