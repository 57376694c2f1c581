"""One worker of a cluster: it loads the model once and makes photos; it knows nothing of Ray."""

import socket
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import torch

from darkroom.batch import storage
from darkroom.batch.devices import load_models
from darkroom.batch.failures import FolderGoneError, ends_all, reason
from darkroom.batch.jobs import Job
from darkroom.batch.journal import JOURNAL
from darkroom.batch.record import Outcome
from darkroom.batch.resume import Settings
from darkroom.batch.run import BatchOptions, settings
from darkroom.batch.stages import Assembly, Order, StoppedError
from darkroom.errors import DarkroomError


@dataclass(frozen=True, slots=True)
class Post:
    """What a worker is told once.

    `out`: absolute path or URL. `model` and `device`: as for `load_models`. `cpus`: threads of the
    network. `decoders`: photos decoded at the same time.
    """

    out: str
    model: str
    device: str
    options: BatchOptions
    cpus: int
    decoders: int

    @property
    def at_once(self) -> int:
        """Photos that a worker has at hand: decode, network, encode, and one ahead."""
        return 2 * (self.decoders + 1)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no picture. `fatal`: no other could be written either. `stopped`: was told."""

    error: str
    exit_code: int = 1
    fatal: bool = False
    stopped: bool = False


class Worker:
    """Makes photos, several at the same time in as many threads of the caller."""

    def __init__(self, post: Post) -> None:
        """Do nothing yet: what goes wrong is told by `start`."""
        self._post = post
        self._assembly: Assembly | None = None
        self._host = socket.gethostname()

    def start(self, precision: str) -> Settings | Failure:
        """Load the model; returns what pixels depend on. May be called again."""
        post = self._post
        torch.set_num_threads(post.cpus)
        try:
            self._check_shared()
            models = load_models(post.model, post.device, precision)
        except DarkroomError as error:
            return Failure(f"{reason(error)} (on {self._host})", error.exit_code)
        found = settings(post.options, models[0])
        self._assembly = Assembly(models, post.decoders, post.options.timeout)
        return found

    def make(self, job: Job, overwrite: bool) -> Outcome | Failure:
        """Make one picture; `overwrite`: what is at its place may be replaced."""
        try:
            if storage.is_url(job.source) or storage.is_url(self._post.out):
                made = self._make_elsewhere(job, overwrite)
            else:
                made = self._make(job, Path(self._post.out) / job.target, overwrite)
        except StoppedError:
            return Failure("stopped", stopped=True)
        except DarkroomError as error:
            return Failure(reason(error), error.exit_code, fatal=ends_all(error))
        return replace(made, device=f"{made.device} on {self._host}")

    def stop(self) -> None:
        """Drop photos before their next stage; one that is being written is finished."""
        if self._assembly is not None:
            self._assembly.stop()

    def _make(self, job: Job, target: Path, overwrite: bool) -> Outcome:
        assert self._assembly is not None, "start comes first"
        save = replace(self._post.options.save, overwrite=overwrite)
        picture = self._post.options.picture
        return self._assembly.make(Order(job, target, picture, save, check=self._check_shared))

    def _make_elsewhere(self, job: Job, overwrite: bool) -> Outcome:
        """Make a picture of a copy of the photo, or to be copied to a URL, or both."""
        with tempfile.TemporaryDirectory(prefix="darkroom-") as name:
            folder, here = Path(name), job
            if storage.is_url(job.source):
                copy = folder / PurePosixPath(unquote(urlsplit(job.source).path)).name
                storage.fetch(job.source, copy)
                here = Job(str(copy), job.target)
            try:
                if not storage.is_url(self._post.out):
                    target = Path(self._post.out) / job.target
                    return replace(self._make(here, target, overwrite), input=job.source)
                target = folder / "out" / PurePosixPath(job.target).name
                made = self._make(here, target, overwrite=False)
            except DarkroomError as error:  # the copy's name means nothing to the user
                text = str(error).replace(here.source, job.source)
                raise type(error)(text) from error.__cause__
            url = storage.join(self._post.out, job.target)
            there = storage.publish(target, url, overwrite)
        return replace(
            made, input=job.source, output_size=there.size, output_mtime_ns=there.mtime_ns
        )

    def _check_shared(self) -> None:
        """Refuse to write to a folder that only this machine has, or that is gone here."""
        out = self._post.out
        if not storage.is_url(out) and not (Path(out) / JOURNAL).exists():
            raise FolderGoneError(
                f"{out}: is not the batch's folder on {self._host}; mount it there, or give a URL"
            )
