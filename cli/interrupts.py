"""Ctrl-C and SIGTERM: both end a command, also where a library catches the interrupt and goes on.

A signal that arrives while a module is imported takes effect when the import has ended. An error in the middle of it is
caught by some libraries, and ends the process with an abort where C++ code is what imports, as in PyTorch.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from coupling.errors import Terminated

ERRORS: dict[int, type[KeyboardInterrupt]] = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}

AGAIN = 0.02
"""Seconds after which a signal that met an import is tried again."""

_received: list[int] = []
"""The signals that this command was sent."""
_waiting: list[threading.Timer] = []
"""What sends a signal again that met an import."""


@contextmanager
def caught() -> Iterator[Callable[[], int | None]]:
    """A context in which a signal raises its error; gives the exit code that a signal asked for, or None.

    A signal that the process was started to ignore, as ``nohup`` and shells ask for, stays ignored.
    """
    _received.clear()
    usual: dict[int, object] = {}
    try:
        for number in ERRORS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                usual[number] = signal.signal(number, _raise)
    except ValueError:  # not the main thread, which alone may set handlers
        pass
    try:
        yield lambda: 128 + _received[0] if _received else None
    finally:
        _stop_waiting()
        for number, handler in usual.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


def check() -> None:
    """Raise the error of a signal again: some library caught it, as many do while they are imported.

    Raises:
        KeyboardInterrupt: if the command was asked to end.
    """
    if _received:
        _stop_waiting()
        raise ERRORS[_received[0]]


def _raise(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    _stop_waiting()
    if _imports(frame):
        again = threading.Timer(AGAIN, os.kill, (os.getpid(), number))
        again.daemon = True
        _waiting.append(again)
        again.start()
        return
    raise ERRORS[number]


def _stop_waiting() -> None:
    while _waiting:
        _waiting.pop().cancel()


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False
