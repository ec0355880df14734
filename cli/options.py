"""Options that several commands share, so that they read the same everywhere."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from coupling.errors import CouplingError

OUTPUT = "Output"
"""The panel of a command's help that says where its results go."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing.")]
NoTable = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.", rich_help_panel=OUTPUT)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.", rich_help_panel=OUTPUT)]
Run = Annotated[Path, typer.Argument(help="A run: the folder that `coupling analyze --out` made.", show_default=False)]


@contextmanager
def result_alone() -> Iterator[None]:
    """What is printed within goes to stderr, a child process's and a C library's too: stdout is the result's alone."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # closed
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


def new_folder(model: str | None) -> Path:
    """A folder under runs/ that is not there yet, named for the model and the time."""
    name = Path(model).name if model else "bundled"
    stem = f"{name or 'model'}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in range(1000):
        folder = Path("runs") / (stem if number == 0 else f"{stem}-{number}")
        if not folder.exists():
            return folder
    raise CouplingError(f"there is no free folder name left under runs/ for {stem}")
