"""Parts of a file that were lost: found exactly, told, and left out of all that is measured."""

import io
from dataclasses import replace

import numpy as np
import pytest
from conftest import BLACK, WHITE, synthetic_raw
from numpy.typing import NDArray

from darkroom.gain import GainRule, choose_gain
from darkroom.mosaic.hot_pixels import bound_noise
from darkroom.mosaic.noise import measure_noise
from darkroom.mosaic.packing import linearise
from darkroom.output.dng import write_dng
from darkroom.raw.image import RawImage
from darkroom.raw.missing import MIN_SITES, find_missing
from darkroom.raw.reader import read_raw
from darkroom.weights.gain_network import load_gain_network

SIZE = (480, 600)
Mosaic = NDArray[np.uint16]


def dark(cfa: str = "RGGB", exposure: float = 0.01, **fields: object) -> RawImage:
    return synthetic_raw(*SIZE, cfa, exposure=exposure, **fields)  # type: ignore[arg-type]


def read(raw: RawImage, mosaic: Mosaic) -> RawImage:
    stream = io.BytesIO()
    write_dng(stream, replace(raw, mosaic=mosaic))
    return read_raw(stream.getvalue())


def filled(raw: RawImage, value: int, start: int, stop: int) -> tuple[Mosaic, NDArray[np.bool_]]:
    """The photo with so many sites, counted along its rows, of one value; and which these are."""
    mosaic = np.array(raw.mosaic, np.uint16)
    lost = np.zeros(SIZE, np.bool_)
    lost.ravel()[start:stop] = True
    mosaic[lost] = value
    return mosaic, lost


@pytest.mark.parametrize("cfa", ["RGGB", "xtrans"])
@pytest.mark.parametrize("value", [0, 0x0101, 0x1111, 0x5555, 0xFFFF])
@pytest.mark.parametrize("part", [(100_000, 117_280), (70_007, 72_055)])
def test_a_hole_is_found_to_the_site(cfa: str, value: int, part: tuple[int, int]) -> None:
    """6 % of the picture, and a page of 4 KiB that begins and ends amid a row."""
    raw = dark(cfa)
    mosaic, lost = filled(raw, value, *part)
    found = read(raw, mosaic)
    assert found.missing is not None
    np.testing.assert_array_equal(found.missing, lost)
    (line,) = found.warnings
    assert line.startswith(f"{100 * lost.mean():.2g} % of the picture hold one impossible value")
    assert "part of the file was not written or not copied" in line
    assert (linearise(found)[lost] == 0).all()  # and not far below black, as an amplified 0 is


def facts(raw: RawImage) -> dict[str, float]:
    network, noise = load_gain_network(), measure_noise(raw)
    rules = (GainRule.LEARNED, GainRule.PERCENTILE, GainRule.REDI)
    bound = bound_noise(linearise(raw), raw.cfa, raw.missing)
    return {
        **{rule.value: choose_gain(raw, rule, network=network).value for rule in rules},
        "read": noise.read,
        "bound": bound.read_variance**0.5,
        "black": float(raw.black.mean()),
    }


@pytest.mark.parametrize("off", [0, -3])
@pytest.mark.parametrize("value", [0, 0x5555])
def test_nothing_is_measured_on_what_is_lost(value: int, off: int) -> None:
    """The same numbers as of the whole photo, but for the blocks that are gone; once x29.8 for
    x105.6. `off`: what true black is off the stated one."""
    raw = dark()
    mosaic = np.array(raw.mosaic, np.uint16)
    mosaic[200:320] = np.rint(np.random.default_rng(3).normal(BLACK, 4, (120, 600)))
    raw = replace(raw, mosaic=(mosaic.astype(np.intp) + off).astype(np.uint16))
    whole = facts(read(raw, raw.mosaic))  # type: ignore[arg-type]
    assert whole["black"] == pytest.approx(BLACK + off, abs=0.3)
    hurt = facts(read(raw, filled(raw, value, 24_000, 41_280)[0]))
    for name, expected in whole.items():
        rel = 0.25 if name == "bound" else 0.06  # a bound is found on few blocks
        assert hurt[name] == pytest.approx(expected, rel=rel), name
    blind = replace(read(raw, filled(raw, value, 24_000, 41_280)[0]), missing=None)
    far = {name for name, number in facts(blind).items() if abs(number / whole[name] - 1) > 0.3}
    assert far  # the check can fail


def test_masked_borders_measure_black_beside_a_hole() -> None:
    """The hole goes through the borders too; their zeros are no clipping, nor the picture dark."""
    scene = dark(margins=(0, 48))
    random = np.random.default_rng(0)
    frame = np.rint(random.normal(BLACK - 1.5, 4, (480, 648))).astype(np.uint16)
    frame[:, 48:] = scene.mosaic
    frame[200:230] = 0
    stream = io.BytesIO()
    write_dng(stream, scene, frame=frame)
    found = read_raw(stream.getvalue())
    assert found.missing is not None
    assert found.black_origin is not None
    assert found.black_origin.reason == "measured on the masked pixels"
    np.testing.assert_allclose(found.black, BLACK - 1.5, atol=0.5)


def test_unwritten_first_rows_are_cut_off_and_not_counted() -> None:
    """As optical-black lines are: cameras write zeros there, and so does a gap in a file."""
    mosaic, _ = filled(dark(), 0, 0, 40 * 600)
    found = read(dark(), mosaic)
    assert found.missing is None
    (line,) = found.warnings
    assert line.startswith("lines without a picture were cut off: 40 at the top")
    assert "if the picture goes on there, copy the file from the card again" in line
    mosaic[300:330] = 0
    found = read(dark(), mosaic)
    assert found.mosaic.shape == (440, 600)
    assert found.missing is not None
    np.testing.assert_array_equal(np.flatnonzero(found.missing.all(axis=1)), range(260, 290))
    assert "40 at the top" in found.warnings[0]
    assert found.warnings[1].startswith("6.8 % of the picture")


def clipped_at_black(random: np.random.Generator) -> Mosaic:
    return np.clip(np.rint(random.normal(BLACK - 8, 4, SIZE)), BLACK, WHITE).astype(np.uint16)


def black_of_zero(random: np.random.Generator) -> Mosaic:
    light = np.where(np.arange(SIZE[1]) < 300, -9.0, 20.0)
    return np.clip(np.rint(random.normal(light, 4, SIZE)), 0, WHITE).astype(np.uint16)


def a_lamp(random: np.random.Generator) -> Mosaic:
    light = 30_000 * np.exp(-(((np.arange(SIZE[1]) - 300) / 120.0) ** 2)) + np.zeros(SIZE)
    return np.clip(np.rint(random.normal(BLACK + light, 9)), 0, WHITE - 600).astype(np.uint16)


def a_lamp_above_the_stated_white(random: np.random.Generator) -> Mosaic:
    light = 90_000 * np.exp(-(((np.arange(SIZE[1]) - 300) / 120.0) ** 2)) + np.zeros(SIZE)
    return np.clip(np.rint(random.normal(BLACK + light, 9)), 0, 65535).astype(np.uint16)


def a_lamp_and_hot_sites(random: np.random.Generator) -> Mosaic:
    """The sensor's saturation stands alone: nothing is above it but a few hot sites."""
    mosaic = a_lamp(random)
    mosaic[random.random(SIZE) < 1e-4] = WHITE
    return mosaic


def clipped_beside_a_weak_site(random: np.random.Generator) -> Mosaic:
    """The floor is not the least value from half of black on, but it is black; half is lit."""
    mosaic = clipped_at_black(random)
    mosaic[::2] = np.rint(random.normal(BLACK + 40, 4, SIZE)[::2])
    mosaic[7, 7] = 300
    return mosaic


def dead_sites_and_a_column(random: np.random.Generator) -> Mosaic:
    mosaic = np.array(dark().mosaic, np.uint16)
    mosaic[random.random(SIZE) < 0.005] = 0
    mosaic[:, 301] = 0
    return mosaic


def no_noise(random: np.random.Generator) -> Mosaic:
    steps = np.repeat(np.arange(600, 1200, 10), 10).astype(np.uint16)
    return np.broadcast_to(steps, SIZE).copy()


def one_gray(random: np.random.Generator) -> Mosaic:
    return np.full(SIZE, 700, np.uint16)


@pytest.mark.parametrize(
    ("make", "black"),
    [
        (clipped_at_black, BLACK),
        (clipped_beside_a_weak_site, BLACK),
        (clipped_beside_a_weak_site, BLACK - 2),  # as far off as a stated black may be
        (clipped_beside_a_weak_site, BLACK + 2),
        (black_of_zero, 0),
        (a_lamp, BLACK),
        (a_lamp_and_hot_sites, BLACK),
        (a_lamp_above_the_stated_white, BLACK),
        (dead_sites_and_a_column, BLACK),
        (no_noise, BLACK),
        (one_gray, BLACK),
    ],
)
def test_what_sensors_do_is_no_damage(make: object, black: int) -> None:
    mosaic = make(np.random.default_rng(1))  # type: ignore[operator]
    assert find_missing(mosaic, black, WHITE) is None


def test_zeros_alone_are_lost_where_black_is_zero() -> None:
    """A camera of black 0 that nowhere writes less than 40: zeros are no darkness then."""
    random = np.random.default_rng(1)
    mosaic = np.clip(np.rint(random.normal(90, 9, SIZE)), 40, WHITE).astype(np.uint16)
    mosaic[100:120] = 0
    found = find_missing(mosaic, 0, WHITE)
    assert found is not None
    np.testing.assert_array_equal(found, mosaic == 0)


@pytest.mark.parametrize("share", [0.1, 0.45, 0.55, 0.9])
def test_how_much_is_lost_changes_nothing(share: float) -> None:
    """Noise is looked for in what is left, even where most neighbours are equal."""
    sites = int(share * np.prod(SIZE))
    mosaic, lost = filled(dark(), 0x1111, 1003, 1003 + sites)
    found = find_missing(mosaic, BLACK, WHITE)
    assert found is not None
    np.testing.assert_array_equal(found, lost)


@pytest.mark.parametrize("shift", range(16))
def test_holes_of_any_place_and_length_are_found_to_the_site(shift: int) -> None:
    """Runs are looked for at every sixteenth site, so every rest of both ends is tried."""
    mosaic, lost = filled(dark(), 0, 5000 + shift, 5600 + 3 * shift)
    found = find_missing(mosaic, BLACK, WHITE)
    assert found is not None
    np.testing.assert_array_equal(found, lost)


def test_saturated_sites_are_not_above_white() -> None:
    """A lamp at white itself beside a hole: white is as stated, so the hole is none of it."""
    mosaic, lost = filled(dark(), 0xFFFF, 9000, 12_000)
    mosaic[300:400, 200:300] = WHITE
    found = find_missing(mosaic, BLACK, WHITE)
    assert found is not None
    np.testing.assert_array_equal(found, lost)


@pytest.mark.parametrize("dead", [0, BLACK // 2 - 1])
def test_a_cameras_floor_is_its_least_value_from_half_black_on(dead: int) -> None:
    """Clipped well below black, runs of that floor are shadows; a dead site below is no floor."""
    floor = BLACK - 40
    random = np.random.default_rng(1)
    mosaic = np.maximum(np.rint(random.normal(floor - 8, 4, SIZE)), floor).astype(np.uint16)
    mosaic[::2] = np.rint(random.normal(BLACK, 4, SIZE)[::2])
    mosaic[7, 7] = dead
    assert find_missing(mosaic, BLACK, WHITE) is None


def test_a_picture_of_which_nothing_is_left() -> None:
    """No value comes near black, so none is where a camera cuts off."""
    mosaic = np.full(SIZE, 200, np.uint16)  # between a third of black and half of it
    found = find_missing(mosaic, BLACK, WHITE)
    assert found is not None
    assert found.all()


@pytest.mark.parametrize("sites", [0, 1, 40, MIN_SITES - 1, MIN_SITES])
def test_a_few_sites_are_defects(sites: int) -> None:
    mosaic, lost = filled(dark(), 0, 5000, 5000 + sites)
    found = find_missing(mosaic, BLACK, WHITE)
    assert (found is None) == (sites < MIN_SITES)
    assert found is None or np.array_equal(found, lost)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (2, 40), (3, 17)])
def test_tiny_mosaics(shape: tuple[int, int]) -> None:
    assert find_missing(np.zeros(shape, np.uint16), BLACK, WHITE) is None
