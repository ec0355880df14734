"""``coupling show RUN``: print a saved run again."""

from typing import Annotated

import typer

from coupling.cli.options import Json, Run, SelectedKs, SkipFirst, parse_ks
from coupling.cli.output import console, print_json


def show(
    run: Run,
    k: SelectedKs = None,
    json: Json = False,
    all_variants: Annotated[
        bool, typer.Option("--variants", help="Print the signed and swapped variants as well.")
    ] = False,
    skip_first: SkipFirst = None,
) -> None:
    """Print a saved run again."""
    from coupling.cli.render.run import print_run
    from coupling.run_folder import open_run
    from coupling.shares import at_ks
    from coupling.summary import summarize

    summary = summarize(at_ks(open_run(run), parse_ks(k)), skip_first=skip_first)
    if json:
        print_json(summary)
    else:
        print_run(summary, console(), all_variants=all_variants)
