"""A folder of dark and flat frames becomes a camera's profile."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkroom.calibration.dark_stack import DarkStack
from darkroom.calibration.fixed_pattern import Mosaic, Values, tile
from darkroom.calibration.frames import (
    FULL,
    CalibrationFrame,
    Role,
    find_frames,
    read_frame,
)
from darkroom.calibration.photon_transfer import (
    CURVED,
    MAX_CHANGE,
    PairBlocks,
    fit_shot_gain,
    measure_pair,
)
from darkroom.calibration.profile import CameraProfile, Estimate, IsoProfile, covers
from darkroom.errors import UsageError

MIN_FRAMES = 2
"""Of each kind: noise is what two frames differ by."""
STRAY_SHARE, STRAY_UNITS = 1.0, 2.0
"""A dark frame brighter than the others by so many stds of the read noise and so many sensor units
had light on it."""
CLIPPED_SHARE = 0.01
"""More sites of a dark frame at 0 than this, and what is below black is cut off."""
MAX_NAMES = 3
"""Files that a note names before it counts."""

LOOKING, MEASURING = "look at the frames", "measure"
"""What `calibrate` does, one after the other."""

Watch = Callable[[str, float], None]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A profile, and what its user should know of how it came about, a line each.

    `files`: all that were read. `found`: how many frames there are of each role.
    """

    profile: CameraProfile
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    found: dict[str, int]


def calibrate(
    folder: Path,
    watch: Watch = lambda what, share: None,
    check: Callable[[str, Sequence[Path]], None] = lambda camera, files: None,
) -> Calibration:
    """Measure a camera's profile on the dark and flat frames below a folder.

    `watch` is told what is done and which share of it; `check`, before the long part of it, the
    camera and the files that are read, and may raise. Frames are read one by one, so memory stays
    flat. Raises UsageError where no ISO has two dark frames, or cameras or sizes are mixed.
    """
    frames, notes = find_frames(folder, lambda share: watch(LOOKING, share))
    found = Counter(frame.role.value for frame in frames)
    used = [frame for frame in frames if frame.role is not Role.PHOTO]
    notes += _note_photos(frames)
    if not used:
        raise UsageError(
            f"{folder}: holds {len(frames)} photos, but no dark or flat frames; take some with the "
            "lens cap on, or put them into folders named dark and flat"
        )
    _check_alike(folder, used)
    files = tuple(frame.path for frame in frames)
    check(used[0].camera, files)
    levels, done = [], 0
    for iso in sorted({frame.iso for frame in used if frame.iso is not None}):
        own = [frame for frame in used if frame.iso == iso]
        level = _measure_level(iso, own, lambda line, iso=iso: notes.append(f"ISO {iso:g}: {line}"))  # type: ignore[misc]
        if level is not None:
            levels.append(level)
        done += len(own)
        watch(MEASURING, done / len(used))
    if not levels:
        counts = f"{found['dark']} dark, {found['flat']} flat, {found['photo']} other"
        more = f" ({notes[-1]})" if notes else ""
        raise UsageError(
            f"{folder}: no ISO has {MIN_FRAMES} dark frames that can be used; found are {counts}"
            f"{more}; take {MIN_FRAMES} or more with the lens cap on, at each ISO"
        )
    first = next(frame for frame in used if frame.role is Role.DARK)
    profile = CameraProfile(
        camera=first.camera,
        height=first.shape[0],
        width=first.shape[1],
        margins=first.margins,
        cfa=first.cfa.pattern,
        white=first.white,
        levels=tuple(levels),
    )
    return Calibration(profile, tuple(notes), files, dict(found))


def _check_alike(folder: Path, frames: Sequence[CalibrationFrame]) -> None:
    """Raise UsageError where the frames are of several cameras or sizes, or state no ISO."""
    cameras = sorted({frame.camera or "no camera stated" for frame in frames})
    if len(cameras) > 1:
        raise UsageError(
            f"{folder}: frames of several cameras ({', '.join(cameras)}); give each a folder"
        )
    darks = [frame for frame in frames if frame.role is Role.DARK]
    sizes = Counter((frame.shape, frame.margins, frame.cfa) for frame in darks)
    if len(sizes) > 1:
        words = ", ".join(sorted({f"{shape[1]} x {shape[0]}" for shape, _, _ in sizes}))
        raise UsageError(
            f"{folder}: dark frames of several sizes or areas ({words}); give each a folder"
        )
    for frame in frames:
        if frame.iso is None:
            raise UsageError(
                f"{frame.path}: states no ISO, by which frames are sorted; take it away"
            )
        if darks and not covers(darks[0].shape, _offset(frame, darks[0]), frame.shape):
            raise UsageError(
                f"{frame.path}: has another size than the dark frames; give each size a folder"
            )


def _offset(frame: CalibrationFrame, whole: CalibrationFrame) -> tuple[int, int]:
    """Row and column of another frame's area where a frame's begins."""
    return frame.margins[0] - whole.margins[0], frame.margins[1] - whole.margins[1]


def _measure_level(iso: float, frames: list[CalibrationFrame], say: Say) -> IsoProfile | None:
    """Measure one ISO; None, with a note, where it has too few dark frames."""
    darks = _of_one_exposure([one for one in frames if one.role is Role.DARK], say)
    darks = _without_strays(darks, say)
    flats = [one for one in frames if one.role is Role.FLAT]
    if len(darks) < MIN_FRAMES:
        what = f"{len(darks)} dark frame{'s' * (len(darks) != 1)}"
        say(f"{what}, {MIN_FRAMES} or more are needed; left out")
        return None
    stack = _stack_darks(darks, say)
    black, error = stack.measure_black()
    noise, pattern = stack.measure_noise(), stack.measure_pattern()
    del stack
    tops = [flat.top for flat in flats if flat.top is not None]
    return IsoProfile(
        iso=iso,
        darks=len(darks),
        flats=len(flats),
        seconds=darks[0].seconds,
        black=black,
        black_error=error,
        rows=pattern.rows,
        columns=pattern.columns,
        shading=pattern.shading,
        read_noise=noise.read,
        excess_kurtosis=noise.kurtosis,
        tukey_lambda=noise.shape,
        row_noise=noise.row,
        column_noise=noise.column,
        hot_pixels=pattern.hot,
        shot_gain=_measure_gain(flats, darks[0].margins, black, noise.read, say),
        white=float(np.median(tops)) if tops else None,
    )


def _of_one_exposure(darks: list[CalibrationFrame], say: Say) -> list[CalibrationFrame]:
    """Keep the dark frames of the exposure that most have, the longest of several."""
    counts = Counter(dark.seconds for dark in darks)
    if len(counts) < 2:
        return darks
    chosen = max(counts, key=lambda seconds: (counts[seconds], seconds or 0.0))
    left = [dark for dark in darks if dark.seconds != chosen]
    seconds = "no stated exposure" if chosen is None else f"{chosen:g} s"
    say(f"dark frames of several exposures; those of {seconds} count, not {_list_names(left)}")
    return [dark for dark in darks if dark.seconds == chosen]


def _without_strays(darks: list[CalibrationFrame], say: Say) -> list[CalibrationFrame]:
    """Leave out dark frames that are brighter than the others."""
    if len(darks) < MIN_FRAMES:
        return darks
    limit = max(STRAY_SHARE * float(np.median([dark.noise for dark in darks])), STRAY_UNITS)
    limit += float(np.median([dark.level for dark in darks]))
    strays = [dark for dark in darks if dark.level > limit]
    if strays:
        say(f"brighter than the other dark frames, left out: {_list_names(strays)}")
    return [dark for dark in darks if dark not in strays]


def _stack_darks(darks: list[CalibrationFrame], say: Say) -> DarkStack:
    """Add up dark frames."""
    stack, clipped = DarkStack(darks[0].cfa.period), 0.0
    for dark in darks:
        mosaic = read_frame(dark.path).mosaic
        clipped = max(clipped, float(np.mean(mosaic == 0)))
        stack.add(mosaic)
    if clipped > CLIPPED_SHARE:
        say(
            f"the camera cuts off what is below black ({clipped:.0%} of the sites are 0), so black "
            "is measured too high and the read noise too low"
        )
    return stack


def _measure_gain(
    flats: list[CalibrationFrame], margins: tuple[int, int], black: Values, read: Estimate, say: Say
) -> Estimate | None:
    """Measure the shot gain of one ISO; None, with a note, where that cannot be.

    `margins`, `black`: where the dark frames' area begins, and their levels.
    """
    full = [flat for flat in flats if flat.light > FULL]
    if full:
        say(f"flat frames near white, left out of the shot gain: {_list_names(full)}")
    rest = sorted((flat for flat in flats if flat not in full), key=lambda flat: flat.light)
    pairs: list[PairBlocks] = []
    unpaired = []
    while rest:
        first = rest.pop(0)
        if not rest or rest[0].light > MAX_CHANGE * first.light:
            unpaired.append(first)
            continue
        pair = (first, rest.pop(0))
        one, other = (_read_light(flat.path, margins, black) for flat in pair)
        found = measure_pair(one, other, len(black), first.white - float(black.mean()))
        if found is None:
            unpaired += pair
        else:
            pairs.append(found)
    if unpaired:
        say(f"flat frames without another as bright, left out: {_list_names(unpaired)}")
    gain = fit_shot_gain(pairs, read) if pairs else None
    if gain is None:
        what = "no pair of flat frames tells it" if flats else "no flat frames"
        say(f"{what}, so the shot gain is not known")
        return None
    if gain.curvature is not None and abs(gain.curvature - 1) > CURVED:
        say(
            f"shot noise does not grow evenly with the light (x{gain.curvature:.2f} from dark to "
            "bright); the camera smooths or compresses its files"
        )
    return gain.gain


def _read_light(path: Path, margins: tuple[int, int], black: Values) -> Mosaic:
    """(H, W) a flat frame's values without black."""
    raw = read_frame(path)
    off = [whole - own for own, whole in zip(raw.margins, margins, strict=True)]
    return np.asarray(raw.mosaic - tile(np.roll(black, off, axis=(0, 1)), raw.mosaic.shape))


def _note_photos(frames: Sequence[CalibrationFrame]) -> list[str]:
    """Say which files are neither."""
    photos = [frame for frame in frames if frame.role is Role.PHOTO]
    bright = [frame for frame in photos if frame.told]
    others = [frame for frame in photos if not frame.told]
    notes = []
    if bright:
        notes.append(f"too bright for dark frames, left out: {_list_names(bright)}")
    if others:
        notes.append(f"neither dark nor evenly lit, left out: {_list_names(others)}")
    return notes


def _list_names(frames: Sequence[CalibrationFrame]) -> str:
    names = [frame.path.name for frame in frames]
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
