"""Decoding in processes of its own: exact, and nothing that LibRaw does reaches the batch."""

import dataclasses
import hashlib
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from darkroom.batch import decoders as decoding
from darkroom.batch.decoders import Decoders
from darkroom.errors import RawError
from darkroom.raw.exif_tags import encode_text
from darkroom.raw.image import (
    CFA,
    BlackOrigin,
    BlackSource,
    Color,
    Exposure,
    PhotoMetadata,
    RawImage,
    WhiteBalance,
)
from darkroom.raw.reader import read_raw

EVIL = """
def evil(path):
    import ctypes, numpy, os, re
    if 'segv' in path.name: ctypes.string_at(0)
    if 'abort' in path.name: os.abort()
    if 'exit' in path.name: os._exit(3)
    if 'print' in path.name: os.write(1, b'noise on stdout'); print('and more', flush=True)
    if 'loop' in path.name: re.match('(a+)+b', 'a' * 60)  # in C, holding the GIL
    if 'hog' in path.name: hog = [numpy.empty(1 << 28, 'u1') for _ in range(1000)]
    if 'bug' in path.name: raise KeyError('a bug')
    if 'half' in path.name: decoders.pickle.dump = half
    return read(path)
def half(answer, file, protocol):
    import os
    file.write(decoders.pickle.dumps(answer, protocol)[:-1000])
    file.flush()
    os.kill(os.getpid(), 9)
read, decoders.read_raw = decoders.read_raw, evil
decoders.MEMORY_LIMIT = 1 << 30
"""


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoders]:
    """One worker that misbehaves at files of certain names."""
    monkeypatch.setattr(decoding, "START", decoding.START + f"exec({EVIL!r}); ")
    with Decoders(1, timeout=3) as found:
        yield found


def decode(decoders: Decoders, path: Path) -> RawImage:
    with decoders.worker() as worker:
        return worker.decode(str(path)).raw


def same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)
    if dataclasses.is_dataclass(one) and type(one) is type(other):
        fields = dataclasses.fields(one)
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields)
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("cfa", ["RGGB", "xtrans"])
def test_a_photo_crosses_unchanged(dng_path: Callable[..., Path], cfa: str) -> None:
    path = dng_path(height=60, width=72, cfa=cfa)
    with Decoders(1, timeout=30) as decoders, decoders.worker() as worker:
        decoded = worker.decode(str(path))
    assert same(decoded.raw, read_raw(path))
    assert decoded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_field_crosses(synthetic_raw: Callable[..., RawImage]) -> None:
    """No field has its default, so one that is lost shows."""
    raw = dataclasses.replace(
        synthetic_raw(),
        mosaic=np.arange(24, dtype=np.float32).reshape(4, 6),
        cfa=CFA("GBRG"),
        color=Color(None, np.full((3, 3), 1 / 3), WhiteBalance.GRAY_WORLD),
        exposure=Exposure(0.1, 204800.0, 1.4),
        orientation=7,
        pixel_aspect=1.53,
        lens="A lens \u00e9",
        margins=(12, 7),
        default_crop=(1, 0, 2, 6),
        masked_black=np.array([[0.1, np.inf], [1, 2]], np.float32),
        masked_noise=1.5,
        row_black=np.array([0.1, -0.2, 0, 1e-9], np.float32),
        black_origin=BlackOrigin(
            np.full((4, 6), 0.3, np.float32),
            "measured",
            np.full((2, 2), 0.7, np.float32),
            row_noise=0.5,
            row_noise_left=0.25,
            source=BlackSource.STATED,
            known=True,
            warning="wrong",
        ),
        noise_profile=(1e-4, 1e-6),
        missing=np.eye(4, 6, dtype=np.bool_),
        metadata=PhotoMetadata({272: encode_text("one")}, xmp={"{urn:a/}b": "<b/>"}, iptc=b"\x1c"),
        warnings=("one", "two"),
    )
    for field in dataclasses.fields(RawImage):
        assert not same(getattr(raw, field.name), field.default), field.name
    for field in dataclasses.fields(BlackOrigin):
        assert not same(getattr(raw.black_origin, field.name), field.default), field.name
    assert same(pickle.loads(pickle.dumps(raw, pickle.HIGHEST_PROTOCOL)), raw)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("segv", "SIGSEGV", marks=pytest.mark.skipif(os.name == "nt", reason="POSIX")),
        pytest.param("abort", "SIGABRT", marks=pytest.mark.skipif(os.name == "nt", reason="POSIX")),
        pytest.param(
            "half",
            "killed by signal 9, .* or by somebody",
            marks=pytest.mark.skipif(os.name == "nt", reason="POSIX"),
        ),
        ("exit", "exit code 3"),
        ("bug", "exit code 1"),
        ("loop", "took more than 3 s"),
        pytest.param(
            "hog",
            "memory",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="address space is bounded"),
        ),
    ],
)
def test_a_dying_decoder_costs_one_photo(
    decoders: Decoders, dng_path: Callable[..., Path], name: str, reason: str
) -> None:
    good, bad = dng_path(), dng_path(name=f"{name}.dng")
    assert decode(decoders, good).camera == "Example One"
    with pytest.raises(RawError, match=reason) as caught:
        decode(decoders, bad)
    assert str(bad) in str(caught.value)
    assert decode(decoders, good).camera == "Example One"


@pytest.mark.skipif(os.name == "nt", reason="POSIX")
def test_a_decoder_killed_before_it_is_ready_costs_one_photo(
    dng_path: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was an internal error, to be reported, with the advice to install Python anew."""
    path = dng_path()
    start = decoding._start

    def start_and_kill(timeout: float) -> subprocess.Popen[bytes]:
        process = start(timeout)
        process.kill()
        return process

    with Decoders(1, timeout=30) as decoders:
        with monkeypatch.context() as patch:
            patch.setattr(decoding, "_start", start_and_kill)
            with pytest.raises(RawError, match=r"killed by signal 9, .* or by somebody") as caught:
                decode(decoders, path)
        assert str(path) in str(caught.value)
        assert decode(decoders, path).camera == "Example One"


def test_a_worker_that_dies_between_photos_costs_none(dng_path: Callable[..., Path]) -> None:
    path = dng_path()
    with Decoders(1, timeout=30) as decoders, decoders.worker() as worker:
        first = worker.decode(str(path))
        process = worker._process
        assert process is not None
        process.kill()
        process.wait()
        assert same(worker.decode(str(path)).raw, first.raw)


def test_what_c_prints_spoils_nothing(decoders: Decoders, dng_path: Callable[..., Path]) -> None:
    assert decode(decoders, dng_path(name="print.dng")).mosaic.shape == (48, 64)


def test_errors_are_those_of_reading(tmp_path: Path) -> None:
    text = tmp_path / "text.dng"
    text.write_text("no photo", encoding="utf-8")
    with Decoders(1, timeout=30) as decoders:
        for path in (text, tmp_path / "missing.dng", tmp_path):
            with pytest.raises(RawError) as expected:
                read_raw(path)
            with pytest.raises(RawError) as found:
                decode(decoders, path)
            assert str(found.value) == str(expected.value)


def test_closing_ends_a_hanging_decoder_at_once(
    monkeypatch: pytest.MonkeyPatch, dng_path: Callable[..., Path]
) -> None:
    import threading

    monkeypatch.setattr(decoding, "START", decoding.START + f"exec({EVIL!r}); ")
    path, errors = dng_path(name="loop.dng"), []
    decoders = Decoders(1, timeout=60)

    def wait() -> None:
        with pytest.raises(RawError) as caught:
            decode(decoders, path)
        errors.append(caught.value)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(1.0)
    started = time.monotonic()
    decoders.close()
    thread.join(5)
    assert time.monotonic() - started < 2
    assert "stopped" in str(errors[0])
    with pytest.raises(RawError, match="stopped"):
        decode(decoders, path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("busy", [True, False])
def test_a_worker_ends_with_its_parent(dng_path: Callable[..., Path], busy: bool) -> None:
    """Killed without a word, the parent leaves no process behind, even one that hangs."""
    import subprocess

    from batches import environment

    code = (
        "import sys, time\nfrom darkroom.batch import decoders as decoding\n"
        f"decoding.START += 'exec(' + repr({EVIL!r}) + '); '\n"
        "decoding.GRACE_SECONDS = 0.5\n"
        "d = decoding.Decoders(1, 1.0)\n"
        "with d.worker() as w:\n"
        "    w.decode(sys.argv[1])\n"
        "    print(w._process.pid, flush=True)\n"
        f"    {'w.decode(sys.argv[2])' if busy else 'time.sleep(60)'}\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(dng_path()), str(dng_path(name="loop.dng"))],
        stdout=subprocess.PIPE,
        env=environment(),
    )
    with parent:
        assert parent.stdout is not None
        worker = Path("/proc") / parent.stdout.readline().decode().strip()
        time.sleep(0.3)
        parent.kill()
    deadline = time.monotonic() + 10
    while _alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(worker)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_decoder_is_the_first_to_go_where_memory_ends(dng_path: Callable[..., Path]) -> None:
    """The kernel takes the highest score, 1000 at most: one photo then, and not the batch."""
    with Decoders(1, timeout=30) as decoders, decoders.worker() as worker:
        worker.decode(str(dng_path()))
        assert worker._process is not None
        score = Path(f"/proc/{worker._process.pid}/oom_score_adj").read_text(encoding="ascii")
    assert int(score) == 1000 > int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii"))


def _alive(process: Path) -> bool:
    try:
        return ") Z" not in (process / "stat").read_text(encoding="utf-8")
    except OSError:
        return False


def test_a_worker_needs_no_torch() -> None:
    import subprocess

    code = "import sys, darkroom.batch.decoders; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
