"""What goes to stdout: the result alone; and the console through which everything is printed."""

import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import IO, Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from coupling.errors import CouplingWarning
from coupling.untrusted import clean


class PlainConsole(Console):
    """A console on which every text is text: nothing in it is markup, and control characters are visible.

    Only rich's own control codes, such as those of a progress bar, reach the terminal.
    """

    def __init__(self, *, stderr: bool = False, quiet: bool = False, **options: Any) -> None:
        super().__init__(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False, **options)

    @property
    def file(self) -> IO[str]:
        """The stream that is written to; this console has cleaned what it writes to standard error."""
        stream = super().file
        return getattr(stream, "trusted", stream)

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def render_str(self, text: str, **options: Any) -> Text:
        """A text as rich lays it out, cleaned before its width is measured."""
        return super().render_str(clean(text, None, keep="\n\t"), **options)

    def _render_buffer(self, buffer: Any) -> str:
        """The last step before the stream: also what came as rich's own objects is cleaned."""
        safe = [
            segment if segment.control else Segment(clean(segment.text, None, keep="\n\t"), segment.style)
            for segment in buffer
        ]
        return super()._render_buffer(safe)


def console(*, stderr: bool = False, quiet: bool = False) -> PlainConsole:
    """The console of a command, for results or, with ``stderr``, for messages."""
    return PlainConsole(stderr=stderr, quiet=quiet)


@contextmanager
def warning_lines() -> Iterator[None]:
    """Print this package's own warnings as one line each; other warnings stay as they are."""
    usual = warnings.showwarning

    def show(message: Any, category: type[Warning], *arguments: Any) -> None:
        if issubclass(category, CouplingWarning):
            print(f"warning: {clean(message)}", file=sys.stderr)
        else:
            usual(message, category, *arguments)

    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=CouplingWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


@contextmanager
def result_alone() -> Iterator[None]:
    """A context in which everything printed goes to stderr, by child processes and C libraries as well.

    Stdout then contains nothing but the result.
    """
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # stdout is closed
        kept = None
    if kept is not None:
        os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def print_json(content: Any) -> None:
    """JSON on stdout, nothing else."""
    json.dump(content, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")
