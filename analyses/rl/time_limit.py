"""A time limit for code of the user that may hang."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from coupling.errors import CouplingError

AGAIN = 1.0
"""Seconds after which code that caught the interruption is interrupted again."""


class TimeLimitError(BaseException):
    """The time is over; not an ``Exception``, so that the code that hangs is unlikely to catch it."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """A context that is interrupted after some time, also in the middle of a wait.

    Only the main thread can be interrupted: a thread sends it a signal, SIGUSR1, whose handler raises the error.
    SIGALRM stays free for the limits of others, such as those of a library that compares formulas.

    Args:
        seconds: how long the code may take; None for no limit.

    Raises:
        TimeLimitError: inside the context, when the time is over.
        CouplingError: if this is not the main thread.

    Example:
        >>> with time_limit(60):
        ...     2 + 2
        4
    """
    if seconds is None:
        yield
        return
    main = threading.main_thread()
    if threading.current_thread() is not main:
        raise CouplingError("reward_timeout works in the main thread alone; start the run there, or leave it out")
    over = threading.Event()
    active = True

    def interrupt(*_: Any) -> None:
        if active:
            raise TimeLimitError

    def watch() -> None:
        wait = seconds
        while not over.wait(wait):
            signal.pthread_kill(main.ident or 0, signal.SIGUSR1)
            wait = AGAIN

    former = signal.signal(signal.SIGUSR1, interrupt)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        try:
            yield
        finally:
            active = False
    finally:  # again, because the signal may have come just before the line above
        active = False
        over.set()
        watcher.join()
        signal.signal(signal.SIGUSR1, former)
