"""What is left of a batch: what its journal says is done, and still is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from darkroom.batch import storage
from darkroom.batch.jobs import FileState, Inputs, Job
from darkroom.batch.journal import Journal
from darkroom.batch.options import BatchOptions, Settings
from darkroom.batch.record import Outcome, Status
from darkroom.errors import OutputError

CLOCK_NS = 2_000_000_000
"""Times of one picture may differ by so much: FAT stores them in steps of two seconds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about a photo.

    `done`: the record of an earlier run that still holds, else None. `replace`: what is at the
    target may be replaced. `state`: of the input, None where it is not there.
    """

    done: Outcome | None
    replace: bool
    state: FileState | None


@dataclass(frozen=True, slots=True)
class Planner:
    """Decides for each photo what is done again, by the options' `resume` and `check_hash`.

    `look`: gives the state of a photo or picture by its path or URL, None where there is none.
    `locate`: gives the path or URL of a picture by its name. `inputs`: what the batch reads, which
    no picture replaces.
    """

    folder: Path
    journal: Journal
    settings: Settings
    options: BatchOptions
    look: Callable[[str], FileState | None]
    locate: Callable[[str], str]
    inputs: Inputs

    def plan(self, job: Job) -> Plan:
        """Say what to do; safe from several threads.

        Raises OutputError where a photo would be lost, or a picture that no batch made of it.
        """
        state = self.look(job.source)
        target = self.folder / job.target
        there = self.look(str(target))
        place = self.locate(job.target)
        last = self.journal.latest(job.target)
        ours = there is not None and last is not None and self._is_ours(place, there, last)
        if there is not None and not ours:
            self.inputs.spare(place)
        if last is None:
            self._spare(there is None, f"{target}: exists already, and no batch made it")
            return Plan(None, self.options.save.overwrite, state)
        if last.status is Status.WRITING:
            return Plan(None, True, state)
        empty = there is None or there.size == 0  # empty: what power loss makes of some files
        self._spare(ours or empty, f"{target}: was changed since a batch made it")
        same = self._is_same(job, state, last)
        moved = job.source != last.input and not same
        self._spare(empty or not moved, f"{target}: is the picture of {last.input} already")
        valid = ours and same and Settings(last.options, last.model_sha256) == self.settings
        return Plan(last if valid and self.options.resume else None, True, state)

    def _spare(self, safe: bool, reason: str) -> None:
        if not (safe or self.options.save.overwrite):
            raise OutputError(f"{reason}; choose another folder, or add --overwrite")

    def _is_same(self, job: Job, state: FileState | None, last: Outcome) -> bool:
        """Whether the photo is the one that was done, wherever its card is mounted now.

        Where its place and its time both differ, as a copied folder's do, its bytes tell.
        """
        if state is None or PurePath(job.source).name != PurePath(last.input).name:
            return False
        same = state == (last.input_size, last.input_mtime_ns)
        if last.input_sha256 and (
            self.options.check_hash or not (same or job.source == last.input)
        ):
            same_size = state.size == last.input_size
            return same_size and storage.sha256(job.source) == last.input_sha256
        return same

    def _is_ours(self, target: str, there: FileState, last: Outcome) -> bool:
        """Whether a picture is as a batch made it; a copy's time differs, its bytes do not."""
        if there.size != last.output_size:
            return False
        if abs(there.mtime_ns - (last.output_mtime_ns or 0)) <= CLOCK_NS:
            return True
        return last.output_sha256 is not None and storage.sha256(target) == last.output_sha256
