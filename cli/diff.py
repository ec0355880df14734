"""``coupling diff RUN RUN``: compare two saved runs."""

from pathlib import Path
from typing import Annotated

import typer
from coupling.cli.options import Json, Run, print_json


def diff(
    run: Run,
    other: Annotated[Path, typer.Argument(help="Another run.", show_default=False)],
    json: Json = False,
) -> None:
    """Compare two saved runs: scores, pairs, and where they come from. Differences are other minus run."""
    from coupling.cli.tables import print_comparison
    from rich.console import Console

    from coupling.store import open_run
    from coupling.summary import compare_runs

    comparison = compare_runs(open_run(run), open_run(other))
    if json:
        print_json(comparison)
    else:
        print_comparison(comparison, (run.name or str(run), other.name or str(other)), Console())
