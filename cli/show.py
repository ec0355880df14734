"""``coupling show RUN...``: print a saved run again, or several as one table."""

from pathlib import Path
from typing import Annotated, Any

import typer

from coupling.cli.options import Json, SelectedKs, SkipFirst, parse_ks
from coupling.cli.output import console, print_json


def show(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Runs: folders that `coupling analyze --out`, `coupling sweep` or `coupling rl` wrote. Several are "
            "one table.",
            show_default=False,
        ),
    ],
    k: SelectedKs = None,
    json: Json = False,
    all_variants: Annotated[
        bool, typer.Option("--variants", help="Of one run, print the signed and swapped variants as well.")
    ] = False,
    skip_first: SkipFirst = None,
    sort: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Of several runs, the column to sort by, such as excess."),
    ] = None,
    norm: Annotated[
        int | None, typer.Option("--norm", "-p", min=1, max=2, help="Of several runs, p of the norm. Default: 2.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Of several runs, print the table as CSV.")] = False,
) -> None:
    """Print a saved run again, or several runs as one table with a row for each."""
    from coupling.analyses.rl.saved_run import only_rl_runs
    from coupling.analyses.sweep.runs import checked_runs

    if csv and json:
        raise typer.BadParameter("--csv and --json exclude each other")
    if only_rl_runs(runs):
        if k or all_variants or skip_first is not None or norm is not None:
            raise typer.BadParameter("--k, --norm, --variants and --skip-first do not apply to runs of coupling rl")
        _show_rl(runs, sort, as_csv=csv, as_json=json)
        return
    folders = checked_runs(runs)
    as_table = len(folders) > 1 or len(runs) > 1 or csv or sort is not None
    if as_table:
        if all_variants or skip_first is not None:
            raise typer.BadParameter("--variants and --skip-first apply to one run; these are several")
        _show_table(folders, parse_ks(k), norm, sort, as_csv=csv, as_json=json)
        return
    if norm is not None:
        raise typer.BadParameter("--norm applies to several runs; of one both norms are printed")
    with console(stderr=True).status("reading the run"):
        from coupling.cli.render.run import print_run
        from coupling.run_folder import open_run
        from coupling.shares import at_ks
        from coupling.summary import summarize

        summary = summarize(at_ks(open_run(folders[0]), parse_ks(k)), skip_first=skip_first)
    if json:
        print_json(summary)
    else:
        print_run(summary, console(), all_variants=all_variants)


def _show_rl(folders: list[Path], sort: str | None, *, as_csv: bool, as_json: bool) -> None:
    """Print one run of ``coupling rl``, or several as one table."""
    from coupling.analyses.rl.saved_run import read_rl_run
    from coupling.cli.render.rl import print_rl_run, print_rl_table, summarize_rows

    runs = [read_rl_run(folder) for folder in folders]
    if len(runs) == 1 and not as_csv and sort is None:
        if as_json:
            print_json({"run": runs[0].name, "described": runs[0].described()} | summarize_rows(runs[0].rows))
        else:
            print_rl_run(runs[0], console())
        return
    from coupling.analyses.rl.run_table import rl_run_table

    table = rl_run_table(runs, sort)
    if as_json:
        print_json({"runs": table.astype(object).where(table.notna(), None).to_dict("records")})
    elif as_csv:
        typer.echo(table.to_csv(index=False), nl=False)
    else:
        print_rl_table(table, console())


def _show_table(
    folders: list[Path], ks: Any, norm: int | None, sort: str | None, *, as_csv: bool, as_json: bool
) -> None:
    """Print one row for each run."""
    if ks and len(ks) > 1:
        raise typer.BadParameter("several runs are compared at one --k")
    with console(stderr=True).status(f"reading {len(folders)} runs"):
        from coupling.cli.render.run_table import print_run_table
        from coupling.dataset import DETAIL_VARIABLES
        from coupling.run_folder import open_run
        from coupling.tables import run_table

        runs = {str(folder): open_run(folder, without=DETAIL_VARIABLES) for folder in folders}
        table = run_table(runs, ks[0] if ks else None, norm or 2, sort)
    if as_json:
        print_json({"runs": table.astype(object).where(table.notna(), None).to_dict("records")})
    elif as_csv:
        typer.echo(table.to_csv(index=False), nl=False)
    else:
        print_run_table(table, console())
