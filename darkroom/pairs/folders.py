"""Pairs in folders: ELD's scenes, and dark photos beside references of the same names.

Source: ELD's test_ELD.py and ELDEvalDataset (camera/scene-N/IMG_0004; references 1, 6, 11, 16, the
nearest one counts; exposure time x ISO gives the ratio); its read-me (ISO 800, 1600 and 3200,
each at x1, x10, x100 and x200, of which the paper leaves out x1 and x10).
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.ExifTags import IFD, Base

from darkroom.errors import UsageError
from darkroom.pairs.exposures import (
    MAX_RATIO,
    SID_NAME,
    ExposurePair,
    Split,
    find_scene,
    find_split,
)
from darkroom.raw.endings import RAW_ENDINGS
from darkroom.raw.header import find_shot
from darkroom.raw.image import Exposure

PICTURE_ENDINGS = (".png", ".tif", ".tiff")
SCENE = re.compile(r"scene-(\d+)")
ELD_NAME = re.compile(r"IMG_(\d{4})")
ELD_REFERENCES = (1, 6, 11, 16)
ELD_SHORTS = (4, 5, 9, 10, 14, 15)
SECONDS = re.compile(r"_(\d*\.?\d+)s")
"""How a name ends that tells its exposure time."""
GIVE_RATIO = "give --ratio, or names that end in times such as _0.1s and _10s"


class SceneFolder(NamedTuple):
    """One scene of ELD, of one camera: its folder, and what to call it."""

    folder: Path
    name: str


def list_files(folder: Path, endings: tuple[str, ...] | None = None) -> list[Path]:
    """List the files of a folder with these endings, in the order of names, without hidden ones."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"{folder}: cannot be listed ({error.strerror}); check it") from error
    return [
        path
        for path in found
        if not path.name.startswith(".")
        and (endings is None or path.name.lower().endswith(endings))
        and path.is_file()
    ]


def find_eld(place: Path) -> list[SceneFolder]:
    """Find ELD's scenes in its folder, in one of its cameras or in one scene; none elsewhere."""
    if not place.is_dir():
        return []
    found = [place, *place.glob("scene-*"), *place.glob("*/scene-*")]
    folders = [path for path in found if SCENE.fullmatch(path.absolute().name) and path.is_dir()]
    return [
        SceneFolder(path, f"{path.absolute().parent.name}-{path.absolute().name}")
        for path in sorted(folders, key=lambda path: (path.parent, _scene_number(path)))
    ]


def _scene_number(path: Path) -> int:
    return int(path.absolute().name.partition("-")[2])


def pair_eld(scene: SceneFolder, ratio: float | None) -> list[ExposurePair]:
    """Pair one scene of ELD: each dark photo of the paper's with the reference nearest in number.

    Raises UsageError where a reference is not there or exposures are unknown.
    """
    photos = {
        int(found[1]): path
        for path in list_files(scene.folder, RAW_ENDINGS)
        if (found := ELD_NAME.fullmatch(path.stem))
    }
    pairs = []
    for number in filter(photos.get, ELD_SHORTS):
        reference = min(ELD_REFERENCES, key=lambda one: abs(one - number))
        if reference not in photos:
            raise UsageError(f"{scene.folder}: IMG_{reference:04d} is not there; copy it whole")
        short, long = photos[number], photos[reference]
        exposures = find_ratio(short, long, ratio)
        pairs.append(ExposurePair(short, long, exposures, scene.name, Split.TEST))
    return pairs


def match_folders(shorts: Path, longs: Path, ratio: float | None = None) -> list[ExposurePair]:
    """Match dark photos with references by their names, or by the beginning up to the first `_`.

    Raises UsageError where a dark photo has none or several, and where a ratio cannot be told.
    """
    dark = list_files(shorts, RAW_ENDINGS)
    bright = list_files(longs, RAW_ENDINGS + PICTURE_ENDINGS)
    if not dark:
        raise UsageError(f"{shorts}: holds no RAW photos; give the folder of the dark ones")
    if not bright:
        raise UsageError(f"{longs}: holds no RAW, PNG or TIFF; give the folder of references")
    stems: dict[str, Path] = {}
    for short in dark:
        if (other := stems.setdefault(short.stem, short)) is not short:
            raise UsageError(
                f"{shorts}: {other.name} and {short.name} have one name; take one of them away"
            )
    references = _References(longs, bright)
    matched = [(short, references.find(short)) for short in dark]
    if alone := [short for short, long in matched if long is None]:
        raise UsageError(
            f"{longs}: {len(alone)} of {len(dark)} dark photos have no reference there, the first: "
            f"{alone[0].name}; names must be the same, or the same up to the first underscore"
        )
    return [
        ExposurePair(
            short=short,
            long=long,
            ratio=find_ratio(short, long, ratio),
            scene=find_scene(short.stem) if long.stem == short.stem else _identity(short),
            split=find_split(short.stem),
        )
        for short, long in matched
        if long is not None
    ]


class _References:
    """References of a folder, found by a dark photo's name."""

    def __init__(self, folder: Path, paths: list[Path]) -> None:
        self._folder = folder
        self._found: list[dict[str, list[Path]]] = []
        for part in PARTS:
            self._found.append({})
            for path in paths:
                self._found[-1].setdefault(part(path), []).append(path)

    def find(self, short: Path) -> Path | None:
        """Find the reference of the same name, else of the same burst, else of the same scene."""
        for part, found in zip(PARTS, self._found, strict=True):
            fitting = found.get(part(short) or "/", [])
            if len(fitting) > 1 and not (part is not _whole and SID_NAME.fullmatch(short.stem)):
                raise UsageError(
                    f"{self._folder}: {fitting[0].name} and {fitting[1].name} both fit "
                    f"{short.name}; take one of them away"
                )
            if fitting:
                return fitting[0]  # SID's code, too, takes one where a scene has several
        return None


def _whole(path: Path) -> str:
    return path.stem


def _burst(path: Path) -> str:
    """SID's scene and place in the burst; empty for other names."""
    found = SID_NAME.fullmatch(path.stem)
    return "" if found is None else f"{found['scene']}_{found['burst']}"


def _identity(path: Path) -> str:
    """Return the name up to the first underscore, with a number: the IMG of IMG_1 says nothing."""
    start = path.stem.partition("_")[0]
    return start if any(map(str.isdigit, start)) else ""


PARTS = (_whole, _burst, _identity)


def find_ratio(short: Path, long: Path, given: float | None = None) -> float:
    """Tell how many times longer `long` was exposed: at most MAX_RATIO, unless `given`.

    By the times that both names end in, else by exposure time and ISO as both files tell. Raises
    UsageError where these say nothing, or nothing possible.
    """
    if given is not None:
        return given
    named = [SECONDS.search(path.stem[path.stem.rfind("_") :]) for path in (short, long)]
    if all(named):
        times = [float(found[1]) for found in named if found]
    else:
        times = _tell_light(short, long)
    if not min(times) > 0:
        raise UsageError(f"{short.name} and {long.name}: an exposure of 0 s; {GIVE_RATIO}")
    if not times[1] >= times[0]:
        raise UsageError(
            f"{short.name} is exposed longer than {long.name}; the dark photo comes first"
        )
    return min(times[1] / times[0], MAX_RATIO)


def _tell_light(short: Path, long: Path) -> list[float]:
    """Exposure times of two files as they tell, times ISO where both tell."""
    exposures = []
    for path in (short, long):
        if not path.is_file():
            raise UsageError(f"{path}: no such file; check the names")
        exposures.append(_read_exposure(path))
        if not exposures[-1].seconds:
            raise UsageError(f"{path}: neither name nor file tells its exposure time; {GIVE_RATIO}")
    told = all(exposure.iso for exposure in exposures)
    return [(one.seconds or 0.0) * ((one.iso or 0.0) if told else 1.0) for one in exposures]


def _read_exposure(path: Path) -> Exposure:
    """Read what a RAW or a picture tells of its exposure."""
    if path.name.lower().endswith(RAW_ENDINGS):
        return find_shot(path)
    try:
        with Image.open(path) as picture:
            tags = picture.getexif().get_ifd(IFD.Exif)
        values = [tags.get(code) or 0 for code in (Base.ExposureTime, Base.ISOSpeedRatings)]
        seconds, iso = (float(np.ravel(value)[0]) for value in values)
    except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError):
        return Exposure()
    return Exposure(seconds, iso)
