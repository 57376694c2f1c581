"""Workers as Ray actors: started where nodes have room, given photos, replaced as they are lost.

A photo waits in its own thread for a worker and for the picture. What a lost worker had at hand is
done again, each photo with nothing beside it, so that one that brings its worker down is found out
and given up while its neighbours are not.

Ray's tasks (max_retries, a model cached per process) were tried: as fast on two nodes of one core
(7.2 photos of 1 MP a second either way), but slower after a node was killed (5 to 20 s until what
it had at hand was begun again, not 3 s), and on a GPU each photo at hand would load a model.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Condition, Thread
from time import monotonic
from typing import Any

from darkroom.batch import storage
from darkroom.batch.cluster.resources import (
    ClusterOptions,
    Node,
    choose_resources,
    connect,
    full_name,
)
from darkroom.batch.cluster.worker import Worker, WorkerConfig
from darkroom.batch.failures import named
from darkroom.batch.options import BatchOptions, Settings
from darkroom.batch.record import Outcome
from darkroom.batch.stages import PhotoTask, StoppedError
from darkroom.errors import DarkroomError, UsageError
from darkroom.models.device import DTYPES

TRIES = 3
"""So many lost workers are one photo's fault."""
START_TRIES = 3
"""So many starts per worker, lost in a row, make the cluster unfit."""
REVIEW_SECONDS = 5.0
"""How often nodes that joined or left are looked for."""
PATIENCE_SECONDS = 600.0
"""Without any worker for so long, a batch gives up; machines of a cloud take minutes to start."""
POLL_SECONDS = 0.5
"""How often a thread looks whether the batch has ended."""
STOP_SECONDS = 10.0
"""Workers may take so long to finish what they are writing."""
KILL_SECONDS = 2.0
"""Ray tells within this that a worker was killed."""


@dataclass(slots=True, eq=False)
class _Actor:
    """A worker as Ray's `handle`. `reserved`: it gets no other photo than the one that waits."""

    handle: Any
    ready: bool = False
    at_hand: int = 0
    reserved: bool = False


class RayExecutor:
    """Makes pictures with the workers of a Ray cluster."""

    def __init__(self, cluster: ClusterOptions, options: BatchOptions, out: str) -> None:
        """Join the cluster. Raises UsageError where that fails, or no node is fit."""
        self._cluster = cluster
        self._ray = connect(cluster.address)
        try:
            self._needs = choose_resources(self._nodes(), cluster.device, options.jobs)
        except UsageError:
            self._ray.shutdown()
            raise
        decoders = options.jobs or self._needs.decoders
        self._options = replace(options, jobs=decoders)
        self._config = WorkerConfig(
            out if storage.is_url(out) else str(Path(out).absolute()),
            full_name(cluster.model),
            "cuda" if self._needs.gpus else "cpu",
            self._options,
            self._needs.cpus,
            cluster.norm_statistics,
        )
        self._at_once = options.capacity(1, decoders)
        self._changed = Condition()
        self._actors: list[_Actor] = []
        self._settings: Settings | None = None
        self._error: DarkroomError | None = None
        self._stopped = self._left = False
        self._lost_starts = 0
        self._reviewed = 0.0
        self._last_ready = monotonic()

    def settings(self) -> Settings:
        """Wait for the first worker, and return what pixels depend on.

        Raises DarkroomError where workers cannot start.
        """
        while self._settings is None:
            self.capacity()
            with self._changed:
                self._changed.wait(POLL_SECONDS)
        return self._settings

    def capacity(self) -> int:
        """Return how many photos may be at hand; adds workers where nodes have room.

        Raises DarkroomError where no worker can be had.
        """
        now = monotonic()
        with self._changed:
            if self._error is not None:
                raise self._error
            ready = sum(actor.ready for actor in self._actors)
            if ready:
                self._last_ready = now
            elif now - self._last_ready > PATIENCE_SECONDS:
                raise UsageError(
                    f"--cluster {self._cluster.address}: no worker started within "
                    f"{PATIENCE_SECONDS:g} s; see whether {self._needs.cpus} CPU and "
                    f"{self._needs.gpus} GPU are free on a node (ray status)"
                )
            if now - self._reviewed >= REVIEW_SECONDS:
                self._reviewed = now
                for _ in range(self._needs.fitting(self._nodes()) - len(self._actors)):
                    self._add_actor()
        return max(1, ready * self._at_once)

    def make(self, task: PhotoTask) -> Outcome:
        """Have a worker make a picture, and where it is lost over it another, with nothing else."""
        task.mark()
        for losses in range(TRIES):
            overwrite = task.overwrite or losses > 0  # it may be there already
            with self._actor(alone=losses > 0) as actor:
                try:
                    made: Outcome = self._answer(actor.handle.make.remote(task.job, overwrite))
                except self._ray.exceptions.RayError:
                    self._remove(actor)
                    continue
            if losses:
                note = "its first worker was lost; done again by another"
                made = replace(made, warnings=(*made.warnings, note))
            return made
        raise DarkroomError(
            f"{task.job.source}: {TRIES} workers were lost over it; "
            "try it alone with darkroom enhance"
        )

    def stop(self) -> None:
        """Drop photos, except those that are being written, and leave the cluster."""
        with self._changed:
            if self._stopped:
                return
            self._stopped = True
            self._changed.notify_all()
            actors = list(self._actors)
            for actor in actors:
                actor.handle.stop.remote()
            self._changed.wait_for(lambda: not any(a.at_hand for a in actors), STOP_SECONDS)
            for actor in actors:
                self._ray.kill(actor.handle)
            self._changed.wait_for(lambda: not any(a.at_hand for a in actors), KILL_SECONDS)
            self._left = True
        self._ray.shutdown()

    def _nodes(self) -> list[Node]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _add_actor(self) -> None:
        actor_class = self._ray.remote(Worker).options(
            num_cpus=self._needs.cpus,
            num_gpus=self._needs.gpus,
            max_restarts=0,  # what was lost is told apart and counted here
            max_task_retries=0,
            max_concurrency=self._at_once + 1,  # one for `stop`
        )
        actor = _Actor(actor_class.remote(self._config))
        self._actors.append(actor)
        Thread(target=self._start, args=(actor,), daemon=True).start()

    def _start(self, actor: _Actor) -> None:
        """Have a worker load the model, in a thread; `capacity` raises what goes wrong."""
        asked, start = self._cluster.precision, actor.handle.start.remote
        try:
            found: Settings = self._answer(start(asked))
            with self._changed:
                first = self._settings = self._settings or found
            if asked == "auto" and found.model_sha256 != first.model_sha256:
                names = {str(dtype): name for name, dtype in DTYPES.items()}
                found = self._answer(start(names[f"torch.{first.options['precision']}"]))
            if found != first:
                raise UsageError(
                    "--cluster: machines differ in their model or darkroom; install the same on all"
                )
            actor.ready, self._lost_starts = True, 0
        except self._ray.exceptions.RayError as error:
            self._remove(actor)
            self._lost_starts += 1
            if self._lost_starts > START_TRIES * max(1, len(self._actors)):
                self._error = DarkroomError(f"--cluster: workers end as they start: {named(error)}")
        except DarkroomError as error:
            self._error = error
        except StoppedError:
            return
        with self._changed:
            self._changed.notify_all()

    def _answer(self, ref: Any) -> Any:
        """Wait for what a worker answers.

        Raises what it raised, DarkroomError for a bug, Ray's RayError where the worker is lost.
        """
        call = ref.future()
        while not wait([call], POLL_SECONDS).done:
            if self._left:
                raise StoppedError
        try:
            return call.result()
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, DarkroomError | StoppedError):
                raise error.cause from None
            text = f"internal error ({named(error.cause)}); please report it"
            raise DarkroomError(text) from error

    @contextmanager
    def _actor(self, alone: bool) -> Iterator[_Actor]:
        """Wait for the worker with the least at hand; `alone`: until it has nothing else."""
        with self._changed:
            actor = self._reserve(alone)
            actor.at_hand += 1
        try:
            yield actor
        finally:
            with self._changed:
                actor.at_hand -= 1
                actor.reserved = actor.reserved and not alone
                self._changed.notify_all()

    def _reserve(self, alone: bool) -> _Actor:
        actor: _Actor = self._wait(lambda: self._free(alone))
        actor.reserved = alone
        self._wait(lambda: not (alone and actor.at_hand))
        return actor if actor in self._actors else self._reserve(alone)  # lost meanwhile

    def _wait(self, find: Callable[[], Any]) -> Any:
        """Wait until there is something to find, and return it. Raises StoppedError."""
        found = self._changed.wait_for(lambda: self._stopped or find())
        if self._stopped:
            raise StoppedError
        return found

    def _free(self, alone: bool) -> _Actor | None:
        """Return the ready worker with the least at hand; None where all have their fill."""
        free = [actor for actor in self._actors if actor.ready and not actor.reserved]
        actor = min(free, key=lambda actor: actor.at_hand, default=None)
        return actor if actor and (alone or actor.at_hand < self._at_once) else None

    def _remove(self, actor: _Actor) -> None:
        """Do without a lost worker."""
        with self._changed:
            if actor in self._actors:
                self._actors.remove(actor)
                with suppress(self._ray.exceptions.RayError):
                    self._ray.kill(actor.handle)
            self._changed.notify_all()
