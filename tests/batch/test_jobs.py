"""From files, folders, globs and lists to photos and the names of their pictures."""

import os
from pathlib import Path
from typing import Any

import pytest

from darkroom.batch import watch
from darkroom.batch.jobs import (
    Inputs,
    Job,
    OutputNaming,
    Search,
    describe_companions,
    find_jobs,
    is_companion,
)
from darkroom.batch.journal import Journal
from darkroom.batch.record import Outcome, Status
from darkroom.batch.watch import watch_folders
from darkroom.errors import OutputError, RawError, UsageError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def targets(jobs: list[Job]) -> list[str]:
    return [job.target for job in jobs]


def test_a_folder_gives_its_raw_photos(tmp_path: Path) -> None:
    make(tmp_path, "b.ARW", "a.dng", "c.jpg", "._a.dng", ".hidden.dng", "sub/d.nef")
    jobs = find_jobs([tmp_path])
    assert jobs == [
        Job(str(tmp_path / "a.dng"), "a.png"),
        Job(str(tmp_path / "b.ARW"), "b.png"),
    ]
    assert targets(find_jobs([tmp_path], search=Search(everything=True))) == [
        *("a.png", "b.png", "c.png")
    ]


def test_the_tree_is_kept(tmp_path: Path) -> None:
    make(tmp_path, "x/IMG.ARW", "y/IMG.ARW", "y/z/IMG.ARW")
    found = find_jobs([tmp_path], OutputNaming(".jpg", "_bright"), Search(recursive=True))
    assert targets(found) == ["x/IMG_bright.jpg", "y/IMG_bright.jpg", "y/z/IMG_bright.jpg"]
    by_name = find_jobs([tmp_path / "x/IMG.ARW", tmp_path / "y/IMG.ARW"])
    assert targets(by_name) == ["x/IMG.png", "y/IMG.png"]
    one = find_jobs([tmp_path / "x/IMG.ARW"], OutputNaming(base=tmp_path))
    assert targets(one) == ["x/IMG.png"]


@pytest.mark.parametrize("names", [("IMG.ARW", "IMG.DNG"), ("IMG.ARW", "img.dng")])
def test_one_name_with_two_endings_does_not_collide(tmp_path: Path, names: list[str]) -> None:
    """Also where only case differs, which macOS and Windows do not tell apart."""
    make(tmp_path, *names, "other.ARW")
    found = targets(find_jobs([tmp_path]))
    assert sorted(found) == sorted([*(f"{name}.png" for name in names), "other.png"])


def test_each_photo_once(tmp_path: Path) -> None:
    make(tmp_path, "a.dng")
    assert len(find_jobs([tmp_path, tmp_path / "a.dng", str(tmp_path / "*.dng")])) == 1


def test_globs_that_the_shell_left_alone(tmp_path: Path) -> None:
    make(tmp_path, "x/a.dng", "y/b.dng", "y/odd[1].dng")
    assert targets(find_jobs([f"{tmp_path}/**/*.dng"])) == ["x/a.png", "y/b.png", "y/odd[1].png"]
    assert targets(find_jobs([tmp_path / "y" / "odd[1].dng"])) == ["odd[1].png"]
    with pytest.raises(RawError, match="no file fits"):
        find_jobs([f"{tmp_path}/*.nef"])


def test_the_output_folder_is_not_searched(tmp_path: Path) -> None:
    make(tmp_path, "a.dng", "out/b.dng")
    search = Search(recursive=True, skip=tmp_path / "out")
    assert targets(find_jobs([tmp_path], search=search)) == ["a.png"]


def test_finished_pictures_are_no_photos(tmp_path: Path) -> None:
    """Told by a batch's journal, or by what they are; RAW within a JPEG lies behind its end."""
    jpeg, png = b"\xff\xd8\xff\xe0 picture \xff\xd9", b"\x89PNG\r\n\x1a\n and more"
    contents = {
        "photo.xyz": b"x",
        "raw.jpg": jpeg + b"BRCM raw",
        "a.jpg": jpeg,
        "a": png,
        "made.tif": b"II*\0",
        "sub/made.tif": b"II*\0",
        "sub/other.tif": b"II*\0",
        "report.html": b"page",
    }
    for name, content in contents.items():
        make(tmp_path, name)
        (tmp_path / name).write_bytes(content)
    with Journal(tmp_path) as journal:
        journal.append(Outcome("/x", "made.tif", Status.DONE))
        journal.mark_writing("/y", "sub/made.tif")
    if os.name != "nt":
        os.mkfifo(tmp_path / "pipe")
    search = Search(recursive=True, everything=True, skip_file=tmp_path / "report.html")
    found = [
        Path(job.source).relative_to(tmp_path).as_posix()
        for job in find_jobs([tmp_path], search=search)
    ]
    assert found == ["photo.xyz", "raw.jpg", "sub/other.tif"]


def test_unfinished_files_are_no_photos(tmp_path: Path) -> None:
    make(tmp_path, ".darkroom-0123.part")
    with pytest.raises(UsageError, match="rename it first"):
        find_jobs([tmp_path / ".darkroom-0123.part"])


def test_inputs_are_told_by_whatever_name(tmp_path: Path) -> None:
    """One that comes later too; URLs by their own names."""
    make(tmp_path, "a.dng", "b.dng", "c.png", "weights")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.dng")
    (tmp_path / "hard.png").hardlink_to(tmp_path / "b.dng")
    jobs = iter([Job(str(tmp_path / "b.dng"), "b.png"), Job("s3://x/a.dng", "a.png")])
    inputs = Inputs([Job(str(tmp_path / "a.dng"), "a.png")], [tmp_path / "weights"])
    coming = Inputs(jobs)
    for job in jobs:
        coming.add(job)
    for held, name in ((inputs, "link.png"), (inputs, "weights"), (coming, "hard.png")):
        with pytest.raises(OutputError, match=f"{name}: is a file that this batch reads"):
            held.spare(str(tmp_path / name))
    with pytest.raises(OutputError):
        coming.spare("s3://x/a.dng")
    for held, name in ((inputs, "hard.png"), (inputs, "c.png"), (coming, "none.png")):
        held.spare(str(tmp_path / name))


def test_names_are_checked(tmp_path: Path) -> None:
    make(tmp_path, "x/a.dng")
    with pytest.raises(RawError, match="no such file"):
        find_jobs([tmp_path / "b.dng"])
    assert len(find_jobs([tmp_path / "b.dng"], search=Search(missing=True))) == 1
    with pytest.raises(UsageError, match="outside --base"):
        find_jobs([tmp_path / "x/a.dng"], OutputNaming(base=tmp_path / "y"))
    with pytest.raises(UsageError, match="slashes"):
        OutputNaming(suffix="/../x")


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_links_keep_their_own_names(tmp_path: Path) -> None:
    make(tmp_path, "store/1234")
    (tmp_path / "view").mkdir()
    (tmp_path / "view/IMG.ARW").symlink_to(tmp_path / "store/1234")
    (tmp_path / "view/loop").symlink_to(tmp_path / "view")
    assert targets(find_jobs([tmp_path / "view"], search=Search(recursive=True))) == ["IMG.png"]


def set_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Have nothing but sleep take time; returns the clock, to be put forward."""
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(watch.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(watch.time, "sleep", sleep)
    return clock


def test_watching_takes_a_tenth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With looks of three seconds a photo is there after the second, and 30 s lie between."""
    clock, looks = set_clock(monkeypatch), []

    def look(*arguments: Any) -> list[Job]:
        looks.append(clock[0])
        clock[0] += 3
        return find_jobs(*arguments)

    monkeypatch.setattr(watch, "find_jobs", look)
    make(tmp_path, "a.dng")
    arriving = watch_folders([tmp_path])
    assert [next(arriving) for _ in range(30)] == [None] * 30  # others' outcomes are shown
    assert next(arriving) == Job(str(tmp_path / "a.dng"), "a.png")
    assert [next(arriving) for _ in range(31)] == [None] * 31
    assert looks == [0, 33, 66]


def test_watching_waits_until_a_photo_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch)
    make(tmp_path, "a.dng")
    arriving = watch_folders([tmp_path], poll_seconds=0.5)

    def arrived(polls: int) -> list[str]:
        """Poll so often and say what came; polls are half a second apart."""
        found: list[str] = []
        while polls:
            job = next(arriving)
            if job is None:
                polls -= 1
            else:
                found.append(job.target)
        return found

    assert arrived(3) == []
    for size in range(2, 8):  # it grows: still being copied
        (tmp_path / "a.dng").write_bytes(b"x" * size)
        assert arrived(3) == []
    assert arrived(6) == ["a.png"]
    assert arrived(6) == []
    (tmp_path / "a.dng").write_bytes(b"changed since")
    assert arrived(8) == ["a.png"]
    tmp_path.rename(gone := tmp_path.with_name("gone"))
    assert arrived(3) == []
    gone.rename(tmp_path)
    make(tmp_path, "b.dng")
    assert arrived(8) == ["b.png"]
    with pytest.raises(UsageError, match="no folder"):
        next(watch_folders([tmp_path / "b.dng"]))


def test_what_belongs_to_a_photo_is_left_and_counted(tmp_path: Path) -> None:
    names = ("a.ARW", "A.jpg", "a.arw.XMP", "b.nef", "b.xmp", "b.heic", "c.jpg", "d.dng", "d.thm")
    for name in names:
        (tmp_path / name).write_bytes(b"-")
    jobs = find_jobs([tmp_path / name for name in names if name != "d.thm"])
    assert [Path(job.source).name for job in jobs] == ["a.ARW", "b.nef", "c.jpg", "d.dng"]
    assert sorted(job.target for job in jobs) == ["a.png", "b.png", "c.png", "d.png"]
    assert [is_companion(tmp_path / name, jobs) for name in ("A.jpg", "b.nef", "c.jpg")] == [
        *(True, False, False)
    ]
    said, _, kinds = describe_companions(jobs).partition(": ")
    assert said == "4 photos; left as they are beside"
    assert sorted(kinds.split(", ")) == ["1 HEIF", "1 JPEG", "1 other sidecar", "2 XMP sidecars"]
    assert describe_companions(find_jobs([tmp_path / "c.jpg"])) == ""
    everything = find_jobs([tmp_path], search=Search(everything=True))
    assert everything == jobs, "sidecars are no photos, whatever is tried"
