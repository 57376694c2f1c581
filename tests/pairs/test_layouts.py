"""Pairs as data sets publish them, found, and what does not fit refused in one line."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base
from places import DATA

from darkroom.errors import UsageError
from darkroom.output.dng import write_dng
from darkroom.pairs.exposures import ExposurePair, Split
from darkroom.pairs.layouts import looks_like_pairs, read_pairs
from darkroom.raw.image import Exposure, RawImage

Synthesise = Callable[..., RawImage]


def touch(root: Path, *names: str) -> None:
    """Files of no content: layouts go by names where these tell all."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write_list(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def names(pairs: list[ExposurePair]) -> list[tuple[str, str, float]]:
    return [(pair.short.name, pair.long.name, pair.ratio) for pair in pairs]


SONY = (
    "./Sony/short/00001_00_0.1s.ARW ./Sony/long/00001_00_10s.ARW ISO200 F9",
    "./Sony/short/10034_00_0.033s.ARW ./Sony/long/10034_00_10s.ARW ISO200 F9",
    "./Sony/short/10034_01_0.04s.ARW ./Sony/long/10034_00_10s.ARW ISO200 F9",
    "./Sony/short/20188_00_0.1s.ARW ./Sony/long/20188_00_30s.ARW ISO200 F9",
)
FUJI = ("./Fuji/short/10172_00_0.033s.RAF ./Fuji/long/10172_00_10s.RAF ISO25600 F10",)


@pytest.fixture
def sid(tmp_path: Path) -> Path:
    """SID's root as its archives unpack: Sony/ with its list beside it, and Fuji/ with its."""
    for name, lines in (("Sony_test_list.txt", SONY), ("Fuji_test_list.txt", FUJI)):
        write_list(tmp_path / name, *lines)
        touch(tmp_path, *(word for line in lines for word in line.split()[:2]))
    return tmp_path


def test_a_list_as_sid_publishes_it(sid: Path) -> None:
    pairs = read_pairs(sid / "Sony_test_list.txt")
    assert names(pairs) == [
        ("00001_00_0.1s.ARW", "00001_00_10s.ARW", 100.0),
        ("10034_00_0.033s.ARW", "10034_00_10s.ARW", 300.0),  # 303.03, capped
        ("10034_01_0.04s.ARW", "10034_00_10s.ARW", 250.0),
        ("20188_00_0.1s.ARW", "20188_00_30s.ARW", 300.0),
    ]
    assert [pair.scene for pair in pairs] == ["00001", "10034", "10034", "20188"]
    assert [pair.split for pair in pairs] == ["train", "test", "test", "validation"]
    assert [pair.name for pair in pairs][:2] == ["00001_00_0.1s", "10034_00_0.033s"]
    assert [pair.misaligned for pair in pairs] == [False, True, True, False]
    assert pairs[0].short == sid / "Sony/short/00001_00_0.1s.ARW"


def test_fujis_scene_of_a_misaligned_number_is_another_one(sid: Path) -> None:
    (pair,) = read_pairs(sid / "Fuji_test_list.txt")
    assert (pair.scene, pair.ratio, pair.misaligned) == ("10172", 300.0, False)


@pytest.mark.parametrize(
    ("place", "kept"),
    [
        ("list.txt", "./Sony/"),
        ("Sony/list.txt", "./Sony/"),
        ("Sony/list.txt", "./"),
        ("Sony/list.txt", ""),
    ],
)
def test_a_list_is_relative_to_wherever_it_fits(sid: Path, place: str, kept: str) -> None:
    """To its own folder or the one above; ELD's lists of SID's files name no folders."""
    moved = [line.replace("./Sony/", kept) for line in SONY]
    if not kept:
        moved = [line.replace("short/", "").replace("long/", "") for line in moved]
    pairs = read_pairs(write_list(sid / place, *moved))
    assert [pair.long.resolve().parent for pair in pairs] == [sid / "Sony/long"] * 4
    assert all(pair.short.is_file() for pair in pairs)


def test_splits_and_firsts_are_chosen(sid: Path) -> None:
    path = sid / "Sony_test_list.txt"
    assert [pair.scene for pair in read_pairs(path, split=Split.TRAIN)] == ["00001"]
    test = read_pairs(path, split=Split.TEST)
    assert [pair.name for pair in test] == ["10034_00_0.033s", "10034_01_0.04s"]
    first = read_pairs(path, split=Split.TEST, first=True)
    assert [pair.name for pair in first] == ["10034_00_0.033s"]


def test_a_given_ratio_counts_for_all(sid: Path) -> None:
    assert {pair.ratio for pair in read_pairs(sid / "Sony_test_list.txt", ratio=400.0)} == {400.0}


def test_folders_are_matched_by_scene(sid: Path) -> None:
    assert names(read_pairs(sid / "Sony")) == names(read_pairs(sid / "Sony_test_list.txt"))
    with pytest.raises(UsageError, match=r"two cameras' pairs; give .*Sony or .*Fuji"):
        read_pairs(sid)
    shutil.rmtree(sid / "Fuji")
    assert names(read_pairs(sid)) == names(read_pairs(sid / "Sony"))


def test_a_reference_of_the_same_burst_comes_before_another(tmp_path: Path) -> None:
    """As in the shared crops of SID: each short exposure has its own reference."""
    touch(tmp_path, "short/00004_1_0.1s.dng", "short/00004_2_0.1s.dng")
    touch(tmp_path, "long/00004_1_10s.png", "long/00004_2_10s.png")
    assert [pair.long.name for pair in read_pairs(tmp_path)] == [
        "00004_1_10s.png",
        "00004_2_10s.png",
    ]


@pytest.fixture
def photo(tmp_path: Path, synthetic_raw: Synthesise) -> Callable[..., None]:
    """`photo("dark/IMG_1", seconds=0.1, iso=100)` writes a tiny DNG that tells this exposure."""

    def write(name: str, **exposure: float) -> None:
        path = tmp_path / f"{name}.dng"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_dng(path, replace(synthetic_raw(24, 24), exposure=Exposure(**exposure)))

    return write


def test_eld_pairs_are_those_of_its_paper(tmp_path: Path, photo: Callable[..., None]) -> None:
    """x100 and x200 at three ISOs; the ratio is that of exposure time times ISO.

    Each dark photo's reference is the nearest in number: IMG_0004's is 6, IMG_0015's is 16.
    """
    for scene in ("SonyA7S2/scene-10", "SonyA7S2/scene-2", "NikonD850/scene-1"):
        for number in range(1, 17):
            factor = (0.5, 1, 10, 100, 200)[(number - 1) % 5]
            iso = 800 if factor == 0.5 else 1600
            photo(f"{scene}/IMG_{number:04d}", seconds=1 / factor, iso=iso)
            touch(tmp_path, f"{scene}/IMG_{number:04d}.JPG")
    pairs = read_pairs(tmp_path)
    assert len(pairs) == 6 * 3
    assert [pair.scene for pair in pairs][::6] == [
        "NikonD850-scene-1",
        "SonyA7S2-scene-2",
        "SonyA7S2-scene-10",
    ]
    numbers = [(pair.short.stem[-2:], pair.long.stem[-2:]) for pair in pairs[:6]]
    assert numbers == [
        *(("04", "06"), ("05", "06"), ("09", "11")),
        *(("10", "11"), ("14", "16"), ("15", "16")),
    ]
    assert [pair.ratio for pair in pairs[:6]] == pytest.approx([100, 200] * 3)
    assert {pair.split for pair in pairs} == {Split.TEST}
    assert pairs[0].name == "NikonD850-scene-1_IMG_0004"
    assert len(read_pairs(tmp_path / "SonyA7S2")) == 12
    assert len(read_pairs(tmp_path / "SonyA7S2/scene-2")) == 6
    (tmp_path / "SonyA7S2/scene-2/IMG_0006.dng").unlink()
    with pytest.raises(UsageError, match="scene-2: IMG_0006 is not there"):
        read_pairs(tmp_path)


def test_two_folders_are_matched_by_name(tmp_path: Path, photo: Callable[..., None]) -> None:
    """By whole names; exposure times and ISOs from the files' own tags, where both tell."""
    photo("dark/IMG_1", seconds=0.1, iso=800)
    photo("bright/IMG_1", seconds=5, iso=400)
    photo("dark/IMG_2", seconds=0.02, iso=800)
    tags = Image.Exif()
    tags[IFD.Exif] = {Base.ExposureTime: 4.0}  # and no ISO
    Image.new("RGB", (24, 24)).save(tmp_path / "bright/IMG_2.png", exif=tags)
    pairs = read_pairs(tmp_path / "dark", longs=tmp_path / "bright")
    assert names(pairs) == [
        ("IMG_1.dng", "IMG_1.dng", pytest.approx(25)),
        ("IMG_2.dng", "IMG_2.png", pytest.approx(200)),
    ]
    assert [(pair.scene, pair.split) for pair in pairs] == [("IMG_1", None), ("IMG_2", None)]


def test_two_folders_are_matched_up_to_the_first_underscore(tmp_path: Path) -> None:
    touch(tmp_path, "dark/s1_a_0.1s.dng", "dark/s1_b_0.5s.dng", "dark/s2_0.1s.dng")
    touch(tmp_path, "bright/s1_5s.tif", "bright/s2_5s.png", "bright/.s1_9s.tif", "bright/notes.txt")
    pairs = read_pairs(tmp_path / "dark", longs=tmp_path / "bright")
    assert names(pairs) == [
        ("s1_a_0.1s.dng", "s1_5s.tif", 50.0),
        ("s1_b_0.5s.dng", "s1_5s.tif", 10.0),
        ("s2_0.1s.dng", "s2_5s.png", 50.0),
    ]
    assert [pair.scene for pair in pairs] == ["s1", "s1", "s2"]


LINE = "short/00001_00_0.1s.dng long/00001_00_10s.dng"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((), "the list is empty"),
        (("short/00001_00_0.1s.dng",), "line 1 does not name two files"),
        ((LINE, "", "one two"), "line 3 does not name two files"),
        ((LINE, f"./{LINE} ISO200"), "line 2 repeats line 1"),
        (("short/1_10s.dng long/1_0.1s.dng",), "exposed longer"),
        (("short/1_0s.dng long/1_10s.dng",), "an exposure of 0 s; give --ratio"),
        (("short/1.dng long/1.dng",), "short/1.dng: no such file"),
        (("short/1_1s.dng short/1_1s.dng",), "/1_1s.dng: is its own reference"),
        ((LINE, "short/x_0.1s.dng long/x_1s.dng"), r"2 of 4 files are not there, .*/x_0.1s.dng"),
    ],
)
def test_a_list_that_does_not_fit(tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
    touch(tmp_path, *LINE.split())
    with pytest.raises(UsageError, match=words) as caught:
        read_pairs(write_list(tmp_path / "list.txt", *lines))
    assert "\n" not in str(caught.value)


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "photo.dng"
    path.write_bytes(b"II*\0\xff\xfe")
    with pytest.raises(UsageError, match=r"no list of pairs .it is no text.; give SID's list"):
        read_pairs(path)
    with pytest.raises(UsageError, match="no such file or folder; expected SID's list"):
        read_pairs(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), "bright: no such file or folder"),
        (("dark/a.txt", "bright/a.png"), "dark: holds no RAW photos"),
        (("dark/a.dng", "bright/a.jpg"), "bright: holds no RAW, PNG or TIFF"),
        (("dark/a.dng", "bright/b.png"), "1 of 1 dark photos have no reference there"),
        (("dark/IMG_1.dng", "bright/IMG_2.png"), "1 of 1 dark photos have no reference there"),
        (("dark/a.dng", "bright/a.png", "bright/a.tif"), "a.png and a.tif both fit a.dng"),
        (("dark/a1_0.1s.dng", "bright/a1_1s.png", "bright/a1_2s.png"), "both fit"),
        (("dark/a.dng", "dark/a.arw", "bright/a.png"), "a.arw and a.dng have one name"),
    ],
)
def test_folders_that_do_not_fit(tmp_path: Path, files: tuple[str, ...], words: str) -> None:
    (tmp_path / "dark").mkdir()
    touch(tmp_path, *files)
    with pytest.raises(UsageError, match=words):
        read_pairs(tmp_path / "dark", longs=tmp_path / "bright")


def test_times_that_nothing_tells_are_asked_for(tmp_path: Path, photo: Callable[..., None]) -> None:
    photo("dark/a")
    touch(tmp_path, "bright/a.png")
    with pytest.raises(UsageError, match=r"a.dng: neither name nor file tells .*give --ratio"):
        read_pairs(tmp_path / "dark", longs=tmp_path / "bright")
    (pair,) = read_pairs(tmp_path / "dark", longs=tmp_path / "bright", ratio=50)
    assert pair.ratio == 50


def test_a_choice_that_leaves_nothing_says_so(sid: Path) -> None:
    with pytest.raises(UsageError, match=r"none of 1 pairs of the train split .scenes 0xxxx."):
        read_pairs(sid / "Fuji", split=Split.TRAIN)
    with pytest.raises(UsageError, match="holds no pairs; expected SID's list"):
        read_pairs(sid / "Sony" / "short")


def test_pairs_are_told_from_photographs(sid: Path, tmp_path: Path) -> None:
    for place in (".", "Sony", "Sony_test_list.txt", "Fuji/.."):
        assert looks_like_pairs(sid / place), place
    touch(tmp_path, "photos/pack1/cat.jpg", "photos/10034_00_10s.png", "photos/short/notes.txt")
    assert not looks_like_pairs(tmp_path / "photos")
    assert not looks_like_pairs(tmp_path / "nowhere.txt")
    touch(tmp_path, "photos/10034_00_0.1s.png")  # the same scene at another exposure
    assert looks_like_pairs(tmp_path / "photos")
    touch(tmp_path, "eld/CanonEOS70D/scene-1/IMG_0001.CR2")
    assert looks_like_pairs(tmp_path / "eld")
    touch(tmp_path, "deep/a/b/short/1.dng", "deep/a/b/long/1.dng")
    assert looks_like_pairs(tmp_path / "deep")


@pytest.mark.skipif(not (DATA / "sid").is_dir(), reason="the shared pairs are not here")
def test_the_shared_pairs() -> None:
    pairs = read_pairs(DATA / "sid" / "list.txt")
    assert [pair.ratio for pair in pairs] == [100.0] * 11
    assert read_pairs(DATA / "sid") == sorted(pairs, key=lambda pair: pair.short)
    assert not looks_like_pairs(DATA / "photos")
