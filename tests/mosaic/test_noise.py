"""A photo's own noise: simulated sensors of known noise, clean and textured scenes, odd photos."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import BLACK, WHITE, WHITE_BALANCE, XTRANS, synthetic_raw
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from places import DATA

from darkroom.mosaic.noise import Noise, measure_noise
from darkroom.output.dng import write_dng
from darkroom.raw.image import CFA, RawImage
from darkroom.raw.reader import read_raw

RANGE = WHITE - BLACK

Scene = NDArray[np.float64]


def texture(seed: int, calm: float = 3.0, height: int = 384, width: int = 512) -> Scene:
    """(H, W, 3) light as photographs have it: coloured waves of spectrum 1/f**1.5, edges, vignette.

    The waves come and go; the larger `calm`, the more of the scene is without them.
    """
    random = np.random.default_rng(seed)
    down, right = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    frequency = np.maximum(np.hypot(down, right), 1 / width)

    def waves(power: float) -> Scene:
        noise = np.fft.rfft2(random.normal(size=(height, width)))
        made = np.fft.irfft2(noise / frequency**power, s=(height, width))
        return made / made.std()

    strength = 1 / (1 + np.exp(calm * (waves(2.5) + calm / 3)))
    gray = waves(1.5)
    colours = np.stack([gray + 0.3 * waves(1.5) for _ in range(3)], axis=-1)
    patches = np.kron(random.normal(size=(6, 8)), np.ones((height // 6, width // 8)))[..., None]
    light = np.exp(0.4 * colours * strength[..., None] + patches)
    return light / light.max() * 0.9 * np.linspace(0.05, 1, width)[:, None]


def photograph(scene: Scene, shot: float, read: float, seed: int = 0, **how: object) -> RawImage:
    """A sensor of this noise, in units of white; `how`: cfa, clip, black (an error, in stds)."""
    random = np.random.default_rng(seed)
    cfa = CFA(str(how.get("cfa", "RGGB")))
    height, width = (size // cfa.period * cfa.period for size in scene.shape[:2])
    channels = np.tile(cfa.channels, (height // cfa.period, width // cfa.period))
    light = (scene / WHITE_BALANCE)[:height, :width]
    light = np.take_along_axis(light, channels[..., None], axis=2)[..., 0]
    noisy = random.poisson(light / shot) * shot
    noisy += read * (random.normal(size=light.shape) + float(how.get("black", 0.0)))  # type: ignore[arg-type]
    units = np.rint(noisy * RANGE)
    units = np.clip(units, 0 if how.get("clip") else -BLACK, RANGE) + BLACK
    return synthetic_raw(height, width, cfa.pattern, read_noise=0, mosaic=units.astype(np.uint16))


def errors(
    scenes: list[Scene], shot: float, ratio: float, electrons: float, **how: object
) -> Scene:
    """(scenes, 3) relative errors of sqrt(shot), of read, and of the std at the median light.

    Where the stated black lies too high, what it calls no light is some: its shot noise is read
    noise to whoever believes that black.
    """
    found = []
    read = shot * electrons / ratio
    for seed, scene in enumerate(scenes):
        raw = photograph(scene / ratio, shot / ratio, read, seed, **how)
        noise = measure_noise(raw)
        dark = shot / ratio * max(-float(how.get("black", 0.0)), 0) * read  # type: ignore[arg-type]
        whole = np.sqrt(read**2 + dark + (1 / RANGE) ** 2 / 12)
        median = max(float(np.median(raw.mosaic)) - BLACK, 0) / RANGE
        true = Noise(shot / ratio, float(whole), "")
        found.append(
            (
                np.sqrt(noise.shot / true.shot) - 1,
                noise.read / whole - 1,
                noise.std(median) / true.std(median) - 1,
            )
        )
    return np.array(found)


@pytest.mark.parametrize(
    ("shot", "ratio", "electrons"), [(6e-4, 10, 6.0), (2.5e-3, 100, 2.0), (1e-2, 300, 4.0)]
)
@pytest.mark.parametrize("how", [{}, {"clip": True, "black": -0.4}, {"cfa": XTRANS}], ids=str)
def test_simulated_noise_is_found(
    shot: float, ratio: float, electrons: float, how: dict[str, object]
) -> None:
    """The medians of three textures within 15 %; at few electrons noise is not normal any more."""
    found = np.median(errors([texture(s) for s in range(3)], shot, ratio, electrons, **how), axis=0)
    assert np.all(np.abs(found) < 0.15), found


def test_a_flat_field_gives_both_numbers() -> None:
    """Steps of gray without texture: 4 %, what so many blocks scatter by."""
    steps = np.kron(np.geomspace(0.002, 0.5, 24).reshape(4, 6, 1), np.ones((64, 64, 3)))
    noise = measure_noise(photograph(steps, 2e-4, 1e-3))
    assert noise.shot == pytest.approx(2e-4, rel=0.06)
    assert noise.read == pytest.approx(1e-3, rel=0.06)
    assert "flat patches" in noise.reason


@pytest.mark.skipif(not DATA.is_dir(), reason="the Kodak pictures are not here")
@pytest.mark.parametrize("how", [{}, {"clip": True, "black": -0.4}], ids=str)
@pytest.mark.parametrize(("shot", "ratio"), [(6e-4, 10), (1e-2, 300)])
def test_kodak(shot: float, ratio: float, how: dict[str, object]) -> None:
    scenes = []
    for path in sorted((DATA / "kodak").glob("*.png"))[::3]:
        with Image.open(path) as image:
            scenes.append((np.asarray(image) / 255.0) ** 2.2 / 2)
    found = np.median(errors(scenes, shot, ratio, 4.0, **how), axis=0)
    assert np.all(np.abs(found[[0, 2]]) < 0.15), found
    assert abs(found[1]) < 0.25


@pytest.mark.skipif(not DATA.is_dir(), reason="the SID photos are not here")
@pytest.mark.parametrize("name", ["00018_0_0.1s.dng", "00024_1_0.1s.dng", "00024_8_0.1s.dng"])
def test_real_short_exposures(name: str) -> None:
    """Pairs of such photos: read noise 1.6-1.8 units, shot noise 0.4 units per unit."""
    noise = measure_noise(read_raw(DATA / "sid" / "short" / name))
    assert 1.5 < noise.read * RANGE < 1.9
    assert 0.33 < noise.shot * RANGE < 0.45


# Odd photos


def filled(value: int, **fields: object) -> RawImage:
    return synthetic_raw(64, 96, read_noise=0, mosaic=np.full((64, 96), value, np.uint16), **fields)


@pytest.mark.parametrize(
    "raw",
    [
        filled(BLACK),
        filled(WHITE),
        filled(0),
        filled(4000),
        synthetic_raw(2, 2),
        synthetic_raw(8, 12),
        synthetic_raw(6, 6, "xtrans"),
        synthetic_raw(256, 256, read_noise=0, exposure=0.1),
        synthetic_raw(192, 192, "xtrans", read_noise=0, exposure=0.01),
    ],
)
def test_nothing_to_measure_is_next_to_no_noise(raw: RawImage) -> None:
    """What rounding makes, 1 / sqrt(12) units, and at most a unit more of smooth light."""
    noise = measure_noise(raw)
    assert 0.28 < noise.read * RANGE < 1
    assert noise.shot < 1e-4
    assert noise.reason


def test_a_photo_without_flat_patches_says_so() -> None:
    tiles = np.random.default_rng(0).uniform(0.02, 0.9, (64, 64, 1))
    noise = measure_noise(photograph(np.kron(tiles, np.ones((5, 5, 3))), 1e-5, 1e-4))
    assert "no patch of this photo is flat" in noise.reason


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 60),
    top=st.integers(1, 65535),
    seed=st.integers(0, 99),
)
def test_it_never_fails(height: int, width: int, top: int, seed: int) -> None:
    mosaic = np.random.default_rng(seed).integers(0, top, (height, width)).astype(np.uint16)
    for raw in (mosaic, mosaic.astype(np.float32)):
        noise = measure_noise(synthetic_raw(2, 2, mosaic=raw))
        assert np.isfinite([noise.shot, noise.read]).all()
        assert noise.shot >= 0
        assert noise.read >= 0


# What else tells of noise


def test_masked_borders_tell_read_noise() -> None:
    """A bright photo says little of read noise; its borders of 20 units do. 10 %."""
    random = np.random.default_rng(5)
    frame = np.rint(random.normal(BLACK, 20, (340, 400))).astype(np.uint16)
    bright = photograph(0.3 + 0.2 * texture(1, height=300, width=360), 1e-3, 20 / RANGE)
    frame[40:, 40:] = bright.mosaic
    stream = BytesIO()
    write_dng(stream, replace(bright, margins=(40, 40)), frame=frame)
    raw = read_raw(stream.getvalue())
    assert raw.masked_noise == pytest.approx(20, rel=0.05)
    assert measure_noise(raw).read * RANGE == pytest.approx(20, rel=0.1)


def test_a_stated_profile_is_believed_where_the_photo_bears_it_out() -> None:
    plain = photograph(texture(2) / 100, 2.5e-5, 1e-4)
    for factor, believed in ((1.2, True), (8, False), (1 / 8, False)):
        stream = BytesIO()
        write_dng(stream, replace(plain, noise_profile=(2.5e-5 * factor, 1.1e-8 * factor)))
        raw = read_raw(stream.getvalue())
        assert raw.noise_profile == (2.5e-5 * factor, 1.1e-8 * factor)
        noise = measure_noise(raw)
        assert (noise.shot == 2.5e-5 * factor) == believed
        assert noise.reason.startswith("the file states it") == believed


def test_louder_and_amplified_are_what_they_say() -> None:
    noise = Noise(1e-3, 2e-3, "")
    assert noise.amplified(30).std(0.3) == pytest.approx(30 * noise.std(0.01))
    assert noise.louder(1.5).std(0.01) == pytest.approx(1.5 * noise.std(0.01))


def test_inspect_shows_it(
    dng_path: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from darkroom.cli.inspect import inspect

    inspect(dng_path(height=128, width=128))
    assert "per unit of light" in capsys.readouterr().out
