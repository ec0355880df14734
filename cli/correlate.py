"""``coupling correlate RUN... --scores SCORES``: does coupling go with benchmark scores, and beyond size?"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from coupling.cli.options import Json
from coupling.cli.output import print_json

INPUT, STATISTICS, OUTPUT = "Input", "Statistics", "Output"


def correlate(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN...", help="Runs: folders that `coupling analyze --out` made.", show_default=False),
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(help="A CSV with a model column, lm-evaluation-harness results (a JSON file or a folder), "
                     "leaderboard (the bundled Open LLM Leaderboard v1), or a hub data set's id.",
                     show_default=False, rich_help_panel=INPUT),
    ] = None,
    published: Annotated[
        bool,
        typer.Option("--published", help="The 28 points of the paper's Figure 1(a); with runs, these among them.",
                     rich_help_panel=INPUT),
    ] = False,
    family: Annotated[
        bool,
        typer.Option("--family", help="The small models that this project trained (coupling.analyses.studies.family).",
                     rich_help_panel=INPUT),
    ] = False,
    alias: Annotated[
        list[str] | None,
        typer.Option(metavar="A=B", help="Run A (its model or folder) is model B of the scores; may be repeated.",
                     show_default=False, rich_help_panel=INPUT),
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(help="Only this column of the scores; may be repeated. Default: all.", show_default=False,
                     rich_help_panel=INPUT),
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(help="What stands for coupling, such as 'coupling K=10 p=1'. Default: the excess over chance at "
                     "the largest K, p = 2.", show_default=False, rich_help_panel=STATISTICS),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Of permutations and bootstrap.", rich_help_panel=STATISTICS)
    ] = 0,
    figure: Annotated[
        Path | None,
        typer.Option("-o", metavar="FIGURE", help="Draw the scatter into a file, such as scatter.pdf.",
                     show_default=False, rich_help_panel=OUTPUT),
    ] = None,
    save_table: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Save what the scatter shows; coupling plot draws it.", show_default=False,
                     rich_help_panel=OUTPUT),
    ] = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Correlate coupling with benchmark scores, and compare it with size."""
    folders = runs or []
    check_usage(bool(folders), scores is not None, published, family, measure, benchmark or (), alias or ())
    from rich.console import Console

    screen = Console(stderr=True)
    with screen.status("loading libraries") as status:
        from coupling.analyses.correlation.correlate import correlate as correlate_table
        from coupling.analyses.correlation.correlate import correlate_runs, scatter_table
        from coupling.analyses.correlation.published import correlate_published
        from coupling.analyses.correlation.small_models import family_table

        def progress(name: str) -> None:
            status.update(f"correlating with {name}")

        result: dict[str, Any]
        if published:
            result = correlate_published(
                folders, scores, aliases=alias or (), benchmark=benchmark[0] if benchmark else None, seed=seed,
                progress=progress,
            )  # fmt: skip
        elif family:
            result = correlate_table(
                family_table(), benchmarks=benchmark or (), measure=measure, seed=seed, progress=progress
            )
        else:
            assert scores is not None  # checked above
            result = correlate_runs(
                folders, scores, aliases=alias or (), benchmarks=benchmark or (), measure=measure, seed=seed,
                progress=progress,
            )  # fmt: skip
    table = scatter_table(result)
    if save_table is not None:
        from coupling.files import write_atomically

        write_atomically(save_table, table.to_csv(index=False).encode())
    if figure is not None:
        draw(table, result, figure)
    if json:
        print_json(result)
    else:
        from coupling.cli.render.correlation import print_correlation

        print_correlation(result, Console())
    for path in (save_table, figure):
        if path is not None:
            print(f"saved in {path}", file=sys.stderr)


def check_usage(
    runs: bool, scores: bool, published: bool, family: bool, measure: str | None, benchmarks: Sequence[str],
    aliases: Sequence[str],
) -> None:  # fmt: skip
    """Refuse combinations that mean nothing."""
    if family and (published or runs or scores or aliases):
        raise typer.BadParameter("--family stands alone: its models have their own runs and scores")
    if not published and not family and not runs:
        raise typer.BadParameter("give runs, --published or --family")
    if runs and not published and not scores:
        raise typer.BadParameter("runs need --scores, their benchmark scores")
    if published and not runs and (scores or aliases or benchmarks):
        raise typer.BadParameter("--scores, --alias and --benchmark belong to runs, and none was given")
    if published and measure is not None:
        raise typer.BadParameter("--published has one measure, so --measure has no place beside it")
    if published and len(benchmarks) > 1:
        raise typer.BadParameter("--published places runs by one --benchmark")


def draw(table: Any, result: dict[str, Any], path: Path) -> None:
    """The scatter figure, in a file."""
    from coupling import figures
    from coupling.analyses.correlation.correlate import headline

    name = headline([one["benchmark"] for one in result["results"]])
    figures.save(figures.scatter(table, score_label=result["measure"], benchmark_label=name), path)
