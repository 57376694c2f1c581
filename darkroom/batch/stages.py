"""One photo's way through a batch: decode, network, encode, each waiting for what is scarce."""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from darkroom.batch import storage
from darkroom.batch.decoders import Decoders
from darkroom.batch.devices import Device, DeviceRun, count_at_once
from darkroom.batch.jobs import Job, local_state
from darkroom.batch.options import BatchOptions, Settings, settings
from darkroom.batch.record import Outcome, Status
from darkroom.color.color_space import ColorSpace
from darkroom.models.model import Model
from darkroom.output.atomic import check_target, make_folder
from darkroom.output.finished import MadePicture
from darkroom.output.metadata import (
    PictureMetadata,
    describe_file,
    describe_picture,
    find_time,
)
from darkroom.output.picture import SaveOptions, save_picture
from darkroom.pipeline import Options, Picture
from darkroom.raw.image import RawImage


class Stage(Enum):
    """Where a photo is; also the keys of `Outcome.seconds`."""

    DECODE = "decode"
    NETWORK = "network"
    ENCODE = "encode"


@dataclass(frozen=True, slots=True)
class PhotoProgress:
    """A photo has entered a stage, or moved on in it by `share` (0 to 1)."""

    job: Job
    stage: Stage
    share: float = 0.0


Watch = Callable[[PhotoProgress], None]


class StoppedError(Exception):
    """The batch ends; the photo at hand is dropped."""


@dataclass(frozen=True, slots=True)
class PhotoTask:
    """One photo to make, and where its picture goes.

    `overwrite` allows replacing what is at `target`. `check` is called before a folder is made for
    it, `mark` right before it is written; both may raise.
    """

    job: Job
    target: Path
    overwrite: bool
    check: Callable[[], Any] = lambda: None
    mark: Callable[[], Any] = lambda: None


class LocalExecutor:
    """Decoder processes and devices here, shared by as many threads as call `make`."""

    def __init__(
        self, models: Sequence[Model], options: BatchOptions, watch: Watch = lambda progress: None
    ) -> None:
        """Start no process yet. On processors torch's threads are shared out until `stop`."""
        self._options = options
        self._settings = settings(options, models[0])
        decoders = options.decoders(models[0].device.type)
        self._threads = torch.get_num_threads()
        at_once = count_at_once(models[0])
        if at_once > 1:
            torch.set_num_threads(self._threads // at_once)
        # Two of each device's are in its network, or ready for it, as it is.
        more = len(models) * max(at_once - 2, 0)
        self._capacity = options.capacity(len(models), decoders) + more
        self._decoders = Decoders(decoders, options.timeout)
        self._places: queue.SimpleQueue[Device] = queue.SimpleQueue()
        # Where one photo at a time has the network, others are prepared and rendered meanwhile.
        places = 1 + decoders if at_once == 1 else at_once
        for device in [Device(model, at_once) for model in models] * places:
            self._places.put(device)
        self._watch = watch
        self._stopped = threading.Event()

    def settings(self) -> Settings:
        """Return what pixels depend on."""
        return self._settings

    def capacity(self) -> int:
        """Return how many photos may be at hand."""
        return self._capacity

    def stop(self) -> None:
        """Drop photos before their next stage or tile; one that is being written is finished."""
        self._stopped.set()
        self._decoders.close()
        torch.set_num_threads(self._threads)

    def make(self, task: PhotoTask) -> Outcome:
        """Make one picture and say what became of it, without what only the batch knows.

        Raises DarkroomError where that fails, StoppedError where the batch ends first.
        """
        job, seconds = task.job, {}
        self._enter(job, Stage.DECODE)
        with self._decoders.worker() as worker:
            started = perf_counter()
            raw, digest = worker.decode(job.source)
            seconds[Stage.DECODE.value] = perf_counter() - started
        run = self._run_network(raw, job)
        seconds[Stage.NETWORK.value] = run.seconds
        self._enter(job, Stage.ENCODE)
        started = perf_counter()
        sha256 = self._settings.model_sha256
        save = self._save_options(task)
        metadata = describe_metadata(
            raw, run.picture, run.model, sha256, self._options.picture, save
        )
        time = find_time(raw, Path(job.source)) if save.keep_time else None
        facts = describe(raw, run.picture, run.model)
        del raw
        _write(run.picture, task, save, metadata, time)
        seconds[Stage.ENCODE.value] = perf_counter() - started
        written = local_state(str(task.target))
        return Outcome(
            job.source,
            job.target,
            Status.DONE,
            input_sha256=digest,
            output_size=written and written.size,
            output_mtime_ns=written and written.mtime_ns,
            output_sha256=storage.sha256(str(task.target)),
            seconds=seconds,
            **facts,
        )

    def _save_options(self, task: PhotoTask) -> SaveOptions:
        """Return how a photo's picture is written: never over the photo."""
        save = self._options.save
        inputs = (*save.inputs, Path(task.job.source))
        return replace(save, overwrite=task.overwrite, inputs=inputs)

    def _run_network(self, raw: RawImage, job: Job) -> DeviceRun:
        """Have the next device that has a place enhance a photo."""
        device = self._places.get()
        try:
            self._enter(job, Stage.NETWORK)
            return device.run(
                raw, self._options.picture, lambda share: self._enter(job, Stage.NETWORK, share)
            )
        finally:
            self._places.put(device)

    def _enter(self, job: Job, stage: Stage, share: float = 0.0) -> None:
        if self._stopped.is_set():
            raise StoppedError
        self._watch(PhotoProgress(job, stage, share))


def _write(
    picture: Picture,
    task: PhotoTask,
    save: SaveOptions,
    metadata: PictureMetadata,
    time: float | None,
) -> None:
    task.check()
    make_folder(task.target.parent)
    check_target(task.target, save.overwrite, save.inputs)
    task.mark()
    save_picture(
        picture.pixels,
        task.target,
        save,
        metadata=metadata,
        time=time,
        space=picture.color_space,
        camera=picture.camera,
    )


def describe_metadata(
    raw: RawImage,
    picture: MadePicture,
    model: Model,
    model_sha256: str,
    options: Options,
    save: SaveOptions,
) -> PictureMetadata:
    """Say what a picture's file is to say, as `save` allows: its photo's words, and how it came."""
    size = picture.pixels.shape[:2]
    srgb = picture.color_space is ColorSpace.SRGB  # floats are linear
    if save.strip:
        return describe_file(size, srgb=srgb)
    black = picture.black or {}
    processing = {
        "Model": model.name,
        "ModelSHA256": model_sha256,
        "Gain": f"{picture.gain.value:.6g}",
        "GainRule": picture.gain.rule_name or "user",
        "GainReason": picture.gain.reason,
        "Black": " ".join(f"{level:g}" for row in black.get("used") or () for level in row),
        "BlackReason": black.get("reason", ""),
        "Denoise": f"{options.denoise:g}",
        "LensCorrection": picture.lens or "",
    }
    said = {name: text for name, text in processing.items() if text}
    return describe_picture(
        raw,
        size,
        said,
        gps=save.gps,
        is_upright=picture.camera is None,
        srgb=srgb,
        resized=picture.resized,
    )


def describe(raw: RawImage, picture: MadePicture, model: Model) -> dict[str, Any]:
    """Return the facts about a picture, as `Outcome` and `darkroom enhance` give them."""
    height, width = picture.pixels.shape[:2]
    return {
        "width": width,
        "height": height,
        "camera": raw.camera,
        "taken": None if raw.time is None else raw.time.isoformat(),
        "exposure_seconds": raw.exposure.seconds,
        "iso": raw.exposure.iso,
        "gain": picture.gain.value,
        "gain_rule": picture.gain.rule_name,
        "gain_reason": picture.gain.reason,
        "black": picture.black,
        "lens": picture.lens,
        "model": model.name,
        "device": str(model.device),
        "precision": str(model.dtype).removeprefix("torch."),
        "warnings": picture.warnings,
    }
