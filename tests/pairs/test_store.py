"""Decoded pairs in the store: as they were, found again, rebuilt, cheap to cut crops from."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from places import DATA
from safetensors import safe_open

from darkroom.errors import OutputError, RawError, UsageError
from darkroom.mosaic.packing import linearise
from darkroom.output.atomic import TEMPORARY_PATTERN
from darkroom.output.dng import write_dng
from darkroom.output.orientation import upright
from darkroom.pairs import store as store_module
from darkroom.pairs.exposures import ExposurePair
from darkroom.pairs.references import read_reference
from darkroom.pairs.store import PairStore, default_store
from darkroom.raw.crop import crop_raw
from darkroom.raw.image import CFA, Exposure, RawImage
from darkroom.raw.reader import read_raw

DngPath = Callable[..., Path]


def differing(one: Any, other: Any, name: str = "raw") -> list[str]:
    """Fields, at any depth, that are not the same: values, types, shapes of arrays.

    What photos say in words is not kept.
    """
    if isinstance(one, np.ndarray):
        same = isinstance(other, np.ndarray) and one.dtype == other.dtype
        return [] if same and np.array_equal(one, other) else [name]
    if is_dataclass(one):
        names = [field.name for field in fields(one) if field.name != "metadata"]
        parts = ((key, getattr(one, key), getattr(other, key)) for key in names)
        return [found for key, a, b in parts for found in differing(a, b, f"{name}.{key}")]
    return [] if type(one) is type(other) and one == other else [name]


@pytest.fixture
def pairs(dng_path: DngPath, tmp_path: Path) -> list[ExposurePair]:
    """A burst of two with one long exposure, and a pair whose reference is a PNG."""
    shorts = [dng_path(name=f"0000{i}_0.1s.dng", seed=i, exposure=0.01) for i in (1, 2, 3)]
    long = dng_path(name="00001_10s.dng", seed=9)
    png = tmp_path / "00003_10s.png"
    rgb = np.random.default_rng(3).integers(0, 65536, (48, 64, 3)).astype(np.uint16)
    cv2.imwrite(str(png), rgb[:, :, ::-1])
    longs = (long, long, png)
    return [
        ExposurePair(short, long, 100.0, short.stem)
        for short, long in zip(shorts, longs, strict=True)
    ]


@pytest.fixture
def store(tmp_path: Path) -> PairStore:
    return PairStore(tmp_path / "cache")


@pytest.mark.parametrize("cfa", ["RGGB", "BGGR", "GRBG", "GBRG", "xtrans"])
def test_a_photo_is_given_as_read(store: PairStore, dng_path: DngPath, cfa: str) -> None:
    path = dng_path(cfa=cfa, height=96, width=102, orientation=8, noise_profile=(1e-4, 1e-6))
    for _ in range(2):  # decoded, then kept
        assert differing(read_raw(path), store.raw(path)) == []
    assert not store.raw(path).mosaic.flags.writeable


@pytest.mark.parametrize(
    "path", sorted((DATA / "raw").glob("*")) or ["none"], ids=lambda path: Path(path).name
)
def test_each_cameras_photo_is_given_as_read(store: PairStore, path: Path) -> None:
    """Masked borders, measured black, missing white balance and times: all of it."""
    if path == "none":
        pytest.skip("the shared photos are not here")
    if path.name in ("canon_powershot_g1_gmyc.crw", "gopro_hero7_unsupported.gpr"):
        with pytest.raises(RawError, match=path.name):
            store.raw(path)
        return
    store.raw(path)
    assert differing(read_raw(path), store.raw(path)) == []


def test_fields_that_no_test_photo_has(
    store: PairStore, dng_path: DngPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offsets of rows, lost sites and a float mosaic."""
    path = dng_path()
    raw = read_raw(path)
    odd = replace(
        raw,
        mosaic=raw.mosaic.astype(np.float32) + np.float32(0.25),
        row_black=np.linspace(-1, 1, len(raw.mosaic), dtype=np.float32),
        missing=raw.mosaic > 600,
        margins=(3, 5),
        lens="Ærø 50mm",
    )
    monkeypatch.setattr(store_module, "read_raw", lambda _: odd)
    store.raw(path)
    assert differing(odd, store.raw(path)) == []


def test_a_built_store_decodes_nothing(
    store: PairStore, pairs: list[ExposurePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = store.plan(pairs)
    assert (plan.total, len(plan.missing)) == (5, 5)  # the long exposure of the burst once
    told: list[tuple[int, int]] = []
    store.build(pairs, 2, lambda done, total: told.append((done, total)))
    assert told == [(done, 5) for done in range(6)]
    kept = sum(path.stat().st_size for path in store.folder.iterdir())
    pixels = 48 * 64 * 2 * (3 + 2 * 3)
    assert pixels < kept <= plan.needed < pixels + 5 * 8193
    expected = [(read_raw(pair.short), read_reference(pair.long)) for pair in pairs]
    monkeypatch.setattr(store_module, "read_raw", pytest.fail)
    monkeypatch.setattr(store_module, "read_reference", pytest.fail)
    assert store.plan(pairs).missing == ()
    store.build(pairs, 2)
    for pair, (raw, reference) in zip(pairs, expected, strict=True):
        found, picture = store.open_pair(pair)
        assert differing(raw, found) == []
        assert np.array_equal(picture, reference)
        assert np.array_equal(store.reference(pair.long), reference)
        assert not picture.flags.writeable


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_utf8(store: PairStore, dng_path: DngPath) -> None:
    path = dng_path().rename(dng_path().with_name(os.fsdecode(b"\xff\xe9_0.1s.dng")))
    store.build([ExposurePair(path, path, 1, "a")])
    assert differing(read_raw(path), store.raw(path)) == []


def test_entries_open_in_other_programs(store: PairStore, dng_path: DngPath) -> None:
    path = dng_path()
    raw = store.raw(path)
    (entry,) = store.folder.iterdir()
    with safe_open(entry, framework="numpy") as file:
        assert np.array_equal(file.get_tensor("mosaic"), raw.mosaic)


def test_what_changed_is_decoded_again(store: PairStore, pairs: list[ExposurePair]) -> None:
    """By size and time; what changed, vanished or is of no use goes, what is not ours stays."""
    store.build(pairs)
    foreign = store.folder / "weights.safetensors"
    foreign.write_text("mine")
    (store.folder / TEMPORARY_PATTERN.replace("*", "0")).write_text("a killed process's")
    before = {path.name for path in store.folder.iterdir()}
    other = store.raw(pairs[1].short)
    pairs[0].short.write_bytes(pairs[1].short.read_bytes())
    pairs[2].short.unlink()
    assert [source.path for source in store.plan(pairs[:2]).missing] == [pairs[0].short]
    store.build(pairs[:2])
    after = {path.name for path in store.folder.iterdir()}
    assert (len(after - before), len(before - after)) == (1, 3)
    assert foreign.name in after
    assert differing(other, replace(store.raw(pairs[0].short))) == []
    state = pairs[0].short.stat()
    os.utime(pairs[0].short, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert len(store.plan(pairs[:2]).missing) == 1


@pytest.mark.parametrize("damage", ["short", "long", "empty", "header", "facts", "value", "array"])
def test_damaged_entries_are_made_again(store: PairStore, dng_path: DngPath, damage: str) -> None:
    path = dng_path()
    raw = read_raw(path)
    store.raw(path)
    (entry,) = store.folder.iterdir()
    data = entry.read_bytes()
    damaged = {
        "short": data[:-1],
        "long": data + b"\0",
        "empty": b"",
        "header": b"\xff" * 8 + data[8:],
        "facts": data.replace(b'{"darkroom"', b'{"backroom"', 1),
        "value": data.replace(b"Example One", b"Example Two"),
        "array": data.replace(b'"color.white', b'"color.whale'),
    }[damage]
    assert damaged != data
    entry.write_bytes(damaged)
    assert differing(raw, store.raw(path)) == []
    assert entry.read_bytes() == data


def test_a_full_disk_is_seen_before(
    store: PairStore, pairs: list[ExposurePair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "SPARE_BYTES", 1 << 62)
    with pytest.raises(OutputError, match=r"cache: .* need 0 MB, and .* free there; .*--cache"):
        store.build(pairs)
    assert not store.folder.exists()


def test_a_photo_that_cannot_be_decoded_is_told_at_the_end(
    store: PairStore, pairs: list[ExposurePair]
) -> None:
    for pair in pairs[:2]:
        pair.short.write_bytes(pair.short.read_bytes()[:-900])
    with pytest.raises(RawError, match=r"00001_0\.1s\.dng: .*truncated.*; 2 files in all cannot"):
        store.build(pairs)
    assert len(list(store.folder.iterdir())) == 3
    with pytest.raises(RawError) as one_file:
        store.build([pairs[0], replace(pairs[0], long=pairs[0].short)])
    assert "in all" not in str(one_file.value), "though it is wanted as a photo and as a picture"


@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8])
def test_a_picture_is_turned_as_its_photo_is(
    store: PairStore, dng_path: DngPath, tmp_path: Path, orientation: int
) -> None:
    """Also one that lies as the sensor does already, where its sides tell."""
    short = dng_path(orientation=orientation)
    rgb = np.random.default_rng(3).integers(0, 65536, (48, 64, 3)).astype(np.uint16)
    shown, unturned = tmp_path / "upright.png", tmp_path / "unturned.png"
    cv2.imwrite(str(shown), upright(rgb, orientation)[:, :, ::-1])
    cv2.imwrite(str(unturned), rgb[:, :, ::-1])
    _, picture = store.open_pair(ExposurePair(short, shown, 100, "a"))
    assert np.array_equal(picture, rgb)
    if orientation > 4:
        _, picture = store.open_pair(ExposurePair(short, unturned, 100, "a"))
        assert np.array_equal(picture, rgb)


def test_sizes_must_be_the_same(store: PairStore, dng_path: DngPath) -> None:
    pair = ExposurePair(dng_path(), dng_path(name="b.dng", height=46), 100, "a")
    with pytest.raises(UsageError, match=r"b.dng: 64x46 pixels, but photo.dng has 64x48; give"):
        store.open_pair(pair)


def test_a_reference_is_cropped_as_its_photo(
    store: PairStore, dng_path: DngPath, tmp_path: Path, synthetic_raw: Callable[..., RawImage]
) -> None:
    """Where the dark photo lost optical-black lines, its reference loses the same ones."""
    raw = synthetic_raw(256, 256)
    mosaic = raw.mosaic.copy()
    mosaic[:18] = 512
    mosaic[:, :7] = 512
    write_dng(tmp_path / "short.dng", replace(raw, mosaic=mosaic))
    pair = ExposurePair(tmp_path / "short.dng", dng_path(raw, "long.dng"), 100, "a")
    found, picture = store.open_pair(pair)
    assert found.margins == (18, 7)
    assert np.array_equal(picture, read_reference(pair.long)[18:, 7:])
    for orientation in (1, 6):
        photo = tmp_path / f"{orientation}.dng"
        write_dng(photo, replace(raw, mosaic=mosaic, orientation=orientation))
        rgb = np.random.default_rng(3).integers(0, 65536, (256, 256, 3)).astype(np.uint16)
        shown = tmp_path / f"{orientation}.png"
        cv2.imwrite(str(shown), upright(rgb, orientation)[:, :, ::-1])
        _, picture = store.open_pair(ExposurePair(photo, shown, 100, "a"))
        assert np.array_equal(picture, rgb[18:, 7:])


def test_two_processes_build_at_once(store: PairStore, pairs: list[ExposurePair]) -> None:
    """Both succeed, and each entry is there once."""
    code = (
        "import sys; from pathlib import Path; from darkroom.pairs.store import PairStore\n"
        "from darkroom.pairs.exposures import ExposurePair\n"
        "words = map(Path, sys.argv[2:])\n"
        "pairs = [ExposurePair(a, b, 1, 'a') for a, b in zip(words, words)]\n"
        "print(flush=True); input(); PairStore(Path(sys.argv[1])).build(pairs, 2)"
    )
    words = [str(path) for pair in pairs for path in (pair.short, pair.long)]
    command = [sys.executable, "-c", code, str(store.folder), *words]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    threads = [threading.Thread(target=process.communicate, args=(b"\n",)) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.returncode for process in processes] == [0, 0]
    assert len(list(store.folder.iterdir())) == 5
    assert store.plan(pairs).missing == ()


def test_crops_cost_a_small_part_of_decoding(
    store: PairStore, tmp_path: Path, synthetic_raw: Callable[..., RawImage]
) -> None:
    """A pair's crop at least 3 times faster than from its files: 100 times, as measured.

    The crop's linear values are those of the whole photo's.
    """
    tile = synthetic_raw(200, 200)
    raw = replace(tile, mosaic=np.tile(tile.mosaic, (6, 8)))
    for name in ("short", "long"):
        write_dng(tmp_path / f"{name}.dng", raw)
    pair = ExposurePair(tmp_path / "short.dng", tmp_path / "long.dng", 100, "a")
    store.build([pair])
    window = (301, 500, 256, 256)
    crop = (slice(301, 557), slice(500, 756))

    def lazily() -> tuple[Any, Any]:
        return linearise(read_raw(pair.short))[crop], read_reference(pair.long)[crop]

    def kept() -> tuple[Any, Any]:
        found, picture = store.open_pair(pair)
        return linearise(crop_raw(found, *window)), picture[crop].copy()

    times = []
    for make in (lazily, kept):
        start = perf_counter()
        results = [make() for _ in range(2)]
        times.append(perf_counter() - start)
        mosaic, picture = results[0]
        assert mosaic.shape == picture.shape[:2] == (256, 256)
    for one, other in zip(lazily(), kept(), strict=True):
        assert np.array_equal(one, other)
    assert times[0] > 3 * times[1], times


def test_a_crop_touches_no_more_than_it_needs(
    store: PairStore, dng_path: DngPath, synthetic_raw: Callable[..., RawImage]
) -> None:
    """600 photos of one file, by 600 names: memory stays flat, whole pictures are never read."""
    tile = synthetic_raw(200, 200)
    path = dng_path(replace(tile, mosaic=np.tile(tile.mosaic, (4, 4))))  # 1.3 MB each
    names = [path.with_name(f"{i:05}_00_0.1s.dng") for i in range(600)]
    for name in names:
        name.hardlink_to(path)
    store.raw(names[0])
    (entry,) = store.folder.iterdir()
    for name in names[1:]:  # as decoding would, without its minute
        made = store._entry_path(store_module.PairFile(name, store_module.Kind.RAW))
        made.hardlink_to(entry)
    process = psutil.Process()
    crop_raw(store.raw(names[0]), 0, 0, 64, 64)
    before = process.memory_info().rss
    crops = [linearise(crop_raw(store.raw(name), 100, 100, 64, 64)).mean() for name in names]
    assert len(set(crops)) == 1
    assert process.memory_info().rss - before < 20e6  # all photos: 770 MB


def test_the_folder_is_the_users_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DARKROOM_CACHE", str(tmp_path / "pairs"))
    assert default_store().folder == tmp_path / "pairs"
    monkeypatch.delenv("DARKROOM_CACHE")
    assert default_store().folder.name == "pairs"
    (tmp_path / "file").write_text("no folder")


def test_a_cache_that_cannot_be(tmp_path: Path, pairs: list[ExposurePair]) -> None:
    (tmp_path / "file").write_text("no folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="choose another"):
            PairStore(folder).build(pairs)


@pytest.mark.parametrize(("top", "left"), [(0, 0), (1, 3), (7, 4), (6, 12)])
@pytest.mark.parametrize("cfa", ["GRBG", "xtrans"])
def test_a_crop_is_a_photo_of_its_own(
    synthetic_raw: Callable[..., RawImage], cfa: str, top: int, left: int
) -> None:
    """Linear values equal those of the whole photo's, filters its phase there."""
    raw = synthetic_raw(48, 60, cfa=cfa, exposure=0.1)
    period = raw.cfa.period
    levels = np.arange(period * period, dtype=np.float32).reshape(period, period)
    raw = replace(
        raw,
        black=500 + levels,
        white=16000 - levels,
        row_black=np.arange(48, dtype=np.float32),
        missing=raw.mosaic > 1500,
    )
    crop = crop_raw(raw, top, left, 24, 30)
    whole = linearise(raw)[top : top + 24, left : left + 30]
    assert np.array_equal(linearise(crop), whole)
    assert crop.cfa == CFA(raw.cfa.pattern).shifted(top, left)
    assert (crop.margins, crop.exposure) == ((top, left), Exposure(0.1, 1600, 2.8))
