"""``coupling diff RUN OTHER``: compare two saved runs."""

from pathlib import Path
from typing import Annotated

import typer

from coupling.cli.options import Json, Run
from coupling.cli.output import console, print_json


def diff(
    run: Run,
    other: Annotated[Path, typer.Argument(help="Another run.", show_default=False)],
    json: Json = False,
) -> None:
    """Compare two saved runs: scores, pairs and provenance. Differences are OTHER minus RUN."""
    from coupling.run_files import finished_run

    folders = [finished_run(folder) for folder in (run, other)]
    with console(stderr=True).status("comparing"):
        from coupling.run_folder import open_run
        from coupling.summary import compare_runs

        comparison = compare_runs(*(open_run(folder) for folder in folders))
    from coupling.cli.render.comparison import print_comparison

    if json:
        print_json(comparison)
    else:
        print_comparison(comparison, (run.name or str(run), other.name or str(other)), console())
