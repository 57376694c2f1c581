"""Many photos: what is left to do is done, and what became of each is written down.

Each photo goes its whole way in one thread of a pool. An executor makes the pictures, here
(`darkroom.batch.stages`) or on a cluster (`darkroom.batch.cluster.actors`), and says how many
photos may be at hand; that bounds what is in memory, however many there are.
"""

import itertools
import queue
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from darkroom.batch import storage
from darkroom.batch.cluster.actors import RayExecutor
from darkroom.batch.cluster.bucket import Bucket
from darkroom.batch.cluster.resources import ClusterOptions
from darkroom.batch.devices import load_models
from darkroom.batch.failures import UnwritableError, ends_all, is_full, reason
from darkroom.batch.jobs import FileState, Inputs, Job, OutputNaming, Search, find_jobs
from darkroom.batch.journal import Journal
from darkroom.batch.options import BatchOptions, Settings, settings
from darkroom.batch.record import Outcome, Status
from darkroom.batch.resume import Planner
from darkroom.batch.stages import LocalExecutor, PhotoTask, Watch
from darkroom.errors import DarkroomError, OutputError
from darkroom.models.model import Model
from darkroom.output.atomic import make_folder, remove_strays

__all__ = ["BatchOptions", "PreparedBatch", "enhance_all", "load_models", "run", "settings"]

POLL_SECONDS = 0.5
"""Longest wait without looking at signals, which Windows needs."""
MAX_THREADS = 4096
"""Photos at hand at most, on a cluster of any size."""


class Executor(Protocol):
    """Where pictures are made, by as many threads as call `make`."""

    def settings(self) -> Settings:
        """Return what pixels depend on, once it is known. Raises DarkroomError."""

    def capacity(self) -> int:
        """Return how many photos may be at hand now; asked again and again.

        Raises DarkroomError where no picture can be made any more.
        """

    def make(self, task: PhotoTask) -> Outcome:
        """Make one picture. Raises DarkroomError, or StoppedError after `stop`."""

    def stop(self) -> None:
        """Drop photos; one that is being written is finished. May be called again."""


class Folder:
    """A folder, here or shared by all machines of a cluster."""

    def __init__(self, path: str, known: Mapping[str, FileState]) -> None:
        """Make the folder. `known`: states of URLs that a listing told. Raises OutputError."""
        self.root = self.journal_folder = folder = Path(path)
        self._known = known
        self._clean: set[Path] = set()
        make_folder(folder)

    def begin(self) -> None:
        """Remove what killed processes left in it."""
        self.prepare("picture")

    def prepare(self, target: str) -> None:
        """Remove what killed processes left in a picture's folder, once."""
        folder = (self.root / target).parent
        if folder not in self._clean:
            self._clean.add(folder)
            remove_strays(folder)

    def locate(self, target: str) -> str:
        """Return where a picture goes: its path."""
        return str(self.root / target)

    def look(self, name: str) -> FileState | None:
        """Return the state of a photo or picture."""
        return self._known.get(name) or storage.state(name)

    def end(self) -> None:
        """Remove what lost workers left."""
        for folder in self._clean:
            remove_strays(folder)


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """Photos, and where and how their pictures are made.

    `jobs`: may come one by one without end, None standing for "nothing at the moment". `out`: a
    folder; on a cluster one that all machines share, or a URL. `models`: each on its own device,
    for a batch on this machine. `cluster`: who makes them elsewhere. `known`: states of URLs that a
    listing told already. `inputs`: what is read beside the photos, weights.
    """

    jobs: Iterable[Job | None]
    out: str
    options: BatchOptions = BatchOptions()
    models: Sequence[Model] = ()
    cluster: ClusterOptions | None = None
    known: Mapping[str, FileState] = field(default_factory=dict)
    inputs: Sequence[Path] = ()

    @property
    def total(self) -> int | None:
        """Number of photos, None where more may arrive."""
        return len(self.jobs) if isinstance(self.jobs, Sized) else None


def run(
    batch: PreparedBatch,
    watch: Watch = lambda progress: None,
    warn: Callable[[str], None] = lambda text: None,
) -> Generator[Outcome, None, None]:
    """Make the pictures of a batch, and yield what became of each photo as it is done.

    `watch` is called from several threads, on this machine only; `warn` is told in a line what is
    odd about the batch as a whole. A journal
    (`darkroom.batch.journal`) makes it resumable at any time: closing the generator, or an
    exception in the thread that runs it, drops the photos at hand and leaves nothing half-written.
    Raises UsageError where a cluster does not answer or no worker starts, OutputError where nothing
    more can be written (disk full, folder gone).
    """
    place = (Bucket if storage.is_url(batch.out) else Folder)(batch.out, batch.known)
    inputs = Inputs(batch.jobs, batch.inputs)
    if batch.options.save.overwrite:
        for job in batch.jobs if isinstance(batch.jobs, Sequence) else ():
            inputs.spare(place.locate(job.target))
    with ExitStack() as ends:
        journal = ends.enter_context(Journal(place.journal_folder))
        if journal.dropped:
            lines = "1 damaged line" if journal.dropped == 1 else f"{journal.dropped} damaged lines"
            warn(f"{journal.path}: {lines} dropped; their photos are looked at anew")
        place.begin()
        ends.callback(place.end)
        pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="photo")
        ends.callback(pool.shutdown, cancel_futures=True)
        executor: Executor
        if batch.cluster is None:
            executor = LocalExecutor(batch.models, batch.options, watch)
        else:
            executor = RayExecutor(batch.cluster, batch.options, batch.out)
        ends.callback(executor.stop)
        planner = Planner(
            place.root,
            journal,
            executor.settings(),
            batch.options,
            place.look,
            place.locate,
            inputs,
        )
        yield from _Loop(executor, planner, place, pool, batch.total).run(batch.jobs)


def enhance_all(
    photos: Iterable[Job | Path | str | None],
    out: Path,
    model: str | Path | Model | Sequence[Model] = "safelight",
    options: BatchOptions = BatchOptions(),
    watch: Watch = lambda progress: None,
) -> Generator[Outcome, None, None]:
    """Enhance many photos into the folder `out`, and yield what became of each as it is done.

    `photos`: jobs (see `darkroom.batch.jobs.find_jobs`), which may come one by one without end,
    None standing for "nothing at the moment"; or paths of photos and folders. `model`: a name, a
    file, or models ready to run, each on its own device. For the rest see `run`.
    """
    if isinstance(model, str | Path):
        model = load_models(model)
    models = (model,) if isinstance(model, Model) else model
    yield from run(PreparedBatch(_as_jobs(photos, options, out), str(out), options, models), watch)


@dataclass(slots=True)
class _Loop:
    """Feeds jobs to a pool of threads and gathers what becomes of them.

    `left`: photos that nothing is known of yet, None where more may arrive. `room`: photos that may
    be at hand; `ended`: those of them that are over. `made` and `size`: pictures so far, and their
    bytes.
    """

    executor: Executor
    planner: Planner
    place: Folder | Bucket
    pool: ThreadPoolExecutor
    left: int | None
    pending: dict[str, Future[Outcome]] = field(default_factory=dict)
    ended: queue.SimpleQueue[Job] = field(default_factory=queue.SimpleQueue)
    room: int = 0
    made: int = 0
    size: int = 0

    def run(self, jobs: Iterable[Job | None]) -> Iterator[Outcome]:
        """Yield outcomes as they come; stops early where nothing more can be written."""
        for job in jobs:
            if job is None:
                yield from self._gather(timeout=0)
                continue
            self.planner.inputs.add(job)
            self.place.prepare(job.target)
            while len(self.pending) >= self.room or job.target in self.pending:
                yield from self._gather()
            self.pending[job.target] = future = self.pool.submit(self._outcome, job)
            future.add_done_callback(partial(self._end, job))
        while self.pending:
            yield from self._gather()

    def _end(self, job: Job, _: Future[Outcome]) -> None:
        self.ended.put(job)

    def _outcome(self, job: Job) -> Outcome:
        """Make one picture, unless there is nothing to do; in a thread of the pool."""
        planner = self.planner
        plan = planner.plan(job)
        if plan.done is not None:
            return replace(plan.done, status=Status.SKIPPED)
        mark = partial(planner.journal.mark_writing, job.source, job.target)
        task = PhotoTask(job, planner.folder / job.target, plan.replace, self._check_folder, mark)
        return self._record(self.executor.make(task), plan.state)

    def _check_folder(self) -> None:
        """Never make the output folder anew: it may be a disk that comes back."""
        if not self.planner.journal.path.exists():
            raise UnwritableError(
                f"{self.planner.folder}: is gone; bring it back and run the same command again"
            )

    def _record(self, outcome: Outcome, state: FileState | None) -> Outcome:
        """Add what only the batch knows, and write it down."""
        known = self.planner.settings
        return self.planner.journal.append(
            replace(
                outcome,
                input_size=state and state.size,
                input_mtime_ns=state and state.mtime_ns,
                options=known.options,
                model_sha256=known.model_sha256,
            )
        )

    def _gather(self, timeout: float = POLL_SECONDS) -> Iterator[Outcome]:
        """Yield what finished photos came to. Raises OutputError where none could be written."""
        self.room = self.executor.capacity()
        ended = []
        with suppress(queue.Empty):
            ended.append(self.ended.get(timeout > 0, timeout))
            while True:
                ended.append(self.ended.get_nowait())
        for job in ended:
            future = self.pending.pop(job.target)
            error = future.exception()
            if error is not None and ends_all(error):
                yield from self._finish()
                raise self._explain(error) from error
            yield self._count(future.result() if error is None else self._fail(job, error))

    def _finish(self) -> Iterator[Outcome]:
        """Let photos that are being written be finished, and drop the others."""
        self.executor.stop()
        for future in wait(self.pending.values()).done:
            if future.exception() is None:
                yield self._count(future.result())

    def _count(self, outcome: Outcome) -> Outcome:
        if self.left is not None:
            self.left -= 1
        if outcome.status is Status.DONE:
            self.made += 1
            self.size += outcome.output_size or 0
        return outcome

    def _fail(self, job: Job, error: BaseException) -> Outcome:
        """Record a failure; an error that is not darkroom's own is a bug, and says where."""
        state, code = None, error.exit_code if isinstance(error, DarkroomError) else 1
        with suppress(DarkroomError):  # a server that does not answer
            state = self.place.look(job.source)
        return self._record(
            Outcome(
                job.source,
                job.target,
                Status.FAILED,
                error=reason(error, job.source),
                exit_code=code,
            ),
            state,
        )

    def _explain(self, error: BaseException) -> OutputError:
        """Say how much space is needed where the disk is full."""
        if not (is_full(error) and self.made):
            return OutputError(str(error))
        folder = self.place.journal_folder
        each, free = self.size / self.made, shutil.disk_usage(folder).free
        need = f"each needs about {each / 1e6:.1f} MB"
        if self.left is not None:
            need = f"{self.left} photos are left and need about {self.left * each / 1e6:.1f} MB"
        return OutputError(
            f"{folder}: the disk is full: {need}, {free / 1e6:.1f} MB are free; "
            "free some and run the same command again"
        )


def _as_jobs(
    photos: Iterable[Job | Path | str | None], options: BatchOptions, out: Path
) -> Iterable[Job | None]:
    """Find the jobs of paths; jobs stay as they are, and may come one by one."""
    if not isinstance(photos, Sized):
        first = next(photos := iter(photos), None)
        photos = itertools.chain((first,), photos)
        if first is None or isinstance(first, Job):
            return photos  # type: ignore[return-value]
    found = list(photos)
    paths = [photo for photo in found if isinstance(photo, str | Path)]
    jobs = [photo for photo in found if isinstance(photo, Job)]
    naming = OutputNaming(f".{options.save.format.value}")
    return jobs + find_jobs(paths, naming, Search(skip=out))
