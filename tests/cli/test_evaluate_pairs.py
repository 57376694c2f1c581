"""Pairs of exposures scored from the command line, on tiny photos in SID's own layout."""

import json
import shutil
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import torch
from batches import tiny_weights
from conftest import synthetic_raw
from PIL import Image
from sid_layout import SHORTS, write_sid
from typer.testing import CliRunner, Result

from darkroom.cli import app
from darkroom.evaluation import published_scores
from darkroom.evaluation.published import llpacknet
from darkroom.output.dng import write_dng


def run(*arguments: object) -> Result:
    torch.set_num_threads(1)
    words = ["evaluate", *map(str, arguments), "--precision", "fp32"]
    return CliRunner().invoke(app, words)


def records(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(name="weights", scope="module")
def weights_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(name="listed", scope="module")
def listed_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sid(tmp_path_factory.mktemp("sid"))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_CACHE", str(tmp_path / "cache"))


def test_a_table_of_models_by_ratio(listed: Path, weights: Path) -> None:
    result = run(listed, "-m", weights, "-m", "libraw")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[:5] == ["model", "over", "pairs", "PSNR", "SSIM"]
    assert len(lines) == 1 + 2 * 5, "all, three ratios, and without the misaligned scene"
    assert lines[6].split()[:3] == ["libraw", "all", "3"]
    assert "3 pairs of Sony_test_list.txt, true ratio" in result.stderr
    assert "decoding 8 of 8 files" in result.stderr
    again = run(listed, "-m", weights, "-m", "libraw")
    assert again.stdout == result.stdout
    assert "decoding" not in again.stderr


def test_json_is_a_record_for_each_score_then_the_means(listed: Path, weights: Path) -> None:
    found = records(run(listed, "-m", weights, "-m", "libraw", "--metrics", "8bit", "--json"))
    kinds = [one["kind"] for one in found]
    assert kinds == ["pair"] * 6 + ["mean"] * 10
    assert set(found[0]) == {
        *("schema", "kind", "model", "name", "scene", "ratio", "gain", "misaligned"),
        *("psnr_8bit", "ssim_8bit"),
    }
    assert [one["ratio"] for one in found[:6:2]] == [100, 250, 300]
    mean = np.mean([one["psnr_8bit"] for one in found[:6:2]])  # type: ignore[arg-type]
    assert found[6]["psnr_8bit"] == pytest.approx(mean)
    assert (found[6]["group"], found[6]["count"], found[6]["published"]) == ("all", 3, [])


def test_without_a_cache_scores_are_the_same(listed: Path, weights: Path, tmp_path: Path) -> None:
    words = (listed, "-m", weights, "-m", "libraw", "--json")
    assert records(run(*words)) == records(run(*words, "--cache", "off"))
    assert records(run(*words, "--cache", tmp_path / "mine")) == records(run(*words))
    assert list((tmp_path / "mine").iterdir())


def test_gain_is_the_true_ratio_a_fixed_one_or_found(listed: Path, weights: Path) -> None:
    def gains(*words: object) -> list[object]:
        found = records(run(listed, "-m", weights, "--json", *words))
        return [one["gain"] for one in found if one["kind"] == "pair"]

    assert gains() == [100, 250, 300]
    assert gains("--ratio", 100) == [100, 100, 100]
    found = gains("--gain", "auto")
    assert len(set(found)) == 3
    assert not set(found) & {100, 250, 300}
    assert gains("--gain", "auto", "--gain-rule", "redi:2") != found


def test_an_amplifier_of_the_weights_finds_the_gain(listed: Path, tmp_path: Path) -> None:
    """LLPackNet's second protocol: by the rule llpacknet, which is its weights' own default."""
    one = next(p for p in llpacknet.PUBLISHED if "amplifier" in p.dialect)
    torch.save(dict(one.weights(5)), tmp_path / "net.pth")
    words = (listed, "-m", f"llpacknet-2020={tmp_path / 'net.pth'}", "--gain", "auto", "--json")
    found = records(run(*words))
    assert found == records(run(*words, "--gain-rule", "llpacknet"))
    assert found != records(run(*words, "--gain-rule", "percentile"))


def test_pairs_can_be_chosen(listed: Path, weights: Path, tmp_path: Path) -> None:
    def names(*words: object) -> list[object]:
        found = records(run(*words, "-m", weights, "--json"))
        return [one["name"] for one in found if one["kind"] == "pair"]

    every = [f"{scene}_{burst}_{seconds}s" for scene, burst, seconds, _ in SHORTS]
    assert names(listed) == every
    assert names(listed.parent / "Sony", "--split", "test") == sorted(every)
    with chdir(listed.parent / "Sony"):
        assert "3 pairs of Sony, true ratio" in run(".", "-m", weights).stderr
    assert names(listed, "--first") == [every[0], every[2]]
    result = run(listed, "--split", "train")
    assert result.exit_code == 2
    assert "0xxxx" in result.stderr


def test_two_folders_matched_by_name(weights: Path, tmp_path: Path) -> None:
    """References as pictures, the photo turned: compared as it is to be seen."""
    for folder in ("dark", "bright"):
        (tmp_path / folder).mkdir()
    write_dng(tmp_path / "dark" / "a.dng", synthetic_raw(48, 64, exposure=0.01, orientation=6))
    Image.new("RGB", (48, 64), "gray").save(tmp_path / "bright" / "a.png")
    words = (tmp_path / "dark", "--references", tmp_path / "bright", "-m", weights, "--json")
    found = records(run(*words, "--ratio", 100))
    assert [one["name"] for one in found if one["kind"] == "pair"] == ["a"]
    (score, _) = records(run(*words, "--gain", "auto"))
    assert score["gain"] != 1


def test_equal_pictures_have_no_number_in_json(tmp_path: Path) -> None:
    for folder in ("dark", "bright"):
        (tmp_path / folder).mkdir()
        write_dng(tmp_path / folder / "a.dng", synthetic_raw(48, 64))
    words = (tmp_path / "dark", "--references", tmp_path / "bright", "-m", "libraw", "--ratio", 1)
    result = run(*words, "--json")
    assert "Infinity" not in result.stdout
    assert [one["psnr"] for one in records(result)] == [None, None]


def test_tables_and_sheets_are_written(listed: Path, weights: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("a.csv", "a.md", "a.png")}
    words = ("--csv", files["a.csv"], "--markdown", files["a.md"], "--sheet", files["a.png"])
    result = run(listed, "-m", weights, *words)
    assert result.exit_code == 0, result.output
    assert len(files["a.csv"].read_text(encoding="utf-8").splitlines()) == 4
    assert "| 3 |" in files["a.md"].read_text(encoding="utf-8")
    with Image.open(files["a.png"]) as sheet:
        assert sheet.width > 3 * 128
    before = [path.read_bytes() for path in files.values()]
    refused = run(listed, "-m", weights, *words)
    assert refused.exit_code == 5
    assert "add --overwrite" in refused.stderr
    assert [path.read_bytes() for path in files.values()] == before
    assert run(listed, "-m", weights, *words, "--overwrite").exit_code == 0


def test_a_run_that_was_ended_goes_on(
    listed: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "scores.jsonl"
    words = (listed, "-m", weights, "-m", "libraw", "--resume", journal, "--json")
    whole = records(run(*words))
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 6
    journal.write_bytes(b"".join(lines[:4]) + lines[4][:20])
    result = run(*words)
    assert records(result) == whole
    assert f"{journal}: going on from 3 scores" in result.stderr
    assert journal.read_bytes() == b"".join(lines)
    shutil.rmtree(tmp_path / "cache")
    result = run(*words)
    assert records(result) == whole
    assert "decoding" not in result.stderr, "nothing is left to be scored"
    for other in (("--ratio", 100), ("--metrics", "sid"), ("--first",), ("--edges", "crop")):
        refused = run(*words, *other)
        assert refused.exit_code == 2
        assert "was begun with other options" in refused.stderr


def test_published_numbers_stand_beside_ours(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_scores, "LISTS", {("sony", False): 3})
    one = next(p for p in llpacknet.PUBLISHED if p.network == "llpacknet")
    torch.save(dict(one.weights(5)), tmp_path / "net.pth")
    result = run(listed, "-m", f"llpacknet={tmp_path / 'net.pth'}", "-m", "safelight")
    assert result.exit_code == 0, result.output
    shown = [line for line in result.stdout.splitlines() if "27.83 / 0.750 [Lamba" in line]
    assert len(shown) == 1
    assert "without misaligned" in shown[0]
    assert "published" in result.stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--gain", "300"), 2, "give true or auto"),
        (("--gain-rule", "redi"), 2, "add --gain auto"),
        (("--gain", "auto", "--ratio", "5"), 2, "both decide the gain"),
        (("--ratio", "5", "--ratio", "6"), 2, "several are for --simulate"),
        (("--ratio", "0"), 2, "between 1 and 1000"),
        (("--metrics", "psnr"), 2, "give some of sid, 8bit"),
        (("--split", "all"), 2, "give one of train, test, validation"),
        (("-m", "safelight", "-m", "safelight"), 2, "given twice"),
        (("--xtrans",), 2, "for --simulate"),
        (("--sheet", "a.gif"), 2, "no picture format"),
        (("--csv", "a.txt", "--markdown", "a.txt"), 2, "a file of its own"),
        (("--csv", "a.txt", "--markdown", "../{here}/a.txt"), 2, "a file of its own"),
        (("--ratio", "0.5"), 2, "must be between 1 and 1000"),
        (("--csv", "nowhere/a.csv"), 5, "create it first"),
        (("--resume", "nowhere/a.jsonl"), 5, "create it first"),
        (("-m", "safelite"), 3, "did you mean safelight"),
    ],
)
def test_wrong_usage_is_one_line_before_any_work(
    listed: Path, words: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    result = run(listed, *(word.format(here=Path.cwd().name) for word in words))
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "cache").exists()


def test_inputs_are_never_written_over(listed: Path, weights: Path) -> None:
    before = listed.read_bytes()
    for option in ("--csv", "--resume"):
        result = run(listed, "-m", weights, option, listed, "--overwrite")
        assert result.exit_code == 5
        assert "is a file that is read for it" in result.stderr
    assert listed.read_bytes() == before


def test_references_of_another_size_are_one_line(weights: Path, tmp_path: Path) -> None:
    listed = write_sid(tmp_path, SHORTS[:1])
    write_dng(tmp_path / "Sony" / "long" / "10003_00_10s.ARW", synthetic_raw(48, 48))
    for cache in ((), ("--cache", "off")):
        result = run(listed, "-m", weights, *cache)
        assert result.exit_code == 2
        assert "48x48 pixels" in result.stderr
        assert "Traceback" not in result.output


def test_cropped_pictures_are_compared_with_what_is_left(tmp_path: Path) -> None:
    """As published code does, which cuts the reference too where photos end off the grid."""
    listed = write_sid(tmp_path, SHORTS[:1], size=(100, 110))
    one = next(p for p in llpacknet.PUBLISHED if p.network == "llpacknet")
    torch.save(dict(one.weights(5)), tmp_path / "net.pth")
    words = (listed, "-m", f"llpacknet={tmp_path / 'net.pth'}", "--json")
    whole, cut = (records(run(*words, "--edges", edges)) for edges in ("reflect", "crop"))
    assert whole[0]["psnr"] != cut[0]["psnr"]
    assert whole[0]["psnr"] == pytest.approx(cut[0]["psnr"], abs=1)  # it is most of the same


def test_several_models_on_simulated_photos(weights: Path, tmp_path: Path) -> None:
    codes = np.random.default_rng(2).integers(0, 255, (12, 13, 3), dtype=np.uint8)
    Image.fromarray(codes).resize((104, 96)).save(tmp_path / "a.png")
    other = shutil.copy(weights, tmp_path / "other.safetensors")
    words = ("--simulate", tmp_path, "-m", weights, "-m", other, "--ratio", 100)
    lines = run(*words).stdout.splitlines()
    assert [line.split(", ")[0] for line in lines] == [str(weights), str(other)]
    assert [one["model"] for one in records(run(*words, "--json"))] == [str(weights), str(other)]
    for option in (("--cache", "off"), ("--first",), ("--gain", "auto"), ("--csv", "a.csv")):
        result = run(*words, *option)
        assert result.exit_code == 2
        assert "go with it" in result.stderr
