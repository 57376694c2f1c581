"""Simulated data sets are laid out as SID is, and hold what their pictures show."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

from darkroom.cli import app
from darkroom.color.matrix import camera_to_srgb
from darkroom.errors import UsageError
from darkroom.evaluation.cameras import XYZ_TO_CAMERA, find_camera
from darkroom.evaluation.chart import sample_light
from darkroom.mosaic.packing import BAYER, linearise
from darkroom.pairs.layouts import read_pairs
from darkroom.raw.image import Sensor
from darkroom.raw.reader import read_raw


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["simulate", *(str(word) for word in arguments)])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six pictures of one colour each, in a folder and one below."""
    (tmp_path / "pictures" / "more").mkdir(parents=True)
    for number in range(6):
        color = (40 + 30 * number, 200 - 25 * number, 90)
        folder = tmp_path / "pictures" / ("more" if number > 3 else "")
        Image.new("RGB", (125, 103), color).save(folder / f"{number}.png")
    return tmp_path / "pictures"


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.glob("**/*"))
        if path.is_file()
    }


def test_the_layout_is_that_of_sid(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs"
    result = run(pictures, "-o", out, "--ratio", 100, "--ratio", 250, "--shots", 2)
    assert result.exit_code == 0, result.output
    train, test = (read_pairs(out / f"{name}_list.txt") for name in ("train", "test"))
    assert {pair.short.name for pair in test} == {
        f"11005_0{shot}_{seconds}s.dng" for shot in (0, 1) for seconds in ("0.1", "0.04")
    }
    assert len(train) == 5 * 4
    assert {pair.ratio for pair in train} == {100, 250}
    assert all(pair.short.is_file() and pair.long.is_file() for pair in train + test)
    assert read_raw(test[0].short).exposure.seconds == pytest.approx(0.1)


def test_the_same_pictures_make_the_same_files(pictures: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert run(pictures, "-o", tmp_path / name, "--shots", 2).exit_code == 0
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert one == two
    assert one["short/00001_00_0.1s.dng"] != one["short/00001_01_0.1s.dng"]


def read_reference(path: Path) -> NDArray[np.float64]:
    """Return the mean colour of a reference in linear light, by ITU-R BT.709's formula."""
    codes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert codes.dtype == np.uint16
    seen = codes[:, :, ::-1].mean((0, 1)) / 65535
    curved = ((seen + 0.099) / 1.099) ** (1 / 0.45)
    return np.where(seen < 0.081, seen / 4.5, curved)


@pytest.mark.parametrize(
    "options", [(), ("--xtrans", "--camera", "x-t1"), ("--camera", "nikon d1")]
)
def test_a_dark_photo_shows_its_reference_in_less_light(
    pictures: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Means over 1,300 photosites or more, at x10: 1 % of white is about ten standard errors."""
    out = tmp_path / "pairs"
    assert run(pictures, "-o", out, "--ratio", 10, *options).exit_code == 0
    for pair in read_pairs(out / "train_list.txt"):
        raw = read_raw(pair.short)
        assert raw.cfa.sensor is (Sensor.XTRANS if "--xtrans" in options else Sensor.BAYER)
        assert raw.mosaic.shape == (102, 120)
        light = linearise(raw) * 10
        channels = np.tile(raw.cfa.channels, np.array(light.shape) // raw.cfa.period)
        camera = np.array([light[channels == color].mean() for color in range(3)])
        assert raw.color.white_balance is not None
        linear = camera_to_srgb(raw.color).numpy() @ (camera * raw.color.white_balance)
        assert linear == pytest.approx(read_reference(pair.long), abs=0.01)


def test_references_may_be_raw_photos(pictures: Path, tmp_path: Path) -> None:
    """At ratio 1 their noise is so small that the mean is the scene's, to 0.2 % of white."""
    assert run(pictures, "-o", tmp_path / "pairs", "--raw-references").exit_code == 0
    long = read_raw(tmp_path / "pairs" / "long" / "00001_00_10s.dng")
    green = linearise(long)[::2, 1::2]
    assert 0 < green.std() < 0.01
    assert long.exposure.seconds == 10
    assert green.mean() == pytest.approx(
        float(sample_light(srgb(40, 200, 90), BAYER, long.color)[0, 1]), abs=0.002
    )


def srgb(*codes: int) -> NDArray[np.float64]:
    """Return a 2x2 picture of one colour in linear light."""
    linear = ((np.array(codes) / 255 + 0.055) / 1.055) ** 2.4
    return np.broadcast_to(linear, (2, 2, 3)).copy()


def test_what_is_there_is_kept(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs"
    assert run(pictures, "-o", out).exit_code == 0
    before = files(out)
    again = run(pictures, "-o", out, "--ratio", 100)
    assert again.exit_code == 5
    assert "--overwrite" in again.stderr
    assert files(out) == before
    assert run(pictures, "-o", out, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--camera", "5d"), "several cameras"),
        (("--camera", "phone"), "no camera"),
        (("--ratio", "0.5"), "1 to 1000"),
        (("--ratio", "nan"), "1 to 1000"),
        (("--size", "90"), "96 pixels or more"),
        (("--xtrans", "--raw-references"), "516 pixels or more"),
    ],
)
def test_what_cannot_be_is_one_line(
    pictures: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    result = run(pictures, "-o", tmp_path / "pairs", *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "pairs").exists()


def test_the_data_set_does_not_lie_among_its_pictures(pictures: Path) -> None:
    result = run(pictures, "-o", pictures / "pairs")
    assert result.exit_code == 2
    assert "choose another folder" in result.stderr


def test_cameras_are_found_by_any_part_of_their_names() -> None:
    for name in XYZ_TO_CAMERA:
        assert find_camera(name)[0] == name
    with pytest.raises(UsageError, match="no camera"):
        find_camera("Leica")
