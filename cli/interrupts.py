"""Ctrl-C and SIGTERM: both end a command, also where a library catches the interrupt and goes on."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from coupling.errors import Terminated

ERRORS: dict[int, type[KeyboardInterrupt]] = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}

_received: list[int] = []
"""The signals that this command was sent."""


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
        for number, handler in usual.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


def check() -> None:
    """Raise the error of a signal again: some library caught it, as many do while they are imported.

    Raises:
        KeyboardInterrupt: if the command was asked to end.
    """
    if _received:
        raise ERRORS[_received[0]]


def _raise(number: int, _: object) -> None:
    _received.append(number)
    raise ERRORS[number]
