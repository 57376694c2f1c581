"""What a profile and dark frames do to a photo of a simulated camera."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulated_camera import SimulatedCamera

from darkroom.calibration.correction import Correction
from darkroom.calibration.dark_reference import DarkReference, read_dark_frames
from darkroom.calibration.measure import calibrate
from darkroom.calibration.profile import CameraProfile
from darkroom.errors import RawError, SensorError, UsageError
from darkroom.mosaic.packing import linearise
from darkroom.output.dng import write_dng
from darkroom.raw.image import BlackSource, Exposure, RawImage

CAMERA = SimulatedCamera(hot=3e-4, fixed_rows=1.5, shading=6.0, row=0.3)
SPAN = 16383 - 512


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> CameraProfile:
    folder = tmp_path_factory.mktemp("frames")
    CAMERA.save_frames(folder / "dark", darks=12, lights=())
    CAMERA.save_frames(folder / "flat", darks=0, lights=(500, 4000))
    return calibrate(folder).profile


@pytest.fixture(scope="module")
def photo() -> RawImage:
    return CAMERA.describe(CAMERA.expose(8.0))


def darks(folder: Path, count: int, camera: SimulatedCamera = CAMERA) -> DarkReference:
    camera.save_frames(folder, darks=count, lights=())
    return read_dark_frames([folder])


def error(raw: RawImage) -> float:
    """Std of the light's error at the scale of the packed form, in sensor units; no hot pixels."""
    wrong = linearise(raw) * SPAN - 8.0
    return float(np.std(wrong[~CAMERA.hot_sites]))


def test_a_profile_takes_off_what_is_always_there(profile: CameraProfile, photo: RawImage) -> None:
    """Noise of one exposure is left: read, shot and rows; the pattern was 2.5 units and is gone.

    A percent is allowed on top for what twelve frames leave in doubt.
    """
    noise = np.sqrt(1.7**2 + 1 / 12 + 0.42 * 8 + 0.3**2)
    assert error(photo) > 1.2 * noise
    corrected = Correction(profile).correct_black(photo)
    assert error(corrected) < 1.02 * noise
    assert abs(np.median(linearise(corrected) * SPAN) - 8.0) < 0.3
    origin = corrected.black_origin
    assert origin is not None
    assert origin.source is BlackSource.PROFILE
    assert Correction(profile).correct_black(corrected) is corrected
    assert Correction(profile, black=False).correct_black(photo) is photo


def test_noise_is_the_profiles(profile: CameraProfile, photo: RawImage) -> None:
    noise = Correction(profile).measure_noise(photo)
    assert not noise.black_known, "its black is not taken off yet"
    corrected = Correction(profile).correct_black(photo)
    assert Correction(profile).measure_noise(corrected).black_known
    assert noise.shot == pytest.approx(0.42 / SPAN, rel=0.03)
    assert noise.read == pytest.approx(np.hypot(1.7, 12**-0.5) / SPAN, rel=0.02)
    assert "ISO 1600" in noise.reason
    assert not noise.clipped
    (level,) = profile.levels
    without = replace(profile, levels=(replace(level, shot_gain=None),))
    assert Correction(without).measure_noise(photo).read == noise.read
    assert Correction().measure_noise(photo).read != noise.read


def test_hot_pixels_are_repaired(profile: CameraProfile, photo: RawImage) -> None:
    correction = Correction(profile)
    mosaic = linearise(correction.correct_black(photo))
    strong = CAMERA.heat > 60
    assert correction.repair(mosaic, photo) >= strong.sum() > 10
    assert (mosaic[strong] * SPAN).max() < 8 + 6 * 2.6
    assert Correction(profile, hot_pixels=False).repair(mosaic, photo) == 0


def test_another_iso_keeps_the_photos_own(profile: CameraProfile, photo: RawImage) -> None:
    other = replace(photo, exposure=Exposure(0.1, 100, 2.8))
    correction = Correction(profile)
    (note,) = correction.check(other)
    assert "ISO 100 is not within the profile's 1600 to 1600" in note
    assert correction.correct_black(other) is other
    assert correction.measure_noise(other) == Correction().measure_noise(other)
    assert correction.repair(linearise(other), other) > 10
    (note,) = correction.check(replace(photo, exposure=Exposure()))
    assert "no stated ISO" in note


def test_a_cut_photo_is_corrected_in_its_place(profile: CameraProfile, photo: RawImage) -> None:
    part = replace(photo, mosaic=photo.mosaic[3:, 5:], margins=(3, 5), cfa=photo.cfa.shifted(3, 5))
    correction = Correction(profile)
    assert correction.check(part) == ()
    whole = linearise(correction.correct_black(photo))
    np.testing.assert_array_equal(linearise(correction.correct_black(part)), whole[3:, 5:])
    mosaic = linearise(correction.correct_black(part))
    correction.repair(mosaic, part)
    assert (mosaic[CAMERA.heat[3:, 5:] > 60] * SPAN).max() < 8 + 6 * 2.6


def test_dark_frames_by_their_number(tmp_path: Path, photo: RawImage) -> None:
    """One frame takes the shading off and adds none of its noise; eight take off the rows too."""
    one, eight = darks(tmp_path / "1", 1), darks(tmp_path / "8", 8)
    plain = error(photo)
    single = error(Correction(dark=one).correct_black(photo))
    many = error(Correction(dark=eight).correct_black(photo))
    assert np.std(one.fixed - CAMERA.shade) < 0.3  # a tenth of it
    assert many < single < plain
    assert np.corrcoef(eight.fixed.mean(1), CAMERA.rows)[0, 1] > 0.98
    for reference in (one, eight):
        found = {tuple(site) for site in reference.hot.tolist()}
        strong = set(zip(*map(list, np.nonzero(CAMERA.heat > 60)), strict=True))
        assert {(int(y), int(x)) for y, x in strong} <= found
        assert len(found - set(map(tuple, np.argwhere(CAMERA.hot_sites).tolist()))) <= 2
    # Its difference with one frame is without the rows, but has the noise of both.
    frame = CAMERA.dark().mosaic
    assert np.std((photo.mosaic * 1.0 - frame)[~CAMERA.hot_sites]) > single


def test_sites_that_are_off_are_shrunk_by_doubt(tmp_path: Path) -> None:
    """Fixed offsets of single sites as large as the noise: more frames take more of them off."""
    camera = SimulatedCamera(row=0.0)
    fixed = 2.0 * np.random.default_rng(5).normal(size=(camera.height, camera.width))
    camera.shade = fixed
    left = []
    for count in (1, 4, 16):
        reference = darks(tmp_path / f"{count}", count, camera)
        left.append(float(np.std(fixed - reference.fixed)))
    noise = np.hypot(1.7, 12**-0.5)
    assert left[0] == pytest.approx(2.0, rel=0.05)
    for count, found in zip((4, 16), left[1:], strict=True):
        wiener = 2.0 / np.sqrt(1 + 4.0 * count / noise**2)
        assert found == pytest.approx(wiener, rel=0.1)


def test_a_dark_frame_of_other_exposure_is_doubted(tmp_path: Path, photo: RawImage) -> None:
    dark = darks(tmp_path, 1)
    assert Correction(dark=dark).check(photo) == ()
    (note,) = Correction(dark=dark).check(replace(photo, exposure=Exposure(0.1, 400, 2.8)))
    assert "ISO is 1600, the photo's 400" in note
    (note,) = Correction(dark=dark).check(replace(photo, exposure=Exposure(5.0, 1600, 2.8)))
    assert "exposure in seconds is 0.1, the photo's 5" in note


def test_a_dim_photo_is_doubted_as_a_dark_frame(tmp_path: Path, photo: RawImage) -> None:
    write_dng(tmp_path / "dim.dng", CAMERA.flat(40))
    (note,) = Correction(dark=read_dark_frames([tmp_path / "dim.dng"])).check(photo)
    assert "dim.dng shows colours" in note


def test_others_are_refused(profile: CameraProfile, photo: RawImage, tmp_path: Path) -> None:
    dark = darks(tmp_path, 1)
    for correction in (Correction(profile), Correction(dark=dark)):
        with pytest.raises(SensorError, match="the photo of Other"):
            correction.check(replace(photo, camera="Other"))
        with pytest.raises(SensorError, match="photosites"):
            correction.check(replace(photo, mosaic=photo.mosaic[:96]))
    with pytest.raises(RawError, match="no such file"):
        read_dark_frames([tmp_path / "none.dng"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no RAW file"):
        read_dark_frames([tmp_path / "empty"])
    write_dng(tmp_path / "flat.dng", CAMERA.flat(4000))
    with pytest.raises(UsageError, match="too bright"):
        read_dark_frames([tmp_path / "flat.dng"])
    write_dng(tmp_path / "small.dng", SimulatedCamera(height=96).dark())
    with pytest.raises(UsageError, match="taken alike"):
        read_dark_frames([tmp_path / "dark1600-0.dng", tmp_path / "small.dng"])
