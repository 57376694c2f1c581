"""Contact sheets: what models, and LibRaw, make of a photo, side by side at 100 %, to look at.

`python -m darkroom.evaluation.contact_sheet photos/ sheets/ --model safelight --model redi` makes
one PNG per photo: a row for each of its most telling places, a column for each model.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from darkroom.errors import DarkroomError
from darkroom.evaluation.image_grid import draw_picture_grid
from darkroom.gain import given_gain
from darkroom.models.loading import list_files, load_model
from darkroom.models.model import Model
from darkroom.output.atomic import make_folder
from darkroom.output.orientation import upright
from darkroom.output.picture import PictureFormat, SaveOptions, save_picture
from darkroom.pipeline import Options, enhance
from darkroom.raw.reader import develop, read_raw

SIDE = 360
"""Pixels along each side of a place."""
Picture = NDArray[np.uint8]
MEASURES: dict[str, Callable[[NDArray[np.float64]], float]] = {
    "most detail": lambda light: float(np.abs(np.diff(light[::2, ::2], axis=0)).mean()),
    "darkest": lambda light: -float(light.mean()),
    "brightest": lambda light: float(light.mean()),
}
"""What makes a place telling: the place with the greatest value is shown."""


def draw_contact_sheet(
    photo: Path, models: Sequence[Model], ratio: float | None = None, side: int = SIDE
) -> Picture:
    """Lay out what each model makes of a RAW photo, and LibRaw last: (H, W, 3) uint8 sRGB.

    All are amplified alike: by `ratio`, or as the first model's rule finds. Models that do not fit
    the sensor are left out. Raises RawError, and SensorError where none fits.
    """
    raw = read_raw(photo)
    options = Options(gain=None if ratio is None else given_gain(ratio))
    first = enhance(raw, models[0], options)
    gain = first.gain
    made = {models[0].name: first.pixels.astype(np.uint8, copy=False)}
    for model in models[1:]:
        if model.for_sensor(raw.cfa.sensor).architecture.sensor is raw.cfa.sensor:
            picture = enhance(raw, model, replace(options, gain=gain))
            made[model.name] = picture.pixels.astype(np.uint8, copy=False)
    plain = (develop(photo.read_bytes(), gain.value) // 257).astype(np.uint8)
    made[f"LibRaw x{gain.value:.3g}"] = upright(plain, raw.orientation).astype(np.uint8, copy=False)
    places = find_telling_places(made[models[0].name], side)
    panels = [
        (f"{name}, {place}" if number == 0 else name, picture[rows, columns])
        for place, (rows, columns) in places.items()
        for number, (name, picture) in enumerate(made.items())
    ]
    return draw_picture_grid(panels, columns=len(made))


def find_telling_places(picture: Picture, side: int) -> dict[str, tuple[slice, slice]]:
    """Choose the most detailed, the darkest and the brightest square of a picture, each once.

    A picture with room for no two of them either way is taken whole.
    """
    if max(picture.shape[:2]) < 2 * side:
        return {"whole": (slice(None), slice(None))}
    height, width = (min(size, side) for size in picture.shape[:2])
    light = picture.mean(axis=2)
    squares = {
        (top, left): light[top : top + height, left : left + width]
        for top in _spread_starts(picture.shape[0], height)
        for left in _spread_starts(picture.shape[1], width)
    }
    places: dict[str, tuple[slice, slice]] = {}
    for name, measure in MEASURES.items():
        values = {corner: measure(square) for corner, square in squares.items()}
        if values:
            top, left = max(values, key=values.__getitem__)
            places[name] = slice(top, top + height), slice(left, left + width)
            del squares[top, left]
    return places


def _spread_starts(size: int, side: int) -> list[int]:
    """Spread squares evenly over one axis, without overlap where there is more than one."""
    count = max(size // side, 1)
    return [round(index * (size - side) / max(count - 1, 1)) for index in range(count)]


def write_contact_sheets(
    photos: Sequence[Path],
    folder: Path,
    models: Sequence[Model],
    ratio: float | None = None,
    weights: Sequence[Path] = (),
) -> Iterator[tuple[Path, str]]:
    """Write a sheet for each photo to a folder; yields each, with why there is none, or "".

    No sheet replaces one of `photos` or `weights`, the files that the models were read from.
    """
    make_folder(folder)
    save = SaveOptions(PictureFormat.PNG, overwrite=True, inputs=(*photos, *weights))
    for photo in photos:
        try:
            sheet = draw_contact_sheet(photo, models, ratio)
            save_picture(sheet, folder / f"{photo.stem}.png", save)
        except (DarkroomError, OSError) as error:
            yield photo, str(error)
        else:
            yield photo, ""


def make_contact_sheets() -> None:
    """Make sheets of photos and of folders of them."""
    parser = argparse.ArgumentParser(prog="python -m darkroom.evaluation.contact_sheet")
    parser.add_argument("photos", type=Path, nargs="+", help="RAW photos, or folders of them")
    parser.add_argument("folder", type=Path, help="where the sheets go")
    parser.add_argument("--model", action="append", help="a name, a file, or NETWORK=FILE; again")
    parser.add_argument("--ratio", type=float, help="amplify so many times; default: automatic")
    arguments = parser.parse_args()
    photos = [
        path
        for source in arguments.photos
        for path in (sorted(source.iterdir()) if source.is_dir() else [source])
    ]
    try:
        names = arguments.model or ["safelight"]
        models = [load_model(name) for name in names]
        weights = [path for name in names for path in list_files(name)]
        done = write_contact_sheets(photos, arguments.folder, models, arguments.ratio, weights)
        for photo, failure in done:
            sys.stderr.write(f"{photo}: {failure or 'done'}\n")
    except DarkroomError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    make_contact_sheets()
