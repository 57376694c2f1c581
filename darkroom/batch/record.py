"""What became of one photo of a batch: the record that journal, report and JSON output share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import Enum
from types import NoneType
from typing import Any

SCHEMA = 1
"""Version of the records; it grows when a key changes its meaning."""


class Status(Enum):
    """What became of a photo."""

    DONE = "done"
    FAILED = "failed"
    WRITING = "writing"
    """The picture is ours from now on; alone only where a process was killed then."""
    SKIPPED = "skipped"
    """Done by an earlier run and still valid; never in the journal."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one photo; also one record of the journal, key by key.

    `input`: absolute path or URL. `output`: with "/", relative to the journal's folder. `time`: of
    the record, ISO 8601, UTC. `input_*` and `output_*`: bytes, nanoseconds since 1970, hexadecimal
    of the file as it was read or written; None where not known. `width`, `height`: of the picture.
    `camera`, `taken`, `exposure_seconds`, `iso`: as the photo says. `gain`, `gain_rule` (None: the
    user's number), `gain_reason`: as in `darkroom.gain.Gain`. `black`: as
    `darkroom.raw.black_level.explain_black` says. `lens`: what was corrected
    of it, None where that was not asked for.
    `model_sha256`: of the tensors as they ran. `options`: what the user decided and pixels depend
    on. `seconds`: per stage (decode, network, encode). `error`: one line with the remedy, None if
    all is well. `exit_code`: what `darkroom enhance` would have answered.
    """

    input: str
    output: str
    status: Status
    time: str = ""
    input_size: int | None = None
    input_mtime_ns: int | None = None
    input_sha256: str | None = None
    output_size: int | None = None
    output_mtime_ns: int | None = None
    output_sha256: str | None = None
    width: int | None = None
    height: int | None = None
    camera: str = ""
    taken: str | None = None
    exposure_seconds: float | None = None
    iso: float | None = None
    gain: float | None = None
    gain_rule: str | None = None
    gain_reason: str | None = None
    black: Mapping[str, Any] | None = None
    lens: str | None = None
    model: str = ""
    model_sha256: str = ""
    device: str = ""
    precision: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: str | None = None
    exit_code: int = 0

    def record(self) -> dict[str, Any]:
        """Return the outcome as JSON values, schema version first."""
        values = {name: getattr(self, name) for name in KINDS} | {
            "status": self.status.value,
            "seconds": {stage: round(seconds, 4) for stage, seconds in self.seconds.items()},
            "warnings": list(self.warnings),
        }
        for key, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):  # JSON has no such numbers
                values[key] = None
        if self.status is Status.WRITING:  # nothing else is known yet
            values = {key: values[key] for key in ("input", "output", "status", "time")}
        return {"schema": SCHEMA, **values}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Outcome":
        """Read a record back; keys that a later schema-1 version added are ignored.

        Raises ValueError for what is no record, whatever it is.
        """
        if not isinstance(record, dict) or not {"input", "output", "status"} <= record.keys():
            raise ValueError("no record of a photo")
        values = {name: record[name] for name in KINDS if name in record}
        for name, value in values.items():
            if type(value) not in KINDS[name] or not _is_in_range(value):
                raise ValueError(f"no record of a photo: {name}")
        values["status"] = Status(values["status"])
        values["warnings"] = _read_warnings(values.get("warnings", []))
        _check_seconds(values.get("seconds", {}))
        if time := values.get("time"):
            _check_time(time)
        return cls(**values)


JSON_KINDS: Mapping[Any, tuple[type, ...]] = {
    Status: (str,),
    str: (str,),
    str | None: (str, NoneType),
    int: (int,),
    int | None: (int, NoneType),
    float | None: (float, int, NoneType),
    tuple[str, ...]: (list,),
    Mapping[str, float]: (dict,),
    Mapping[str, Any]: (dict,),
    Mapping[str, Any] | None: (dict, NoneType),
}
"""What a field's type is as JSON; exactly these types, for True is an int too."""
KINDS = {f.name: JSON_KINDS[f.type] for f in fields(Outcome)}
MAX_NUMBER = 2.0**63
MAX_SECONDS = 1e7
"""Of one stage: four months."""


def _is_in_range(value: Any) -> bool:
    """Whether a value is no number, or one that can be reckoned with; NaN is none."""
    return type(value) not in (int, float) or -MAX_NUMBER <= value < MAX_NUMBER


def _read_warnings(values: list[Any]) -> tuple[str, ...]:
    if not all(type(value) is str for value in values):
        raise ValueError("no record of a photo: warnings")
    return tuple(values)


def _check_seconds(values: dict[str, Any]) -> None:
    for value in values.values():
        if type(value) not in (int, float) or not 0 <= value <= MAX_SECONDS:
            raise ValueError("no record of a photo: seconds")


def _check_time(text: str) -> None:
    """Raise ValueError for no time since 1970 that calendars know."""
    time = datetime.fromisoformat(text)
    if not 1970 < time.year < 9999:
        raise ValueError(f"no record of a photo: {text} is no time")
