"""How far darkroom's pictures are from those of the published networks, as one table.

Each network's random weights are written to a file, as they are published, and loaded from it; a
photo of random values goes through all that `darkroom enhance` does up to the finished samples, and
through the network as its publication has it. Photos on the network's grid and off it (there with
`--edges crop`, as publications do), whole and in tiles whose margins end inside the photo.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from darkroom.errors import DarkroomError
from darkroom.evaluation.published import Mosaic, Published
from darkroom.evaluation.published.networks import PUBLISHED
from darkroom.gain import given_gain
from darkroom.models.loading import load_model
from darkroom.models.model import Model
from darkroom.models.tiling import Edges, Grid, TileOption
from darkroom.mosaic.packing import BAYER, XTRANS
from darkroom.pipeline import Options, prepare
from darkroom.raw.image import CFA, Color, RawImage, Sensor

BLACK, WHITE, GAIN = 512, 512 + 2**14, 16.0
"""Powers of 2 apart, so that amplified light is exact and both sides are given the same numbers."""

DARKEST, BRIGHTEST = -0.1, 1.2
"""Amplified light is drawn evenly between these: negative noise, and lamps beyond white."""

TOLERANCE = 1e-5
"""Of values up to 1, in proportion beyond: float32 through 23 layers shows up to 2e-6."""

MAX_CODES = 1
"""Of 65535: where float32's last digits lie on two sides of a half."""

MIN_VARIED = 0.1
"""Least part of a picture's values strictly within 0 to 1; else there is nothing to compare."""


class Case(NamedTuple):
    """One way to run a network: over which kind of photo, and how."""

    on_grid: bool
    tiled: bool

    def __str__(self) -> str:
        return f"{'on' if self.on_grid else 'off'} the grid, {'tiled' if self.tiled else 'whole'}"


CASES = (Case(True, False), Case(True, True), Case(False, False), Case(False, True))


class Difference(NamedTuple):
    """The worst of a picture: `error` of the values, not yet clipped, and `codes` of 65535."""

    error: float
    codes: int


@dataclass(frozen=True, slots=True)
class Parity:
    """What came of one published network.

    `values`: the least and the largest of what it paints. `differences`: a case that the network
    does not have, as tiles of one that reaches over the whole photo, is left out. `failure`: why it
    is beyond its tolerance, empty where all is well.
    """

    published: Published
    values: tuple[float, float] = (math.nan, math.nan)
    differences: Mapping[Case, Difference] = field(default_factory=dict)
    failure: str = ""


class _DiffersError(Exception):
    """What darkroom has is another network; the message says why."""


def compare(published: Published, seed: int = 0) -> Parity:
    """Hold darkroom's pictures against a published network's, with random weights of a seed."""
    weights = published.weights(seed)
    least, largest, differences = math.inf, -math.inf, {}
    failure = ""
    try:
        model = _load(published, weights)
        for on_grid in (True, False):
            mosaic = draw_mosaic(model.grid, on_grid, seed)
            wanted = published.picture(weights, amplified(mosaic))
            if not np.isfinite(wanted).all():
                raise _DiffersError("the published picture has values that are no numbers")
            least, largest = min(least, float(wanted.min())), max(largest, float(wanted.max()))
            varied = float(np.mean((wanted > 0) & (wanted < 1)))
            if varied < MIN_VARIED:
                failure = f"only {varied:.0%} of the published picture lie within 0 to 1"
            for tile in ("off", tile_side(model.grid)):
                case = Case(on_grid, tile != "off")
                if tile == "off" or model.grid.halo is not None:
                    found, codes = paint(model, mosaic, tile)
                    differences[case] = difference = _difference(found, codes, wanted)
                    bound = TOLERANCE * max(1.0, abs(least), abs(largest))
                    if not (difference.error <= bound and difference.codes <= MAX_CODES):
                        failure = failure or f"{case}: beyond {bound:.0e} or {MAX_CODES} code"
    except (DarkroomError, _DiffersError) as error:
        failure = str(error)
    return Parity(published, (least, largest), differences, failure)


def draw_mosaic(grid: Grid, on_grid: bool, seed: int = 0) -> NDArray[np.uint16]:
    """Draw a photo (H, W) of random sensor values, so tall that tiles have margins inside it.

    Off the grid its sides are odd, and odd in packed pixels too where nothing more is cropped.
    """
    down, right = 2 * grid.margin + 3 * grid.multiple, 2 * grid.multiple
    if grid.halo is None:  # statistics over few values would be ill-conditioned
        down, right = 8 * grid.multiple, 6 * grid.multiple
    less = (0, 0) if on_grid else (5, 9)
    height, width = down * grid.scale - less[0], right * grid.scale - less[1]
    least, most = (BLACK + round(light * (WHITE - BLACK) / GAIN) for light in (DARKEST, BRIGHTEST))
    random = np.random.default_rng(seed)
    return random.integers(least, most, (height, width), endpoint=True).astype(np.uint16)


def tile_side(grid: Grid) -> int:
    """Return the side of tiles, in picture pixels, that cut the photo of `draw_mosaic` in three."""
    return (grid.margin + grid.multiple) * grid.scale


def amplified(mosaic: NDArray[np.uint16]) -> Mosaic:
    """Return a photo's amplified light, as a publication's own code is given it."""
    light = (mosaic.astype(np.float32) - BLACK) / np.float32(WHITE - BLACK)
    return np.asarray(light * np.float32(GAIN))


@torch.inference_mode()
def paint(
    model: Model, mosaic: NDArray[np.uint16], tile: TileOption
) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Take a photo through all that `enhance` does, but turning it upright: values, and codes.

    Both (H', W', 3): float32 before they are clipped, and 16-bit samples as they are stored.
    """
    cfa = BAYER if model.architecture.sensor is Sensor.BAYER else XTRANS
    settings = Options(given_gain(GAIN), tile=tile, bits=16, edges=Edges.CROP).resolve(model)
    photo = prepare(_raw(mosaic, cfa), model, settings, _ignore)
    values = np.full((*photo.shape, 3), np.nan, np.float32)
    codes = np.zeros(values.shape, np.uint16)
    for part in photo.run(tile, _ignore):
        place = values[part.rows, part.cols]
        place[:] = part.picture[:, : place.shape[0], : place.shape[1]].permute(1, 2, 0).cpu()
        photo.finish(part, codes)
    return values, codes


def _raw(mosaic: NDArray[np.uint16], cfa: CFA) -> RawImage:
    period = (cfa.period, cfa.period)
    levels = np.full(period, BLACK, np.float32), np.full(period, WHITE, np.float32)
    return RawImage(mosaic, cfa, *levels, Color(np.ones(3), np.eye(3)))


def _ignore(line: str) -> None:
    """Drop a warning."""


def _load(published: Published, weights: Mapping[str, Tensor]) -> Model:
    """Load weights as a user does, from a file, by the network's name only where that is needed."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "weights.safetensors")
        # Tensors may share memory or be views, which this format does not take.
        save_file({name: tensor.clone().contiguous() for name, tensor in weights.items()}, path)
        if not published.tensorflow:
            torch.save(dict(weights), path := Path(folder, "weights.pth"))
        source = f"{published.network}={path}" if published.ambiguous else path
        try:
            model = load_model(source, "cpu", "fp32", published.norm_statistics)
        except DarkroomError as error:
            raise _DiffersError(str(error).replace(str(path), path.name)) from error
    known = model.architecture
    if (known.name, known.sensor) != (published.network, published.sensor):
        raise _DiffersError(f"it is read as {known.name} for {known.sensor.value}")
    return model


def _difference(
    found: NDArray[np.float32], codes: NDArray[np.uint16], wanted: NDArray[np.float32]
) -> Difference:
    """Compare values and codes (H, W, 3) with published values, in float64."""
    if found.shape != wanted.shape:
        sizes = (f"{shape[1]}x{shape[0]}" for shape in (found.shape, wanted.shape))
        raise _DiffersError("the picture has {} pixels, the published one {}".format(*sizes))
    exact = wanted.astype(np.float64)
    error = float(np.abs(found - exact).max())
    published_codes = np.rint(exact.clip(0, 1) * np.iinfo(codes.dtype).max)
    return Difference(error, int(np.abs(codes - published_codes).max()))


def draw_table(rows: Iterable[Parity]) -> Iterator[str]:
    """Yield the lines of the table, one per published network, as Markdown."""
    yield _line("network", "dialect", "sensor", "values", *map(str, CASES), "")
    yield _line(*["-" * width for width in WIDTHS])
    for row in rows:
        published, cells = row.published, []
        for case in CASES:
            difference = row.differences.get(case)
            cells.append(
                "" if difference is None else f"{difference.error:.1e}, {difference.codes}"
            )
        values = "{:.2f} to {:.2f}".format(*row.values) if row.differences else ""
        words = (published.network, published.dialect, published.sensor.value, values)
        yield _line(*words, *cells, row.failure or "ok")


WIDTHS = (28, 38, 7, 15, 18, 18, 19, 19, 2)
"""Columns of the table, in characters."""


def _line(*cells: str) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True))
    return f"| {' | '.join(padded)} |"


def print_parity() -> None:
    """Print the table, each line as it is found; exit with 1 where one is beyond its tolerance."""
    parser = argparse.ArgumentParser(prog="python -m darkroom.evaluation.parity")
    parser.add_argument("networks", nargs="*", help="names of networks; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the photo")
    arguments = parser.parse_args()
    chosen = [
        one for one in PUBLISHED if one.network in arguments.networks or not arguments.networks
    ]
    if not chosen:
        names = ", ".join(dict.fromkeys(one.network for one in PUBLISHED))
        parser.error(f"no published network of that name; there are {names}")
    rows = []

    def found() -> Iterator[Parity]:
        for published in chosen:
            rows.append(compare(published, arguments.seed))
            yield rows[-1]

    for line in draw_table(found()):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    failed = sum(bool(row.failure) for row in rows)
    sys.stdout.write(
        f"\nWorst absolute error of the values, and of 16-bit codes; {len(rows) - failed} of "
        f"{len(rows)} within {TOLERANCE:g} of values up to 1 and {MAX_CODES} code.\n"
    )
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    print_parity()
