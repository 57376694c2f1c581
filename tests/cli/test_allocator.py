"""Memory that is kept is used again without the system; where there is little, it is given back."""

import subprocess
import sys

import pytest

from darkroom.cli.allocator import MIN_USABLE

FAULTS = """
import resource, sys
import numpy as np
from darkroom.cli.allocator import keep_memory, share_one_arena
share_one_arena()
keep_memory(int(sys.argv[1]))
for size in (96, 64):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(size << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
@pytest.mark.parametrize("usable", [MIN_USABLE, MIN_USABLE - 1])
def test_memory_is_kept_where_there_is_enough(usable: int) -> None:
    """The second array costs no page faults (but few of the interpreter's own), or one per page.

    NumPy asks for large pages, so 64 MB are 32 faults at least.
    """
    command = [sys.executable, "-c", FAULTS, str(usable)]
    faults = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (faults < 16) is (usable >= MIN_USABLE), faults
