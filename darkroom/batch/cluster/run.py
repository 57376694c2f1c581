"""Many photos on many machines, over Ray: workers come and go, photos and their record stay.

The journal and all decisions are here, with the one who asked; workers only make pictures. What a
lost worker had at hand is done again by others, each photo alone, so that one which brings its
worker down is found out and given up while its neighbours are not.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Protocol

from darkroom.batch import storage
from darkroom.batch.cluster import journal_mirror
from darkroom.batch.cluster.actors import Answer, Request, Workers
from darkroom.batch.cluster.lease import Claim
from darkroom.batch.cluster.resources import Crew
from darkroom.batch.cluster.worker import Failure
from darkroom.batch.jobs import FileState, Job
from darkroom.batch.journal import Journal
from darkroom.batch.record import Outcome, Status
from darkroom.batch.resume import Plan, Planner, Rules, Settings, file_sha256
from darkroom.batch.run import BatchOptions
from darkroom.errors import DarkroomError, OutputError
from darkroom.output.atomic import remove_strays

__all__ = ["Crew", "enhance_on_cluster", "journal_folder"]


def enhance_on_cluster(
    jobs: Iterable[Job | None],
    out: Path | str,
    crew: Crew = Crew(),
    options: BatchOptions = BatchOptions(),
    known: Mapping[str, FileState] | None = None,
) -> Generator[Outcome, None, None]:
    """Enhance many photos on a Ray cluster, and yield what became of each as it is done.

    As `darkroom.batch.run.enhance_all`, with paths that all machines share, or URLs. `out`: a
    folder or the URL of one. `known`: states of URLs that a listing told already. Raises UsageError
    where Ray is missing or does not answer, or no worker starts, OutputError where nothing more can
    be written.
    """
    states = known or {}
    place = _Bucket(str(out), states) if storage.is_url(str(out)) else _Folder(Path(out), states)
    with Journal(place.journal_folder) as journal:
        place.begin()
        try:
            with Workers(crew, options, str(place)) as workers:
                yield from _Run(workers, journal, place, options).run(jobs)
        finally:
            place.end()


def journal_folder(out: Path | str) -> Path:
    """Return the folder on this machine that holds a batch's journal."""
    return journal_mirror.journal_folder(str(out)) if storage.is_url(str(out)) else Path(out)


class _Place(Protocol):
    """Where pictures go. `root`: what targets are below of, for the planner."""

    root: Path
    journal_folder: Path

    def begin(self) -> None: ...
    def about_to_write(self, target: str) -> None: ...
    def look(self, name: str) -> FileState | None: ...
    def end(self) -> None: ...


class _Folder:
    """A folder that all machines share."""

    def __init__(self, folder: Path, known: Mapping[str, FileState]) -> None:
        self.root = self.journal_folder = folder.absolute()
        self._known = known
        self._folders: set[Path] = set()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"cannot be made a folder ({error.strerror}); choose another place"
            raise OutputError(f"{folder}: {reason}") from error

    def __str__(self) -> str:
        return str(self.root)

    def begin(self) -> None:
        """Nothing to do: folders are cleaned as they are needed."""

    def about_to_write(self, target: str) -> None:
        """Remove what killed processes left in a picture's folder, once."""
        folder = (self.root / target).parent
        if folder not in self._folders:
            self._folders.add(folder)
            remove_strays(folder)

    def look(self, name: str) -> FileState | None:
        """Return the state of a photo or picture."""
        return self._known.get(name) or storage.state(name)

    def end(self) -> None:
        """Remove what lost workers left."""
        for folder in self._folders:
            remove_strays(folder)


class _Bucket:
    """A URL. What is there is listed once, for asking for each photo would take longer."""

    root = Path()

    def __init__(self, url: str, known: Mapping[str, FileState]) -> None:
        self._url = url
        self._known = known
        self._there: dict[str, FileState] = {}
        self._mirror = journal_mirror.Mirror(url)
        self.journal_folder = self._mirror.folder
        self._claim = Claim(url, self.journal_folder)

    def __str__(self) -> str:
        return self._url

    def begin(self) -> None:
        """List what is there, remove what lost workers left, and see that it can be written to.

        Raises OutputError where it cannot, or another machine's batch is writing there.
        """
        self._claim.hold()
        self._there = storage.states(self._url)
        storage.remove_strays(self._url, self._there)
        self._mirror.push(now=True)

    def about_to_write(self, target: str) -> None:
        """Copy the journal and renew the claim if it is time to. Raises OutputError."""
        self._claim.hold()
        self._mirror.push()

    def look(self, name: str) -> FileState | None:
        """Return the state of a photo by its URL or absolute path, or of a picture by its name."""
        if storage.is_url(name) or PurePath(name).is_absolute():
            return self._known.get(name) or storage.state(name)
        return self._there.get(PurePath(name).as_posix())

    def end(self) -> None:
        """Copy the journal, and remove what lost workers left; nothing where another writes."""
        if self._claim.drop():
            self._mirror.push(now=True)
            storage.remove_strays(self._url, storage.states(self._url))


class _Run:
    """Feeds photos to workers and writes down what becomes of them."""

    def __init__(
        self, workers: Workers, journal: Journal, place: _Place, options: BatchOptions
    ) -> None:
        self._workers = workers
        self._journal = journal
        self._place = place
        self._rules = Rules(options.resume, options.check_hash, options.save.overwrite)
        self._settings = Settings({}, "")
        self._at_hand: set[str] = set()

    def run(self, jobs: Iterable[Job | None]) -> Iterator[Outcome]:
        """Yield outcomes as they come. Raises OutputError where nothing more can be written."""
        self._settings = self._workers.settings()
        place = self._place
        planner = Planner(
            place.root, self._journal, self._settings, self._rules, place.look, _sha256
        )
        try:
            for job in jobs:
                if job is None:
                    yield from self._gather()
                    continue
                while job.target in self._at_hand or not self._workers.has_room:
                    yield from self._gather()
                outcome = self._begun(job, planner)
                if outcome is not None:
                    yield outcome
            while self._workers.busy:
                yield from self._gather()
        finally:
            for answer in self._workers.stop():
                self._noted(answer)

    def _begun(self, job: Job, planner: Planner) -> Outcome | None:
        """Give a photo to a worker, unless there is nothing to do."""
        try:
            plan = planner.plan(job)
        except DarkroomError as error:
            state = self._place.look(job.source)
            return self._failed(Request(job, Plan(None, False, state)), _failure(error))
        if plan.done is not None:
            return replace(plan.done, status=Status.SKIPPED)
        self._place.about_to_write(job.target)
        self._journal.claim(job.source, job.target)
        self._at_hand.add(job.target)
        self._workers.give(Request(job, plan))
        return None

    def _gather(self) -> Iterator[Outcome]:
        """Yield what photos came to. Raises OutputError where none could be written."""
        answers = self._workers.answers()
        fatal = [made.error for _, made in answers if isinstance(made, Failure) and made.fatal]
        if fatal:
            answers += self._workers.stop()
        for request, made in answers:
            if not (isinstance(made, Failure) and made.fatal):
                yield self._noted((request, made))
        if fatal:
            raise OutputError(fatal[0])

    def _noted(self, answer: Answer) -> Outcome:
        """Write down what became of a photo."""
        request, made = answer
        self._at_hand.discard(request.job.target)
        if isinstance(made, Failure):
            return self._failed(request, made)
        return self._journal.append(self._complete(made, request))

    def _failed(self, request: Request, failure: Failure) -> Outcome:
        outcome = Outcome(
            request.job.source,
            request.job.target,
            Status.FAILED,
            error=failure.error,
            exit_code=failure.exit_code,
        )
        return self._journal.append(self._complete(outcome, request))

    def _complete(self, outcome: Outcome, request: Request) -> Outcome:
        """Add what only the one who asked knows."""
        state = request.plan.state
        return replace(
            outcome,
            input_size=state and state.size,
            input_mtime_ns=state and state.mtime_ns,
            options=self._settings.options,
            model_sha256=self._settings.model_sha256,
        )


def _sha256(name: str) -> str | None:
    """Return the SHA-256 of a photo; one at a URL is read for it, here and not by a worker."""
    return storage.sha256(name) if storage.is_url(name) else file_sha256(name)


def _failure(error: DarkroomError) -> Failure:
    return Failure(" ".join(str(error).split()), error.exit_code)
