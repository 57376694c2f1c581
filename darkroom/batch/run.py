"""Many photos: decode, network and encode overlap; one photo's failure costs one photo.

Each photo goes its whole way in one thread of a small pool, which waits for what is scarce (see
`darkroom.batch.stages`). The size of the pool bounds what is in memory, however many photos there
are.
"""

import dataclasses
import itertools
import json
import os
import shutil
from collections.abc import Generator, Iterable, Iterator, Sequence, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from darkroom.batch.devices import load_models, weights_sha256
from darkroom.batch.failures import FolderGoneError, ends_all, is_full, reason
from darkroom.batch.jobs import Job, Naming, Search, find_jobs, local_state
from darkroom.batch.journal import Journal
from darkroom.batch.record import Outcome, Status
from darkroom.batch.resume import Planner, Rules, Settings
from darkroom.batch.stages import Assembly, Order, Progress, Stage, Watch
from darkroom.errors import DarkroomError, OutputError, UsageError
from darkroom.gain import Gain
from darkroom.models.model import Model
from darkroom.output.atomic import remove_strays
from darkroom.output.picture import PictureFormat, SaveOptions
from darkroom.pipeline import Options

__all__ = ["BatchOptions", "Progress", "Stage", "enhance_all", "load_models", "settings"]

MAX_JOBS = 8
"""Decoders by default, at most: enough for a GPU that takes 50 ms for 12 MP."""
POLL_SECONDS = 0.5
"""Longest wait without looking at signals, which Windows needs."""
Pending = dict[Future[Outcome], Job]


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What a user may decide about a batch.

    `picture`: per photo. `save`: how pictures are written; without its `overwrite`, only pictures
    that an earlier batch made and nobody changed since are ever replaced. `jobs`: photos decoded,
    and as many encoded, at the same time; None for what the processor bears. `timeout`: seconds
    after which decoding a photo is given up. `resume`: skip what the journal says is done; False
    does all again. `check_hash`: tell changed inputs by their SHA-256, not size and time.
    Raises UsageError for numbers out of range.
    """

    picture: Options = Options()
    save: SaveOptions = SaveOptions(PictureFormat.PNG)  # noqa: RUF009 - frozen
    jobs: int | None = None
    timeout: float = 60.0
    resume: bool = True
    check_hash: bool = False

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise UsageError(f"--jobs {self.jobs}: at least 1")
        if not self.timeout > 0:
            raise UsageError(f"--timeout {self.timeout:g}: give seconds, more than 0")
        if self.picture.bits != self.save.bits:
            raise UsageError("pictures are made and saved with the same bits; give both 8 or 16")

    @property
    def decoders(self) -> int:
        """Decoder processes: `jobs`, or half the cores, for the network needs some too."""
        return self.jobs or max(1, min(MAX_JOBS, (os.cpu_count() or 1) // 2))


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
    file, or models ready to run, each on its own device. `watch` is called from several threads.
    A journal (`darkroom.batch.journal`) in `out` makes it resumable at any time: closing the
    generator, or an exception in the thread that runs it, drops the photos at hand and leaves
    nothing half-written. Raises OutputError where nothing more can be written (disk full, folder
    gone).
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"cannot be made a folder ({error.strerror}); choose another place"
        raise OutputError(f"{out}: {reason}") from error
    models = _ready(model)
    jobs = _as_jobs(photos, options, out)
    with (
        Journal(out) as journal,
        Assembly(models, options.decoders, options.timeout, watch) as line,
    ):
        rules = Rules(options.resume, options.check_hash, options.save.overwrite)
        planner = Planner(out, journal, settings(options, models[0]), rules)
        at_once = 2 * (options.decoders + len(models))  # decode, network, encode, and one ahead
        yield from _Batch(line, planner, options).run(jobs, at_once)


def settings(options: BatchOptions, model: Model) -> Settings:
    """Return what pixels depend on besides the photo; tiles are not among it."""
    decided: dict[str, Any] = {
        field.name: _plain(getattr(options.picture, field.name))
        for field in dataclasses.fields(Options)
        if field.name != "tile"
    }
    decided |= {"format": options.save.format.value, "precision": str(model.dtype)[6:]}
    if options.save.format is PictureFormat.JPEG:
        decided["quality"] = options.save.quality
    return Settings(json.loads(json.dumps(decided)), weights_sha256(model))


class _Batch:
    """Feeds jobs to a pool of threads and gathers what becomes of them."""

    def __init__(self, assembly: Assembly, planner: Planner, options: BatchOptions) -> None:
        self._assembly = assembly
        self._planner = planner
        self._options = options
        self._folders: set[Path] = set()
        self._left: int | None = None
        self._sizes = (0, 0)

    def run(self, jobs: Iterable[Job | None], at_once: int) -> Iterator[Outcome]:
        """Yield outcomes as they come; stops early where nothing more can be written."""
        self._left = len(jobs) if isinstance(jobs, Sized) else None
        pending: Pending = {}
        pool = ThreadPoolExecutor(at_once, thread_name_prefix="photo")
        try:
            self._clean(self._planner.folder)
            for job in jobs:
                if job is None:
                    yield from self._gather(pending, wait(pending, timeout=0).done)
                    continue
                if any(job.target == other.target for other in pending.values()):
                    yield from self._all_but(0, pending)
                self._clean((self._planner.folder / job.target).parent)
                pending[pool.submit(self._outcome, job)] = job
                yield from self._all_but(at_once - 1, pending)
            yield from self._all_but(0, pending)
        finally:
            self._assembly.stop()
            pool.shutdown(cancel_futures=True)
            for folder in self._folders:
                remove_strays(folder)

    def _outcome(self, job: Job) -> Outcome:
        """Make one picture, unless there is nothing to do; in a thread of the pool."""
        planner = self._planner
        folder, journal, settings = planner.folder, planner.journal, planner.settings
        plan = planner.plan(job)
        if plan.done is not None:
            return replace(plan.done, status=Status.SKIPPED)

        order = Order(
            job,
            folder / job.target,
            self._options.picture,
            replace(self._options.save, overwrite=plan.replace),
            check=self._check_folder,
            claim=partial(journal.claim, job.source, job.target),
        )
        made = replace(
            self._assembly.make(order),
            input_size=plan.state and plan.state.size,
            input_mtime_ns=plan.state and plan.state.mtime_ns,
            options=settings.options,
            model_sha256=settings.model_sha256,
        )
        return journal.append(made)

    def _check_folder(self) -> None:
        """Never make the output folder anew: it may be a disk that comes back."""
        if not self._planner.journal.path.exists():
            raise FolderGoneError(
                f"{self._planner.folder}: is gone; bring it back and run the same command again"
            )

    def _all_but(self, count: int, pending: Pending) -> Iterator[Outcome]:
        """Wait until no more than so many photos are pending."""
        while len(pending) > count:
            done = wait(pending, POLL_SECONDS, FIRST_COMPLETED).done
            yield from self._gather(pending, done)

    def _gather(self, pending: Pending, done: Iterable[Future[Outcome]]) -> Iterator[Outcome]:
        """Yield what finished photos came to. Raises OutputError where none could be written."""
        for future in done:
            job = pending.pop(future)
            error = future.exception()
            if error is not None and ends_all(error):
                yield from self._last(pending)
                raise self._explained(error) from error
            outcome = future.result() if error is None else self._failed(job, error)
            self._count(outcome)
            yield outcome

    def _last(self, pending: Pending) -> Iterator[Outcome]:
        """Let photos that are being written be finished, and drop the others."""
        self._assembly.stop()
        for future in wait(pending).done:
            if future.exception() is None:
                self._count(future.result())
                yield future.result()

    def _count(self, outcome: Outcome) -> None:
        if self._left is not None:
            self._left -= 1
        if outcome.status is Status.DONE:
            self._sizes = (self._sizes[0] + (outcome.output_size or 0), self._sizes[1] + 1)

    def _failed(self, job: Job, error: BaseException) -> Outcome:
        """Record a failure; an error that is not darkroom's own is a bug, and says where."""
        state = local_state(job.source)
        outcome = Outcome(
            job.source,
            job.target,
            Status.FAILED,
            input_size=state and state.size,
            input_mtime_ns=state and state.mtime_ns,
            options=self._planner.settings.options,
            model_sha256=self._planner.settings.model_sha256,
            error=reason(error),
            exit_code=error.exit_code if isinstance(error, DarkroomError) else 1,
        )
        return self._planner.journal.append(outcome)

    def _explained(self, error: BaseException) -> OutputError:
        """Say how much space is needed where the disk is full."""
        size, count = self._sizes
        if not (is_full(error) and count):
            return OutputError(str(error))
        each, free = size / count, shutil.disk_usage(self._planner.folder).free
        need = f"each needs about {each / 1e6:.1f} MB"
        if self._left is not None:
            need = f"{self._left} photos are left and need about {self._left * each / 1e6:.1f} MB"
        return OutputError(
            f"{self._planner.folder}: the disk is full: {need}, {free / 1e6:.1f} MB are free; "
            "free some and run the same command again"
        )

    def _clean(self, folder: Path) -> None:
        """Remove what killed processes left in a folder, once."""
        if folder not in self._folders:
            self._folders.add(folder)
            remove_strays(folder)


def _plain(value: object) -> object:
    """Return an option as a JSON value."""
    if isinstance(value, Gain):
        return value.value
    return value.value if isinstance(value, Enum) else value


def _ready(model: str | Path | Model | Sequence[Model]) -> Sequence[Model]:
    if isinstance(model, Model):
        return (model,)
    return load_models(model) if isinstance(model, str | Path) else model


def _as_jobs(
    photos: Iterable[Job | Path | str | None], options: BatchOptions, out: Path
) -> Iterable[Job | None]:
    """Find the jobs of paths; jobs stay as they are, and may come one by one."""
    if isinstance(photos, Sized):
        found = list(photos)
    else:
        first = next(iter(photos := iter(photos)), None)
        photos = itertools.chain((first,), photos)
        if first is None or isinstance(first, Job):
            return photos  # type: ignore[return-value]
        found = list(photos)
    paths = [photo for photo in found if isinstance(photo, str | Path)]
    jobs = [photo for photo in found if isinstance(photo, Job)]
    naming = Naming(f".{options.save.format.value}")
    return jobs + find_jobs(paths, naming, Search(skip=out))
