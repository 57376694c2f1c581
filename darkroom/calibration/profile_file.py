"""Read a camera's profile, and refuse whatever is none."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.calibration.profile import (
    KIND,
    SCHEMA,
    CameraProfile,
    Estimate,
    IsoProfile,
    Values,
)
from darkroom.errors import UsageError
from darkroom.raw.image import CFA

MAX_BYTES = 1 << 28
"""A profile takes some 100 kB for each ISO."""
MAKE_ANEW = "make one with `darkroom calibrate`"


def read_profile(path: Path) -> CameraProfile:
    """Read a profile that `darkroom calibrate` wrote. Raises UsageError for anything else."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: is too large for a camera profile; {MAKE_ANEW}")
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check the name") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: is no camera profile; {MAKE_ANEW}") from error
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise UsageError(f"{path}: is no camera profile; {MAKE_ANEW}")
    schema = record.get("schema")
    if schema != SCHEMA:
        raise UsageError(f"{path}: is of version {schema}, not {SCHEMA}; use the newest darkroom")
    try:
        return _from_record(record)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{path}: is a damaged camera profile ({error}); {MAKE_ANEW}") from error


def _from_record(record: dict[str, Any]) -> CameraProfile:
    """Read a profile back. Raises LookupError, TypeError or ValueError for what makes no sense."""
    height, width = int(record["height"]), int(record["width"])
    top, left = (int(number) for number in record["margins"])
    cfa = CFA(str(record["cfa"]))
    if len(cfa.pattern) not in (4, 36) or set(cfa.pattern) - set("RGB") or min(height, width) < 1:
        raise ValueError("size or colour filters")
    shape = (height, width, cfa.period)
    levels = tuple(_read_level(level, shape) for level in record["levels"])
    isos = [level.iso for level in levels]
    if not levels or sorted(set(isos)) != isos:
        raise ValueError("its ISOs")
    white = _number(record["white"])
    if not all(np.abs(level.black).max() < white for level in levels):
        raise ValueError("black or white level")
    return CameraProfile(
        str(record["camera"]), height, width, (top, left), cfa.pattern, white, levels
    )


def _read_level(record: dict[str, Any], shape: tuple[int, int, int]) -> IsoProfile:
    height, width, period = shape

    def array(name: str, shape: tuple[int, ...]) -> Values:
        values = np.array(record[name], np.float64)
        if values.shape != shape or not np.isfinite(values).all():
            raise ValueError(name)
        return values

    def optional(name: str, shape: tuple[int, ...]) -> Values | None:
        return None if record[name] is None else array(name, shape)

    def estimate(name: str, least: float = 0.0) -> Estimate:
        found = Estimate(_number(record[name]["value"]), _number(record[name]["error"]))
        if found.value < least:
            raise ValueError(name)
        return found

    cells = record["shading"]
    hot = np.array(record["hot_pixels"], np.float64).reshape(-1, 3)
    if not (np.isfinite(hot).all() and (hot[:, :2] >= 0).all() and (hot[:, 0] < height).all()):
        raise ValueError("hot_pixels")
    if not (hot[:, 1] < width).all():
        raise ValueError("hot_pixels")
    iso = _number(record["iso"])
    if not iso > 0:
        raise ValueError("iso")
    return IsoProfile(
        iso=iso,
        darks=int(record["darks"]),
        flats=int(record["flats"]),
        seconds=None if record["seconds"] is None else _number(record["seconds"]),
        black=array("black", (period, period)),
        black_error=array("black_error", (period, period)),
        rows=optional("rows", (height,)),
        columns=optional("columns", (width,)),
        shading=None if cells is None else array("shading", (len(cells), len(cells[0]))),
        read_noise=estimate("read_noise", 1e-6),
        excess_kurtosis=estimate("excess_kurtosis", -3.0),
        tukey_lambda=estimate("tukey_lambda", -1.0),
        row_noise=estimate("row_noise"),
        column_noise=estimate("column_noise"),
        hot_pixels=hot,
        shot_gain=None if record["shot_gain"] is None else estimate("shot_gain", 1e-9),
        white=None if record["white"] is None else _number(record["white"]),
    )


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)
