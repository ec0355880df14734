"""``coupling correlate RUN... --scores SCORES``: does coupling correlate with benchmark scores, and beyond size?"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from coupling.cli.options import OUTPUT, Json
from coupling.cli.output import console, print_json
from coupling.untrusted import clean

INPUT, STATISTICS = "Input", "Statistics"


def correlate(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN...",
            help="Runs: folders that `coupling analyze --out` wrote; or studies of `coupling sweep`.",
            show_default=False,
        ),
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(
            help="Benchmark scores of the runs' models: a CSV with a model column, lm-evaluation-harness results (a "
            "JSON file or a folder), leaderboard (the bundled Open LLM Leaderboard v1), or the id of a data set on "
            "the hub.",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ] = None,
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="Correlate the 28 points of the paper's Figure 1(a), and place the runs among them if any are given.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    family: Annotated[
        bool,
        typer.Option(
            "--family",
            help="Correlate the bundled table of 24 small Llamas that this project trained on Python source: eight "
            "shapes, each trained in three ways.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    alias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A=B",
            help="Run A (its model or its folder) is model B of the scores; may be repeated.",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            help="Use only this column of the scores; may be repeated. Default: all.",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(
            help="The measure that stands for coupling, such as 'coupling K=10 p=1'. Default: the excess over chance "
            "at the largest K and p = 2.",
            show_default=False,
            rich_help_panel=STATISTICS,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**63 - 1, help="Seed of permutations and bootstrap.", rich_help_panel=STATISTICS),
    ] = 0,
    figure: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FIGURE",
            help="Draw the scatter into a file, such as scatter.pdf.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    save_table: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Save the points of the scatter; coupling plot draws them.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Correlate coupling with benchmark scores, and compare it with size."""
    folders, aliases, benchmarks = runs or [], alias or [], benchmark or []
    check_usage(folders, scores, published, family, aliases, benchmarks, measure)
    _check_sources(folders, scores)
    from coupling.cli.render.text import plain

    with console(stderr=True).status("loading libraries") as status:
        result = _compute(
            folders,
            scores,
            published=published,
            family=family,
            aliases=aliases,
            benchmarks=benchmarks,
            measure=measure,
            seed=seed,
            progress=lambda name: status.update(plain(f"correlating with {name}")),
        )
        status.update("drawing the scatter")
        _save_scatter(result, save_table, figure)
    if json:
        print_json(result)
    else:
        from coupling.cli.render.correlation import print_correlation

        print_correlation(result, console())
    for path in (save_table, figure):
        if path is not None:
            print(f"saved in {clean(path)}", file=sys.stderr)


def _check_sources(folders: list[Path], scores: str | None) -> None:
    """Check that runs and scores are there before the libraries are loaded."""
    from coupling.analyses.correlation.sources import source_of
    from coupling.analyses.sweep.runs import checked_runs

    checked_runs(folders)
    if scores is not None:
        source_of(scores)


def check_usage(
    folders: list[Path],
    scores: str | None,
    published: bool,
    family: bool,
    aliases: list[str],
    benchmarks: list[str],
    measure: str | None,
) -> None:
    """Refuse combinations of options that have no meaning."""
    if family and (published or folders or scores or aliases):
        raise typer.BadParameter("--family cannot be combined with runs, --scores, --published or --alias")
    if not published and not family and not folders:
        raise typer.BadParameter("give runs, --published or --family")
    if folders and not published and not scores:
        raise typer.BadParameter("runs need --scores, their benchmark scores")
    if published and not folders and (scores or aliases or benchmarks):
        raise typer.BadParameter("--scores, --alias and --benchmark apply to runs, and no run was given")
    if published and measure is not None:
        raise typer.BadParameter("--measure does not apply to --published, which has only one measure")
    if published and len(benchmarks) > 1:
        raise typer.BadParameter("--published accepts only one --benchmark, by which it places the runs")


def _compute(
    folders: list[Path],
    scores: str | None,
    *,
    published: bool,
    family: bool,
    aliases: list[str],
    benchmarks: list[str],
    measure: str | None,
    seed: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Call the function of the library that computes what was asked for."""
    from coupling.analyses.correlation import correlate as library
    from coupling.analyses.correlation.published import correlate_published
    from coupling.analyses.correlation.small_models import family_table

    if published:
        benchmark = benchmarks[0] if benchmarks else None
        return correlate_published(folders, scores, aliases=aliases, benchmark=benchmark, seed=seed, progress=progress)
    if family:
        return library.correlate(family_table(), benchmarks=benchmarks, measure=measure, seed=seed, progress=progress)
    assert scores is not None  # check_usage refuses runs without scores
    return library.correlate_runs(
        folders, scores, aliases=aliases, benchmarks=benchmarks, measure=measure, seed=seed, progress=progress
    )


def _save_scatter(result: dict[str, Any], table: Path | None, figure: Path | None) -> None:
    """Write the points of the scatter, and its picture, to the files that were asked for."""
    if table is None and figure is None:
        return
    from coupling.analyses.correlation.scatter import scatter_of_result

    points, measure, benchmark = scatter_of_result(result)
    if table is not None:
        from coupling.files import write_output

        write_output(table, points.to_csv(index=False).encode())
    if figure is not None:
        from coupling import figures

        figures.save(figures.scatter(points, score_label=measure, benchmark_label=benchmark), figure)
