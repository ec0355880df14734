"""Options that several commands share, so that they read the same everywhere."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing.")]
Run = Annotated[Path, typer.Argument(help="A run: the folder that `coupling analyze --out` made.", show_default=False)]


def print_json(content: Any) -> None:
    """JSON on stdout, nothing else."""
    json.dump(content, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")
