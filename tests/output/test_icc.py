"""Profiles against Little CMS, another program's reading of the same bytes."""

import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from skimage.color import deltaE_ciede2000, rgb2lab

from darkroom.color.color_space import ColorSpace, rgb_to_xyz, srgb_to_space
from darkroom.color.finish import Finish
from darkroom.color.matrix import camera_to_srgb
from darkroom.color.render import render_into
from darkroom.color.transfer import srgb_decode
from darkroom.output.icc import build_profile, srgb_profile
from darkroom.raw.image import SRGB_TO_XYZ, Color

CURVED = [space for space in ColorSpace if space is not ColorSpace.LINEAR]
# XYZ of the primaries under D50, rounded as published by B. Lindbloom, "RGB/XYZ matrices".
PUBLISHED = {
    ColorSpace.ADOBE_RGB: [0.60974, 0.31111, 0.01947, 0.20528, 0.62567, 0.06087],
    ColorSpace.PROPHOTO: [0.79767, 0.28804, 0.00000, 0.13519, 0.71188, 0.00000],
}


def colors() -> torch.Tensor:
    """sRGB, (3, 27, 1), from shadows to white, in gamut of every space here."""
    steps = torch.tensor([0.15, 0.5, 0.95])
    return torch.cartesian_prod(steps, steps, steps).T.reshape(3, 27, 1)


def paint(space: ColorSpace, bits: int) -> np.ndarray:
    codes = np.empty((27, 1, 3), np.uint8 if bits == 8 else np.uint16)
    render_into(colors(), None, codes, finish=Finish(space))
    return codes


@pytest.mark.parametrize("space", CURVED)
def test_little_cms_sees_the_same_colors(space: ColorSpace) -> None:
    """DeltaE < 1 after conversion to sRGB; 8 bits leave up to half a code twice."""
    image = Image.fromarray(paint(space, 8))
    source = ImageCms.ImageCmsProfile(io.BytesIO(build_profile(space)))
    seen = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"))
    expected = rgb2lab(colors().permute(1, 2, 0).numpy())
    distance = deltaE_ciede2000(rgb2lab(np.asarray(seen) / 255), expected)
    assert distance.max() < 1


def read_light(profile: bytes, samples: np.ndarray) -> np.ndarray:
    """XYZ under D50 of samples (..., 3), as the tags of a profile say, read by hand."""
    tags = {}
    for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12):
        name, place, size = struct.unpack(">4sII", profile[at : at + 12])
        tags[name] = profile[place : place + size]
    numbers = np.frombuffer(tags[b"rTRC"][12:], ">i4") / 65536
    if tags[b"rTRC"][8:10] == b"\0\0":
        light = samples ** numbers[0]
    else:
        power, a, b, c, d = numbers
        light = np.where(samples >= d, (a * samples + b) ** power, c * samples)
    corners = [np.frombuffer(tags[name][8:], ">i4") / 65536 for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    return light @ np.stack(corners)


@pytest.mark.parametrize("space", [s for s in ColorSpace if s is not ColorSpace.SRGB])
def test_profiles_say_what_16_bits_hold(space: ColorSpace) -> None:
    """Read by hand, against Little CMS's own sRGB: 1e-4 of white, what 16 binary digits leave."""
    seen = read_light(build_profile(space), paint(space, 16) / 65535)
    expected = read_light(srgb_profile(), colors().permute(1, 2, 0).numpy())
    assert np.abs(seen - expected).max() < 1e-4


@pytest.mark.parametrize("space", PUBLISHED)
def test_primaries_under_d50_are_as_published(space: ColorSpace) -> None:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(build_profile(space))).profile
    found = [*profile.red_colorant[0], *profile.green_colorant[0]]
    assert np.abs(np.array(found) - PUBLISHED[space]).max() < 1e-4


@pytest.mark.parametrize("space", ColorSpace)
def test_white_stays_white(space: ColorSpace) -> None:
    np.testing.assert_allclose(srgb_to_space(space).sum(1), 1, atol=1e-12)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(build_profile(space))).profile
    corners = [profile.red_colorant[0], profile.green_colorant[0], profile.blue_colorant[0]]
    # ICC's white is rounded to four digits, ROMM's chromaticity too.
    np.testing.assert_allclose(np.sum(corners, 0), [0.9642, 1, 0.8249], atol=3e-4)


def test_srgb_is_what_the_photos_are_read_with() -> None:
    np.testing.assert_allclose(rgb_to_xyz(ColorSpace.SRGB), SRGB_TO_XYZ, atol=6e-8)


def test_what_srgb_cannot_show_stays_in_a_wider_space() -> None:
    """A green of Display P3 from a camera that sees XYZ comes out as the space's own green."""
    color = Color(np.ones(3), np.linalg.inv(SRGB_TO_XYZ))
    to_srgb = camera_to_srgb(color)
    green = torch.linalg.solve(
        to_srgb,
        torch.from_numpy(np.linalg.solve(srgb_to_space(ColorSpace.DISPLAY_P3), [0.05, 0.7, 0.05])),
    )
    codes = np.empty((1, 1, 3), np.uint16)
    render_into(green.float()[:, None, None], color, codes, finish=Finish(ColorSpace.DISPLAY_P3))
    light = srgb_decode(torch.from_numpy(codes / 65535)).flatten()
    # Half a 16-bit code, steepest at the dark end.
    np.testing.assert_allclose(light.numpy(), [0.05, 0.7, 0.05], atol=2e-5)
