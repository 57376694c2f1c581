"""Any number of signals, at any moment: the exit code says which, and nothing half-made is left."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from batches import environment, start, tiny_weights, write_photos
from PIL import Image

from darkroom import __main__ as entry
from darkroom.output.atomic import TEMPORARY_PATTERN

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def send(process: "subprocess.Popen[bytes]", numbers: Sequence[int], spacing: float) -> None:
    for number in numbers:
        if process.poll() is None:
            process.send_signal(number)
            time.sleep(spacing)


@pytest.fixture
def commands(tmp_path: Path) -> dict[str, list[object]]:
    weights = tiny_weights(tmp_path / "tiny.safetensors")
    write_photos(tmp_path / "in", 40)
    (big,) = write_photos(tmp_path / "big", 1, (800, 1200))
    (tmp_path / "clean").mkdir()
    Image.fromarray(np.zeros((256, 256, 3), np.uint8)).save(tmp_path / "clean/one.png")
    fixed = ["--model", weights, "--device", "cpu", "--tile", "off"]
    return {
        "enhance": ["enhance", big, "-o", tmp_path / "out/a.png", "--overwrite", *fixed],
        "batch": ["batch", tmp_path / "in", "-o", tmp_path / "out", *fixed],
        "train": ["train", tmp_path / "clean", "-o", tmp_path / "out", "-q"],
        "evaluate": ["evaluate", "--simulate", tmp_path / "clean", *fixed],
        "fetch-weights": ["fetch-weights", "--import", weights, "--as", "mine"],
    }


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("enhance", signal.SIGTERM),
        ("batch", signal.SIGTERM),
        ("train", signal.SIGTERM),
        ("evaluate", signal.SIGINT),
        ("fetch-weights", signal.SIGINT),
    ],
)
def test_many_signals_end_a_command(
    tmp_path: Path, commands: dict[str, list[object]], name: str, first: signal.Signals
) -> None:
    """Twelve, of both kinds, 25 ms apart: some while modules are loaded, some in cleaning up."""
    chance = random.Random(name)
    (tmp_path / "out").mkdir()
    environ = environment() | {"DARKROOM_WEIGHTS": str(tmp_path / "store")}
    command = [sys.executable, "-m", "darkroom", *map(str, commands[name])]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as process:
        time.sleep(chance.uniform(0.3, 0.6))  # Python itself is up, and all imports are not
        rest = chance.choices([signal.SIGTERM, signal.SIGINT], k=11)
        send(process, [first, *rest], 0.025)
        _, words = process.communicate(timeout=60)
    # On a busy machine the first two may arrive as one, and Python looks at SIGINT first.
    assert process.returncode in (128 + signal.SIGTERM, 128 + signal.SIGINT), words
    assert b"Traceback" not in words
    assert list(tmp_path.rglob(TEMPORARY_PATTERN)) == []


WRITER = """
import pathlib, signal, sys, time
from darkroom import __main__ as entry
from darkroom.output import atomic

def run():
    out = pathlib.Path(sys.argv[1])
    print("ready", flush=True)
    for number in range(1000000):
        with atomic.atomic_write(out / f"{number}.bin") as stream:
            stream.write(b"whole")

import darkroom.cli
darkroom.cli.main = run
entry.main()
"""


@pytest.mark.parametrize("seed", range(3))
def test_signals_between_any_two_steps_of_writing(tmp_path: Path, seed: int) -> None:
    """Files are written one after the other, so that signals meet making, naming and removing."""
    chance = random.Random(seed)
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.05))
        send(process, [signal.SIGTERM] * 5, 0.002)
        assert process.wait(30) == 143
    assert list(tmp_path.glob(TEMPORARY_PATTERN)) == []
    assert {path.read_bytes() for path in tmp_path.iterdir()} <= {b"whole"}


def test_a_swallowed_signal_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once patience is over the next one raises again; the exit code is the first one's."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    ender = entry.Ender()
    now[0] = 1.0
    with pytest.raises(entry.Ended):
        ender(signal.SIGTERM, None)
    ender(signal.SIGINT, None)
    now[0] += entry.PATIENCE_SECONDS
    with pytest.raises(entry.Ended):
        ender(signal.SIGINT, None)
    assert ender.number == signal.SIGTERM
    ender.over = True
    now[0] += entry.PATIENCE_SECONDS
    ender(signal.SIGINT, None)


SWALLOWER = """
import signal, sys, time
from darkroom import __main__ as entry
import darkroom.cli

class Careless:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

def run():
    if sys.argv[1] == "destructor":
        Careless()
    else:
        sys.path.insert(0, sys.argv[2])
        import careless
    time.sleep(30)

darkroom.cli.main = run
entry.main()
"""


@pytest.mark.parametrize("where", ["destructor", "import"])
def test_one_signal_is_enough_wherever_it_is_swallowed(tmp_path: Path, where: str) -> None:
    """A destructor cannot pass it on; modules that torch imports do not."""
    careless = "import signal\ntry:\n    signal.raise_signal(15)\nexcept BaseException:\n    pass\n"
    (tmp_path / "careless.py").write_text(careless, encoding="utf-8")
    command = [sys.executable, "-c", SWALLOWER, where, str(tmp_path)]
    found = subprocess.run(command, env=environment(), capture_output=True, timeout=25)
    assert (found.returncode, found.stderr) == (143, b"")


def test_ignored_signals_stay_ignored(tmp_path: Path) -> None:
    """As nohup has it."""
    write_photos(tmp_path / "in", 1)
    weights = tiny_weights(tmp_path / "tiny.safetensors")
    command = ["batch", tmp_path / "in", "-o", tmp_path / "out", "--model", weights]

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with start(*command, preexec_fn=ignore) as process:
        time.sleep(1.0)
        send(process, [signal.SIGHUP] * 3, 0.02)
        _, words = process.communicate(timeout=60)
    assert process.returncode == 0, words
