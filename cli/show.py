"""``coupling show RUN``: print a saved run again."""

from typing import Annotated

import typer
from coupling.cli.options import Json, Run, print_json


def show(
    run: Run,
    json: Json = False,
    all_variants: Annotated[bool, typer.Option("--variants", help="Signed and swapped variants too.")] = False,
) -> None:
    """Print a saved run again."""
    from coupling.cli.tables import print_run
    from rich.console import Console

    from coupling.store import open_run
    from coupling.summary import summarize

    summary = summarize(open_run(run))
    if json:
        print_json(summary)
    else:
        print_run(summary, Console(), all_variants=all_variants)
