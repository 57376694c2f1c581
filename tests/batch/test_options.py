"""How many photos are at hand by default: as the machine's processors allow, not fewer than one."""

import os
import subprocess
import sys

import pytest

from darkroom.batch import options
from darkroom.batch.options import MAX_JOBS, BatchOptions


@pytest.mark.parametrize(
    ("cores", "beside_network", "beside_gpu"),
    [(1, 1, 1), (2, 1, 1), (4, 1, 2), (8, 2, 4), (16, 4, 8), (256, MAX_JOBS, MAX_JOBS)],
)
def test_jobs_by_default(
    cores: int, beside_network: int, beside_gpu: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "count_cores", lambda: cores)
    assert BatchOptions().decoders("cpu") == beside_network
    assert BatchOptions().decoders("cuda") == BatchOptions().decoders() == beside_gpu
    assert BatchOptions(jobs=3).decoders("cpu") == BatchOptions(jobs=3).decoders("cuda") == 3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux")
def test_processors_of_others_do_not_count() -> None:
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "
        "from darkroom.batch.options import count_cores; print(count_cores())"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "1\n"
