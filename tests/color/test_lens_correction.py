"""Lenses corrected: against functions known everywhere, then by lensfun where it is installed."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from batches import tiny_weights
from numpy.typing import NDArray
from PIL.ExifTags import Base

from darkroom.color import lens_correction
from darkroom.color.lens_correction import LensCorrection, find_lens_correction
from darkroom.errors import UsageError
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.output.linear_dng import DngKind
from darkroom.pipeline import Options, enhance
from darkroom.raw.exif_tags import RATIONAL, SHORT, encode_numbers, encode_text
from darkroom.raw.image import PhotoMetadata, RawImage

Raw = Callable[..., RawImage]
HEIGHT, WIDTH = 300, 400  # more than one band


@dataclass
class StubModifier:
    """Moves colours by `bend` and their own `scales`, and darkens corners by `dark`."""

    lens: Any
    crop: float
    width: int
    height: int

    def initialize(self, focal: float, aperture: float, distance: float, *rest: Any) -> None:
        self.flags = rest[-1]

    def squares(self, rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.float64]:
        """(1, or less at the centre) of the distance to it, squared."""
        y, x = (rows - (self.height - 1) / 2), (columns - (self.width - 1) / 2)
        return np.asarray((x * x + y * y) / ((self.height - 1) ** 2 + (self.width - 1) ** 2) * 4)

    def apply_subpixel_geometry_distortion(
        self, left: int, top: int, width: int, height: int
    ) -> NDArray[np.float32]:
        rows, columns = np.mgrid[top : top + height, left : left + width].astype(float)
        factor = 1 + self.lens.bend * self.squares(rows, columns)
        middle = np.array([(self.width - 1) / 2, (self.height - 1) / 2])
        away = (np.stack([columns, rows], -1) - middle) * factor[..., None]
        return np.stack([middle + away * scale for scale in self.lens.scales], 2).astype(np.float32)

    def apply_color_modification(self, image: NDArray[np.float32]) -> bool:
        rows, columns = np.indices(image.shape[:2])
        image *= (1 + self.lens.dark * self.squares(rows, columns))[..., None].astype(np.float32)
        return True


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(str(tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")))


def stub_lens(**values: Any) -> Any:
    known = {"model": "Example 24-70mm f/2.8", "min_focal": 24.0, "max_focal": 70.0, "type": 0}
    known |= {"min_aperture": 2.8, "bend": -0.02, "scales": (1.001, 1.0, 0.998), "dark": 0.5}
    lens = SimpleNamespace(**(known | values))
    lens.interpolate_distortion = lambda focal: lens.bend or None
    lens.interpolate_tca = lambda focal: None if lens.scales == (1, 1, 1) else lens.scales
    lens.interpolate_vignetting = lambda *how: lens.dark or None
    return lens


@pytest.fixture
def lensfun(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A database of one camera and the lenses in `lenses`, the best first."""
    stub: Any = SimpleNamespace(lenses=[stub_lens()], mount="Example", asked=[])

    def find_cameras(maker: str, model: str) -> list[Any]:
        found = SimpleNamespace(mount=stub.mount, crop_factor=1.5)
        return [found] if (maker, model) == ("EXAMPLE", "One") else []

    def find_lenses(camera: Any, maker: str | None, name: str | None) -> list[Any]:
        stub.asked.append(name)
        words = (name or "").split()
        return [one for one in stub.lenses if all(word in one.model for word in words)]

    stub.Database = lambda: SimpleNamespace(find_cameras=find_cameras, find_lenses=find_lenses)
    stub.Modifier = StubModifier
    stub.ModifyFlags = SimpleNamespace(SCALE=1, DISTORTION=2, TCA=4, VIGNETTING=8)
    monkeypatch.setitem(sys.modules, "lensfunpy", stub)
    lens_correction._read_database.cache_clear()
    yield stub
    lens_correction._read_database.cache_clear()


def with_words(
    raw: RawImage, lens: str | None = "24-70mm f/2.8", focal: int | None = 35, **main: str
) -> RawImage:
    words = {"Make": "EXAMPLE", "Model": "One"} | main
    exif = {} if lens is None else {Base.LensModel: encode_text(lens)}
    if focal is not None:
        exif[Base.FocalLength] = encode_numbers(RATIONAL, focal, 1)
    tags = {Base[name]: encode_text(text) for name, text in words.items()}
    return replace(raw, metadata=PhotoMetadata(tags, exif))


def scene(rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[Any]:
    """Light that is known everywhere, smooth over a pixel."""
    return np.asarray(1.5 + np.sin(rows / 9) + 0.5 * np.cos(columns / 7 + rows / 20))


def correct(correction: LensCorrection, light: torch.Tensor) -> torch.Tensor:
    whole = torch.empty_like(light)
    for rows, band in correction.correct(light):
        whole[:, rows] = band
    return whole


@pytest.mark.parametrize("scales", [(1.001, 1.0, 0.998), (1, 1, 1)])
def test_every_sample_is_the_scene_where_the_lens_drew_it(scales: tuple[float, ...]) -> None:
    """Against the function itself: crests between samples are lost, 1 - cos(1/18) = 0.0015."""
    lens = stub_lens(scales=scales)
    modifier = StubModifier(lens, 1.5, WIDTH, HEIGHT)
    rows, columns = np.indices((HEIGHT, WIDTH))
    light = torch.from_numpy(np.repeat(scene(rows, columns)[None], 3, 0).astype(np.float32))
    found = correct(LensCorrection("", modifier, scales != (1, 1, 1)), light)
    places = modifier.apply_subpixel_geometry_distortion(0, 0, WIDTH, HEIGHT)
    for channel in range(3):
        wanted = scene(places[:, :, channel, 1], places[:, :, channel, 0])
        seen = (places[:, :, channel] > 0).all(-1) & (
            places[:, :, channel] < (WIDTH - 1, HEIGHT - 1)
        ).all(-1)
        assert np.abs(found[channel].numpy() - wanted)[seen].max() < 2e-3
        assert np.abs(found[channel].numpy() - wanted)[seen].mean() < 1e-4
        assert seen.mean() > 0.97


def test_a_star_has_no_black_ring() -> None:
    """Plain bicubic gives -18 here, beside a star of 300."""

    class HalfPixel:
        def apply_subpixel_geometry_distortion(self, *place: int) -> NDArray[np.float32]:
            rows, columns = np.indices((place[3], place[2]))
            one = np.stack([columns + 0.5, rows + place[1]], -1).astype(np.float32)
            return np.repeat(one[:, :, None], 3, 2)

    light = torch.full((3, 40, 40), 0.01)
    light[:, 20, 20] = 300
    found = correct(LensCorrection("", HalfPixel()), light)
    assert found.min() == pytest.approx(0.01)
    assert 100 < found.max() <= 300
    assert torch.isfinite(found).all()


def test_corners_are_brightened_as_light(lensfun: Any, synthetic_raw: Raw) -> None:
    """Measured on fewer columns, and wanted to 0.1 % everywhere; other lengths are not asked."""
    lensfun.lenses = [stub_lens(bend=0, scales=(1, 1, 1))]
    raw = with_words(replace(synthetic_raw(), mosaic=np.zeros((900, 1350), np.uint16)))
    correction = find_lens_correction(raw)
    assert correction.words == "Example 24-70mm f/2.8 at 35 mm, f/2.8: vignetting"
    assert correction.geometry is None
    rows, columns = np.indices((900, 1350))
    wanted = 1 + 0.5 * StubModifier(None, 1, 1350, 900).squares(rows, columns)
    found = correct(correction, torch.ones(3, 900, 1350))
    np.testing.assert_allclose(found[1].numpy(), wanted, rtol=1e-3)


@pytest.mark.parametrize(
    ("words", "fields", "said"),
    [
        ({"Model": "Two"}, {}, "lensfun does not know the camera Two"),
        ({"lens": None}, {}, "the photo does not name its lens"),
        ({"lens": "Other 50mm"}, {}, "lensfun does not know the lens Other 50mm on One"),
        ({"focal": 200}, {}, "lensfun does not know the lens 24-70mm f/2.8 on One"),
        ({"focal": None}, {}, "does not state its focal length on Example 24-70mm f/2.8"),
        ({}, {"pixel_aspect": 1.5}, "the camera's pixels are not square"),
    ],
)
def test_what_is_not_known_is_said_and_the_picture_made(
    lensfun: Any, model: Model, synthetic_raw: Raw, words: Any, fields: Any, said: str
) -> None:
    raw = replace(with_words(synthetic_raw(), **words), **fields)
    picture = enhance(raw, model, Options(lens_correct=True))
    assert picture.lens is not None
    assert picture.lens.startswith("not corrected: ")
    assert said in picture.lens
    assert f"lens {picture.lens}" in picture.warnings
    plain = enhance(raw, model)
    assert plain.lens is None
    np.testing.assert_array_equal(picture.pixels, plain.pixels)


def test_which_lens_it_is(lensfun: Any, synthetic_raw: Raw) -> None:
    raw = with_words(synthetic_raw())
    newer = stub_lens(model="Example 24-70mm f/2.8 II")
    lensfun.lenses = [newer, stub_lens()]
    assert "24-70mm f/2.8 at" in find_lens_correction(raw).words, "of equals the one of that name"
    lensfun.lenses = [newer]
    assert "24-70mm f/2.8 II at" in find_lens_correction(raw).words
    lensfun.mount = "exampleOne"  # whose lens cannot be taken off
    assert "24-70mm f/2.8 II at" in find_lens_correction(with_words(raw, lens=None)).words
    lensfun.lenses = [stub_lens(min_focal=35.0, max_focal=35.0)]
    assert "35 mm" in find_lens_correction(with_words(raw, focal=None)).words, "a prime says it"
    lensfun.lenses = [stub_lens(bend=0, scales=(1, 1, 1), dark=0)]
    assert "nothing measured for" in find_lens_correction(raw).words


def test_a_part_of_the_sensor_is_told_by_the_stated_angle(lensfun: Any, synthetic_raw: Raw) -> None:
    raw = with_words(synthetic_raw(), focal=40)
    assert find_lens_correction(raw).geometry.crop == 1.5
    for film, crop in ((60, 1.5), (62, 1.5), (90, 2.25), (0, 1.5)):
        exif = dict(raw.metadata.exif) | {Base.FocalLengthIn35mmFilm: encode_numbers(SHORT, film)}
        told = replace(raw, metadata=replace(raw.metadata, exif=exif))
        assert find_lens_correction(told).geometry.crop == crop


def test_a_lens_that_moves_nothing_changes_nothing(
    lensfun: Any, model: Model, synthetic_raw: Raw
) -> None:
    """Through the whole pipeline: whole pixels are taken as they are, to a code."""
    lensfun.lenses = [stub_lens(bend=1e-12, scales=(1, 1, 1 + 1e-12), dark=1e-12)]
    raw = with_words(synthetic_raw())
    picture = enhance(raw, model, Options(lens_correct=True))
    assert picture.lens is not None
    assert picture.lens.endswith(": distortion, TCA, vignetting")
    assert not any("lens" in line for line in picture.warnings)
    plain = enhance(raw, model).pixels.astype(int)
    assert np.abs(picture.pixels - plain).max() <= 1
    lensfun.lenses = [stub_lens()]
    moved = enhance(raw, model, Options(lens_correct=True)).pixels
    assert np.abs(moved - plain).mean() > 1


def test_what_does_not_go_together_is_refused(
    lensfun: Any, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="editors correct a DNG's lens themselves"):
        Options(lens_correct=True, dng=DngKind.LINEAR, bits=16).resolve(model)
    monkeypatch.setitem(sys.modules, "lensfunpy", None)
    with pytest.raises(UsageError, match=r"pip install 'darkroom\[lens\]'"):
        Options(lens_correct=True).resolve(model)


def test_lensfun_itself(synthetic_raw: Raw) -> None:
    """A real camera and lens: what lensfun makes of straight and even light is undone again."""
    lensfunpy = pytest.importorskip(
        "lensfunpy", reason="no lensfunpy: pip install 'darkroom[lens]'"
    )
    lens_correction._read_database.cache_clear()
    raw = replace(synthetic_raw(), mosaic=np.zeros((400, 600), np.uint16))
    raw = with_words(raw, "EF24-105mm f/4L IS USM", 24, Make="Canon", Model="Canon EOS 5D Mark III")
    raw = replace(raw, exposure=replace(raw.exposure, aperture=4.0))
    correction = find_lens_correction(raw)
    assert correction.words == (
        "Canon EF 24-105mm f/4L IS USM at 24 mm, f/4: distortion, TCA, vignetting"
    )
    database = lensfunpy.Database()
    (camera,) = database.find_cameras("Canon", "Canon EOS 5D Mark III")
    lens = database.find_lenses(camera, None, "EF24-105mm f/4L IS USM")[0]
    back = lensfunpy.Modifier(lens, camera.crop_factor, 600, 400)
    flags = lensfunpy.ModifyFlags.VIGNETTING
    back.initialize(24.0, 4.0, 1000.0, 0.0, lens.type, np.float32, flags, True)
    dark = np.ones((400, 600, 3), np.float32)
    assert back.apply_color_modification(dark)
    assert dark[0, 0, 0] < 0.6
    light = torch.from_numpy(np.moveaxis(dark, 2, 0).copy())
    flat = replace(correction, geometry=None)
    np.testing.assert_allclose(correct(flat, light).numpy(), 1, rtol=2e-3)
    # Barrel distortion of 4 %: corners come from further in, edges bend by pixels.
    columns = np.indices((400, 600))[1]
    ramp = torch.from_numpy(np.repeat(columns[None], 3, 0).astype(np.float32))
    straight = correct(replace(correction, shading=None), ramp.clone())
    places = correction.geometry.apply_subpixel_geometry_distortion(0, 0, 600, 400)
    assert float(np.abs(places[..., 0] - columns[..., None]).max()) > 2
    np.testing.assert_allclose(
        straight.numpy(), np.clip(np.moveaxis(places[..., 0], 2, 0), 0, 599), atol=0.02
    )
