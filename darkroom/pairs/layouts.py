"""Where data sets keep their pairs: SID's lists and folders, ELD's scenes, two folders.

Source: SID's read-me and train_Sony.py (names, splits, `_00_`); for ELD, see `folders`.
"""

from collections.abc import Iterable
from pathlib import Path

from darkroom.errors import UsageError
from darkroom.pairs.exposures import SID_NAME, ExposurePair, Split, find_scene, find_split
from darkroom.pairs.folders import (
    SceneFolder,
    find_eld,
    find_ratio,
    list_files,
    match_folders,
    pair_eld,
)

BEGINNINGS = {Split.TRAIN: "0xxxx", Split.TEST: "1xxxx", Split.VALIDATION: "2xxxx"}
CAMERAS = ("Sony", "Fuji")
"""Folders of SID's root, one for each camera."""
SUBFOLDERS = ("*/short", "*/*/short", "*/*/*/short")
"""How far below a folder of photographs pairs are looked for."""
EXPECTED = (
    "expected SID's list of pairs, a folder with short/ and long/ in it, ELD's folder of cameras "
    "and scenes, or two folders matched by name"
)


def read_pairs(
    place: Path,
    *,
    longs: Path | None = None,
    split: Split | None = None,
    first: bool = False,
    ratio: float | None = None,
) -> list[ExposurePair]:
    """Find the pairs of a data set, in the order of its list or of names.

    `place`: SID's list file; SID's folder (Sony/ or Fuji/, or short/ and long/); ELD's folder, one
    of its cameras or scenes; or, with `longs`, a folder of dark photos beside one of references
    with the same names, or the same beginning up to the first underscore. `split`: only SID's
    scenes for this. `first`: of each burst only the file called `_00_`. `ratio`: of all pairs,
    whatever names and files tell. Raises UsageError, in one line, where nothing fits, and where
    files are not there.
    """
    found = _find_pairs(place, longs, ratio)
    if not found:
        raise UsageError(f"{place}: holds no pairs; {EXPECTED}")
    kept = [
        pair
        for pair in found
        if (split is None or pair.split is split) and not (first and _is_later(pair))
    ]
    if not kept:
        ids = "" if split is None else f" of the {split} split (scenes {BEGINNINGS[split]})"
        which = " that is the first of its burst (_00_)" if first else ""
        raise UsageError(f"{place}: none of {len(found)} pairs{ids}{which}; take another choice")
    _check_files(place, kept)
    return kept


def looks_like_pairs(place: Path) -> bool:
    """Tell a data set of pairs from a folder of photographs: for `place` where these are meant."""
    if place.is_file():
        try:
            return bool(_read_list(place, 1.0))
        except UsageError:
            return False
    if not place.is_dir():
        return False
    if find_eld(place):
        return True
    scenes: dict[str, set[str]] = {}
    for path in list_files(place):
        if name := SID_NAME.fullmatch(path.stem):
            scenes.setdefault(name["scene"], set()).add(name["seconds"])
    folders = [place / "short", *(found for by in SUBFOLDERS for found in place.glob(by))]
    beside = any(short.is_dir() and short.with_name("long").is_dir() for short in folders)
    return beside or any(len(times) > 1 for times in scenes.values())


def _find_pairs(place: Path, longs: Path | None, ratio: float | None) -> list[ExposurePair]:
    """Find all pairs, whatever they are for."""
    for folder in (place, longs):
        if folder is not None and not folder.exists():
            raise UsageError(f"{folder}: no such file or folder; {EXPECTED}")
    if longs is not None:
        for folder in (place, longs):
            if not folder.is_dir():
                raise UsageError(f"{folder}: is no folder; dark photos and references are in two")
        return match_folders(place, longs, ratio)
    if not place.is_dir():
        return _read_list(place, ratio)
    if scenes := find_eld(place):
        return _pair_scenes(place, scenes, ratio)
    folder = _find_sid(place)
    return match_folders(folder / "short", folder / "long", ratio)


def _pair_scenes(
    place: Path, scenes: Iterable[SceneFolder], ratio: float | None
) -> list[ExposurePair]:
    pairs = [pair for scene in scenes for pair in pair_eld(scene, ratio)]
    if not pairs:
        raise UsageError(f"{place}: no RAW photos such as IMG_0004 in ELD's scenes; copy it whole")
    return pairs


def _find_sid(place: Path) -> Path:
    """Find the folder that has short/ and long/ in it."""
    found = [
        folder
        for folder in (place, *(place / camera for camera in CAMERAS))
        if (folder / "short").is_dir() and (folder / "long").is_dir()
    ]
    if not found:
        raise UsageError(f"{place}: holds no pairs; {EXPECTED}")
    if len(found) > 1 and found[0] != place:
        raise UsageError(f"{place}: holds two cameras' pairs; give {found[0]} or {found[1]}")
    return found[0]


def _read_list(path: Path, ratio: float | None) -> list[ExposurePair]:
    """Read a list: a short and a long exposure in each line, and what else there may be.

    Source: SID's Sony_test_list.txt and Fuji_test_list.txt; ELD's lists of SID's files have names
    without folders.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"{path}: no list of pairs ({reason}); give SID's list file") from error
    numbered = [(at, line.split()) for at, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise UsageError(f"{path}: the list is empty; give SID's list file")
    seen: dict[tuple[Path, Path], int] = {}
    for at, words in numbered:
        if len(words) < 2 or not all(Path(word).suffix for word in words[:2]):
            raise UsageError(
                f"{path}: line {at} does not name two files, such as "
                "./short/00001_00_0.1s.ARW ./long/00001_00_10s.ARW"
            )
        names = Path(words[0]), Path(words[1])
        if names in seen:
            raise UsageError(f"{path}: line {at} repeats line {seen[names]}; remove one of them")
        seen[names] = at
    shorts, longs = (_locate(path, [names[side] for names in seen]) for side in (0, 1))
    return [
        ExposurePair(
            short=short,
            long=long,
            ratio=find_ratio(short, long, ratio),
            scene=find_scene(short.stem),
            split=find_split(short.stem),
        )
        for short, long in zip(shorts, longs, strict=True)
    ]


def _locate(path: Path, names: list[Path]) -> list[Path]:
    """Put a list's names in the folder that they are relative to, wherever the list lies in it."""
    bases = [path.parent, path.absolute().parent.parent, *(path.parent / c for c in CAMERAS)]
    sides = [path.parent / side for side in ("short", "long")]
    for base in (*bases, *sides):
        if any((base / name).is_file() for name in names):
            return [base / name for name in names]
    return [path.parent / name for name in names]


def _is_later(pair: ExposurePair) -> bool:
    """Whether a pair is of a burst, and not its first."""
    found = SID_NAME.fullmatch(pair.short.stem)
    return found is not None and int(found["burst"]) > 0


def _check_files(place: Path, pairs: list[ExposurePair]) -> None:
    """Raise UsageError where a file is both sides, or files are not there: the first is named."""
    if same := next((pair.short for pair in pairs if pair.short == pair.long), None):
        raise UsageError(f"{same}: is its own reference; a long exposure is another file")
    files = dict.fromkeys(path for pair in pairs for path in (pair.short, pair.long))
    if missing := [path for path in files if not path.is_file()]:
        raise UsageError(
            f"{place}: {len(missing)} of {len(files)} files are not there, the first: {missing[0]}"
            "; copy all, or put the list beside the folders that it names"
        )
