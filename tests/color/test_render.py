"""Colour against published numbers, LibRaw and slow literal formulas, then its properties."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from darkroom.color.matrix import SRGB_TO_XYZ, camera_to_srgb
from darkroom.color.render import render, render_codes
from darkroom.color.transfer import bt709_decode, bt709_encode, srgb_decode, srgb_encode
from darkroom.color.white_balance import balance_white, gray_world
from darkroom.errors import RawError
from darkroom.mosaic.packing import BAYER, XTRANS, pack
from darkroom.output.dng import write_dng
from darkroom.raw.image import CFA, Color, RawImage

# CIE XYZ (D65) to camera RGB, times 10000. Source: Adobe's ColorMatrix tags of DNG files.
MATRICES = {
    "Sony A7S": [[5838, -1430, -246], [-3497, 11477, 2297], [-748, 1885, 5778]],
    "Canon 550D": [[6941, -1164, -857], [-3825, 11597, 2534], [-416, 1540, 6039]],
    "Fuji X-T2": [[11434, -4948, -1210], [-3746, 12042, 1903], [-666, 1479, 5235]],
}
BALANCES = {"daylight": (2.1, 1.0, 1.6), "tungsten": (1.2, 1.0, 3.1), "red below 1": (0.8, 1, 4.0)}


def color_of(
    matrix: str = "Sony A7S", balance: tuple[float, float, float] = (2.1, 1, 1.6)
) -> Color:
    return Color(np.array(balance, dtype=np.float64), np.array(MATRICES[matrix]) / 10000)


def test_primaries_and_white_give_the_matrix() -> None:
    chromaticities = np.array([[0.64, 0.33], [0.30, 0.60], [0.15, 0.06], [0.3127, 0.3290]])
    xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in chromaticities]).T
    matrix = xyz[:, :3] * np.linalg.solve(xyz[:, :3], xyz[:, 3])
    # The constants have seven digits.
    np.testing.assert_allclose(SRGB_TO_XYZ.numpy(), matrix, rtol=0, atol=6e-8)


def test_srgb_curve_has_the_published_values() -> None:
    # IEC 61966-2-1: the knee at 0.0031308 is 0.04045; the standard rounds both, hence 1e-5.
    linear = torch.tensor([0, 0.001, 0.0031308, 0.18, 0.2140411, 0.5, 1], dtype=torch.float64)
    encoded = [0, 0.01292, 0.04045, 0.4613561, 0.5, 0.7353570, 1]
    np.testing.assert_allclose(srgb_encode(linear).numpy(), encoded, atol=1e-5)
    np.testing.assert_allclose(srgb_decode(srgb_encode(linear)).numpy(), linear, atol=1e-6)


def test_bt709_curve_has_the_published_values() -> None:
    # BT.709-6 gives alpha 1.099 and beta 0.018, to three digits.
    linear = torch.tensor([0, 0.009, 0.018, 0.18, 0.5, 1], dtype=torch.float64)
    encoded = [0, 0.0405, 0.081, 0.4090, 0.7055, 1]
    np.testing.assert_allclose(bt709_encode(linear).numpy(), encoded, atol=4e-4)
    np.testing.assert_allclose(bt709_decode(bt709_encode(linear)).numpy(), linear, atol=1e-6)


def test_curves_have_a_gradient_everywhere() -> None:
    linear = torch.tensor([-0.1, 0.0, 0.001, 0.5, 1.5], requires_grad=True)
    for curve in (srgb_encode, bt709_encode):
        (gradient,) = torch.autograd.grad(curve(linear).sum(), linear)
        assert bool((torch.isfinite(gradient) & (gradient > 0)).all())


# Against LibRaw

PATCH = 16


def patches(color: Color, seed: int) -> tuple[RawImage, NDArray[np.float64]]:
    """A noise-free RAW of 4 x 6 flat patches of moderate colours, and their linear sRGB."""
    random = np.random.default_rng(seed)
    srgb = random.uniform(0.1, 0.6, (4, 6, 1)) + random.uniform(-0.06, 0.06, (4, 6, 3))
    srgb_to_camera = color.xyz_to_camera @ SRGB_TO_XYZ.numpy()
    srgb_to_camera /= srgb_to_camera.sum(axis=1, keepdims=True)
    assert color.white_balance is not None
    balance = color.white_balance / color.white_balance.min()
    sensor = srgb @ srgb_to_camera.T / balance
    light = np.kron(sensor.transpose(2, 0, 1), np.ones((PATCH, PATCH)))
    channels = np.tile(CFA("RGGB").channels, (light.shape[1] // 2, light.shape[2] // 2))
    mosaic = np.take_along_axis(light, channels[None], axis=0)[0] * (16383 - 512) + 512
    levels = np.full((2, 2), 512, np.float32), np.full((2, 2), 16383, np.float32)
    raw = RawImage(np.rint(mosaic).astype(np.uint16), CFA("RGGB"), *levels, color)
    return raw, srgb


def libraw(path: Path, **options: Any) -> NDArray[np.float64]:
    with rawpy.imread(str(path)) as raw:
        picture = raw.postprocess(
            use_camera_wb=True, no_auto_bright=True, output_bps=16, adjust_maximum_thr=0, **options
        )
    return np.asarray(picture / 65535.0)


def middles(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the inner part of each patch, out of any demosaicing's reach: (4, 6, 3)."""
    tiles = picture.reshape(4, PATCH, 6, PATCH, 3)[:, 5:-5, :, 5:-5]
    return np.asarray(tiles.mean(axis=(1, 3)))


@pytest.mark.parametrize("balance", BALANCES.values(), ids=BALANCES.keys())
@pytest.mark.parametrize("matrix", MATRICES)
def test_white_balance_and_matrix_are_libraws(
    matrix: str, balance: tuple[float, float, float], tmp_path: Path
) -> None:
    raw, truth = patches(color_of(matrix, balance), seed=1)
    write_dng(tmp_path / "patches.dng", raw)
    theirs = middles(libraw(tmp_path / "patches.dng", gamma=(1, 1)))
    packed = torch.from_numpy(pack((raw.mosaic.astype(np.float32) - 512) / (16383 - 512), BAYER))
    balanced = balance_white(packed, raw.color)
    camera = torch.stack([balanced[0], balanced[1:3].mean(0), balanced[3]])
    small = srgb_decode(render(camera, raw.color)).permute(1, 2, 0).double().numpy()
    ours = middles(np.kron(small, np.ones((2, 2, 1))))
    # LibRaw's primaries differ from the standard's in the fourth digit.
    np.testing.assert_allclose(ours, theirs, rtol=0.01)
    np.testing.assert_allclose(ours, truth, rtol=0.002)


def test_bt709_is_libraws_default_curve(tmp_path: Path) -> None:
    write_dng(tmp_path / "patches.dng", patches(color_of(), seed=2)[0])
    linear = middles(libraw(tmp_path / "patches.dng", gamma=(1, 1)))
    curved = middles(libraw(tmp_path / "patches.dng"))
    # LibRaw's power is 1 / 2.222, not 0.45.
    np.testing.assert_allclose(bt709_encode(torch.from_numpy(linear)).numpy(), curved, atol=2e-4)


# White balance


@pytest.mark.parametrize("cfa", [BAYER, XTRANS], ids=["bayer", "xtrans"])
def test_each_packed_channel_gets_the_multiplier_of_its_color(cfa: CFA) -> None:
    channels = np.tile(cfa.channels, (12 // cfa.period, 12 // cfa.period)).astype(np.float32)
    packed = torch.from_numpy(pack(channels, cfa))
    balanced = balance_white(torch.ones_like(packed), color_of(balance=(2.0, 1.0, 1.5)))
    torch.testing.assert_close(balanced, torch.tensor([2.0, 1.0, 1.5])[packed.long()])


def test_unknown_white_balance_changes_nothing() -> None:
    light = torch.rand(4, 2, 2)
    assert balance_white(light, replace(color_of(), white_balance=None)) is light


@pytest.mark.parametrize("channels", [3, 4, 9])
def test_gray_world_undoes_a_cast(channels: int) -> None:
    random = torch.Generator().manual_seed(channels)
    gray = torch.rand(1, 40, 60, generator=random) * 0.6
    texture = torch.rand(channels, 40, 60, generator=random) * 0.1
    cast = Color(1 / np.array([2.0, 1.0, 1.6]), np.eye(3))
    scene = balance_white(gray + texture, cast) / 2  # the multipliers' smallest is made 1
    scene[:, :8] = 1.0  # a clipped sky must not count
    np.testing.assert_allclose(gray_world(scene), [2.0, 1.0, 1.6], rtol=0.03)


def test_gray_world_of_nothing_is_neutral() -> None:
    assert gray_world(torch.zeros(3, 8, 8)).tolist() == [1, 1, 1]
    assert gray_world(torch.ones(4, 8, 8)).tolist() == [1, 1, 1]
    red = torch.tensor([0.5, 0.01, 0.3])[:, None, None] * torch.rand(1, 8, 8)
    assert gray_world(red).tolist()[0] == pytest.approx(1 / 8)


# Rendering


def literal_render(camera: NDArray[np.float64], color: Color) -> NDArray[np.float64]:
    """One pixel, written out from the description."""
    rgb = camera_to_srgb(color).numpy() @ np.minimum(camera, 1)
    gray = np.array([0.2126, 0.7152, 0.0722]) @ np.maximum(rgb, 0)
    of_limit = (gray - rgb.min()) / max(gray, 1e-6)
    shown = 1.0
    if of_limit > 0.98:
        shown = (0.98 + 0.02 * (1 - np.exp((0.98 - of_limit) / 0.02))) / of_limit
    rgb = np.maximum(gray + shown * (rgb - gray), 0)
    final = rgb / max(rgb.max(), 1)
    return np.array(
        [12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055 for v in final]
    )


def wild_picture(height: int, width: int, seed: int) -> Tensor:
    """Camera RGB from below black to far above white."""
    random = torch.Generator().manual_seed(seed)
    light = 10 ** (3 * torch.rand(1, height, width, generator=random) - 2)
    return light * (torch.rand(3, height, width, generator=random) * 1.1 - 0.1)


@pytest.mark.parametrize("matrix", MATRICES)
def test_render_is_the_written_out_formula(matrix: str) -> None:
    picture, color = wild_picture(12, 17, seed=3), color_of(matrix)
    rendered = render(picture, color).numpy()
    for row, column in np.ndindex(12, 17):
        expected = literal_render(picture[:, row, column].double().numpy(), color)
        # float32, and a power by way of logarithms: a third of a 16-bit code
        np.testing.assert_allclose(rendered[:, row, column], expected, atol=5e-6)


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (16, 65535)])
def test_codes_are_the_rounded_picture(bits: int, white: int) -> None:
    picture, color = wild_picture(100, 170, seed=4), color_of()
    codes = render_codes(picture, color, bits)
    assert codes.shape == (100, 170, 3)
    assert codes.dtype == (torch.uint8 if bits == 8 else torch.uint16)
    exact = render(picture, color).permute(1, 2, 0).double() * white
    # half a code of rounding, and what float32 leaves of 65535 steps
    assert float((codes.double() - exact).abs().max()) <= 0.52


def test_any_piece_is_rendered_alike() -> None:
    picture, color = wild_picture(70, 501, seed=5), color_of()
    whole = render(picture, color)
    piece = render(picture[:, 13:50, 20:333], color)
    # Only the order of float32 sums in the matrix product may differ.
    torch.testing.assert_close(piece, whole[:, 13:50, 20:333], rtol=0, atol=1e-6)


def test_the_picture_is_not_overwritten() -> None:
    picture = wild_picture(5, 7, seed=6)
    before = picture.clone()
    render(picture, color_of())
    render_codes(picture, color_of(), 8)
    assert torch.equal(picture, before)


multipliers = st.floats(0.3, 4.0)


@settings(max_examples=25, deadline=None)
@given(multipliers, multipliers, st.sampled_from(sorted(MATRICES)), st.floats(0.0, 1.0))
def test_neutral_and_clipped_stay_neutral(
    red: float, blue: float, matrix: str, level: float
) -> None:
    color = color_of(matrix, (red, 1.0, blue))
    neutral = torch.full((3, 1, 1), level)
    saturated = balance_white(torch.ones(4, 1, 1), color)
    clipped = torch.stack([saturated[0], saturated[1], saturated[3]])
    for picture in (neutral, clipped):
        codes = render_codes(picture, color, 8).int().flatten()
        assert int(codes.max() - codes.min()) == 0
    assert int(render_codes(clipped, color, 8).min()) == 255


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.floats(-5, 50)] * 3), st.sampled_from(sorted(MATRICES)))
def test_everything_lands_in_gamut(camera: tuple[float, float, float], matrix: str) -> None:
    rendered = render(torch.tensor(camera)[:, None, None], color_of(matrix))
    assert bool(torch.isfinite(rendered).all())
    assert 0 <= float(rendered.min()) <= float(rendered.max()) <= 1


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.floats(0.02, 1)] * 3), st.sampled_from(sorted(MATRICES)))
def test_colors_do_not_jump_as_exposure_rises(
    camera: tuple[float, float, float], matrix: str
) -> None:
    exposure = 2 ** torch.linspace(-3, 7, 2001)
    picture = torch.tensor(camera)[:, None, None] * exposure
    linear = srgb_decode(render(picture, color_of(matrix)))[:, 0]
    step = (linear[:, 1:] - linear[:, :-1]).abs().amax(0)
    # Exposure rises by 0.35 % a step, which the matrices amplify less than threefold, and a strong
    # blue's way into sRGB a little more: 0.011 is the steepest of 2,200 colours. Jumps are larger.
    assert float(step.max()) < 0.015


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.floats(0, 1)] * 3), st.sampled_from(sorted(MATRICES)))
def test_what_srgb_cannot_show_goes_straight_to_gray(
    camera: tuple[float, float, float], matrix: str
) -> None:
    """Its direction from gray stays, and nothing gains chroma."""
    picture = torch.tensor(camera, dtype=torch.float64)[:, None, None]
    exact = camera_to_srgb(color_of(matrix)) @ picture[:, 0]
    linear = srgb_decode(render(picture, color_of(matrix)).double())[:, 0]

    before, after = exact - exact.mean(), linear - linear.mean()
    assert float(after.norm()) <= float(before.norm()) + 1e-4
    if float(after.norm()) > 0.05:  # gray has no hue; float32 of a chroma of 0.05
        torch.testing.assert_close(before / before.norm(), after / after.norm(), rtol=0, atol=1e-3)


def test_singular_matrix_is_refused() -> None:
    with pytest.raises(RawError, match="cannot be inverted"):
        camera_to_srgb(Color(np.ones(3), np.ones((3, 3))))


def test_dark_synthetic_photo_has_the_same_colors_as_the_bright_one(
    synthetic_raw: Callable[..., RawImage],
) -> None:
    bright = synthetic_raw(read_noise=0.0)
    dark = synthetic_raw(read_noise=0.0, exposure=0.05)

    def picture(raw: RawImage, gain: float) -> Tensor:
        light = torch.from_numpy(pack((raw.mosaic.astype(np.float32) - 512) / 15871, BAYER)) * gain
        packed = balance_white(light, raw.color)
        camera = torch.stack([packed[0], packed[1:3].mean(0), packed[3]])
        return srgb_decode(render(camera, raw.color))

    # Half a sensor unit, amplified 20 times, balanced (2.1) and put through the matrix (about 2).
    torch.testing.assert_close(picture(dark, 20), picture(bright, 1), rtol=0, atol=0.004)
