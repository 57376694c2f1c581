"""Light above white: lamps keep their shape and colour, or are clipped as ever."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import synthetic_raw
from numpy.typing import NDArray
from safetensors.torch import save_file

from darkroom.batch.run import BatchOptions, settings
from darkroom.cli.inputs import choice
from darkroom.color.highlights import HighDynamicRangeModel, Highlights, with_highlights
from darkroom.color.render import render_codes, render_into
from darkroom.color.tone_curve import Shoulder
from darkroom.color.transfer import srgb_decode
from darkroom.color.white_balance import balance_white
from darkroom.errors import UsageError
from darkroom.evaluation.chart import BLACK, WHITE, photograph_chart
from darkroom.evaluation.simulated import photograph_light
from darkroom.gain import given_gain
from darkroom.models.architectures.safelight import Safelight
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.models.tiling import Grid, run_tiled
from darkroom.mosaic.packing import BAYER, COLORS_OF_CHANNELS, XTRANS, linearise, pack
from darkroom.pipeline import Options, enhance, prepare
from darkroom.raw.image import CFA, SRGB_TO_XYZ, Color, RawImage
from darkroom.weights.registry import Output

RATIO = 300.0
OPTIONS = Options(gain=given_gain(RATIO), bits=16)
ORANGE = (1.0, 0.5, 0.2)
SIDE = 96


class Clipping(torch.nn.Module):
    """What networks learn: clean light up to white; each 2x2 block is four equal pixels."""

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        rgb = torch.stack([packed[:, 0], packed[:, 1:3].mean(1), packed[:, 3]], 1).clamp(max=1)
        return rgb.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path: Path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(3)
    save_file(Safelight(widths=(8, 8, 8, 8)).state_dict(), path)
    loaded = load_model(path, "cpu", "fp32")
    architecture = replace(loaded.architecture, condition=None, halo=8)
    return replace(loaded, network=Clipping(), architecture=architecture)


@pytest.fixture(scope="module")
def safelight() -> Model:
    return load_model("safelight", "cpu", "fp32")


def distances() -> NDArray[np.float64]:
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return np.hypot(y, x)


def lamp(times: float, color: tuple[float, float, float] = ORANGE) -> NDArray[np.float32]:
    """Draw a lamp so many times over white in the dark, its rim as soft as a lens makes it."""
    profile = 1 / (1 + np.exp((distances() - 14) / 1.2)) + 0.01 / (1 + (distances() / 15) ** 2)
    return np.asarray(0.01 + times * profile[..., None] * np.array(color), np.float32)


def shown(model: Model, raw: RawImage, **options: object) -> NDArray[np.float64]:
    """Enhance and return linear sRGB."""
    pixels = enhance(raw, model, replace(OPTIONS, **options)).pixels
    return srgb_decode(torch.from_numpy(pixels / 65535)).numpy()


def rings(picture: NDArray[np.float64], width: int = 2) -> NDArray[np.float64]:
    """Average a picture over rings around the lamp."""
    d = distances()
    edges = range(0, SIDE // 2, width)
    return np.array([picture[(d >= r) & (d < r + width)].mean(0) for r in edges])


def hue(rgb: NDArray[np.float64]) -> float:
    """Return OKLab's hue in degrees. Source: the matrices of Ottosson, 2020."""
    lms = np.cbrt(
        np.array(
            [
                [0.4122214708, 0.5363325363, 0.0514459929],
                [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005],
            ]
        )
        @ rgb
    )
    a = np.array([1.9779984951, -2.4285922050, 0.4505937099]) @ lms
    b = np.array([0.0259040371, 0.7827717662, -0.8086757660]) @ lms
    return float(np.degrees(np.arctan2(b, a)))


def test_a_lamp_fades_outwards_without_a_dark_ring(model: Model, safelight: Model) -> None:
    """Its light falls by half from ring to ring or more, so noise may not turn the order."""
    found = rings(shown(safelight, photograph_chart(lamp(50), exposure=1 / RATIO))).max(1)
    bright = rings(lamp(50)).max(1) > 0.3
    assert (np.diff(found[bright]) < 0.002).all()
    assert found[0] > 0.99
    clipped = shown(
        model, photograph_chart(lamp(50), exposure=1 / RATIO), highlights=Highlights.CLIP
    )
    assert (rings(clipped).max(1)[:7] == 1).all(), "without the roll-off it is one flat white"


@pytest.mark.parametrize("color", [(1.0, 0.35, 0.1), (0.35, 0.3, 0.9)])
def test_colours_above_white_keep_their_hue_without_gain(
    safelight: Model, color: tuple[float, float, float]
) -> None:
    """A surface up to twice as bright as white, whose sites hold all: 3 degrees of OKLab's.

    It is lit unevenly, or its sites would seem to be saturated. Red and blue, which white balance
    amplifies, were cut off at white and gave yellow and cyan.
    """
    light = np.full((SIDE, SIDE, 3), 0.2, np.float32)
    light[24:72, 24:72] = np.linspace(1.2, 2, 48)[:, None, None] * np.array(color)
    raw = photograph_chart(light, exposure=1.0)
    found = shown(safelight, raw, gain=given_gain(1.0))
    middle = found[32:64, 32:64].mean((0, 1))
    assert middle.max() > 0.95
    off = abs((hue(middle) - hue(np.array(color)) + 180) % 360 - 180)
    assert off < 3
    assert found[2:16].mean() == pytest.approx(0.2, abs=0.01), "the rest stays as it was"


def test_saturated_white_stays_white_beside_colours_above_it(safelight: Model) -> None:
    light = np.full((SIDE, SIDE, 3), 3.0, np.float32)
    light[:40] = 2 * np.array((1.0, 0.35, 0.1))
    found = shown(safelight, photograph_chart(light, exposure=1.0), gain=given_gain(1.0))
    assert found[60:88].min() > 0.97


def test_what_is_dark_beside_saturated_white_stays_dark(safelight: Model) -> None:
    """Four pixels off so hard an edge 0.02 of white; what is saturated is white up to its last."""
    light = np.full((SIDE, SIDE, 3), 3.0, np.float32)
    light[:, 48:] = 0.1
    found = shown(safelight, photograph_chart(light, exposure=1.0), gain=given_gain(1.0))
    assert np.abs(found[16:80, 52:80] - 0.1).max() < 0.02
    assert found[16:80, 16:48].min() > 0.99


@pytest.mark.parametrize("cfa", [BAYER, XTRANS], ids=["bayer", "xtrans"])
@pytest.mark.parametrize("edge", [46, 47, 48])
def test_saturated_white_ends_where_its_light_does(safelight: Model, cfa: CFA, edge: int) -> None:
    """Wherever packed pixels begin: the first column of 0.1 was up to 0.40, and is 0.17 at most."""
    light = np.full((SIDE, SIDE, 3), 3.0, np.float32)
    light[:, edge:] = 0.1
    raw = photograph_light("edge", light, 1, cfa)
    found = shown(safelight.for_sensor(cfa.sensor), raw, gain=given_gain(1.0))[16:80]
    assert found[:, 16:edge].min() > 0.99
    assert found[:, edge].mean() < 0.2
    assert found[:, edge + 1].mean() < 0.13


@pytest.mark.parametrize("color", [ORANGE, (0.2, 0.4, 1.0), (0.3, 1.0, 0.4)])
def test_the_rim_keeps_its_hue(safelight: Model, color: tuple[float, float, float]) -> None:
    """Six degrees, of which the rim's noise is three; clipped it is white or another colour."""
    found = rings(shown(safelight, photograph_chart(lamp(50, color), exposure=1 / RATIO)))
    above = rings(lamp(50, color)).max(1) > 1.5
    off = [abs((hue(ring) - hue(np.array(color)) + 180) % 360 - 180) for ring in found[above]]
    assert max(off) < 6
    assert min(ring.min() / ring.max() for ring in found[above]) < 0.65


def test_what_saturates_the_sensor_is_neutral(safelight: Model) -> None:
    """One 16-bit code of the highest in sRGB is 2e-5 of light."""
    found = shown(safelight, photograph_chart(lamp(1500), exposure=1 / RATIO))
    core = found[distances() < 8]
    assert (core > 1 - 1e-4).all()
    clipped = found[(distances() > 14) & (distances() < 20)]
    # Nothing magenta on the way: green is never the least of orange light.
    assert (clipped[:, 1] > clipped[:, 2] - 0.01).all()


EARLY = {share: round(BLACK + share * (WHITE - BLACK)) for share in (0.25, 0.7, 0.95, 1)}
"""Where sensors end, in shares of the white that their files state, and in steps."""


def magenta(picture: NDArray[np.float64]) -> float:
    """Return by how much green is less than red and blue at most."""
    return float((picture[..., [0, 2]].min(2) - picture[..., 1]).max())


@pytest.mark.parametrize(
    ("cfa", "share", "gain"),
    [
        (BAYER, 0.25, 1),
        (BAYER, 0.7, 1),
        (BAYER, 1, 2),
        (XTRANS, 0.25, 1),
        (XTRANS, 0.25, 2),
        (XTRANS, 0.95, 1),
    ],
)
def test_white_lamps_have_no_magenta_wherever_the_sensor_ends(
    safelight: Model, cfa: CFA, share: float, gain: float
) -> None:
    """It was 0.15 to 0.5 of light in cores and rims and is 0.04; rings are gray to 0.03.

    Their cores are white, and the night stays as it is, to what the network adds.
    """
    raw = photograph_light("lamp", lamp(50, (1.0, 1.0, 1.0)), 1, cfa, full=EARLY[share])
    found = shown(safelight.for_sensor(cfa.sensor), raw, gain=given_gain(gain))
    assert found[distances() < 12].min() > 0.99
    assert magenta(found) < 0.06
    assert np.ptp(rings(found), axis=1).max() < 0.03
    night = gain * lamp(50, (1.0, 1.0, 1.0))[:8, :8].mean()
    assert found[:8, :8].mean() == pytest.approx(night, rel=0.02)


@pytest.mark.parametrize("share", [0.25, 0.7])
def test_skies_brighten_smoothly_to_a_sensors_early_end(safelight: Model, share: float) -> None:
    """A ramp of gray light past it stays gray to 0.03 and never darkens; below it is as it was."""
    ramp = np.geomspace(0.05, 2, 192) * share
    light = np.broadcast_to(ramp[None, :, None], (48, 192, 3)).astype(np.float32)
    raw = photograph_light("sky", light, 1, full=EARLY[share])
    found = shown(safelight, raw, gain=given_gain(1.0))[8:-8].mean(0)
    assert (found.max(1) - found.min(1)).max() < 0.03
    assert (np.diff(found.mean(1)) > -0.01).all()
    below, above = ramp < 0.45 * share, ramp > 1.1 * share
    assert found[below] == pytest.approx(ramp[below][:, None].repeat(3, 1), abs=0.01)
    assert found[above].min() > 0.98


def test_one_colour_may_end_earlier_than_the_others(safelight: Model) -> None:
    raw = photograph_light("lamp", lamp(50, (1.0, 1.0, 1.0)), 1)
    limit = np.where(BAYER.channels == 1, EARLY[0.25], EARLY[0.7]).astype(np.uint16)
    mosaic = np.minimum(raw.mosaic, np.tile(limit, (SIDE // 2, SIDE // 2)))
    found = shown(safelight, replace(raw, mosaic=mosaic), gain=given_gain(1.0))
    assert found[distances() < 12].min() > 0.99
    assert magenta(found) < 0.06


def test_darkened_photos_without_saturated_sites_stay_as_they_were(model: Model) -> None:
    """Below a gain of 1 a full sensor is below white; where none is full nothing changes at all."""
    light = np.full((SIDE, SIDE, 3), 0.5, np.float32)
    light[30:60, 30:60] = np.linspace(0.5, 0.9, 30)[:, None, None]
    raw = photograph_chart(light, exposure=1.0)
    dark = replace(OPTIONS, gain=given_gain(1.0), ev=-1.0)
    rolled, clipped = (
        enhance(raw, model, replace(dark, highlights=choice)).pixels for choice in Highlights
    )
    assert np.array_equal(rolled, clipped)


def test_nothing_above_white_is_nothing_changed(model: Model) -> None:
    raw = photograph_chart(np.full((SIDE, SIDE, 3), 0.5, np.float32), exposure=1 / 20)
    calm = replace(OPTIONS, gain=given_gain(20.0))
    rolled, clipped = (
        enhance(raw, model, replace(calm, highlights=choice)).pixels for choice in Highlights
    )
    assert np.array_equal(rolled, clipped)


def test_clipping_is_rendering_the_network_alone(model: Model) -> None:
    """By hand, bit for bit."""
    raw = photograph_chart(lamp(50), exposure=1 / RATIO)
    found = enhance(raw, model, replace(OPTIONS, highlights=Highlights.CLIP)).pixels
    packed = torch.from_numpy(pack(linearise(raw), raw.cfa)).mul_(RATIO)
    picture = Clipping()(balance_white(packed, raw.color)[None])[0]
    assert np.array_equal(found, render_codes(picture, raw.color, 16).numpy())


def test_tiled_equals_whole(model: Model) -> None:
    """Sums in another order may tip a code of 65535; never more than two."""
    raw = photograph_chart(np.tile(lamp(50), (2, 3, 1)), exposure=1 / RATIO)
    whole, tiled = (
        enhance(raw, model, replace(OPTIONS, tile=tile)).pixels.astype(int) for tile in ("off", 64)
    )
    assert np.abs(whole - tiled).max() <= 2


def test_early_ends_tiled_equal_whole(model: Model) -> None:
    """As above."""
    raw = photograph_light("lamps", np.tile(lamp(50), (2, 3, 1)), 1, full=EARLY[0.25])
    once = replace(OPTIONS, gain=given_gain(1.0))
    whole, tiled = (
        enhance(raw, model, replace(once, tile=tile)).pixels.astype(int) for tile in ("off", 64)
    )
    assert whole.max() == 65535
    assert np.abs(whole - tiled).max() <= 2


def test_light_is_continuous_where_the_mosaic_takes_over(model: Model) -> None:
    """A ramp from dark to ten times white: no step larger than the ramp's own, and a few codes."""
    ramp = np.geomspace(0.2, 10, 256).astype(np.float32)
    scene = np.broadcast_to(ramp[None, :, None], (32, 256, 3)).copy()
    raw = photograph_chart(scene, exposure=1 / 2)
    found = shown(model, raw, gain=given_gain(2.0)).mean((0, 2))
    assert (np.diff(found[::4]) > -0.004).all()
    assert np.diff(found[::4]).max() < 0.06


class Flat:
    """A network of X-Trans that averages its packed pixels, up to white."""

    grid = Grid(multiple=2, halo=2, scale=3)
    device = torch.device("cpu")

    def __call__(self, packed: torch.Tensor) -> torch.Tensor:
        channels = np.array(COLORS_OF_CHANNELS[9])
        rgb = torch.stack([packed[:, channels == color].mean(1) for color in range(3)], 1)
        return rgb.clamp(max=1).repeat_interleave(3, 2).repeat_interleave(3, 3)

    def on_cpu(self) -> "Flat":
        return self


@pytest.mark.parametrize("times", [3.0, 6.0, 18.0])
def test_xtrans_keeps_its_lamp_too(times: float) -> None:
    """Flat light of one colour, so many times white, comes out as it is; float32 and roots."""
    light = np.array([1.0, 0.5, 0.25]) * times
    mosaic = light[np.tile(XTRANS.channels, (24, 24))].astype(np.float32)
    packed = torch.from_numpy(pack(mosaic, XTRANS))
    flat = Flat()
    balance = np.ones(3)
    color = Color(balance, np.linalg.inv(SRGB_TO_XYZ))
    network, shoulder = with_highlights(flat, lambda factor: flat, packed, color, 20 * balance)
    assert shoulder is not None
    assert np.allclose(network(packed[None])[0].numpy(), light[:, None, None], rtol=1e-4)


def test_published_networks_clip_and_say_so(model: Model) -> None:
    painter = replace(model, name="painter", output=Output.SRGB)
    raw = synthetic_raw(32, 32)
    with pytest.raises(UsageError, match="--highlights roll: painter paints finished pictures"):
        enhance(raw, painter, replace(OPTIONS, highlights=Highlights.ROLL))
    alone = enhance(raw, painter, OPTIONS).pixels
    clipped = enhance(raw, painter, replace(OPTIONS, highlights=Highlights.CLIP)).pixels
    assert np.array_equal(alone, clipped)


def test_the_curve_ends_at_the_photos_brightest_light(model: Model) -> None:
    raw = photograph_chart(lamp(50, (1.0, 1.0, 1.0)), exposure=1 / RATIO)
    packed = torch.from_numpy(pack(linearise(raw), raw.cfa)).mul_(RATIO)
    light = balance_white(packed, raw.color)
    white = RATIO * raw.color.white_balance / raw.color.white_balance.min()

    def find(light: torch.Tensor) -> Shoulder | None:
        return with_highlights(model, lambda factor: model, light, raw.color, white)[1]

    found = find(light)
    assert found is not None
    assert found.peak == pytest.approx(50, rel=0.1)
    assert found.white == white.max()
    assert find(light / 200) is None


def test_rolled_off_light_keeps_the_ratios_of_its_channels() -> None:
    """Golden, on identity colours: (4, 2, 1) times white; dark; black."""
    color = replace(synthetic_raw(8, 8).color, xyz_to_camera=np.linalg.inv(SRGB_TO_XYZ))
    light = torch.tensor([[4.0, 2.0, 1.0], [0.4, 0.2, 0.1], [0.0, 0.0, 0.0]]).T[:, None]
    codes = np.empty((1, 3, 3), np.uint16)
    render_into(light, color, codes, Shoulder.of(50.0, 300.0))
    linear = srgb_decode(torch.from_numpy(codes[0] / 65535)).numpy()
    bent = float(Shoulder.of(50.0, 300.0).curve(torch.tensor(4.0)))
    assert np.allclose(linear[0], np.array([1, 0.5, 0.25]) * bent, atol=1e-4)
    assert np.allclose(linear[1], [0.4, 0.2, 0.1], atol=1e-4)
    assert (linear[2] == 0).all()


def test_words_of_the_command_line() -> None:
    assert choice("--highlights", Highlights, None) is None
    assert choice("--highlights", Highlights, "clip") is Highlights.CLIP
    with pytest.raises(UsageError, match="--highlights glow: give one of clip, roll"):
        choice("--highlights", Highlights, "glow")


def test_a_batch_tells_the_choices_apart(model: Model) -> None:
    made = {
        choice: settings(BatchOptions(Options(highlights=choice)), model)
        for choice in (None, *Highlights)
    }
    assert len({str(found.options) for found in made.values()}) == 3


@pytest.mark.parametrize("strip", [1 << 21, 1])
def test_lamps_by_bands_of_rows_are_those_of_the_whole(
    safelight: Model, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of a strip see other margins, but the network does not: up to rounding the same."""
    torch.set_num_threads(1)
    monkeypatch.setattr("darkroom.color.highlight_windows.STRIP_SITES", strip)
    monkeypatch.setattr("darkroom.models.row_bands.BAND_BYTES", 1)  # as low as bands can be
    light = np.full((704, 128, 3), 0.02, np.float32)
    light[40:60, 40:60] = 30 * np.array(ORANGE)
    light[560:600, 60:90] = 10
    raw = photograph_chart(light, exposure=1 / RATIO)
    settings_ = OPTIONS.resolve(safelight)
    photo = prepare(raw, safelight, settings_, lambda line: None)
    assert isinstance(photo.network, HighDynamicRangeModel)
    bands = run_tiled(photo.network, photo.packed)
    whole = photo.network(torch.as_tensor(photo.packed)[None])[0]
    assert float(whole.max()) > 5
    # Where two strips meet, a lamp's surroundings are interpolated from one side alone.
    difference = (bands - whole).abs() / (1 + whole.abs())
    assert float(difference.max()) < 1e-4
