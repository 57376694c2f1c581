"""Clusters: a real one with a killed node, and a pretended one for what chance would hide."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from batches import environment, start, tiny_weights, write_photos
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from darkroom.batch import storage
from darkroom.batch.cluster import actors
from darkroom.batch.cluster.resources import (
    ClusterOptions,
    WorkerResources,
    choose_resources,
    connect,
)
from darkroom.batch.cluster.worker import Worker, WorkerConfig
from darkroom.batch.failures import UnwritableError
from darkroom.batch.jobs import Job, local_state
from darkroom.batch.journal import JOURNAL
from darkroom.batch.options import BatchOptions, Settings
from darkroom.batch.record import Outcome, Status
from darkroom.batch.run import PreparedBatch, run
from darkroom.cli import app
from darkroom.errors import DarkroomError, OutputError, RawError, UsageError, WeightsError
from darkroom.output.atomic import TEMPORARY_PATTERN
from darkroom.pipeline import Options

SETTINGS = Settings({"precision": "float32"}, "abc")
COUNT = 96
QUIET_SECONDS = 0.02
"""A pretended cluster answers when no call has come for so long."""
NEVER = object()
"""What a worker answers that never does."""


# What a worker takes


def test_shapes() -> None:
    small, big = {"CPU": 4.0}, {"CPU": 64.0}
    gpus = {"CPU": 32.0, "GPU": 4.0}
    assert choose_resources([small, big], "auto") == WorkerResources(2)
    assert choose_resources([small, big], "auto", jobs=3) == WorkerResources(4)
    assert choose_resources([{"CPU": 1.0}, {}], "cpu") == WorkerResources(1)
    assert choose_resources([small, gpus], "auto") == WorkerResources(8, 1)
    assert choose_resources([gpus], "cuda", jobs=2) == WorkerResources(4, 1)
    assert choose_resources([gpus], "cpu") == WorkerResources(2)
    assert WorkerResources(8, 1).fitting([small, gpus, {}]) == 4
    for nodes, device in (([{}], "cpu"), ([small], "cuda")):
        with pytest.raises(UsageError):
            choose_resources(nodes, device)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries({"CPU": st.integers(1, 128), "GPU": st.integers(0, 8)}), min_size=1
    ),
    st.none() | st.integers(1, 16),
)
def test_every_node_holds_a_worker_and_none_too_many(
    nodes: list[dict[str, int]], jobs: int | None
) -> None:
    taken = choose_resources(nodes, "auto", jobs)
    for node in nodes:
        fits = taken.fitting([node])
        assert fits * taken.cpus <= node["CPU"]
        assert fits * taken.gpus <= node["GPU"]
        assert fits >= (1 if not taken.gpus else node["CPU"] >= node["GPU"] > 0)


# What cannot be joined


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'darkroom\[cluster\]'"):
        connect("auto")


@pytest.mark.parametrize(
    ("address", "message"), [("127.0.0.1:9", "nobody answers"), ("somewhere", "HOST:PORT")]
)
def test_addresses_where_nobody_answers(
    address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", object())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        connect(address)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["s3://a/b.dng", "-o", "out"], "need --cluster"),
        (["a.dng", "-o", "s3://a/out"], "need --cluster"),
        (["s3://a/b.dng", "a.dng", "-o", "out", "--cluster", "h:1"], "do not mix"),
        (["a.dng", "-o", "s3://a/out", "--cluster", "h:1", "--report", "r.html"], "--report"),
    ],
)
def test_urls_where_only_paths_will_do(arguments: list[str], message: str) -> None:
    found = CliRunner().invoke(app, ["batch", *arguments])
    assert found.exit_code == 2, found.stderr
    assert message in " ".join(found.stderr.split())


def test_gpus_are_ray_s_to_pick() -> None:
    with pytest.raises(UsageError, match="Ray picks"):
        ClusterOptions(device="cuda:1")


# A pretended cluster: answers come when they are waited for


class FakeRay:
    """As much of Ray as is used; `make(job)` and `start(precision)` answer for all workers.

    One call at a time is answered once no other comes, `start` before photos, and of these the
    newest first: any order goes.
    """

    class exceptions:  # noqa: N801 - Ray's name
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            def __init__(self, cause: Exception) -> None:
                self.cause = cause

    def __init__(self, make: Callable[[Job], Any], nodes: int = 2) -> None:
        self.answer_make = make
        self.answer_start: Callable[[str], Any] = lambda precision: SETTINGS
        self.count = nodes
        self.alive: set[object] = set()
        self.calls: list[tuple[Future[Any], Any, str, tuple[Any, ...]]] = []
        self.neighbours: list[tuple[str, int]] = []
        self.beside_retried = False
        self.changed = threading.Condition()
        self.open = True
        threading.Thread(target=self.serve, daemon=True).start()

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 1.0}}] * self.count

    def remote(self, cls: type) -> Any:
        return self

    def options(self, **resources: Any) -> Any:
        outer = self

        class Ref:
            def __init__(self, actor: object, name: str, arguments: tuple[Any, ...]) -> None:
                self.call = Future[Any]()
                with outer.changed:
                    outer.calls.append((self.call, actor, name, arguments))
                    outer.changed.notify_all()

            def future(self) -> Future[Any]:
                return self.call

        class Method:
            def __init__(self, actor: object, name: str) -> None:
                self.actor, self.name = actor, name

            def remote(self, *arguments: Any) -> Ref:
                return Ref(self.actor, self.name, arguments)

        class Actor:
            @classmethod
            def remote(cls, config: WorkerConfig) -> Any:
                actor = cls()
                outer.alive.add(actor)
                return actor

            def __getattr__(self, name: str) -> Method:
                return Method(self, name)

        return Actor

    def serve(self) -> None:
        while self.open:
            with self.changed:
                while self.changed.wait(QUIET_SECONDS) or not (self.calls or not self.open):
                    pass
                if not self.open:
                    return
                self.calls.sort(key=lambda call: call[2] == "start")
                call, actor, name, arguments = self.calls.pop()
                beside = [call[3] for call in self.calls if call[1] is actor and call[2] == "make"]
            try:
                if (answer := self.answer(actor, name, arguments, beside)) is not NEVER:
                    call.set_result(answer)
            except self.exceptions.RayError as error:
                call.set_exception(error)
            except (DarkroomError, KeyError) as error:
                call.set_exception(self.exceptions.RayTaskError(error))

    def answer(self, actor: object, name: str, arguments: Any, beside: list[Any]) -> Any:
        if actor not in self.alive:
            raise self.exceptions.RayError("the worker is gone")
        if name != "make":
            return self.answer_start(arguments[0]) if name == "start" else None
        self.neighbours.append((arguments[0].target, len(beside)))
        self.beside_retried |= any(overwrite for _, overwrite in beside)
        try:
            return self.answer_make(arguments[0])
        except self.exceptions.RayError:
            self.alive.discard(actor)
            raise

    def kill(self, actor: object) -> None:
        self.alive.discard(actor)

    def shutdown(self) -> None:
        with self.changed:
            self.open = False
            self.changed.notify_all()


def done(job: Job) -> Outcome:
    return Outcome(job.source, job.target, Status.DONE)


def go(
    ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int = 30
) -> list[Outcome]:
    monkeypatch.setattr(actors, "connect", lambda address: ray)
    monkeypatch.setattr(actors, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(actors, "REVIEW_SECONDS", 0.0)
    jobs = [Job(str(tmp_path / f"{n:02}.dng"), f"{n:02}.png") for n in range(count)]
    return list(run(PreparedBatch(jobs, str(tmp_path / "out"), cluster=ClusterOptions("h:1"))))


def test_a_photo_that_kills_its_workers_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(job: Job) -> Outcome:
        if job.target in ("07.png", "08.png"):
            raise FakeRay.exceptions.RayError("worker killed")
        return done(job)

    ray = FakeRay(make)
    outcomes = {outcome.output: outcome for outcome in go(ray, tmp_path, monkeypatch)}
    failed = {name for name, outcome in outcomes.items() if outcome.status is Status.FAILED}
    assert failed == {"07.png", "08.png"}
    assert len(outcomes) == 30
    assert "3 workers were lost" in (outcomes["07.png"].error or "")
    assert outcomes["07.png"].exit_code == 1
    others = [count for target, count in ray.neighbours if target == "07.png"]
    assert others[1:] == [0] * (len(others) - 1)  # alone, the second time
    assert not ray.beside_retried
    again = [outcome for outcome in outcomes.values() if outcome.warnings]
    assert all("worker was lost" in outcome.warnings[-1] for outcome in again)


def test_a_bounded_number_is_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay(done)
    assert len(go(ray, tmp_path, monkeypatch)) == 30
    assert max(others for _, others in ray.neighbours) == 3  # 4 at once on one processor


def test_photos_at_urls_are_told_by_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed (darkroom[cluster])")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(actors, "POLL_SECONDS", 0.001)
    fs = fsspec.filesystem("memory")
    fs.store.clear()

    def make(job: Job) -> Outcome:
        fs.pipe_file(f"/out/{job.target}", b"picture")
        there = storage.state(f"memory://out/{job.target}")
        assert there is not None
        return replace(
            done(job),
            input_sha256=hashlib.sha256(fs.cat_file("/in/p.dng")).hexdigest(),
            output_size=there.size,
            output_mtime_ns=there.mtime_ns,
        )

    def status(photo: bytes, check_hash: bool) -> Status:
        fs.pipe_file("/in/p.dng", photo)  # another time, too
        monkeypatch.setattr(actors, "connect", lambda address: FakeRay(make))
        jobs, options = [Job("memory://in/p.dng", "p.png")], BatchOptions(check_hash=check_hash)
        cluster = ClusterOptions("h:1")
        (outcome,) = run(PreparedBatch(jobs, "memory://out", options, cluster=cluster))
        return outcome.status

    assert status(b"one", check_hash=False) is Status.DONE
    assert status(b"one", check_hash=True) is Status.SKIPPED
    assert status(b"two", check_hash=True) is Status.DONE
    assert status(b"two", check_hash=False) is Status.DONE
    assert fs.exists(f"/out/{JOURNAL}")
    fs.store.clear()


def test_a_server_that_does_not_answer_costs_its_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state(name: str) -> Any:
        if storage.is_url(name):
            raise RawError(f"{name}: TimeoutError; check the address")
        return local_state(name)

    monkeypatch.setattr(storage, "state", state)
    monkeypatch.setattr(actors, "connect", lambda address: FakeRay(done))
    jobs = [Job("https://h/a.dng", "a.png"), Job(str(tmp_path / "b.dng"), "b.png")]
    batch = PreparedBatch(jobs, str(tmp_path / "out"), cluster=ClusterOptions("h:1"))
    outcomes = {outcome.output: outcome for outcome in run(batch)}
    assert (outcomes["a.png"].status, outcomes["a.png"].exit_code) == (Status.FAILED, 4)
    assert outcomes["b.png"].status is Status.DONE


def test_errors_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(job: Job) -> Any:
        if job.target == "03.png":
            raise RawError("03.dng: is damaged")
        if job.target == "04.png":
            raise KeyError("x")
        return done(job)

    outcomes = {outcome.output: outcome for outcome in go(FakeRay(make), tmp_path, monkeypatch)}
    assert (outcomes["03.png"].error, outcomes["03.png"].exit_code) == ("03.dng: is damaged", 4)
    assert "internal error (KeyError: 'x')" in (outcomes["04.png"].error or "")
    assert sum(outcome.status is Status.DONE for outcome in outcomes.values()) == 28


def test_a_full_disk_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(job: Job) -> Any:
        if job.target == "09.png":
            raise UnwritableError("the disk is full")
        return done(job)

    with pytest.raises(OutputError, match="disk is full"):
        go(FakeRay(make), tmp_path, monkeypatch)
    records = map(json.loads, (tmp_path / "out" / JOURNAL).read_bytes().splitlines())
    assert {record["status"] for record in records} == {"writing", "done"}


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (WeightsError("weights are not installed"), 3, "not installed"),
        (FakeRay.exceptions.RayError("no module named darkroom"), 1, "end as they start"),
        (NEVER, 2, "no worker started"),
    ],
)
def test_workers_that_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, code: int, message: str
) -> None:
    ray = FakeRay(done)

    def begin(precision: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    ray.answer_start = begin
    if answer is NEVER:
        monkeypatch.setattr(actors, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(DarkroomError, match=message) as raised:
        go(ray, tmp_path, monkeypatch)
    assert raised.value.exit_code == code


def test_all_workers_make_the_same_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where machines would choose other precisions, the first one's counts; else it is an error."""
    ray, asked = FakeRay(done), []

    def begin(precision: str) -> Settings:
        asked.append(precision)
        found = "bfloat16" if len(asked) == 1 or precision == "bf16" else "float32"
        return Settings({"precision": found}, found)

    ray.answer_start = begin
    assert len(go(ray, tmp_path, monkeypatch)) == 30
    assert asked == ["auto", "auto", "bf16"]
    ray, names = FakeRay(done), iter("abc")
    ray.answer_start = lambda precision: Settings({"precision": "float32"}, next(names))
    with pytest.raises(UsageError, match="machines differ"):
        go(ray, tmp_path / "other", monkeypatch)


# One worker, without a cluster


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def config(weights: Path, out: str) -> WorkerConfig:
    return WorkerConfig(out, str(weights), "cpu", BatchOptions(Options(tile="off"), jobs=1), 1)


def test_a_worker_between_urls(tmp_path: Path, weights: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed (darkroom[cluster])")
    (photo,) = write_photos(tmp_path / "in", 1)
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pipe_file("/in/p.dng", photo.read_bytes())
    fs.pipe_file("/in/bad.dng", b"no photo")
    worker = Worker(config(weights, "memory://out"))
    assert isinstance(worker.start("fp32"), Settings)
    try:
        made = worker.make(Job("memory://in/p.dng", "sub/p.png"), overwrite=False)
        with pytest.raises(OutputError, match="exists already"):
            worker.make(Job("memory://in/p.dng", "sub/p.png"), overwrite=False)
        with pytest.raises(RawError, match=r"^memory://in/bad\.dng: "):
            worker.make(Job("memory://in/bad.dng", "bad.png"), overwrite=False)
        with pytest.raises(RawError, match="nothing is there"):
            worker.make(Job("memory://in/gone.dng", "gone.png"), overwrite=False)
    finally:
        worker.stop()
    data = fs.cat_file("/out/sub/p.png")
    assert data.startswith(b"\x89PNG")
    assert (made.input, made.output_size) == ("memory://in/p.dng", len(data))
    assert sorted(fs.find("/out")) == ["/out/sub/p.png"]
    fs.store.clear()


def test_a_worker_takes_the_statistics_that_were_asked_for(tmp_path: Path, weights: Path) -> None:
    (tmp_path / JOURNAL).touch()
    asked = replace(config(weights, str(tmp_path)), norm_statistics="photo")
    with pytest.raises(UsageError, match="has no batch norm"):
        Worker(asked).start("fp32")


def test_a_worker_that_does_not_share_the_folder(tmp_path: Path, weights: Path) -> None:
    out = tmp_path / "out"
    worker = Worker(config(weights, str(out)))
    with pytest.raises(OutputError, match="mount it there"):
        worker.start("fp32")
    assert not out.exists()


# A real cluster


@pytest.fixture
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    pytest.importorskip("ray", reason="Ray is not installed (darkroom[cluster])")
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    node = {"include_dashboard": False, "object_store_memory": 80 << 20}
    try:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **node})
    except Exception as error:
        pytest.skip(f"Ray cannot start here: {error}")
    try:
        yield cluster
    finally:
        cluster.shutdown()


def is_making(raylet: psutil.Process) -> bool:
    """Whether a worker of a Ray node is at a photo; Ray titles its processes by what they do."""
    titles = []
    for process in raylet.children():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            titles += process.cmdline()[:1]
    return any(title.startswith("ray::Worker.make") for title in titles)


def records(out: Path, status: str = "done") -> list[dict[str, Any]]:
    if not (out / JOURNAL).exists():
        return []
    lines = (out / JOURNAL).read_bytes().splitlines(keepends=True)
    found = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [record for record in found if record["status"] == status]


@pytest.mark.filterwarnings("ignore")
def test_a_killed_node_loses_nothing(tmp_path: Path, weights: Path, ray_cluster: Any) -> None:
    nodes = [ray_cluster.add_node(num_cpus=1, object_store_memory=80 << 20) for _ in range(2)]
    raylet = psutil.Process(nodes[0].all_processes["raylet"][0].process.pid)
    write_photos(tmp_path / "in", COUNT, (200, 300))
    (tmp_path / "in/bad.dng").write_text("no photo", encoding="utf-8")
    out = tmp_path / "out"
    fixed = ("--model", weights, "--device", "cpu", "--precision", "fp32", "--tile", "off")
    command = ("batch", tmp_path / "in", "-o", out, *fixed, "--json")
    with start(*command, "--cluster", ray_cluster.address) as process:
        deadline = time.monotonic() + 90
        # Workers start seconds apart: this one shall have photos at hand.
        while not (is_making(raylet) and records(out)) and process.poll() is None:
            assert time.monotonic() < deadline, "the node made no photo"
            time.sleep(0.02)
        ray_cluster.remove_node(nodes[0], allow_graceful=False)
        before = len(records(out))
        events, words = process.communicate(timeout=120)
    assert before < COUNT, "all was done before the node was killed"
    assert process.returncode == 1, words.decode()
    summary = json.loads(events.splitlines()[-1])
    assert (summary["done"], summary["failed"]) == (COUNT, 1)
    assert all(json.loads(event)["event"] == "photo" for event in events.splitlines()[:-1])
    again = [record for record in records(out) if record["warnings"]]
    assert again, "the killed node had photos at hand"
    assert "worker was lost" in again[0]["warnings"][-1]
    assert sorted(path.name for path in out.glob("*.png")) == sorted(
        record["output"] for record in records(out)
    )
    assert len(records(out)) == COUNT
    assert [record["exit_code"] for record in records(out, "failed")] == [4]
    assert list(out.glob(TEMPORARY_PATTERN)) == []
    sys.stderr.write(words.decode())
    # One machine alone goes on with what a cluster left.
    (tmp_path / "in/bad.dng").unlink()
    alone = [sys.executable, "-m", "darkroom", *map(str, command)]
    resumed = subprocess.run(alone, env=environment(), capture_output=True, check=False)
    assert resumed.returncode == 0, resumed.stderr.decode()
    assert json.loads(resumed.stdout.splitlines()[-1])["skipped"] == COUNT
