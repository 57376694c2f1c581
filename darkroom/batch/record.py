"""What became of one photo of a batch: the record that journal, report and JSON output share."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
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
    the record, ISO 8601, UTC. `input_*` and `output_*`: bytes, nanoseconds since 1970, hexadecimal;
    None where not known. `width`, `height`: of the picture. `camera`, `taken`, `exposure_seconds`,
    `iso`: as the photo says. `gain`, `gain_rule` (None: the user's number), `gain_reason`: as in
    `darkroom.gain.Gain`. `black`: as `darkroom.raw.black_level.explain_black` says.
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
        values = asdict(self) | {
            "status": self.status.value,
            "seconds": {stage: round(seconds, 4) for stage, seconds in self.seconds.items()},
            "warnings": list(self.warnings),
        }
        if self.status is Status.WRITING:  # nothing else is known yet
            values = {key: values[key] for key in ("input", "output", "status", "time")}
        return {"schema": SCHEMA, **values}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Outcome":
        """Read a record back; keys that a later schema-1 version added are ignored.

        Raises ValueError for what is no record.
        """
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in record.items() if key in known}
        try:
            values["status"] = Status(values["status"])
            values["warnings"] = tuple(values.get("warnings", ()))
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no record of a photo: {error}") from error
