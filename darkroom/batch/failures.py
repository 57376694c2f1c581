"""What goes wrong in a batch: with one photo, or for all that are left."""

import errno
import traceback
from pathlib import Path, PurePath

from darkroom.errors import DISK_FULL, DarkroomError, OutputError

FATAL = (*DISK_FULL, errno.EROFS, errno.EIO, errno.ENODEV, errno.ESTALE)
"""What ends a batch when writing: no other photo would fare better."""
OPEN_FILES = (errno.EMFILE, errno.ENFILE)
"""What a system answers where a process, or all of them, have too many files open."""
RAISE_LIMIT = "too many files are open; raise the limit with ulimit -n, or use fewer --jobs"


class UnwritableError(OutputError):
    """No picture can be written any more: the folder is gone, or the disk is full."""


def reason(error: BaseException, photo: str = "") -> str:
    """Return one line about what went wrong with a photo, which it names; of a bug, where it is."""
    text, photo = _explain(error), " ".join(photo.split())
    return text if PurePath(photo).name in text else f"{photo}: {text}"


def _explain(error: BaseException) -> str:
    if isinstance(error, DarkroomError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "not enough memory; use fewer --jobs, or a --tile such as 1024"
    if isinstance(error, OSError) and error.errno in OPEN_FILES:
        return RAISE_LIMIT
    where = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"internal error ({named(error)}, {Path(where.filename).name}:{where.lineno}); "
        "please report it"
    )


def named(error: BaseException) -> str:
    """Return an error that is not ours in one line: its type and message."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def ends_all(error: BaseException) -> bool:
    """Whether no other photo could be written either."""
    return isinstance(error, UnwritableError) or _caused_by(error, FATAL)


def is_full(error: BaseException) -> bool:
    """Whether the disk is full, or the user's share of it."""
    return _caused_by(error, DISK_FULL)


def _caused_by(error: BaseException, codes: tuple[int, ...]) -> bool:
    cause = error.__cause__
    return isinstance(error, OutputError) and isinstance(cause, OSError) and cause.errno in codes
