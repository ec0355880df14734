"""What goes to stdout: the result alone."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any


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
