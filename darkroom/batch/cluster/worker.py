"""One worker of a cluster: it loads the model once and makes photos; it knows nothing of Ray."""

import socket
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import torch

from darkroom.batch import storage
from darkroom.batch.devices import load_models
from darkroom.batch.failures import UnwritableError, ends_all, reason
from darkroom.batch.jobs import Job
from darkroom.batch.journal import JOURNAL
from darkroom.batch.options import BatchOptions, Settings
from darkroom.batch.record import Outcome
from darkroom.batch.stages import LocalExecutor, PhotoTask
from darkroom.errors import DarkroomError


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker is told once.

    `out`: absolute path or URL. `model`, `device` and `norm_statistics`: as for `load_models`.
    `cpus`: threads of the network.
    """

    out: str
    model: str
    device: str
    options: BatchOptions
    cpus: int
    norm_statistics: str = "stored"


class Worker:
    """Makes photos, several at the same time in as many threads of the caller.

    Its errors are told by their class and message alone, for they go to another machine.
    """

    def __init__(self, config: WorkerConfig) -> None:
        """Do nothing yet: what goes wrong is told by `start`."""
        self._config = config
        self._executor: LocalExecutor | None = None
        self._host = socket.gethostname()

    def start(self, precision: str) -> Settings:
        """Load the model; returns what pixels depend on. May be called again.

        Raises DarkroomError, naming this machine.
        """
        config = self._config
        torch.set_num_threads(config.cpus)
        try:
            self._check_shared()
            models = load_models(
                config.model,
                config.device,
                precision,
                config.norm_statistics,
                config.options.picture.bits,
            )
        except DarkroomError as error:
            raise type(error)(f"{reason(error)} (on {self._host})") from error
        self._executor = LocalExecutor(models, config.options)
        return self._executor.settings()

    def make(self, job: Job, overwrite: bool) -> Outcome:
        """Make one picture; `overwrite`: what is at its place may be replaced.

        Raises DarkroomError, UnwritableError where no other picture could be written either, and
        StoppedError.
        """
        try:
            if storage.is_url(job.source) or storage.is_url(self._config.out):
                made = self._make_elsewhere(job, overwrite)
            else:
                made = self._make(job, Path(self._config.out) / job.target, overwrite)
        except DarkroomError as error:
            if ends_all(error):
                raise UnwritableError(reason(error)) from error
            raise
        return replace(made, device=f"{made.device} on {self._host}")

    def stop(self) -> None:
        """Drop photos before their next stage; one that is being written is finished."""
        if self._executor is not None:
            self._executor.stop()

    def _make(self, job: Job, target: Path, overwrite: bool) -> Outcome:
        assert self._executor is not None, "start comes first"
        return self._executor.make(PhotoTask(job, target, overwrite, check=self._check_shared))

    def _make_elsewhere(self, job: Job, overwrite: bool) -> Outcome:
        """Make a picture of a copy of the photo, or to be copied to a URL, or both."""
        with tempfile.TemporaryDirectory(prefix="darkroom-") as name:
            folder, here = Path(name), job
            if storage.is_url(job.source):
                copy = folder / PurePosixPath(unquote(urlsplit(job.source).path)).name
                storage.fetch(job.source, copy)
                here = Job(str(copy), job.target)
            try:
                if not storage.is_url(self._config.out):
                    target = Path(self._config.out) / job.target
                    return replace(self._make(here, target, overwrite), input=job.source)
                target = folder / "out" / PurePosixPath(job.target).name
                made = self._make(here, target, overwrite=False)
            except DarkroomError as error:  # the copy's name means nothing to the user
                text = str(error).replace(here.source, job.source)
                raise type(error)(text) from error.__cause__
            url = storage.join(self._config.out, job.target)
            there = storage.publish(target, url, overwrite)
        return replace(
            made, input=job.source, output_size=there.size, output_mtime_ns=there.mtime_ns
        )

    def _check_shared(self) -> None:
        """Refuse to write to a folder that only this machine has, or that is gone here."""
        out = self._config.out
        if not storage.is_url(out) and not (Path(out) / JOURNAL).exists():
            raise UnwritableError(
                f"{out}: is not the batch's folder on {self._host}; mount it there, or give a URL"
            )
