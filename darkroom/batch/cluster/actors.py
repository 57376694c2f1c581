"""Workers as Ray actors: started where there is room, given photos, replaced as they are lost."""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

from darkroom.batch.cluster.resources import Crew, Node, connect, full_name, shape
from darkroom.batch.cluster.worker import Failure, Post, Worker
from darkroom.batch.jobs import Job
from darkroom.batch.record import Outcome
from darkroom.batch.resume import Plan, Settings
from darkroom.batch.run import POLL_SECONDS, BatchOptions
from darkroom.errors import DarkroomError, UsageError

TRIES = 3
"""So many lost workers make a photo the suspect."""
START_TRIES = 3
"""So many starts per worker, lost in a row, make the cluster unfit."""
REVIEW_SECONDS = 5.0
"""How often nodes that joined or left are looked for."""
PATIENCE_SECONDS = 600.0
"""Without any worker for so long, a batch gives up; machines of a cloud take minutes to start."""
STOP_SECONDS = 10.0
"""Workers may take so long to finish what they are writing."""
SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
"""What --precision calls the formats."""


@dataclass(frozen=True, slots=True)
class Request:
    """A photo to make, and how many workers were lost over it."""

    job: Job
    plan: Plan
    losses: int = 0


Answer = tuple[Request, Outcome | Failure]


@dataclass(slots=True, eq=False)
class _Member:
    """A worker. `alone`: it takes nothing else until its suspect (`next`) is done."""

    actor: Any
    ready: bool = False
    at_hand: int = 0
    alone: bool = False
    next: Request | None = None


@dataclass(frozen=True, slots=True)
class _Task:
    """What an answer will be to; without a request, to `start`."""

    member: _Member
    request: Request | None = None
    precision: str = ""


@dataclass(slots=True)
class _State:
    members: list[_Member] = field(default_factory=list)
    tasks: dict[Any, _Task] = field(default_factory=dict)
    waiting: deque[Request] = field(default_factory=deque)
    lost_starts: int = 0
    reviewed: float = 0.0
    last_ready: float = field(default_factory=monotonic)


class Workers:
    """All workers of a batch; used by one thread, as a context that ends them."""

    def __init__(self, crew: Crew, options: BatchOptions, out: str) -> None:
        """Join the cluster and have workers start. Raises UsageError where that fails."""
        self._crew = crew
        self._ray = connect(crew.address)
        self._settings: Settings | None = None
        self._now = _State()
        self.lost = 0
        """Workers that were lost so far."""
        try:
            self._shape = shape(self._nodes(), crew.device, options.jobs)
        except UsageError:
            self._ray.shutdown()
            raise
        device = "cuda" if self._shape.gpus else "cpu"
        decoders = options.jobs or self._shape.decoders
        model = full_name(crew.model)
        self._post = Post(out, model, device, options, self._shape.cpus, decoders)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for member in self._now.members:
            self._ray.kill(member.actor)
        self._ray.shutdown()

    @property
    def busy(self) -> int:
        """Photos at hand or waiting for a worker."""
        return len(self._now.waiting) + sum(bool(task.request) for task in self._now.tasks.values())

    @property
    def has_room(self) -> bool:
        """Whether another photo would find a worker at once."""
        return not self._now.waiting and self._choose(self._post.at_once) is not None

    def settings(self) -> Settings:
        """Wait for the first worker, and return what pixels depend on.

        Raises DarkroomError where workers cannot start.
        """
        while self._settings is None:
            self.answers()
        return self._settings

    def give(self, request: Request) -> None:
        """Take one more photo."""
        self._now.waiting.append(request)
        self._assign()

    def answers(self) -> list[Answer]:
        """Wait a moment for photos that are done, or cannot be, and return them.

        Raises DarkroomError where no worker can be had.
        """
        self._review()
        refs = list(self._now.tasks)
        if not refs:
            sleep(POLL_SECONDS)
            return []
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=POLL_SECONDS)
        if ready:
            ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        found = [answer for ref in ready if (answer := self._taken(ref)) is not None]
        self._assign()
        return found

    def stop(self) -> list[Answer]:
        """Drop photos, except those that are being written; returns what came of these."""
        self._now.waiting.clear()
        for member in self._now.members:
            member.next = None
            member.actor.stop.remote()
        refs = [ref for ref, task in self._now.tasks.items() if task.request]
        if not refs:
            return []
        ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=STOP_SECONDS)
        found = [answer for ref in ready if (answer := self._taken(ref)) is not None]
        return [(request, made) for request, made in found if not _stopped(made)]

    def _nodes(self) -> list[Node]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _review(self) -> None:
        """Add workers where nodes have room. Raises DarkroomError where there is none for long."""
        now = self._now
        if any(member.ready for member in now.members):
            now.last_ready = monotonic()
        elif monotonic() - now.last_ready > PATIENCE_SECONDS:
            raise UsageError(
                f"--cluster {self._crew.address}: no worker started within {PATIENCE_SECONDS:g} s; "
                f"see whether {self._shape.cpus} CPU and {self._shape.gpus} GPU are free on a node "
                "(ray status)"
            )
        if monotonic() - now.reviewed < REVIEW_SECONDS:
            return
        now.reviewed = monotonic()
        wanted = self._shape.fitting(self._nodes())
        for _ in range(wanted - len(now.members)):
            self._start()

    def _start(self) -> None:
        actor_class = self._ray.remote(Worker).options(
            num_cpus=self._shape.cpus,
            num_gpus=self._shape.gpus,
            max_restarts=0,  # what was lost is told apart and counted here
            max_task_retries=0,
            max_concurrency=self._post.at_once + 1,  # one for `stop`
        )
        member = _Member(actor_class.remote(self._post))
        self._now.members.append(member)
        self._load(member, self._crew.precision)

    def _load(self, member: _Member, precision: str) -> None:
        task = _Task(member, precision=precision)
        self._now.tasks[member.actor.start.remote(precision)] = task

    def _taken(self, ref: Any) -> Answer | None:
        """Take what a worker answered; None where that was to `start`, or the photo waits again."""
        exceptions = self._ray.exceptions
        task = self._now.tasks.pop(ref)
        try:
            value = self._ray.get(ref)
        except exceptions.RayTaskError as error:
            value = Failure(_internal(error))
        except exceptions.RayError as error:
            return self._lost(task, error)
        if task.request is None:
            self._started(task, value)
            return None
        self._leave(task.member)
        if value.__class__ is Outcome and task.request.losses:
            note = "its first worker was lost; done again by another"
            value = replace(value, warnings=(*value.warnings, note))
        return task.request, value

    def _started(self, task: _Task, value: Settings | Failure) -> None:
        """Let a worker take photos if it makes the same pictures as all others."""
        if isinstance(value, Failure):
            raise _error(value)
        first = self._settings = self._settings or value
        if value == first:
            task.member.ready = True
            self._now.lost_starts = 0
            return
        precision = SHORT[first.options["precision"]]
        if task.precision != "auto" or value.model_sha256 == first.model_sha256:
            raise UsageError(
                "--cluster: machines differ in their model or darkroom; install the same on all"
            )
        self._load(task.member, precision)

    def _leave(self, member: _Member) -> None:
        """Note that a worker is done with a photo, and give it the suspect it waits for."""
        member.at_hand -= 1
        if member.at_hand == 0:
            request, member.next = member.next, None
            member.alone = request is not None
            if request is not None:
                self._send(member, request)

    def _lost(self, task: _Task, error: Exception) -> Answer | None:
        """Do without a worker; its photo is given to another, or given up."""
        member, request, now = task.member, task.request, self._now
        if member in now.members:
            now.members.remove(member)
            self.lost += 1
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(member.actor)
            if member.next is not None:
                now.waiting.appendleft(member.next)
                member.next = None
        if request is None:
            now.lost_starts += 1
            if now.lost_starts > START_TRIES * max(1, len(now.members)):
                raise DarkroomError(f"--cluster: workers end as they start: {_line(error)}")
            return None
        if request.losses + 1 >= TRIES:
            text = f"{TRIES} workers were lost over it; try it alone with darkroom enhance"
            return request, Failure(f"{request.job.source}: {text}")
        now.waiting.appendleft(replace(request, losses=request.losses + 1))
        return None

    def _assign(self) -> None:
        """Hand out waiting photos; a suspect goes to a worker that gets nothing else meanwhile."""
        waiting = self._now.waiting
        while waiting:
            suspect = waiting[0].losses > 0
            member = self._choose(None if suspect else self._post.at_once)
            if member is None:
                return
            request = waiting.popleft()
            member.alone = suspect
            if suspect and member.at_hand:
                member.next = request
            else:
                self._send(member, request)

    def _choose(self, at_once: int | None) -> _Member | None:
        """Return the ready worker with the least at hand; None where all have their fill."""
        free = [member for member in self._now.members if member.ready and not member.alone]
        member = min(free, key=lambda member: member.at_hand, default=None)
        return member if member and (at_once is None or member.at_hand < at_once) else None

    def _send(self, member: _Member, request: Request) -> None:
        overwrite = request.plan.replace or request.losses > 0  # it may be there already
        member.at_hand += 1
        ref = member.actor.make.remote(request.job, overwrite)
        self._now.tasks[ref] = _Task(member, request)


def _error(failure: Failure) -> DarkroomError:
    """Return an error that ends a batch with the failure's exit code."""
    error = DarkroomError(failure.error)
    error.exit_code = failure.exit_code  # type: ignore[misc]
    return error


def _stopped(made: Outcome | Failure) -> bool:
    return isinstance(made, Failure) and made.stopped


def _internal(error: Any) -> str:
    cause = error.cause
    return f"internal error ({_line(cause)}); please report it"


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
