"""Commands start quickly: what is not needed is not loaded, a photo is decoded beside the rest."""

import subprocess
import sys
from pathlib import Path

import pytest
from batches import environment, run, tiny_weights, write_photos

LOAD = """
import gc, sys
try:
    import resource
    limit = resource.getrlimit(resource.RLIMIT_AS)
except ImportError:
    resource = None
from pathlib import Path
from darkroom.cli.startup import defer_collection, load_libraries
from darkroom.raw.reader import read_raw
photo = Path(sys.argv[1])
with defer_collection():
    assert not gc.isenabled()
    found = load_libraries(photo)
assert gc.isenabled() and gc.get_freeze_count() > 100_000
assert resource is None or resource.getrlimit(resource.RLIMIT_AS) == limit
if sys.argv[2] == "read":
    assert "torch" in sys.modules and list(found) == [photo]
    assert (found[photo].mosaic == read_raw(photo).mosaic).all()
else:
    assert found == {}
assert load_libraries(photo) == {}, "there is nothing to wait for any more"
"""


@pytest.mark.parametrize("kind", ["read", "damaged"])
def test_photos_are_decoded_while_libraries_load(tmp_path: Path, kind: str) -> None:
    (photo,) = write_photos(tmp_path, 1)
    if kind == "damaged":
        photo.write_bytes(photo.read_bytes()[:1000])
    command = [sys.executable, "-c", LOAD, str(photo), kind]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_errors_come_in_their_order(tmp_path: Path) -> None:
    """What is wrong with the weights is said first, as it was read first before."""
    weights = tiny_weights(tmp_path / "tiny.safetensors")
    (photo,) = write_photos(tmp_path, 1)
    photo.write_bytes(photo.read_bytes()[:1000])
    out = tmp_path / "a.png"
    both = run("enhance", photo, "--model", tmp_path / "none.safetensors", "-o", out)
    assert (both.returncode, b"none.safetensors is not there" in both.stderr) == (3, True)
    one = run("enhance", photo, "--model", weights, "-o", out)
    assert (one.returncode, b"truncated" in one.stderr) == (4, True), one.stderr
    assert len(one.stderr.splitlines()) == 1


def test_the_command_line_loads_no_rich() -> None:
    """It takes 27 ms, and is for help, tables and terminals."""
    script = "import sys, darkroom.cli; sys.exit('rich.console' in sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
