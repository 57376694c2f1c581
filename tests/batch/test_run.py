"""Many photos: overlap changes nothing, failures cost one photo, and a second run does the rest."""

import dataclasses
import errno
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from batches import tiny_weights, write_photos
from PIL import Image

from darkroom.batch import devices, stages
from darkroom.batch import run as batch
from darkroom.batch.jobs import Job, OutputNaming, find_jobs
from darkroom.batch.journal import JOURNAL, Journal, read_outcomes
from darkroom.batch.options import ALWAYS, settings
from darkroom.batch.record import Outcome, Status
from darkroom.batch.run import BatchOptions, enhance_all, load_models
from darkroom.batch.stages import PhotoProgress, Stage
from darkroom.color import lens_correction
from darkroom.color.color_space import ColorSpace
from darkroom.errors import OutputError, UsageError
from darkroom.gain import given_gain
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.output.atomic import TEMPORARY_PATTERN
from darkroom.output.linear_dng import DngKind
from darkroom.output.picture import PictureFormat, SaveOptions
from darkroom.pipeline import Options, enhance
from darkroom.raw.reader import read_raw

OPTIONS = BatchOptions(Options(tile="off"), jobs=2)
CORRUPTED = int(os.environ.get("DARKROOM_CORRUPTED", "24"))
"""Damaged photos beside a tenth as many good ones; 300 takes a minute."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")
    return load_model(path, "cpu", "fp32")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def statuses(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.output: outcome.status.value for outcome in outcomes}


def go(photos: Any, out: Path, model: Model, **options: Any) -> list[Outcome]:
    return list(enhance_all(photos, out, model, dataclasses.replace(OPTIONS, **options)))


def pictures(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def strays(folder: Path) -> list[Path]:
    return list(folder.rglob(TEMPORARY_PATTERN))


def test_pictures_are_those_of_one_photo_at_a_time(tmp_path: Path, model: Model) -> None:
    paths = write_photos(tmp_path / "in", 5)
    outcomes = go([tmp_path / "in"], tmp_path / "out", model)
    assert statuses(outcomes) == {f"p{n:03}.png": "done" for n in range(5)}
    for path in paths:
        expected = enhance(read_raw(path), model, OPTIONS.picture)
        with Image.open(tmp_path / "out" / f"{path.stem}.png") as found:
            assert found.tobytes() == expected.pixels.tobytes()
    first = min(outcomes, key=lambda outcome: outcome.output)
    assert first.gain == enhance(read_raw(paths[0]), model, OPTIONS.picture).gain.value
    assert (first.width, first.height, first.camera) == (96, 64, "Example One")
    assert first.black is not None
    assert first.black["used"] == first.black["stated"] == [[512, 512], [512, 512]]
    assert first.black["reason"] == "as the file states it: the file has no masked pixels"
    assert set(first.seconds) == {stage.value for stage in Stage}
    assert first.input == str(paths[0])
    assert first.output_size == (tmp_path / "out/p000.png").stat().st_size
    journal = {outcome.output: outcome for outcome in read_outcomes(tmp_path / "out" / JOURNAL)}
    assert {name: outcome.record() for name, outcome in journal.items()} == {
        outcome.output: outcome.record() for outcome in outcomes
    }


def test_a_bad_photo_costs_itself(tmp_path: Path, model: Model) -> None:
    paths = write_photos(tmp_path / "in", 3)
    paths[1].write_bytes(paths[1].read_bytes()[:2000])
    outcomes = go(paths, tmp_path / "out", model)
    assert statuses(outcomes) == {"p000.png": "done", "p001.png": "failed", "p002.png": "done"}
    (failed,) = (outcome for outcome in outcomes if outcome.status is Status.FAILED)
    assert failed.exit_code == 4
    assert str(failed.error).startswith(str(paths[1]))
    write_photos(tmp_path / "in", 3)  # whole again
    again = statuses(go(paths, tmp_path / "out", model))
    assert again["p001.png"] == "done"


def test_a_second_run_does_what_is_left(tmp_path: Path, model: Model) -> None:
    paths = write_photos(tmp_path / "in", 4)
    out = tmp_path / "out"
    go(paths[:2], out, model)
    before = pictures(out)
    (out / "p001.png").unlink()
    found = statuses(go(paths, out, model))
    assert [found[f"p{n:03}.png"] for n in range(4)] == ["skipped", "done", "done", "done"]
    assert pictures(out).items() >= before.items()
    assert set(statuses(go(paths, out, model)).values()) == {"skipped"}
    assert set(statuses(go(paths, out, model, resume=False)).values()) == {"done"}


def test_what_changed_is_done_again(tmp_path: Path, model: Model) -> None:
    (path,) = write_photos(tmp_path / "in", 1)
    out = tmp_path / "out"
    save = SaveOptions(PictureFormat.PNG, bits=16)
    go([path], out, model)
    for change in (
        {"picture": Options(given_gain(100), tile="off")},
        {"picture": Options(ev=1.0, tile="off")},
        {"picture": Options(bits=16, tile="off"), "save": save},
    ):
        assert statuses(go([path], out, model, **change)) == {"p000.png": "done"}
        assert statuses(go([path], out, model, **change)) == {"p000.png": "skipped"}
    assert statuses(go([path], out, model)) == {"p000.png": "done"}
    tiles = {"picture": Options(tile=64)}  # tiled equals whole
    assert statuses(go([path], out, model, **tiles)) == {"p000.png": "skipped"}
    other = dataclasses.replace(model, network=model.on_cpu().network)
    with torch.no_grad():
        next(other.network.parameters())[0] += 1
    assert statuses(go([path], out, other)) == {"p000.png": "done"}


def test_changed_inputs_are_told_by_time_or_by_hash(tmp_path: Path, model: Model) -> None:
    (path,) = write_photos(tmp_path / "in", 1)
    out, status = tmp_path / "out", path.stat()
    go([path], out, model)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    assert statuses(go([path], out, model, check_hash=True)) == {"p000.png": "skipped"}
    assert statuses(go([path], out, model)) == {"p000.png": "done"}
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert statuses(go([path], out, model)) == {"p000.png": "skipped"}
    assert statuses(go([path], out, model, check_hash=True)) == {"p000.png": "done"}


def test_a_card_mounted_elsewhere_is_the_same_card(tmp_path: Path, model: Model) -> None:
    write_photos(tmp_path / "in", 1)
    go([tmp_path / "in"], tmp_path / "out", model)
    (tmp_path / "in").rename(tmp_path / "moved")
    assert statuses(go([tmp_path / "moved"], tmp_path / "out", model)) == {"p000.png": "skipped"}


@pytest.mark.parametrize("case", ["foreign", "edited", "other photo"])
def test_nobody_loses_a_picture(tmp_path: Path, model: Model, case: str) -> None:
    paths = write_photos(tmp_path / "in", 1)
    out, mine = tmp_path / "out", b"my own work"
    if case == "other photo":
        go(paths, out, model)
        mine = (out / "p000.png").read_bytes()
        paths = [write_photos(tmp_path / "other", 1, (32, 32))[0]]
    else:
        if case == "edited":
            go(paths, out, model)
        out.mkdir(exist_ok=True)
        (out / "p000.png").write_bytes(mine)
    (outcome,) = go(paths, out, model)
    assert (outcome.status, outcome.exit_code) == (Status.FAILED, 5)
    assert "--overwrite" in str(outcome.error)
    assert (out / "p000.png").read_bytes() == mine
    save = dataclasses.replace(OPTIONS.save, overwrite=True)
    assert statuses(go(paths, out, model, save=save)) == {"p000.png": "done"}
    assert (out / "p000.png").read_bytes() != mine


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
@pytest.mark.parametrize("way", ["itself", "symbolic link", "hard link", "another photo", "stale"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_nobody_loses_a_photo(tmp_path: Path, model: Model, way: str, overwrite: bool) -> None:
    """Even where a journal, left by a kill, says that the name is ours."""
    (photo,), out = write_photos(tmp_path / "in", 1), tmp_path / "out"
    out.mkdir()
    target, others = out / "p.png", []
    if way == "itself":
        photo = photo.rename(target)
    elif way == "symbolic link":
        target.symlink_to(photo)
    elif way == "hard link":
        target.hardlink_to(photo)
    else:
        others = [Job(str(write_photos(tmp_path / "other", 1)[0].rename(target)), "other.png")]
    if way == "stale":
        with Journal(out) as journal:
            journal.mark_writing(str(photo), "p.png")
    before = target.read_bytes()
    save = dataclasses.replace(OPTIONS.save, overwrite=overwrite)
    jobs = [Job(str(photo), "p.png"), *others]
    if overwrite:
        with pytest.raises(OutputError, match="is a file that this batch reads; choose another"):
            go(jobs, out, model, save=save)
    found = go(iter(jobs[::-1]), out, model, save=save)  # one by one, as they arrive
    (failed,) = (outcome for outcome in found if outcome.output == "p.png")
    assert (failed.status, failed.exit_code) == (Status.FAILED, 5)
    assert "is a file that this batch reads" in str(failed.error)
    assert target.read_bytes() == before


def test_weights_are_no_pictures_place(tmp_path: Path, model: Model) -> None:
    paths = write_photos(tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    weights = tiny_weights(tmp_path / "out/p000.png")
    before = weights.read_bytes()
    options = dataclasses.replace(OPTIONS, save=SaveOptions(PictureFormat.PNG, overwrite=True))
    found = batch.PreparedBatch(
        [Job(str(paths[0]), "p000.png")], str(tmp_path / "out"), options, [model], inputs=[weights]
    )
    with pytest.raises(OutputError, match="is a file that this batch reads"):
        list(batch.run(found))
    assert weights.read_bytes() == before


@pytest.mark.parametrize("what", ["pictures", "all", "changed"])
def test_copies_are_resumed(tmp_path: Path, model: Model, what: str) -> None:
    """As `cp -r` copies, with new times; what was changed is not ours even if its size is."""
    write_photos(tmp_path / "one/in", 2)
    go([tmp_path / "one/in"], tmp_path / "one/out", model)
    for path in sorted((tmp_path / "one").rglob("*.*")):
        copy = tmp_path / "two" / path.relative_to(tmp_path / "one")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        os.utime(copy, (1e9, 1e9))
    photos = tmp_path / ("two" if what == "all" else "one") / "in"
    if what == "changed":
        changed = tmp_path / "two/out/p001.png"
        changed.write_bytes(changed.read_bytes()[:-1] + b"!")
        os.utime(changed, (1e9, 1e9))
    expected = "failed" if what == "changed" else "skipped"
    found = go([photos], tmp_path / "two/out", model)
    assert statuses(found) == {"p000.png": "skipped", "p001.png": expected}


@pytest.mark.parametrize(
    ("damage", "lines"),
    [
        (b'{"output": ["p000.png"]}\n', "1 damaged line"),
        (b"[" * 100_000 + b"\n" + b'{"output": ["p000.png"]}\n', "2 damaged lines"),
    ],
    ids=("one", "two"),
)
def test_damaged_lines_are_told_of_once(
    tmp_path: Path, model: Model, damage: bytes, lines: str
) -> None:
    paths, out, told = write_photos(tmp_path / "in", 1), tmp_path / "out", list[str]()
    go(paths, out, model)
    with (out / JOURNAL).open("ab") as stream:
        stream.write(damage)
    for _ in range(2):
        jobs = [Job(str(paths[0]), "p000.png")]
        prepared = batch.PreparedBatch(jobs, str(out), OPTIONS, [model])
        (outcome,) = batch.run(prepared, warn=told.append)
        assert outcome.status is Status.SKIPPED
    (text,) = told
    assert text.endswith(f": {lines} dropped; their photos are looked at anew")


def test_too_many_open_files_are_no_bug(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    (path,) = write_photos(tmp_path / "in", 1)
    monkeypatch.setattr(devices, "enhance", refuse)
    (outcome,) = go([path], tmp_path / "out", model)
    assert outcome.error == (
        f"{path}: too many files are open; raise the limit with ulimit -n, or use fewer --jobs"
    )


def test_a_picture_without_its_record_is_ours(tmp_path: Path, model: Model) -> None:
    """Killed between the picture's name and its record."""
    paths = write_photos(tmp_path / "in", 1)
    out = tmp_path / "out"
    go(paths, out, model)
    before = pictures(out)
    lines = (out / JOURNAL).read_bytes().splitlines(keepends=True)
    (out / JOURNAL).write_bytes(lines[0])
    assert statuses(go(paths, out, model)) == {"p000.png": "done"}
    assert pictures(out) == before


def test_stray_files_of_killed_processes_go(tmp_path: Path, model: Model) -> None:
    paths = write_photos(tmp_path / "in/sub", 1)
    stray = tmp_path / "out/sub" / TEMPORARY_PATTERN.replace("*", "0123")
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"half")
    go([Job(str(paths[0]), "sub/p000.png")], tmp_path / "out", model)
    assert strays(tmp_path) == []


def corrupt(content: bytes, way: int, chance: random.Random) -> bytes:
    """Damage a file in one of six ways."""
    data = bytearray(content)
    at = chance.randrange(len(data))
    match way % 6:
        case 0:
            return bytes(data[:at])
        case 1:  # the tables
            for _ in range(20):
                data[chance.randrange(600)] ^= 1 << chance.randrange(8)
        case 2:
            for _ in range(50):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 3:
            data[at : at + 4096] = bytes(len(data[at : at + 4096]))
        case 4:
            half = len(data) // 2
            return bytes(data[half:] + data[:half])
        case _:
            return bytes(len(data))
    return bytes(data)


def test_damaged_photos_among_good_ones(tmp_path: Path, model: Model) -> None:
    good = write_photos(tmp_path / "in", CORRUPTED // 10)
    contents, chance = [path.read_bytes() for path in good], random.Random(1)
    for number in range(CORRUPTED):
        damaged = corrupt(chance.choice(contents), number, chance)
        (tmp_path / "in" / f"bad{number:03}.dng").write_bytes(damaged)
    outcomes = go([tmp_path / "in"], tmp_path / "out", model, timeout=20)
    assert len(outcomes) == len(good) + CORRUPTED
    for outcome in outcomes:
        if outcome.status is Status.FAILED:
            assert outcome.output.startswith("bad")
            assert outcome.error
            assert outcome.exit_code == 4
        else:  # damage that no format can show, as in the pixels of an uncompressed file
            Image.open(tmp_path / "out" / outcome.output).load()
    bad = sum(outcome.status is Status.FAILED for outcome in outcomes)
    assert bad >= CORRUPTED / 2, f"of {CORRUPTED} damaged photos {bad} were refused"
    assert strays(tmp_path) == []


def test_jobs_may_arrive_without_end(tmp_path: Path, model: Model) -> None:
    """Outcomes come although the next job does not."""
    paths, waited = write_photos(tmp_path / "in", 2), threading.Event()

    def arriving() -> Iterator[Job | None]:
        yield Job(str(paths[0]), "a.png")
        while not waited.is_set():
            yield None
            time.sleep(0.01)
        yield Job(str(paths[1]), "b.png")

    outcomes = enhance_all(arriving(), tmp_path / "out", model, OPTIONS)
    assert next(outcomes).output == "a.png"
    waited.set()
    assert [outcome.output for outcome in outcomes] == ["b.png"]


def test_one_target_twice_is_no_silent_collision(tmp_path: Path, model: Model) -> None:
    paths = write_photos(tmp_path / "in", 2)
    outcomes = go([Job(str(path), "same.png") for path in paths], tmp_path / "out", model)
    assert [outcome.status for outcome in outcomes] == [Status.DONE, Status.FAILED]
    assert "is the picture of" in str(outcomes[1].error)


def test_leaving_early_drops_cleanly(tmp_path: Path, model: Model) -> None:
    paths = write_photos(tmp_path / "in", 6)
    outcomes = enhance_all(paths, tmp_path / "out", model, OPTIONS)
    first = next(outcomes)
    outcomes.close()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("photo")]
    recorded = {outcome.output for outcome in read_outcomes(tmp_path / "out" / JOURNAL)}
    assert first.output in recorded
    assert recorded == set(pictures(tmp_path / "out"))  # none without its record
    assert strays(tmp_path) == []
    assert len(go(paths, tmp_path / "out", model)) == 6


def test_progress_is_told_in_order(tmp_path: Path, model: Model) -> None:
    paths, seen = write_photos(tmp_path / "in", 2), list[PhotoProgress]()
    list(enhance_all(paths, tmp_path / "out", model, OPTIONS, seen.append))
    for name in ("p000.png", "p001.png"):
        stages = [progress.stage for progress in seen if progress.job.target == name]
        assert list(dict.fromkeys(stages)) == list(Stage)


def test_a_full_disk_stops_and_says_what_is_needed(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, out, save = write_photos(tmp_path / "in", 6), tmp_path / "out", stages.save_picture
    room = threading.Semaphore(3)

    def full(picture: Any, target: Path, *rest: Any, **named: Any) -> None:
        if not room.acquire(blocking=False):
            raise OutputError(f"{target}: full") from OSError(errno.ENOSPC, "full")
        save(picture, target, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "save_picture", full)
        outcomes = enhance_all(paths, out, model, dataclasses.replace(OPTIONS, jobs=1))
        with pytest.raises(OutputError, match=r"disk is full: 3 photos are left and need .* MB"):
            list(outcomes)
    found = statuses(go(paths, out, model))
    assert list(found.values()).count("skipped") == 3
    assert list(found.values()).count("done") == 3


def test_a_vanished_folder_stops(tmp_path: Path, model: Model) -> None:
    """And is not made anew, maybe on another disk."""
    paths, out = write_photos(tmp_path / "in", 6), tmp_path / "out"
    outcomes = enhance_all(paths, out, model, dataclasses.replace(OPTIONS, jobs=1))
    next(outcomes)
    out.rename(tmp_path / "unplugged")
    with pytest.raises(OutputError, match="is gone"):
        list(outcomes)
    assert not out.exists()
    (tmp_path / "unplugged").rename(out)
    assert len(go(paths, out, model)) == 6
    assert len(pictures(out)) == 6


def test_a_bug_costs_one_photo_and_says_where(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(devices, "enhance", broken)
    (outcome,) = go(write_photos(tmp_path / "in", 1), tmp_path / "out", model)
    assert outcome.exit_code == 1
    assert "ZeroDivisionError: oh, test_run.py:" in str(outcome.error)


def test_a_cuda_error_makes_it_the_processors(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def flaky(raw: Any, used: Model, *rest: Any) -> Any:
        if used.device.type == "cuda":
            tries.append(used)
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nMore")
        return enhance(raw, used, *rest)

    monkeypatch.setattr(devices, "enhance", flaky)
    monkeypatch.setattr(Model, "on_cpu", lambda self: model)
    cuda = dataclasses.replace(model, device=torch.device("cuda:0"))
    outcomes = go(write_photos(tmp_path / "in", 5), tmp_path / "out", cuda)
    assert {outcome.status for outcome in outcomes} == {Status.DONE}
    assert {outcome.device for outcome in outcomes} == {"cpu"}
    warnings = [outcome.warnings[-1] for outcome in outcomes]
    assert sum("illegal memory access was encountered; done on" in line for line in warnings) == 3
    assert sum("cuda:0 failed before" in line for line in warnings) == 2
    assert len(tries) == devices.DEVICE_TRIES


def test_each_device_has_its_worker(tmp_path: Path, model: Model) -> None:
    models = [dataclasses.replace(model, name=name) for name in ("one", "two")]
    paths = write_photos(tmp_path / "in", 6)
    outcomes = list(enhance_all(paths, tmp_path / "out", models, OPTIONS))
    assert {outcome.model for outcome in outcomes} == {"one", "two"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_all_devices_of_none_is_an_error() -> None:
    with pytest.raises(UsageError, match="no CUDA device"):
        load_models("safelight", "cuda:all")


@pytest.mark.parametrize("wrong", [{"jobs": 0}, {"timeout": 0}, {"picture": Options(bits=16)}])
def test_numbers_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        BatchOptions(**wrong)


def test_a_file_in_the_place_of_the_folder(tmp_path: Path, model: Model) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(OutputError, match="choose another place"):
        go(write_photos(tmp_path / "in", 1), tmp_path / "out", model)


def test_public_names_load_on_first_use() -> None:
    import darkroom

    assert darkroom.enhance_all is batch.enhance_all
    with pytest.raises(AttributeError):
        darkroom.nothing  # noqa: B018


def test_dngs_are_made_resumed_and_never_taken_for_photos(tmp_path: Path, model: Model) -> None:
    photos = write_photos(tmp_path / "card", 2)
    for photo in photos:
        photo.rename(photo.with_suffix(".raw"))
    options = {
        "picture": Options(tile="off", bits=16, dng=DngKind.LINEAR),
        "save": SaveOptions(PictureFormat.DNG, bits=16),
    }
    folder = tmp_path / "card"
    jobs = find_jobs([folder], OutputNaming(".dng"))
    assert statuses(go(jobs, folder, model, **options)) == {"p000.dng": "done", "p001.dng": "done"}
    assert find_jobs([folder], OutputNaming(".dng")) == jobs
    assert set(statuses(go(jobs, folder, model, **options)).values()) == {"skipped"}
    changed = options | {"picture": Options(tile="off", bits=16, dng=DngKind.MOSAIC)}
    assert set(statuses(go(jobs, folder, model, **changed)).values()) == {"done"}
    with pytest.raises(UsageError, match="DNGs are made and saved as such"):
        BatchOptions(Options(bits=16), SaveOptions(PictureFormat.DNG, bits=16))


def test_what_joined_later_is_told_only_where_it_is_asked_for(model: Model) -> None:
    """So that journals that were written before it stay valid."""
    asked = Options(color_space=ColorSpace.PROPHOTO, saturation=1.5, full=True)
    plain = settings(BatchOptions(), model).options
    told = settings(BatchOptions(picture=asked), model).options
    later = {field.name for field in dataclasses.fields(Options)} - set(ALWAYS)
    assert not plain.keys() & later
    assert told == {**plain, "color_space": "prophoto", "saturation": 1.5, "full": True}


def test_lenses_are_corrected_or_said_not_to_be(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal says which; done again where it was not asked for before."""
    database = SimpleNamespace(find_cameras=lambda maker, model: [])
    monkeypatch.setitem(sys.modules, "lensfunpy", SimpleNamespace(Database=lambda: database))
    lens_correction._read_database.cache_clear()
    (photo,) = write_photos(tmp_path / "in", 1)
    (plain,) = go([photo], tmp_path / "out", model)
    assert (plain.status, plain.lens) == (Status.DONE, None)
    asked = replace(OPTIONS.picture, lens_correct=True)
    (outcome,) = go([photo], tmp_path / "out", model, picture=asked)
    lens_correction._read_database.cache_clear()
    assert outcome.status is Status.DONE
    assert outcome.lens is not None
    assert outcome.lens.startswith("not corrected: lensfun does not know the camera")
    assert f"lens {outcome.lens}" in outcome.warnings
    (read,) = [one for one in read_outcomes(tmp_path / "out" / JOURNAL) if one.lens]
    assert read.lens == outcome.lens
