"""Programs of others that some tests use, each asked who it is: others go by their names too."""

import re
import shutil
import subprocess


def find_program(*names: str, says: str, option: str = "--version") -> str | None:
    """Return the first of these programs that answers `option` with what matches `says`."""
    for name in names:
        path = shutil.which(name)
        if path is None:
            continue
        try:
            told = subprocess.run(
                [path, option], capture_output=True, text=True, check=False, timeout=30
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if told.returncode == 0 and re.search(says, told.stdout):
            return path
    return None
