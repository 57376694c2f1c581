"""The photos that are measured: of any size, the test chart or a photo tiled."""

import math
from dataclasses import replace

import numpy as np
import psutil

from darkroom.errors import UsageError
from darkroom.evaluation.chart import draw_chart, photograph_chart
from darkroom.evaluation.simulated import encode_dng
from darkroom.models.memory import cgroup_free
from darkroom.raw.image import PhotoMetadata, RawImage

ASPECT = 4 / 3
"""Width over height."""
CHART = 1200, 1600
"""Rows and columns of the chart, which is repeated."""
EXPOSURE = 1 / 100
"""The light of which the chart is taken."""
MIN_MEGAPIXELS = 0.05
"""So small a photo is a few hundred photosites wide, which networks with wide reaches need."""
BASE, PER_SITE = 1_300_000_000, 25
"""Bytes that a benchmark takes, with torch, and per photosite more. Source: the command, which runs
beside it, takes 0.8 GB at 12 MP and 1.3 GB at 100 MP, and it holds what each stage begins with."""


def check_size(megapixels: float, published: float = 0.0) -> None:
    """Raise UsageError for no size, or where such a photo does not fit into the free memory.

    `published`: bytes per photosite that published code takes, which runs in one piece.
    """
    if not MIN_MEGAPIXELS <= megapixels < math.inf:
        raise UsageError(f"--size {megapixels:g}: give megapixels, {MIN_MEGAPIXELS:g} or more")
    sites = megapixels * 1e6
    need = BASE + max(PER_SITE, published) * sites
    free = min(psutil.virtual_memory().available, cgroup_free())
    if need > free:
        whole = " in one piece, as published code runs it," if published > PER_SITE else ""
        raise UsageError(
            f"a photo of {megapixels:g} megapixels{whole} needs about {need / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free: give a smaller --size"
        )


def find_shape(megapixels: float, step: int = 2) -> tuple[int, int]:
    """Return rows and columns, multiples of `step`, of a photo of about so many million sites."""
    height = math.sqrt(megapixels * 1e6 / ASPECT)
    rows, cols = (round(side / step) * step for side in (height, height * ASPECT))
    return rows, cols


def photograph_large_chart(megapixels: float) -> RawImage:
    """Take the chart, repeated to that size, in the dark; noise is never repeated."""
    rows, cols = find_shape(megapixels)
    chart = draw_chart(*CHART)
    wide = np.tile(chart, (1, -(-cols // CHART[1]), 1))[:, :cols]
    bands = [
        photograph_chart(wide[: min(CHART[0], rows - top)], exposure=EXPOSURE, seed=number)
        for number, top in enumerate(range(0, rows, CHART[0]))
    ]
    return replace(bands[0], mosaic=np.concatenate([band.mosaic for band in bands]))


def tile_photo(raw: RawImage, megapixels: float) -> RawImage:
    """Repeat a photo to that size, its filters going on unbroken."""
    step = math.lcm(raw.cfa.period, *raw.black.shape)
    height, width = (side // step * step for side in raw.mosaic.shape)
    if not height or not width:
        raise UsageError("the photo is too small to be repeated; leave --size out")
    rows, cols = find_shape(megapixels, raw.cfa.period)
    piece = raw.mosaic[:height, :width]
    mosaic = np.tile(piece, (-(-rows // height), -(-cols // width)))[:rows, :cols]
    return replace(
        raw,
        mosaic=mosaic.astype(np.uint16),
        default_crop=None,
        margins=(0, 0),
        row_black=None,
        missing=None,
        metadata=PhotoMetadata(),
    )


def make_photo(megapixels: float, raw: RawImage | None = None) -> bytes:
    """Make a DNG of that size, of a photo or else of the chart."""
    return encode_dng(
        photograph_large_chart(megapixels) if raw is None else tile_photo(raw, megapixels)
    )
