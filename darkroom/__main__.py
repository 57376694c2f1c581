"""`python -m darkroom` and the command `darkroom`, which signals end in order at any moment."""

import gc
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""What ends a command; the exit code is 128 + the signal's number, as of shells."""
PATIENCE_SECONDS = 10.0
"""More signals do nothing for so long: what the first one began is being cleaned up."""
RETRY_SECONDS = 0.05
"""So long after a signal met an import, or was swallowed, it is tried again."""


class Ended(KeyboardInterrupt):
    """A signal ends the command."""


class Ender:
    """Handles signals: the first one raises Ended wherever the main thread is.

    Others do nothing, so that none of them breaks off the cleaning up, unless the command still
    runs after PATIENCE_SECONDS: libraries may have swallowed the first. Where Python says that one
    did, Ended is raised again. Imports are waited for, as some of them swallow it without a word,
    and leave modules that cannot be loaded again. `over`: nothing is raised any more.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.over = False
        self._installed: list[int] = []
        self._again = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle one signal. Raises Ended."""
        if self.over or time.monotonic() < self._again:
            return
        self.number = self.number or number
        if sys.platform != "win32" and _is_importing(frame):
            self._retry_soon()
            return
        self._again = time.monotonic() + PATIENCE_SECONDS
        raise Ended

    def install(self) -> None:
        """Handle signals from now on, but those that somebody has had ignored, as nohup does."""
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._installed.append(number)
                signal.signal(number, self)
        sys.unraisablehook = self._retry_swallowed

    def _retry_swallowed(self, swallowed: "sys.UnraisableHookArgs") -> None:
        """Raise Ended again where it met code that cannot pass errors on, as destructors."""
        if not isinstance(swallowed.exc_value, Ended):
            sys.__unraisablehook__(swallowed)
            return
        self._again = 0.0
        self._retry_soon()

    def _retry_soon(self) -> None:
        if sys.platform != "win32":
            self._installed.append(signal.SIGALRM)
            signal.signal(signal.SIGALRM, self)
            signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)

    def close(self) -> None:
        """Have signals do nothing from now on, for the process ends."""
        for number in self._installed:
            signal.signal(number, signal.SIG_IGN)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None


def _load() -> Callable[[], None]:
    """Load the command line; what stops that, as too little memory, is one line."""
    try:
        from darkroom import cli
    except (ImportError, MemoryError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SystemExit(f"error: darkroom cannot be loaded: {reason}; raise the limits") from None
    return cli.main


def main() -> NoReturn:
    """Run the command line and exit."""
    ender = Ender()
    code: int | str | None = None
    try:
        ender.install()
        try:
            _load()()  # signals may come while this takes its time
        except SystemExit as end:
            code = end.code
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
    except BaseException:
        if ender.number is None:  # else what else went wrong is a consequence
            raise
    ender.over = True  # no signal is looked at between the block above and this
    ender.close()
    gc.freeze()  # else Python looks for garbage in all of torch at the end, for 0.3 s
    sys.exit(code if ender.number is None else 128 + ender.number)


if __name__ == "__main__":
    main()
