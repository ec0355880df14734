"""Commands that are killed at any moment and resumed, and commands that are given damaged files.

Every command runs in a child of this process, which has imported the libraries already: a kill hits the command, not
the seconds of its imports. The child runs the command line itself, from its arguments to its exit code.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
"""What ends a command; most often what nothing can react to."""
MOST_SECONDS = 600


@dataclass
class Figures:
    """What was tried."""

    kills: int = 0
    resumes: int = 0
    inputs: int = 0


def start(arguments: Sequence[object], place: Path, log: Path) -> int:
    """Start ``coupling`` with arguments in a child process; its process id."""
    child = os.fork()
    if child == 0:
        _become(list(map(str, arguments)), place, log)
    return child


def _become(arguments: list[str], place: Path, log: Path) -> NoReturn:
    code = 70
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(place)
        sys.argv = ["coupling", *arguments]
        from coupling.cli import app

        app.main()
        code = 0
    except KeyboardInterrupt:  # before the command line reacts to signals itself
        code = 128 + signal.SIGINT
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def wait(child: int) -> int:
    """The exit code of a child; negative for the signal that ended it.

    Raises:
        RuntimeError: if it does not end.
    """
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise RuntimeError(f"a command did not end in {MOST_SECONDS} seconds")


def timed(arguments: Sequence[object], place: Path, log: Path) -> float:
    """Run a command that has to succeed; the seconds it took.

    Raises:
        RuntimeError: if it fails.
    """
    before = time.monotonic()
    code = wait(start(arguments, place, log))
    if code != 0:
        raise RuntimeError(f"coupling {' '.join(map(str, arguments))} ended with {code}: {log.read_text()[-500:]}")
    return time.monotonic() - before


def kill_after(
    seconds: float, arguments: Sequence[object], place: Path, log: Path, draws: random.Random
) -> tuple[bool, int]:
    """Start a command, and end it after some seconds.

    Returns:
        Whether it was ended before it had ended on its own, and its exit code.

    Raises:
        RuntimeError: if its exit code is neither that of the signal nor 0.
    """
    child = start(arguments, place, log)
    time.sleep(seconds)
    how = draws.choice(SIGNALS)
    os.kill(child, how)
    code = wait(child)
    expected = {signal.SIGKILL: (-9,), signal.SIGTERM: (143, -15), signal.SIGINT: (130, -2)}[how]
    if code not in (0, *expected):
        raise RuntimeError(f"{how.name} ended a command with {code}: {log.read_text()[-500:]}")
    return code != 0, code


def has_one_line(log: Path) -> bool:
    """Whether a failed command said why on one line, and did not take its failure for a fault of its own."""
    text = log.read_text(errors="replace").strip()
    lines = [line for line in text.splitlines() if not line.startswith("warning: ")]
    return len(lines) == 1 and lines[0].startswith("error: ") and "please report it" not in text
