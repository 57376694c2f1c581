"""The pictures of a run for its page: sheets of samples, taken apart into targets and outputs."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.errors import UsageError
from darkroom.evaluation.image_grid import BACKGROUND

QUALITY = 88
MAX_WIDTH = 1600
"""Pixels of a sheet that is shown whole."""
MIN_PICTURE = 24
"""Pixels along the sides of a picture on a sheet, at least: more than a letter is wide."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sample:
    """One target, and what the network made of it at each step, as JPEG; all of (height, width)."""

    size: tuple[int, int]
    target: bytes
    outputs: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A picture of (height, width) at each of some steps, as JPEG."""

    size: tuple[int, int]
    pictures: dict[int, bytes]


def read_samples(paths: Mapping[int, Path]) -> list[Sample]:
    """Take the sheets of all steps apart; empty where they are laid out in another way.

    A sheet has a target and beside it an output in each row. Raises UsageError for a damaged one.
    """
    rows = {step: split_sheet(_read(path)) for step, path in paths.items()}
    shapes = {tuple(target.shape for target, _ in pairs) for pairs in rows.values()}
    if len(shapes) != 1 or not next(iter(shapes)):
        return []
    last = rows[max(rows)]
    return [
        Sample(
            (target.shape[0], target.shape[1]),
            _encode(target),
            {step: _encode(pairs[number][1]) for step, pairs in rows.items()},
        )
        for number, (target, _) in enumerate(last)
    ]


def read_sheets(paths: Mapping[int, Path]) -> list[Sheet]:
    """Read whole sheets, made smaller where they are wide; those of one size are one sheet."""
    found: dict[tuple[int, int], dict[int, bytes]] = {}
    for step, path in paths.items():
        image = Image.fromarray(_read(path))
        image.thumbnail((MAX_WIDTH, 4 * MAX_WIDTH))
        pixels = np.asarray(image)
        found.setdefault((pixels.shape[0], pixels.shape[1]), {})[step] = _encode(pixels)
    return [Sheet(size, pictures) for size, pictures in found.items()]


def split_sheet(sheet: Pixels) -> list[tuple[Pixels, Pixels]]:
    """Find the pairs of pictures on a sheet of `draw_picture_grid` with two columns, row by row.

    Rows of pictures are told from labels by the length of what is not ground, and pictures from
    each other by columns of ground; both of a pair have one size. Empty where it is not so.
    """
    ground = (sheet == np.array(BACKGROUND, np.uint8)).all(axis=2)
    pairs = []
    drawn = np.cumsum(np.pad(~ground, ((0, 0), (1, 0))), axis=1)
    full = (drawn[:, MIN_PICTURE:] - drawn[:, :-MIN_PICTURE] == MIN_PICTURE).any(axis=1)
    for rows in _find_runs(full):
        if rows.stop - rows.start < MIN_PICTURE:  # letters that touch
            continue
        band = ground[rows]
        columns = [one for one in _find_runs(~band.all(axis=0)) if one.stop - one.start > 1]
        if len(columns) != 2:
            return []
        left, right = (sheet[rows, one] for one in columns)
        if left.shape != right.shape:
            return []
        pairs.append((left, right))
    return pairs


def _find_runs(flags: NDArray[np.bool_]) -> list[slice]:
    """List where flags are set without a break."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _read(path: Path) -> Pixels:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: cannot be read as a picture; delete it") from error


def _encode(pixels: Pixels) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()
