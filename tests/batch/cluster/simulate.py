"""A batch on many workers whose network is a sleep: `python tests/batch/cluster/simulate.py -h`.

Real are the search for photos, the loop, threads, journal (synced to the disk of --folder) and
`RayExecutor`; pretended are the workers: each has a photo for so many seconds, one after the other,
and writes no picture. By default they live in this process, so that hundreds of them fit, and Ray
with them; with --ray they are actors of a Ray cluster that is started here for them.
"""

import argparse
import heapq
import itertools
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from darkroom.batch.cluster import actors
from darkroom.batch.cluster.resources import ClusterOptions
from darkroom.batch.jobs import Job, Search, find_jobs
from darkroom.batch.journal import JOURNAL
from darkroom.batch.options import Settings
from darkroom.batch.record import Outcome, Status
from darkroom.batch.run import PreparedBatch, run

SETTINGS = Settings(dict.fromkeys(map(str, range(15))), "c" * 64)
FILES_PER_FOLDER = 1000
START_SECONDS = 10.0
"""Ray's own processes take so long to answer."""
SAMPLES = 10
"""Lines about memory and rate on the way."""


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def describe(job: Job, seconds: float) -> Outcome:
    """Return an outcome as long as a real one."""
    return Outcome(
        job.source,
        job.target,
        Status.DONE,
        input_sha256="a" * 64,
        output_sha256="b" * 64,
        camera="Example One",
        gain=100.0,
        gain_reason="the photo's brightest hundredth is at 1 % of white, and is wanted at white",
        black={"used": [[512.0] * 2] * 2, "stated": [[512.0] * 2] * 2, "reason": "as stated"},
        seconds={"decode": 0.1, "network": seconds, "encode": 0.3},
    )


class SleepingWorker:
    """A worker of Ray whose network sleeps, one photo at a time."""

    def __init__(self, config: Any) -> None:
        self._seconds = float(config.model)
        self._network = threading.Lock()

    def start(self, precision: str) -> Settings:
        return SETTINGS

    def make(self, job: Job, overwrite: bool) -> Outcome:
        with self._network:
            time.sleep(self._seconds)
        return describe(job, self._seconds)

    def stop(self) -> None:
        pass


class PretendedRay:
    """As much of Ray as the batch uses, with workers that are entries in one timetable."""

    class exceptions:  # noqa: N801 - Ray's name
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            cause: Exception

    def __init__(self, workers: int, seconds: float) -> None:
        self._workers, self._seconds = workers, seconds
        self._ends: list[tuple[float, int, Future[Any], Any]] = []
        self._number = itertools.count()
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, daemon=True).start()

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 2.0}}] * self._workers

    def remote(self, cls: type) -> Any:
        return self

    def options(self, **resources: Any) -> Any:
        outer = self

        class Actor:
            def __init__(self) -> None:
                self.free_at = 0.0

            @classmethod
            def remote(cls, config: Any) -> Any:
                return cls()

            def __getattr__(self, name: str) -> Any:
                return _Method(outer, self, name)

        return Actor

    def call(self, actor: Any, name: str, arguments: tuple[Any, ...]) -> Future[Any]:
        """Answer at once, or when the worker is through with all it was given."""
        future, now = Future[Any](), time.monotonic()
        if name != "make":
            future.set_result(SETTINGS if name == "start" else None)
            return future
        with self._changed:
            actor.free_at = max(actor.free_at, now) + self._seconds
            answer = describe(arguments[0], self._seconds)
            heapq.heappush(self._ends, (actor.free_at, next(self._number), future, answer))
            self._changed.notify()
        return future

    def _serve(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                if not self._ends or self._ends[0][0] > now:
                    self._changed.wait(self._ends[0][0] - now if self._ends else None)
                    continue
                _, _, future, answer = heapq.heappop(self._ends)
            future.set_result(answer)

    def kill(self, actor: object) -> None:
        pass

    def shutdown(self) -> None:
        pass


class _Method:
    """An actor's method; what its `remote` returns has a future, as Ray's references have."""

    def __init__(self, ray: PretendedRay, actor: object, name: str) -> None:
        self._ray, self._actor, self._name = ray, actor, name

    def remote(self, *arguments: Any) -> Any:
        future = self._ray.call(self._actor, self._name, arguments)
        return type("Ref", (), {"future": lambda self: future})()


@contextmanager
def ray_cluster(workers: int) -> Iterator[str]:
    """Start a Ray cluster of one node that holds so many workers; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = str(Path(sys.executable).parent / "ray")
    command = [ray, "start", "--head", f"--port={port}", f"--num-cpus={2 * workers}", "--block"]
    more = ["--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=100000000"]
    with subprocess.Popen([*command, *more], stdout=subprocess.DEVNULL) as process:
        try:
            time.sleep(START_SECONDS)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def write_photos(folder: Path, count: int) -> None:
    """Write files of one byte that have photos' names."""
    for number in range(count):
        place = folder / f"{number // FILES_PER_FOLDER:04}"
        if number % FILES_PER_FOLDER == 0:
            place.mkdir(parents=True)
        (place / f"p{number:07}.dng").write_bytes(b"-")


def simulate(options: argparse.Namespace, folder: Path) -> None:
    """Write photos, find them, and run the batch."""
    write_photos(folder / "in", options.photos)
    started = time.perf_counter()
    jobs = find_jobs([folder / "in"], search=Search(recursive=True))
    say(f"{len(jobs)} photos found in {time.perf_counter() - started:.1f} s")
    with ExitStack() as ends:
        address = "pretended:0"
        if options.ray:
            address = ends.enter_context(ray_cluster(options.workers))
            vars(actors)["Worker"] = SleepingWorker
        else:
            pretended = PretendedRay(options.workers, options.seconds)
            vars(actors)["connect"] = lambda address: pretended
        cluster = ClusterOptions(address, str(options.seconds))
        measure(PreparedBatch(jobs, str(folder / "out"), cluster=cluster), jobs, options)


def measure(batch: PreparedBatch, jobs: list[Job], options: argparse.Namespace) -> None:
    """Run the batch and print its rate, and what the driver took."""
    own = psutil.Process()
    # The first photos wait for the workers' start, the last ones leave workers without any.
    aside = 8 * options.workers
    for number, outcome in enumerate(run(batch), 1):
        assert outcome.status is Status.DONE, outcome
        if number == aside:
            begin, busy = time.perf_counter(), time.process_time()
        if number == len(jobs) - aside:
            wall, used = time.perf_counter() - begin, time.process_time() - busy
        if number % (len(jobs) // SAMPLES) == 0:
            memory = own.memory_info().rss / 1e6
            say(f"{number} photos: {memory:.0f} MB")
    made = len(jobs) - 2 * aside
    share = 1 - made * options.seconds / (options.workers * wall)
    size = (Path(batch.out) / JOURNAL).stat().st_size
    say(
        f"{options.workers} workers, {options.seconds:g} s a photo: {made / wall:.1f} photos/s, "
        f"{share:.2%} of the workers' time lost\n"
        f"driver: {used / made * 1e6:.0f} us a photo, {used / wall:.1%} of a processor, "
        f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB\n"
        f"journal: {2 * made / wall:.0f} records and {size / len(jobs) * made / wall / 1e3:.0f} kB "
        f"a second, {size / 1e6:.0f} MB"
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=0.25, help="of the network, per photo")
    parser.add_argument("--ray", action="store_true", help="true actors of a Ray cluster")
    parser.add_argument("--folder", type=Path, help="where photos and journal go for a while")
    options = parser.parse_args()
    if options.photos < 20 * options.workers:
        parser.error("give 20 photos to each worker at least")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        simulate(options, Path(name))


if __name__ == "__main__":
    main()
