"""Colours made on an accelerator, with the processor in its place: torch's steps, not NumPy's."""

import numpy as np
import pytest
import torch
from conftest import WHITE_BALANCE, XYZ_TO_CAMERA

from darkroom.color import render
from darkroom.color.color_space import ColorSpace
from darkroom.color.dither import find_thresholds, find_thresholds_on
from darkroom.color.finish import AS_IT_IS, Finish, Tone
from darkroom.color.render import render_into
from darkroom.color.tone_curve import Shoulder
from darkroom.raw.image import Color

COLOR = Color(np.array(WHITE_BALANCE), XYZ_TO_CAMERA)
SHARE = 1e-4
"""Of samples of 8 bits that may be one code off: NumPy's powers and sums differ from torch's in
float32's last bits, and the exponential of a vector's rest from that of whole ones."""
SHARE_OF_16 = 5e-3
"""Of samples of 16 bits: a code is but 128 of these bits near white."""


def test_thresholds_are_the_same_ones() -> None:
    for place in ((0, 0), (17, 5), (9000, 12000)):
        wanted = find_thresholds(70, 90, place)
        assert np.array_equal(find_thresholds_on(torch.device("cpu"), 70, 90, place), wanted)


@pytest.mark.parametrize("peak", [1.5, 0.4])
@pytest.mark.parametrize(
    ("dtype", "color", "dither", "finish", "by_pixels"),
    [
        (np.uint8, COLOR, (16, 32), AS_IT_IS, True),
        (np.uint8, COLOR, None, AS_IT_IS, False),
        (np.uint16, COLOR, (16, 32), Finish(ColorSpace.DISPLAY_P3, Tone.SOFT, 1.2), True),
        (np.float32, COLOR, None, Finish(ColorSpace.LINEAR), True),
        (np.uint8, None, None, AS_IT_IS, True),
        (np.uint16, None, None, AS_IT_IS, False),
        (np.uint8, None, None, Finish(tone=Tone.CONTRAST), True),
    ],
)
def test_pictures_are_the_processors(
    dtype: type,
    color: Color | None,
    dither: tuple[int, int] | None,
    finish: Finish,
    by_pixels: bool,
    peak: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.set_num_threads(1)
    order = torch.channels_last if by_pixels else torch.contiguous_format
    shape = (1, 3, 310, 205)
    light = torch.rand(shape, generator=torch.Generator().manual_seed(3)) * 1.6 - 0.1
    picture = light.contiguous(memory_format=order)[0]
    shoulder = None if color is None else Shoulder.of(peak, 1.5)
    found = []
    for on_processor in (True, False):
        monkeypatch.setattr(render, "_on_processor", lambda picture, here=on_processor: here)
        whole = np.zeros((400, 300, 3), dtype)  # of which the picture is a tile
        codes = whole[50:360, 60:265]
        render_into(picture, color, codes, shoulder, finish, dither)
        found.append(codes.astype(np.float64))
        assert not whole[:50].any()
        assert not whole[:, :60].any()
    here, there = found
    difference = np.abs(here - there)
    if dtype is np.float32:
        assert difference.max() <= 1e-5 * np.abs(here).max()
    else:
        assert difference.max() <= 1
        assert (difference > 0).mean() <= (SHARE if dtype is np.uint8 else SHARE_OF_16)
    assert here.std() > 0


def test_blocks_on_a_device_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = torch.rand(3, 90, 70, generator=torch.Generator().manual_seed(4))
    monkeypatch.setattr(render, "_on_processor", lambda picture: False)
    pictures = []
    for pixels in (70 * 90, 70 * 7 + 3):
        monkeypatch.setattr(render, "DEVICE_PIXELS", pixels)
        codes = np.zeros((90, 70, 3), np.uint8)
        render_into(picture, COLOR, codes, dither=(0, 0))
        pictures.append(codes.astype(int))
    difference = np.abs(pictures[0] - pictures[1])
    assert difference.max() <= 1
    assert (difference > 0).mean() <= SHARE
