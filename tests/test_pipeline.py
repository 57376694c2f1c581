import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from conftest import synthetic_raw
from PIL import Image, ImageOps
from safetensors.torch import save_file

from darkroom.color.color_space import ColorSpace
from darkroom.color.dither import find_thresholds
from darkroom.color.highlights import Highlights
from darkroom.color.tone_curve import KNEE
from darkroom.color.transfer import srgb_encode
from darkroom.errors import SensorError, UsageError
from darkroom.evaluation.simulated import Scene, photograph_scene
from darkroom.gain import GainRule, given_gain
from darkroom.gain.redi import redi_gain
from darkroom.models.architectures.safelight import Safelight
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.models.tiling import Edges
from darkroom.mosaic.hot_pixels import HotPixels
from darkroom.mosaic.packing import align
from darkroom.output.linear_dng import DngKind
from darkroom.output.orientation import square, upright
from darkroom.output.picture import PictureFormat, SaveOptions, save_picture
from darkroom.pipeline import Options, enhance, find_gain, prepare
from darkroom.raw.image import CFA, BlackOrigin, BlackSource, RawImage, Sensor, WhiteBalance
from darkroom.weights.registry import Output

RATIO = Options(gain=given_gain(1.0))


class Binning(torch.nn.Module):
    """A network that denoises nothing: each 2x2 block of photosites becomes four equal pixels."""

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        rgb = torch.stack([packed[:, 0], packed[:, 1:3].mean(1), packed[:, 3]], 1)
        return rgb.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A tiny safelight with random weights, from a file."""
    torch.manual_seed(3)
    save_file(Safelight(widths=(8, 8, 8, 8)).state_dict(), tmp_path / "tiny.safetensors")
    return load_model(tmp_path / "tiny.safetensors", "cpu", "fp32")


@pytest.fixture
def binning(model: Model) -> Model:
    architecture = replace(model.architecture, condition=None)
    return replace(model, network=Binning(), architecture=architecture)


def test_a_gray_card_stays_gray_and_gains_its_brightness(binning: Model) -> None:
    """Levels, white balance, gain, matrix and curve together, against the sRGB curve's own values.

    18 % gray must come out as 118 of 255 (0.18 encoded is 0.4613); 1 code for rounding.
    """
    raw = synthetic_raw(32, 32, read_noise=0)
    card = np.empty((32, 32), np.float32)
    for row in range(2):
        for col in range(2):
            multiplier = raw.color.white_balance[raw.cfa.channels[row, col]]
            card[row::2, col::2] = 512 + (16383 - 512) * 0.18 / 100 / multiplier
    raw = replace(raw, mosaic=card)
    picture = enhance(raw, binning, Options(gain=given_gain(100.0)))
    assert np.abs(picture.pixels.astype(int) - 118).max() <= 1


@pytest.mark.parametrize("cfa", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_every_bayer_phase_gives_the_same_colours(binning: Model, cfa: str) -> None:
    """Mean colours of one scene; a wrong phase would swap red and blue or mix in green."""
    means = [
        enhance(synthetic_raw(64, 64, phase, read_noise=0), binning, RATIO).pixels.mean((0, 1))
        for phase in ("RGGB", cfa)
    ]
    assert np.abs(means[0] - means[1]).max() < 2.5


@pytest.mark.parametrize(("height", "width"), [(33, 48), (48, 33), (35, 37), (32, 64)])
@pytest.mark.parametrize("cfa", ["RGGB", "BGGR"])
def test_only_alignment_costs_rows_and_columns(
    model: Model, height: int, width: int, cfa: str
) -> None:
    picture = enhance(synthetic_raw(height, width, cfa), model, RATIO)
    lost = 0 if cfa == "RGGB" else 1
    assert picture.pixels.shape == (height - lost, width - lost, 3)


def test_tiled_picture_equals_whole_picture(model: Model) -> None:
    """After rounding to 16 bits float32's last digits may tip a code; never more than one."""
    raw = synthetic_raw(640, 70, exposure=0.05)
    whole, tiled = (
        enhance(raw, model, replace(RATIO, bits=16, tile=tile)).pixels.astype(int)
        for tile in ("off", 64)
    )
    assert np.abs(whole - tiled).max() <= 1


def test_eight_bits_are_sixteen_bits_dithered(model: Model) -> None:
    """Rounding to 16 bits before may move a sample over its threshold, in one of some 200."""
    raw = synthetic_raw(48, 48, exposure=0.2)
    deep = enhance(raw, model, replace(RATIO, bits=16)).pixels
    flat = enhance(raw, model, RATIO).pixels
    assert deep.dtype == np.uint16
    assert flat.dtype == np.uint8
    expected = np.floor(deep / 257 + find_thresholds(48, 48, (0, 0))[..., None])
    assert (flat != expected).mean() < 0.01
    assert np.abs(flat - expected).max() <= 1
    tiled = enhance(raw, model, replace(RATIO, tile=16)).pixels
    assert (flat != tiled).mean() < 0.01
    assert len(np.unique(deep)) > 2 * len(np.unique(flat))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_as_pillow_does_it(orientation: int) -> None:
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(upright(pixels, orientation), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("aspect", "size"), [(1.0, (10, 20)), (1.5, (10, 30)), (0.5, (20, 20))])
def test_pixels_become_square_and_nothing_shrinks(
    dtype: type[np.uint8] | type[np.uint16], aspect: float, size: tuple[int, int]
) -> None:
    pixels = np.full((10, 20, 3), 200, dtype)
    stretched = square(pixels, aspect)
    assert stretched.shape[:2] == size
    assert stretched.dtype == dtype
    assert (stretched == 200).all()


def test_a_missing_white_balance_is_measured(binning: Model) -> None:
    """Gray world: the picture's means agree within a tenth, where the raw values are off by two."""
    raw = synthetic_raw(64, 64)
    blind = replace(raw.color, white_balance=None, source=WhiteBalance.GRAY_WORLD)
    picture = enhance(replace(raw, color=blind), binning, RATIO).pixels.astype(float) / 255
    means = (picture**2.2).mean((0, 1))
    assert means.max() / means.min() < 1.25


class Meter(torch.nn.Module):
    """An amplifier that wants a mean of one half."""

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        return 0.5 / packed.mean((1, 2, 3))


def test_an_amplifier_finds_the_gain_from_the_packed_photo(model: Model) -> None:
    raw = synthetic_raw(32, 48, exposure=0.02, read_noise=0)
    wanted = 0.5 / ((raw.mosaic.astype(float) - 512) / (16383 - 512)).mean()
    learned = replace(model, amplifier=Meter(), gain_rule=GainRule.LLPACKNET)
    gain = find_gain(raw, learned, Options().resolve(learned))
    assert gain.rule is GainRule.LLPACKNET
    assert gain.value == pytest.approx(wanted, rel=1e-5)
    assert (
        find_gain(raw, learned, Options(rule=GainRule.REDI).resolve(learned)).rule is GainRule.REDI
    )
    with pytest.raises(UsageError, match="amplifier"):
        find_gain(raw, model, Options(rule=GainRule.LLPACKNET).resolve(model))


def measured_lower() -> RawImage:
    """A photo whose black was measured as 500, with offsets of rows, where its file states 512."""
    raw = synthetic_raw(64, 64, exposure=0.01)
    return replace(
        raw,
        black=np.full((2, 2), 500, np.float32),
        row_black=np.full(64, 1, np.float32),
        black_origin=BlackOrigin(raw.black, "measured on the masked pixels"),
    )


@pytest.mark.parametrize(
    ("output", "asked", "expected"),
    [
        (Output.SRGB, None, "stated"),
        (Output.SRGB, BlackSource.MEASURED, "measured"),
        (Output.SRGB, 508.0, 508.0),
        (Output.CAMERA, None, "measured"),
        (Output.CAMERA, BlackSource.STATED, "stated"),
    ],
)
def test_published_networks_get_the_published_black(
    binning: Model, output: Output, asked: BlackSource | float | None, expected: str | float
) -> None:
    """What the network is given, exactly: (value - black) / (white - black) times the gain."""
    raw, model = measured_lower(), replace(binning, output=output, gain_rule=GainRule.REDI)
    options = Options(black=asked, hot_pixels=HotPixels.KEEP)
    settings = options.resolve(model)
    photo = prepare(raw, model, settings, lambda line: None)
    black = {"stated": 512.0, "measured": 501.0}.get(str(expected), expected)
    white = 16383 - (500.0 if expected == "measured" else float(black))
    mosaic = (raw.mosaic.astype(np.float64) - float(black)) / white
    if output is Output.SRGB:  # the others are white-balanced on top
        light = np.asarray(photo.packed[:, :, :]) / photo.gain.value
        np.testing.assert_allclose(light[1], mosaic[::2, 1::2], atol=1e-7)  # float32's rounding
        # REDI's rule reads the same black as the network: it has no offsets of rows.
        at = np.float32(500 if expected == "measured" else black)
        plain = replace(raw, black=np.full((2, 2), at), row_black=None, black_origin=None)
        assert photo.gain.value == redi_gain(plain, GainRule.REDI, 1).value
    picture = enhance(raw, model, options)
    assert picture.black is not None
    assert picture.black["source"] == expected


def test_filters_are_those_that_were_asked_for(binning: Model) -> None:
    """Stated wrongly and put right, the picture is that of the right file, to the bit."""
    right = synthetic_raw(64, 64, "GRBG")
    wrong = replace(right, cfa=CFA("RGGB"))
    expected = enhance(right, binning, RATIO).pixels
    assert not np.array_equal(enhance(wrong, binning, RATIO).pixels[:, :63], expected)
    picture = enhance(wrong, binning, replace(RATIO, cfa="GRBG"))
    assert np.array_equal(picture.pixels, expected)
    assert "filters are taken as GRBG, as asked for; the file states RGGB" in picture.warnings
    with pytest.raises(UsageError, match="X-Trans"):
        enhance(synthetic_raw(36, 36, "xtrans"), binning, replace(RATIO, cfa="GRBG"))


def test_the_wrong_sensor_is_refused(model: Model) -> None:
    with pytest.raises(SensorError, match="X-Trans"):
        enhance(synthetic_raw(36, 36, "xtrans"), model, RATIO)


def test_progress_reaches_the_end(model: Model) -> None:
    shares: list[float] = []
    enhance(synthetic_raw(320, 64), model, replace(RATIO, tile=64), shares.append)
    assert shares == sorted(shares)
    assert len(shares) > 1
    assert shares[-1] == 1.0


def test_warnings_come_through(model: Model) -> None:
    stranger = replace(model, name="one-camera", trained_on=("SONY ILCE-7SM2",))
    raw = replace(synthetic_raw(32, 32), warnings=("something odd",))
    notes = enhance(raw, stranger, RATIO).warnings
    assert notes[0] == "something odd"
    assert "one-camera" in notes[1]
    assert "safelight" in notes[1]


def test_the_gain_is_one_number_for_all_tiles(
    binning: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A photo dark on the left and bright on the right stays continuous when tiled."""
    raw = synthetic_raw(64, 256, read_noise=0, exposure=0.01)
    ramp = np.linspace(0.2, 1, 256, dtype=np.float32)
    raw = replace(raw, mosaic=(512 + (raw.mosaic - 512.0) * ramp).astype(np.float32))
    whole, tiled = (
        enhance(raw, binning, Options(tile=tile, bits=16)).pixels for tile in ("off", 64)
    )
    assert np.array_equal(whole, tiled)


def test_hot_pixels_are_repaired_unless_asked_or_published(binning: Model) -> None:
    raw = synthetic_raw(64, 64, exposure=0.02)
    raw.mosaic[20, 31] += 12000
    published = replace(binning, output=Output.SRGB)
    wanted = (
        (binning, None, True),
        (binning, HotPixels.KEEP, False),
        (published, None, False),
        (published, HotPixels.REPAIR, True),
    )
    before = raw.mosaic.copy()
    for model, choice, repaired in wanted:
        picture = enhance(raw, model, replace(RATIO, hot_pixels=choice))
        assert ("repaired 1 hot or dead photosite" in picture.warnings) == repaired
        around = picture.pixels[18:24, 28:34].astype(int)
        assert (around.max() - np.median(around) < 60) == repaired
    assert np.array_equal(raw.mosaic, before), "the photo itself stays as it is"


# Where a photo ends off the network's grid


class Mean(torch.nn.Module):
    """Gives every pixel its packed photosite's value against the mean of all that it was given."""

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        scale = 2 if packed.shape[1] == 4 else 3
        picture = 0.3 + 0.2 * packed[:, :3] / packed.mean()
        return picture.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


def published(model: Model, cfa: str, multiple: int, any_size: bool) -> Model:
    """A network of finished sRGB that shows every photosite that it was given, even reflected."""
    sensor = Sensor.XTRANS if cfa == "xtrans" else Sensor.BAYER
    architecture = replace(
        model.architecture,
        sensor=sensor,
        multiple=multiple,
        any_size=any_size,
        halo=None,
        condition=None,
    )
    return replace(model, network=Mean(), architecture=architecture, output=Output.SRGB)


@pytest.mark.parametrize(
    ("cfa", "multiple", "any_size", "step"),
    [
        ("RGGB", 16, False, 32),  # REDI's, and the sides that its published code cuts photos to
        ("BGGR", 16, False, 32),
        ("GRBG", 32, False, 64),
        ("RGGB", 16, True, 2),
        ("xtrans", 16, True, 6),  # SID-Fuji's, likewise
        ("xtrans", 16, False, 48),
        ("xtrans", 5, False, 30),  # whole periods of the array, whatever the network's grid
    ],
)
def test_cropped_edges_are_those_of_a_photo_cut_to_the_grid(
    model: Model, cfa: str, multiple: int, any_size: bool, step: int
) -> None:
    """Bit by bit: the definition is the same photo, cut in its file."""
    raw = synthetic_raw(151, 203, cfa, exposure=0.2)
    network = published(model, cfa, multiple, any_size)
    _, _, top, left = align(raw.mosaic.astype(np.float32), raw.cfa)
    height, width = ((size - lost) // step * step for size, lost in ((151, top), (203, left)))
    cut = replace(raw, mosaic=raw.mosaic[: top + height, : left + width])
    options = replace(RATIO, bits=16, edges=Edges.CROP)
    found = enhance(raw, network, options).pixels
    assert found.shape == (height, width, 3)
    assert np.array_equal(found, enhance(cut, network, replace(RATIO, bits=16)).pixels)
    assert np.array_equal(found, enhance(cut, network, options).pixels)
    reflected = enhance(raw, network, replace(RATIO, bits=16)).pixels
    assert reflected.shape == (151 - top, 203 - left, 3)
    assert not np.array_equal(found, reflected[:height, :width])


def test_cropped_pictures_are_upright_and_square(model: Model) -> None:
    """What is cut off is last in the file, wherever it is in the picture."""
    network = published(model, "RGGB", 16, any_size=False)
    options = replace(RATIO, edges=Edges.CROP)
    raw = synthetic_raw(100, 130, exposure=0.2)
    flat = enhance(raw, network, options).pixels
    assert flat.shape == (96, 128, 3)
    for orientation in (2, 3, 6):
        turned = replace(raw, orientation=orientation, pixel_aspect=1.5)
        found = enhance(turned, network, options).pixels
        assert np.array_equal(found, upright(square(flat, 1.5), orientation))
        assert found.shape[:2] == ((192, 96) if orientation == 6 else (96, 192))


@pytest.mark.parametrize("cfa", ["RGGB", "xtrans"])
def test_safelight_takes_cropped_edges_too(cfa: str) -> None:
    model = load_model("safelight", "cpu", "fp32")
    raw = synthetic_raw(100, 103, cfa, exposure=0.2)
    whole = enhance(raw, model, RATIO).pixels
    found = enhance(raw, model, replace(RATIO, edges=Edges.CROP)).pixels
    step = model.for_sensor(raw.cfa.sensor).grid.step(raw.cfa.period)
    assert found.shape[:2] == tuple(size // step * step for size in whole.shape[:2])
    # Away from the edges that differ, and from what their light does to the noise, nothing does.
    assert np.abs(found[:32, :32].astype(int) - whole[:32, :32]).max() <= 2


def test_a_photo_smaller_than_the_grid_is_not_cropped_to_nothing(model: Model) -> None:
    network = published(model, "RGGB", 16, any_size=False)
    with pytest.raises(UsageError, match=r"--edges crop: of 70x20 .* grid of 32; use --edges refl"):
        enhance(synthetic_raw(20, 70), network, replace(RATIO, edges=Edges.CROP))


@pytest.mark.parametrize("cfa", ["RGGB", "xtrans"])
def test_the_default_model_paints_a_gray_card_gray(cfa: str) -> None:
    """Of either kind of sensor: noise-free, at its brightness, and neutral to 3 codes of 255."""
    raw = synthetic_raw(96, 96, cfa, exposure=0.02)
    balance = raw.color.white_balance / raw.color.white_balance.min()
    repeats = [side // raw.cfa.period for side in raw.mosaic.shape]
    light = np.tile(0.01 / balance[raw.cfa.channels], repeats)
    black, white = float(raw.black.mean()), float(raw.white.mean())
    flat = np.rint(black + light * (white - black)).astype(raw.mosaic.dtype)
    model = load_model("safelight", "cpu", "fp32")
    pixels = enhance(replace(raw, mosaic=flat), model, Options(gain=given_gain(20.0))).pixels
    found = pixels[24:-24, 24:-24].reshape(-1, 3).mean(axis=0)
    expected = 255 * float(srgb_encode(torch.tensor(0.2)))
    assert np.abs(found - found.mean()).max() < 3
    assert found.mean() == pytest.approx(expected, abs=6)


def test_a_dng_has_the_networks_own_light(binning: Model) -> None:
    """White balance undone to float32's rounding; the same samples wherever the white is."""
    raw = synthetic_raw(30, 34, "GBRG", read_noise=0)
    options = Options(gain=given_gain(1.0), dng=DngKind.LINEAR, highlights=Highlights.CLIP)
    picture = enhance(raw, binning, options)
    assert picture.camera is not None
    settings = options.resolve(binning)
    (part,) = (photo := prepare(raw, binning, settings, print)).run("off", print)
    balanced = part.picture[:, : photo.shape[0], : photo.shape[1]].clamp(max=1)
    multipliers = raw.color.white_balance / raw.color.white_balance.min()
    expected = balanced.permute(1, 2, 0).numpy() / multipliers
    np.testing.assert_allclose(picture.camera.light, expected, rtol=1e-6)
    assert picture.camera.cfa.pattern == "RGGB"
    assert picture.pixels.shape == picture.camera.light.shape
    np.testing.assert_array_equal(enhance(raw, binning, RATIO).pixels.shape, picture.pixels.shape)


@pytest.mark.parametrize("highlights", Highlights)
def test_light_above_white_stays_in_a_dng_unless_it_is_clipped(
    binning: Model, highlights: Highlights
) -> None:
    raw = synthetic_raw(96, 96, read_noise=0)
    mosaic = np.full_like(raw.mosaic, 600)
    mosaic[40:56, 40:56] = 1500  # x 50: some three times white
    options = Options(gain=given_gain(50.0), dng=DngKind.LINEAR, highlights=highlights)
    picture = enhance(replace(raw, mosaic=mosaic), binning, options)
    assert picture.camera is not None
    brightest = float(picture.camera.light.max())
    assert brightest <= 1 if highlights is Highlights.CLIP else brightest > 2.5


def test_a_bright_dng_holds_all_light_below_white(binning: Model) -> None:
    """Float32; what is below the knee stays, what is above keeps its order and its colour."""
    raw = synthetic_raw(96, 96, read_noise=0)
    mosaic = np.full_like(raw.mosaic, 600)
    mosaic[40:56, 40:56] = np.linspace(900, 1500, 16)  # x 50: up to three times white
    balance = raw.color.white_balance / raw.color.white_balance.min()
    light = {}
    for kind in (DngKind.LINEAR, DngKind.BRIGHT):
        options = Options(gain=given_gain(50.0), dng=kind)
        camera = enhance(replace(raw, mosaic=mosaic), binning, options).camera
        assert camera is not None
        assert (camera.baseline_exposure == 0) == (kind is DngKind.BRIGHT)
        light[kind] = camera.light * balance
    linear, bright = (found.reshape(-1, 3) for found in light.values())
    brightest = linear.max(1)
    assert bright.max() == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(bright[brightest < KNEE], linear[brightest < KNEE])
    order = np.argsort(brightest)
    assert (np.diff(bright.max(1)[order]) >= -1e-6).all()
    assert len(np.unique(bright.max(1)[brightest > 1].round(4))) == 8  # of blocks of two
    np.testing.assert_allclose(
        bright / bright.max(1, keepdims=True), linear / brightest[:, None], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("ratio", [30.0, 300.0])
def test_a_dng_states_the_noise_that_is_left(ratio: float) -> None:
    """Within a factor of 3 of what flat patches have; measured pixel by pixel it is a fifth."""
    levels = (60, 150, 225)
    codes = np.repeat(np.array(levels, np.uint8), 64)[None, :, None].repeat(192, 0).repeat(3, 2)
    raw = photograph_scene(Scene("flat", codes), ratio)
    options = Options(gain=given_gain(ratio), dng=DngKind.LINEAR, bits=16)
    picture = enhance(raw, load_model("safelight", "cpu", "fp32"), options)
    stream = io.BytesIO()
    save = SaveOptions(PictureFormat.DNG, bits=16)
    save_picture(picture.pixels, stream, save, camera=picture.camera)
    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        shot, read = file.pages.first.pages[0].tags["NoiseProfile"].value
    assert picture.camera is not None
    scale = 2**picture.camera.baseline_exposure
    for patch in range(len(levels)):
        place = picture.camera.light[12:-12, 64 * patch + 12 : 64 * patch + 52] / scale
        stated = np.sqrt(shot * place.mean((0, 1)) + read)
        assert 1 / 3 < np.exp(np.log(stated / place.std((0, 1))).mean()) < 3


def test_a_dng_of_the_picture_has_square_pixels(binning: Model) -> None:
    """darktable and RawTherapee stretch mosaics alone; a mosaic has the sensor's own sites."""
    raw = synthetic_raw(32, 48, read_noise=0, pixel_aspect=1.5)
    wide, narrow = (
        enhance(raw, binning, replace(RATIO, dng=kind)).camera
        for kind in (DngKind.LINEAR, DngKind.MOSAIC)
    )
    assert wide is not None
    assert narrow is not None
    assert (wide.light.shape, wide.pixel_aspect) == ((32, 72, 3), 1)
    assert (narrow.light.shape, narrow.pixel_aspect) == ((32, 48, 3), 1.5)


def test_networks_that_paint_give_no_dng(model: Model) -> None:
    painter = replace(model, output=Output.SRGB)
    with pytest.raises(UsageError, match="DNG holds the camera's colours"):
        Options(dng=DngKind.LINEAR).resolve(painter)


def test_floats_are_the_light_that_codes_are_made_of(binning: Model) -> None:
    """Where nothing is above white or out of gamut, to half a 16-bit code, times the curve's slope;
    above white light goes on, by so many times as it is amplified more."""
    raw = synthetic_raw(64, 64, read_noise=0, exposure=0.2)
    deep = enhance(raw, binning, replace(RATIO, bits=16))
    light = enhance(raw, binning, replace(RATIO, bits=32))
    assert light.pixels.dtype == np.float32
    assert light.color_space is ColorSpace.LINEAR
    inside = (light.pixels > 0.02 * light.pixels.max(2, keepdims=True)).all(2)
    inside &= light.pixels.max(2) < 0.8
    assert inside.mean() > 0.5
    again = srgb_encode(torch.from_numpy(light.pixels)).numpy() * 65535
    plain = inside & (light.pixels.min(2) > 0.1 * light.pixels.max(2))
    assert np.abs(again - deep.pixels)[plain].max() < 1
    more = enhance(raw, binning, Options(gain=given_gain(16.0), bits=32)).pixels
    assert more.max() > 2
    np.testing.assert_allclose(more, 16 * light.pixels, rtol=1e-3, atol=1e-4)


def test_a_white_balance_of_ones_own(binning: Model) -> None:
    raw = synthetic_raw(64, 64, read_noise=0)
    cast = replace(raw, color=replace(raw.color, white_balance=np.array([4.0, 1.0, 0.5])))
    asked = replace(RATIO, white_balance=WhiteBalance.GRAY_WORLD)
    means = enhance(cast, binning, asked).pixels.mean((0, 1))
    assert np.ptp(means) < 0.1 * means.mean()
    assert np.ptp(enhance(cast, binning, RATIO).pixels.mean((0, 1))) > 0.5 * means.mean()
    with pytest.raises(UsageError, match="--wb: tiny paints the colours it learned"):
        asked.resolve(replace(binning, output=Output.SRGB))


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG", "xtrans"])
def test_the_cameras_own_crop_is_shown(binning: Model, cfa: str) -> None:
    """The same samples as in the whole picture, wherever the filters and the turn put them."""
    network = binning if cfa != "xtrans" else load_model("safelight-xtrans", "cpu", "fp32")
    top, left, height, width = crop = 3, 6, 40, 51
    raw = replace(synthetic_raw(64, 72, cfa), default_crop=crop, orientation=8)
    asked = replace(RATIO, dng=DngKind.MOSAIC)
    shown, whole = enhance(raw, network, asked), enhance(raw, network, replace(asked, full=True))
    assert shown.pixels.shape[:2] == (width, height)
    _, _, down, right = align(raw.mosaic, raw.cfa)
    at = np.s_[top - down : top - down + height, left - right : left - right + width]
    sensor = upright(whole.pixels, 6)
    np.testing.assert_array_equal(shown.pixels, upright(sensor[at], 8))
    assert shown.camera is not None
    assert whole.camera is not None
    np.testing.assert_array_equal(shown.camera.light, whole.camera.light[at])
    assert shown.camera.cfa == raw.cfa.shifted(top, left)


def test_published_networks_show_all_that_the_sensor_saw(binning: Model) -> None:
    raw = replace(synthetic_raw(64, 64), default_crop=(8, 8, 40, 48))
    painter = replace(binning, output=Output.SRGB)
    assert enhance(raw, painter, RATIO).pixels.shape[:2] == (64, 64)
    assert enhance(raw, painter, replace(RATIO, full=False)).pixels.shape[:2] == (40, 48)


@pytest.mark.parametrize("balance", [True, False])
def test_photos_too_large_to_be_packed_whole_give_the_same_picture(
    binning: Model, monkeypatch: pytest.MonkeyPatch, balance: bool
) -> None:
    """Packed window by window, lamps and missing white balance included: to the bit."""
    raw = synthetic_raw(97, 131, "GBRG", exposure=0.05)
    raw.mosaic[40:48, 60:70] = 16383  # a lamp
    if not balance:
        raw = replace(raw, color=replace(raw.color, white_balance=None))
    held = enhance(raw, binning, replace(RATIO, tile=32))
    monkeypatch.setattr("darkroom.pipeline.HELD_SITES", 0)
    windowed = enhance(raw, binning, replace(RATIO, tile=32))
    assert np.array_equal(held.pixels, windowed.pixels)
    assert held.warnings == windowed.warnings
