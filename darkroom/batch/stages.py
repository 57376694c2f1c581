"""One photo's way through a batch: decode, network, encode, each waiting for what is scarce."""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from darkroom.batch.decoders import Decoders
from darkroom.batch.devices import Device, Run
from darkroom.batch.jobs import Job, local_state
from darkroom.batch.record import Outcome, Status
from darkroom.errors import OutputError
from darkroom.models.model import Model
from darkroom.output.atomic import check_target
from darkroom.output.exif import picture_exif
from darkroom.output.picture import SaveOptions, save_picture
from darkroom.pipeline import Options, Picture
from darkroom.raw.black_level import explain_black
from darkroom.raw.image import RawImage


class Stage(Enum):
    """Where a photo is; also the keys of `Outcome.seconds`."""

    DECODE = "decode"
    NETWORK = "network"
    ENCODE = "encode"


@dataclass(frozen=True, slots=True)
class Progress:
    """A photo has entered a stage, or moved on in it by `share` (0 to 1)."""

    job: Job
    stage: Stage
    share: float = 0.0


Watch = Callable[[Progress], None]


class StoppedError(Exception):
    """The batch ends; the photo at hand is dropped."""


@dataclass(frozen=True, slots=True)
class Order:
    """One photo to make: where it comes from, and what is done and saved.

    `save.overwrite` allows replacing what is at `target`. `check` is called before a folder is
    made for it, `claim` right before it is written; both may raise.
    """

    job: Job
    target: Path
    picture: Options
    save: SaveOptions
    check: Callable[[], Any] = lambda: None
    claim: Callable[[], Any] = lambda: None


class Assembly:
    """Decoder processes and devices, shared by as many threads as call `make`."""

    def __init__(
        self, models: Sequence[Model], decoders: int, timeout: float, watch: Watch = lambda p: None
    ) -> None:
        """Start no process yet. `timeout`: seconds after which decoding is given up."""
        self._decoders = Decoders(decoders, timeout)
        self._places: queue.SimpleQueue[Device] = queue.SimpleQueue()
        devices = [Device(model) for model in models]
        # While one photo has the network, others are prepared and rendered.
        for device in devices * (1 + decoders):
            self._places.put(device)
        self._watch = watch
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def stopped(self) -> bool:
        """Whether photos at hand are being dropped."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Drop photos before their next stage or tile; one that is being written is finished."""
        self._stopped.set()
        self._decoders.close()

    def make(self, order: Order) -> Outcome:
        """Make one picture and say what became of it, without what only the batch knows.

        Raises DarkroomError where that fails, StoppedError where the batch ends first.
        """
        job, seconds = order.job, {}
        self._enter(job, Stage.DECODE)
        with self._decoders.worker() as worker:
            started = perf_counter()
            raw, digest = worker.decode(job.source)
            seconds[Stage.DECODE.value] = perf_counter() - started
        run = self._develop(raw, order)
        seconds[Stage.NETWORK.value] = run.seconds
        self._enter(job, Stage.ENCODE)
        started = perf_counter()
        exif = picture_exif(raw)
        facts = describe(raw, run.picture, run.model)
        del raw
        _write(run.picture, order, exif)
        seconds[Stage.ENCODE.value] = perf_counter() - started
        written = local_state(str(order.target))
        return Outcome(
            job.source,
            job.target,
            Status.DONE,
            input_sha256=digest,
            output_size=written and written.size,
            output_mtime_ns=written and written.mtime_ns,
            seconds=seconds,
            **facts,
        )

    def _develop(self, raw: RawImage, order: Order) -> Run:
        """Have the next device that has a place enhance a photo."""
        device = self._places.get()
        try:
            self._enter(order.job, Stage.NETWORK)
            return device.run(
                raw, order.picture, lambda share: self._enter(order.job, Stage.NETWORK, share)
            )
        finally:
            self._places.put(device)

    def _enter(self, job: Job, stage: Stage, share: float = 0.0) -> None:
        if self._stopped.is_set():
            raise StoppedError
        self._watch(Progress(job, stage, share))


def _write(picture: Picture, order: Order, exif: bytes) -> None:
    folder = order.target.parent
    order.check()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: no such folder can be made ({error.strerror}); choose another place"
        ) from error
    check_target(order.target, order.save.overwrite)
    order.claim()
    save_picture(picture.pixels, order.target, order.save, exif=exif)


def describe(raw: RawImage, picture: Picture, model: Model) -> dict[str, Any]:
    """Return the facts about a finished picture, as `Outcome` and `darkroom enhance` give them."""
    height, width = picture.pixels.shape[:2]
    return {
        "width": width,
        "height": height,
        "camera": raw.camera,
        "taken": None if raw.time is None else raw.time.isoformat(),
        "exposure_seconds": raw.exposure.seconds,
        "iso": raw.exposure.iso,
        "gain": picture.gain.value,
        "gain_rule": picture.gain.rule.value if picture.gain.rule else None,
        "gain_reason": picture.gain.reason,
        "black": explain_black(raw),
        "model": model.name,
        "device": str(model.device),
        "precision": str(model.dtype).removeprefix("torch."),
        "warnings": picture.warnings,
    }
