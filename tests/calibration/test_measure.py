"""Simulated cameras of known truth: what `calibrate` finds of them, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
from conftest import XTRANS
from places import DATA
from simulated_camera import SimulatedCamera

from darkroom.calibration.measure import calibrate
from darkroom.calibration.profile import IsoProfile
from darkroom.errors import UsageError
from darkroom.output.dng import write_dng

ROUNDING = 1 / 12


def measure(camera: SimulatedCamera, folder: Path, **frames: object) -> IsoProfile:
    (level,) = calibrate(camera.save_frames(folder, **frames)).profile.levels  # type: ignore[arg-type]
    return level


CAMERAS = {
    "a7s2-like": SimulatedCamera(hot=2e-4),
    "heavy tails": SimulatedCamera(read=5.5, shot=1.7, row=1.0, shape=-0.05, iso=6400, hot=1e-4),
    "quiet": SimulatedCamera(read=0.8, shot=0.1, row=0.1, iso=100),
    "xtrans": SimulatedCamera(
        576, 864, XTRANS, black=1022 + np.arange(36).reshape(6, 6) / 20, stated=1023, hot=1e-4
    ),
}


@pytest.mark.parametrize("name", CAMERAS)
def test_reach(name: str, tmp_path: Path) -> None:
    """The bounds that were asked for: black 0.05, shot gain 2 %, read noise 3 %, and hot pixels.

    Black's holds where the error that is stated allows it: rows of noise are few in small frames.
    Each error that is stated is also held to: four of them bound what is off.
    """
    camera = CAMERAS[name]
    darks = 12 if camera.height < 300 else 6
    level = measure(camera, tmp_path, darks=darks)
    off = np.abs(level.black - camera.black)
    assert (off < np.maximum(0.05, 4 * level.black_error)).all()
    assert off.mean() < 0.05
    read = np.hypot(camera.read, ROUNDING**0.5)
    assert level.read_noise.value == pytest.approx(read, rel=0.01)
    assert abs(level.read_noise.value - read) < 4 * level.read_noise.error + 0.002 * read
    assert level.shot_gain is not None
    assert level.shot_gain.value == pytest.approx(camera.shot, rel=0.02)
    assert abs(level.shot_gain.value - camera.shot) < 4 * level.shot_gain.error
    # 288 rows in 11 differences: 1.4 %.
    assert level.row_noise.value == pytest.approx(camera.row, rel=0.1)
    assert level.column_noise.value < 0.05 * camera.read
    found = {(int(row), int(column)) for row, column, _ in level.hot_pixels}
    strong = set(zip(*map(list, np.nonzero(camera.heat > 20 * camera.read)), strict=True))
    assert {(int(row), int(column)) for row, column in strong} <= found
    false = [site for site in found if not camera.hot_sites[site]]
    assert len(false) <= 1  # of 110,592
    shape = 0.135 if camera.shape is None else camera.shape
    assert level.tukey_lambda.value == pytest.approx(shape, abs=0.02)
    assert (level.darks, level.flats, level.iso, level.seconds) == (darks, 6, camera.iso, 0.1)


def test_hot_pixels_say_how_far(tmp_path: Path) -> None:
    camera = SimulatedCamera(hot=3e-4)
    for row, column, excess in measure(camera, tmp_path, darks=8).hot_pixels:
        heat = camera.heat[int(row), int(column)]
        # Shot noise of the heat, over eight frames; four stds.
        assert abs(excess - heat) < 4 * np.sqrt((camera.shot * heat + 4) / 8) + 1


def test_rows_and_shading_are_found(tmp_path: Path) -> None:
    """What always is there comes back to a fraction of it; what is not is not made up."""
    camera = SimulatedCamera(fixed_rows=1.0, shading=4.0, row=0.3)
    level = measure(camera, tmp_path / "dark", darks=16, lights=())
    assert level.rows is not None
    assert level.shading is not None
    assert np.corrcoef(level.rows, camera.rows)[0, 1] > 0.98
    assert level.shading.max() - level.shading.min() > 4
    assert level.row_noise.value == pytest.approx(0.3, rel=0.15)
    plain = measure(SimulatedCamera(), tmp_path / "plain", darks=4, lights=())
    assert (plain.rows, plain.columns, plain.shading) == (None, None, None)


def test_light_may_move_and_flicker(tmp_path: Path) -> None:
    """5 % between the two of a pair, and bands of 3 %, cost the shot gain less than 2 %."""
    camera = SimulatedCamera()
    camera.save_frames(tmp_path, darks=4, lights=())
    for light in (400.0, 3000.0, 8000.0):
        for number, change in enumerate((1.0, 1.05)):
            flat = camera.flat(light * change, flicker=0.03)
            write_dng(tmp_path / f"flat{light:g}-{number}.dng", flat)
    (level,) = calibrate(tmp_path).profile.levels
    assert level.shot_gain is not None
    assert level.shot_gain.value == pytest.approx(camera.shot, rel=0.02)


def test_darks_alone(tmp_path: Path) -> None:
    found = calibrate(SimulatedCamera().save_frames(tmp_path, darks=2, lights=()))
    assert found.profile.levels[0].shot_gain is None
    assert found.notes == ("ISO 1600: no flat frames, so the shot gain is not known",)


def test_values_cut_off_at_black_are_said(tmp_path: Path) -> None:
    """As by cameras whose files state a black level of 0."""
    camera = SimulatedCamera(black=np.full((2, 2), 0.4), stated=0)
    found = calibrate(camera.save_frames(tmp_path, darks=3, lights=()))
    assert any("cuts off what is below black" in line for line in found.notes)
    assert found.profile.levels[0].read_noise.value < 1.7


def test_full_flats_tell_white_and_nothing_else(tmp_path: Path) -> None:
    camera = SimulatedCamera()
    camera.save_frames(tmp_path, lights=(3000,))
    for number in range(2):
        write_dng(tmp_path / f"full{number}.dng", camera.flat(40000))
    found = calibrate(tmp_path)
    (level,) = found.profile.levels
    assert level.white == 16383
    assert level.shot_gain is not None
    assert level.shot_gain.value == pytest.approx(camera.shot, rel=0.02)
    assert any("near white" in line for line in found.notes)


def test_frames_that_do_not_belong_are_told_apart(tmp_path: Path) -> None:
    camera = SimulatedCamera()
    camera.save_frames(tmp_path, darks=4)
    write_dng(tmp_path / "leak.dng", camera.dark(extra=12.0))
    y, x = np.mgrid[: camera.height, : camera.width]
    scene = 600 * (1 + np.sin(x / 9) * np.cos(y / 13))
    write_dng(tmp_path / "photo.dng", camera.describe(camera.expose(scene)))
    write_dng(tmp_path / "lone.dng", camera.flat(900))
    (tmp_path / "dark").mkdir()
    write_dng(tmp_path / "dark" / "bright.dng", camera.flat(5000))
    (tmp_path / "broken.dng").write_bytes(b"II*\0")
    (tmp_path / "notes.txt").write_text("not a frame")
    found = calibrate(tmp_path)
    notes = "\n".join(found.notes)
    for word in ("left out: ", "broken.dng", "photo.dng", "leak.dng", "lone.dng", "bright.dng"):
        assert word in notes
    assert "notes.txt" not in notes
    assert found.profile.levels[0].darks == 4
    assert found.profile.levels[0].read_noise.value == pytest.approx(1.724, rel=0.02)


def test_folders_say_what_frames_are(tmp_path: Path) -> None:
    """Shading that no unlabelled dark frame could have."""
    camera = SimulatedCamera(shading=60.0)
    camera.save_frames(tmp_path / "Dark", darks=3, lights=())
    camera.save_frames(tmp_path / "FLATS", darks=0)
    (level,) = calibrate(tmp_path).profile.levels
    assert (level.darks, level.flats) == (3, 6)


def test_of_several_exposures_the_most_frequent_counts(tmp_path: Path) -> None:
    camera = SimulatedCamera()
    camera.save_frames(tmp_path, darks=3, lights=())
    raw = camera.dark()
    other = camera.describe(camera.expose(0.0), exposure=type(raw.exposure)(30.0, 1600, None))
    write_dng(tmp_path / "long.dng", other)
    found = calibrate(tmp_path)
    assert found.profile.levels[0].darks == 3
    assert "those of 0.1 s count, not long.dng" in found.notes[0]


def test_what_is_missing_is_said_in_one_line(tmp_path: Path) -> None:
    def fails(folder: Path, *words: str) -> None:
        with pytest.raises(UsageError) as caught:
            calibrate(folder)
        assert "\n" not in str(caught.value)
        for word in words:
            assert word in str(caught.value)

    fails(tmp_path / "nowhere", "no such folder")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", "no RAW file")
    one = SimulatedCamera().save_frames(tmp_path / "one", darks=1, lights=(800,))
    fails(one, "1 dark, 2 flat", "lens cap")
    mixed = SimulatedCamera().save_frames(tmp_path / "mixed", darks=2, lights=())
    SimulatedCamera(name="Other Two").save_frames(mixed / "other", darks=2, lights=())
    fails(mixed, "several cameras (Example One, Other Two)")
    sizes = SimulatedCamera().save_frames(tmp_path / "sizes", darks=2, lights=())
    SimulatedCamera(height=96).save_frames(sizes / "small", darks=2, lights=())
    fails(sizes, "several sizes", "384 x 288", "384 x 96")
    flats = SimulatedCamera().save_frames(tmp_path / "flats", darks=2, lights=())
    SimulatedCamera(height=96).save_frames(flats / "flat", darks=0, lights=(900,))
    fails(flats, "another size")
    nameless = tmp_path / "nameless"
    nameless.mkdir()
    camera = SimulatedCamera()
    for number in range(2):
        raw = camera.describe(camera.expose(0.0), exposure=type(camera.dark().exposure)(0.1))
        write_dng(nameless / f"{number}.dng", raw)
    fails(nameless, "states no ISO")


@pytest.mark.skipif(not DATA.is_dir(), reason="real photos are not here")
@pytest.mark.parametrize("folder", ["raw", "sid/short", "sid/unpaired"])
def test_real_photos_are_no_frames(folder: str) -> None:
    with pytest.raises(UsageError, match="but no dark or flat frames"):
        calibrate(DATA / folder)
