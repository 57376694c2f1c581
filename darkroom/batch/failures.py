"""What goes wrong in a batch: with one photo, or for all that are left."""

import errno
import traceback
from pathlib import Path

from darkroom.errors import DarkroomError, OutputError

FULL = (errno.ENOSPC, errno.EDQUOT)
FATAL = (*FULL, errno.EROFS, errno.EIO, errno.ENODEV, errno.ESTALE)
"""What ends a batch when writing: no other photo would fare better."""


class FolderGoneError(OutputError):
    """The output folder is not there any more: a disk was unplugged, or it was removed."""


def reason(error: BaseException) -> str:
    """Return one line about what went wrong with a photo; of a bug, where it is."""
    if isinstance(error, DarkroomError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "not enough memory; use fewer --jobs, or a --tile such as 1024"
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"internal error ({text}, {Path(where.filename).name}:{where.lineno}); please report it"


def ends_all(error: BaseException) -> bool:
    """Whether no other photo could be written either."""
    return isinstance(error, FolderGoneError) or _caused_by(error, FATAL)


def is_full(error: BaseException) -> bool:
    """Whether the disk is full, or the user's share of it."""
    return _caused_by(error, FULL)


def _caused_by(error: BaseException, codes: tuple[int, ...]) -> bool:
    cause = error.__cause__
    return isinstance(error, OutputError) and isinstance(cause, OSError) and cause.errno in codes
