"""The three standard streams, whatever they are: closed, full, of any encoding, or given text that is not trusted."""

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from coupling.untrusted import clean

PLAIN = str.maketrans(
    {"±": "+-", "→": "->", "−": "-", "–": "-", "—": "-", "…": "...", "²": "^2", "×": "x", "ρ": "rho", "τ": "tau"}
    | dict.fromkeys("─━╸╺", "-")
)
"""What the project's own special characters are on a screen that does not have them."""
HANDLER = "coupling.plain"


def _encode_plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """The error handler of the output streams: plain forms of our characters, escapes of all others."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end].translate(PLAIN)
    return part.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error(HANDLER, _encode_plain)


class Stderr:
    """Standard error: what libraries write to it is cleaned, and a failure to write is no failure of the command.

    Args:
        stream: what the messages are written to; None where standard error is closed.
        cleans: whether control characters other than line breaks and tabs are made visible.
    """

    def __init__(self, stream: Any, *, cleans: bool = True) -> None:
        self._stream = stream
        self._cleans = cleans

    @property
    def trusted(self) -> "Stderr":
        """The same stream for a writer that cleans by itself, and moves the cursor."""
        return Stderr(self._stream, cleans=False)

    def write(self, text: str) -> int:
        """Write a text as far as that is possible."""
        with contextlib.suppress(OSError, ValueError):  # a full device, or a stream that was closed
            self._stream.write(clean(text, None, keep="\n\r\t") if self._cleans else text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is buffered, as far as that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def prepared_streams() -> Iterator[None]:
    """A context in which the standard streams accept any text, and none of their descriptors is free.

    A file that is opened while a standard descriptor is closed would get that descriptor, and everything printed.
    """
    usual = sys.stdout, sys.stderr
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free descriptor, which is this one
    for stream in usual:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - it is open until the process ends
    stderr = sys.stderr if sys.stderr is not None else open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = Stderr(stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = usual


def flush_stdout() -> None:
    """Write what is buffered for standard output.

    Raises:
        OSError: if that is not possible; what is buffered is then given up.
    """
    try:
        sys.stdout.flush()
    except OSError:
        discard_stdout()
        raise


def discard_stdout() -> None:
    """Give up standard output, so that the interpreter does not fail in writing its rest when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
