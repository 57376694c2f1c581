"""Files that claim more than they hold, and the bound on what decoding may take."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from batches import environment
from conftest import synthetic_raw

from darkroom.errors import RawError
from darkroom.output.dng import write_dng
from darkroom.raw.memory_bound import (
    ALWAYS_SITES,
    MAX_SITES,
    SITES_PER_BYTE,
    bounded_memory,
    claims_too_much,
)
from darkroom.raw.reader import read_raw
from darkroom.raw.tiff_tags import read_directories

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="address space is bounded there")


def claiming(**tags: int) -> bytes:
    """A small DNG whose tags (t256=...) hold other numbers."""
    stream = io.BytesIO()
    write_dng(stream, synthetic_raw())
    data = bytearray(stream.getvalue())
    entries = read_directories(bytes(data))[0].entries
    for name, value in tags.items():
        entry = entries[int(name[1:])]
        size = {3: 2, 4: 4}[entry.kind]
        data[entry.offset : entry.offset + size] = value.to_bytes(size, "little")
    return bytes(data)


@pytest.mark.parametrize("compression", [1, 7])
def test_a_file_cannot_hold_more_than_its_bytes(compression: int) -> None:
    """400 million photosites in 7 kB: once LibRaw took the memory for them first."""
    with pytest.raises(RawError, match="claims 400 million photosites in") as caught:
        read_raw(claiming(t256=20000, t257=20000, t259=compression), "bomb.dng")
    assert "copy it from the card again" in str(caught.value)


def test_tiles_count_as_well() -> None:
    data = claiming()
    at = read_directories(data)[0].entries
    changed = bytearray(data)
    for old, new, value in ((254, 322, 60000), (278, 323, 60000)):
        place = at[old].offset - 8
        assert int.from_bytes(changed[place : place + 2], "little") == old
        changed[place : place + 2] = new.to_bytes(2, "little")
        changed[place + 8 : place + 12] = value.to_bytes(4, "little")
    with pytest.raises(RawError, match="claims 3600 million photosites"):
        read_raw(bytes(changed), "tiles.dng")


@pytest.mark.parametrize(
    ("sites", "size", "fits"),
    [
        (ALWAYS_SITES, 1, True),
        (ALWAYS_SITES + 1, 1, False),
        (150_000_000, 150_000_000 // 16, True),  # a black frame, a bit each
        (SITES_PER_BYTE * 10_000_000, 10_000_000, True),
        (SITES_PER_BYTE * 10_000_000 + 1, 10_000_000, False),
        (MAX_SITES, 1 << 31, True),
        (MAX_SITES + 1, 1 << 31, False),
    ],
)
def test_what_fits(sites: int, size: int, fits: bool) -> None:
    assert (claims_too_much(sites, size) is None) == fits


def run(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )


@on_linux
@pytest.mark.parametrize("own", ["resource.RLIM_INFINITY", "1 << 40"])
def test_memory_is_bounded_meanwhile_only(own: str) -> None:
    code = f"""
import resource
import numpy as np
from darkroom.raw.memory_bound import bounded_memory
_, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, ({own}, hard))
with bounded_memory(1 << 28):
    np.empty(1 << 27, 'u1')
    try: np.empty(1 << 29, 'u1')
    except MemoryError: pass
    else: raise SystemExit('not bounded')
np.empty(1 << 29, 'u1')
assert resource.getrlimit(resource.RLIMIT_AS)[0] == {own}
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, hard))
with bounded_memory(1 << 40):
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == 1 << 29  # the user's own is stricter
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_bounding_twice_or_not_at_all_does_no_harm() -> None:
    with bounded_memory(), bounded_memory():
        assert bytearray(1 << 20)


@on_linux
def test_commands_read_within_the_bound(dng_path: Callable[..., Path]) -> None:
    """Where LibRaw or numpy get no more, one line and exit code 4: once a traceback."""
    path = dng_path(height=2000, width=3000)
    code = """
import sys
from darkroom.raw import memory_bound, reader
memory_bound.MEMORY_LIMIT = int(sys.argv.pop(1))
from darkroom.cli import main
main()
"""
    for limit in (0, 4 << 20):
        done = run(code, str(limit), "inspect", str(path))
        assert (done.returncode, done.stdout) == (4, ""), (limit, done.stderr)
        assert "needs more memory than there is" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert run(code, str(1 << 30), "inspect", str(path)).returncode == 0
