"""Scores found so far, in a file of JSON Lines: an evaluation that was ended goes on from it.

The first line says what was asked for, each further one is the score of one model on one pair,
written and synced as soon as it is found.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from darkroom.errors import OutputError, UsageError
from darkroom.evaluation.contenders import Contender
from darkroom.evaluation.paired import PairScore
from darkroom.pairs.exposures import ExposurePair

SCHEMA = 1
KIND = "darkroom scores"


class ScoreJournal:
    """The scores of one evaluation, on the disk as each is found."""

    def __init__(
        self, path: Path, settings: Mapping[str, str], contenders: Sequence[Contender]
    ) -> None:
        """Open the file or begin it; a last line that a kill has torn is dropped.

        `settings`: what decides about scores, for people to read, with the pairs' own as
        `describe_pairs` gives them. Raises UsageError where the file holds scores of other
        settings or weights, or is no such file; OutputError where it cannot be written.
        """
        self.path = path
        self._weights = {one.name: one.weights for one in contenders}
        self._known: dict[tuple[int, str], PairScore] = {}
        try:
            self._stream = path.open("a+b", buffering=0)
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be written ({error.strerror}); give another --resume FILE"
            ) from error
        try:
            self._read(dict(settings))
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, index: int, model: str) -> PairScore | None:
        """Return the score of a model on the pair at `index` of the list, if it is known."""
        return self._known.get((index, model))

    def append(self, index: int, score: PairScore) -> None:
        """Note a score, unless it is known; it is on the disk when this returns."""
        if (index, score.model) not in self._known:
            self._known[index, score.model] = score
            self._write({"index": index, "weights": self._weights[score.model], **asdict(score)})

    def _write(self, record: dict[str, Any]) -> None:
        end = self._stream.seek(0, os.SEEK_END)
        rest = memoryview((json.dumps(record) + "\n").encode())
        try:
            while rest:
                rest = rest[self._stream.write(rest) :]
            os.fsync(self._stream.fileno())
        except OSError as error:
            self._stream.truncate(end)
            raise OutputError(
                f"{self.path}: cannot be written ({error.strerror}); make room and run the same "
                "command again"
            ) from error

    def _read(self, settings: dict[str, str]) -> None:
        self._stream.seek(0)
        lines = self._stream.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            self._stream.truncate(sum(map(len, lines[:-1])))
            del lines[-1]
        if not lines:
            self._write({"kind": KIND, "schema": SCHEMA, **settings})
            return
        try:
            head, *records = map(json.loads, lines)
            if head["kind"] != KIND or head["schema"] != SCHEMA:
                raise ValueError("another kind of file")
            noted = [(one.pop("index"), one.pop("weights"), PairScore(**one)) for one in records]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(
                f"{self.path}: holds no scores of this darkroom, or is damaged; give --resume "
                "another file"
            ) from error
        for name, wanted in settings.items():
            if head.get(name) != wanted:
                raise UsageError(
                    f"{self.path}: was begun with other options ({name}: {head.get(name)}, now "
                    f"{wanted}); give the same, or --resume another file"
                )
        for index, weights, score in noted:
            if self._weights.get(score.model, weights) != weights:
                raise UsageError(
                    f"{self.path}: {score.model} had other weights there, or another precision; "
                    "give --resume another file"
                )
            self._known[index, score.model] = score


def describe_pairs(pairs: Sequence[ExposurePair]) -> str:
    """Say which pairs are scored, in what order: their number and a digest of their names."""
    names = [f"{one.scene} {one.short.name} {one.long.name} {one.ratio!r}" for one in pairs]
    digest = sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()
    return f"{len(pairs)} with names of digest {digest[:12]}"
