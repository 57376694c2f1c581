"""Where a sensor saturates: at the stated white, or where its values pile up below it."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import synthetic_raw

from darkroom.evaluation.simulated import photograph_light
from darkroom.mosaic.packing import BAYER, XTRANS
from darkroom.mosaic.saturation import measure_saturation
from darkroom.raw.image import CFA, RawImage

WHITE, BLACK = 16383, 512


def lit(level: float, spread: float = 0.0) -> RawImage:
    """A scene whose lights are cut off at a raw level, spread by so much noise."""
    raw = synthetic_raw(200, 300, exposure=1.5)
    random = np.random.default_rng(3)
    light = random.gamma(1.2, 3500, raw.mosaic.shape) + BLACK
    light = np.minimum(light, level) + random.normal(0, max(spread, 1e-9), light.shape)
    return replace(raw, mosaic=np.clip(light, 0, WHITE).astype(np.uint16))


def thinning() -> RawImage:
    """A scene of which ever fewer sites are bright."""
    raw = synthetic_raw(200, 300)
    light = np.random.default_rng(4).gamma(1.2, 900, raw.mosaic.shape) + BLACK
    return replace(raw, mosaic=np.clip(light, 0, WHITE).astype(np.uint16))


@pytest.mark.parametrize(("level", "spread"), [(4480, 0), (4480, 12), (12000, 30)])
def test_a_pile_below_the_stated_white_is_saturation(level: int, spread: float) -> None:
    """To half a percent: the pile's middle."""
    found = measure_saturation(lit(level, spread))
    assert found == pytest.approx((level - BLACK) / (WHITE - BLACK), rel=5e-3)


def test_a_lamps_core_is_a_pile_on_xtrans_too() -> None:
    """144 sites of one colour or another, four for each place of the array's period."""
    raw = synthetic_raw(120, 120, "xtrans", exposure=0.05)
    mosaic = raw.mosaic.copy()
    mosaic[36:60, 36:60] = 4480
    found = measure_saturation(replace(raw, mosaic=mosaic))
    assert found == pytest.approx((4480 - BLACK) / (WHITE - BLACK), rel=5e-3)


@pytest.mark.parametrize("cfa", [BAYER, XTRANS], ids=["bayer", "xtrans"])
@pytest.mark.parametrize("light", [0.25, 0.5, 0.9])
def test_a_flat_surface_is_no_end_of_the_sensor(light: float, cfa: CFA) -> None:
    """Values of paper, the brightest of its scene, pile up too, as noise spreads them."""
    scene = np.full((240, 360, 3), 0.05) * np.linspace(0.5, 1, 360)[None, :, None]
    scene[60:180, 100:260] = light
    for ratio in (1, 4):
        found = measure_saturation(photograph_light("paper", scene, ratio, cfa))
        assert found.tolist() == [1, 1, 1]


@pytest.mark.parametrize("cfa", [BAYER, XTRANS], ids=["bayer", "xtrans"])
@pytest.mark.parametrize("ends", [(0.6, 0.9, 0.9), (0.9, 0.6, 0.9), (0.25, 0.25, 0.25)])
def test_each_colour_may_have_an_end_of_its_own(ends: tuple[float, ...], cfa: CFA) -> None:
    """To a thousandth; as sharp as converters cut."""
    scene = np.full((240, 360, 3), 0.05) * np.linspace(0.5, 1, 360)[None, :, None]
    scene[60:180, 100:260] = 8.0
    raw = photograph_light("window", scene, 1, cfa)
    limits = (BLACK + np.array(ends) * (WHITE - BLACK))[cfa.channels]
    limits = np.tile(limits, (240 // cfa.period, 360 // cfa.period))
    mosaic = np.minimum(raw.mosaic, np.rint(limits)).astype(np.uint16)
    assert measure_saturation(replace(raw, mosaic=mosaic)) == pytest.approx(ends, abs=1e-3)


def test_values_that_thin_out_are_a_scene() -> None:
    assert measure_saturation(lit(WHITE - 1000)).max() < 1, "the pile alone makes the difference"
    assert measure_saturation(thinning()).tolist() == [1, 1, 1]


def test_a_pile_at_the_stated_white_is_the_stated_white() -> None:
    assert measure_saturation(lit(WHITE)) == pytest.approx(1, abs=1e-3)


def test_a_few_hot_pixels_are_no_pile() -> None:
    mosaic = thinning().mosaic.copy()
    mosaic[::50, ::50] = 16000
    assert measure_saturation(replace(thinning(), mosaic=mosaic)).tolist() == [1, 1, 1]


def test_nothing_is_not_saturated() -> None:
    raw = synthetic_raw(40, 40)
    black = replace(raw, mosaic=np.full_like(raw.mosaic, BLACK))
    assert measure_saturation(black).tolist() == [1, 1, 1]
